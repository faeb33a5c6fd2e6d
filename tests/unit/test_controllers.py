"""Specs, statistics, and the rows between them and the interface files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from importlib import resources
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgctl.controllers import (
    CONTROLLERS,
    Controller,
    ControllerKeywords,
    Core,
    Cpu,
    Cpuset,
    CpuStats,
    Devices,
    Dmem,
    Hugetlb,
    HugetlbPages,
    HugetlbStats,
    Io,
    IoCostModel,
    IoCostQos,
    IoMax,
    Limits,
    Memory,
    MemoryEvents,
    MemoryStat,
    Misc,
    Net,
    Partition,
    PerfEvent,
    Pids,
    Rdma,
    Row,
    Side,
    Stats,
    SwapEvents,
    parse_specs,
)
from cgctl.controllers._left_out import LEFT_OUT, VERBS, reason_without_row
from cgctl.controllers.cpu import quota_usec
from cgctl.errors import SpecError, UnsupportedError, shown
from cgctl.formats import FormatError, Pressure, PressureLine
from cgctl.units import MAX
from tests.unit import CALM
from tests.unit.refusals import says

TABLE = {name: controller.of(("2MB",)) for name, controller in CONTROLLERS.items()}
"""The controllers, as a machine has them that has huge pages of 2 MiB."""

# Controllers whose rows are for each size of pages: the class of what they tell of one.
OF_SIZE: dict[str, type[Any]] = {"hugetlb": HugetlbPages}
_LAPSED = "Parent is not a partition root"

# Hierarchy → the files that were found in it.
MEASURED: dict[str, list[str]] = {
    hierarchy: [name for name, *_ in found]
    for hierarchy, found in json.loads(resources.files("cgctl.fake").joinpath("files.json").read_text("utf-8")).items()
}

File = tuple[str, str] | None
"""An interface file and what is written to it; ``None`` where the version has no such."""
ALL = "rbps=max wbps=max riops=max wiops=max"

_WEIGHTS: dict[str, int | str] = {"8:0": 4, "8:16": 100, "8:32": 10_000}
_BFQ = Io(device_weight=_WEIGHTS, bfq_disks=frozenset({"8:0", "8:16", "8:32"}))
_QOS = IoCostQos(enable=True, rpct=95, rlat_usec=5000, max=150)
_MODEL = IoCostModel(ctrl="user", model="linear", rbps=1000)
IO_CASES: list[tuple[str, Any, File, File]] = [
    ("io.weight", Io(weight=100), ("blkio.bfq.weight", "100"), ("io.weight", "default 100")),
    ("io.weight", Io(weight=10_000), ("blkio.bfq.weight", "1000"), ("io.weight", "default 10000")),
    ("io.weight.bfq", Io(weight=1), ("blkio.bfq.weight", "1"), ("io.bfq.weight", "default 1")),
    ("io.weight.bfq", Io(weight=10_000), ("blkio.bfq.weight", "1000"), ("io.bfq.weight", "default 1000")),
    ("io.device_weight", Io(device_weight={"8:0": 50}), ("blkio.bfq.weight_device", "8:0 50"), ("io.weight", "8:0 50")),
    (
        "io.device_weight.bfq",
        _BFQ,
        ("blkio.bfq.weight_device", "8:0 4\n8:16 100\n8:32 1000"),
        ("io.bfq.weight", "8:0 4\n8:16 100\n8:32 1000"),
    ),
    *[
        (
            f"io.max.{key}",
            Io(max={"8:0": IoMax(**{key: 4096}), "8:16": IoMax(**{key: MAX})}),
            (f"blkio.throttle.{file}_device", "8:0 4096\n8:16 0"),
            ("io.max", f"8:0 {ALL.replace(f'{key}=max', f'{key}=4096')}\n8:16 {ALL}"),
        )
        for key, file in {"rbps": "read_bps", "wbps": "write_bps", "riops": "read_iops", "wiops": "write_iops"}.items()
    ],
    ("io.latency", Io(latency={"8:0": "10ms", "8:16": 0}), None, ("io.latency", "8:0 target=10000\n8:16 target=0")),
    ("io.prio_class", Io(prio_class="idle"), ("blkio.prio.class", "idle"), ("io.prio.class", "idle")),
    ("io.cost_qos", Io(cost_qos={"8:0": _QOS}), None, ("io.cost.qos", "8:0 enable=1 rpct=95.00 rlat=5000 max=150.00")),
    ("io.cost_model", Io(cost_model={"8:0": _MODEL}), None, ("io.cost.model", "8:0 ctrl=user model=linear rbps=1000")),
]

# How a setting is, with what beside it, and what is written for it to v1's file and to v2's. Drives encode and decode.
CASES: list[tuple[str, Any, File, File]] = [
    ("memory.max", Memory(max="100M"), ("memory.limit_in_bytes", "104857600"), ("memory.max", "104857600")),
    ("memory.max", Memory(max=0), ("memory.limit_in_bytes", "0"), ("memory.max", "0")),
    ("memory.max", Memory(max=MAX), ("memory.limit_in_bytes", "-1"), ("memory.max", "max")),
    ("memory.high", Memory(high="1G"), None, ("memory.high", "1073741824")),
    ("memory.low", Memory(low="1M"), ("memory.soft_limit_in_bytes", "1048576"), ("memory.low", "1048576")),
    ("memory.low", Memory(low=0), ("memory.soft_limit_in_bytes", "-1"), ("memory.low", "0")),
    ("memory.min", Memory(min=0), None, ("memory.min", "0")),
    (
        "memory.swap_max",
        Memory(max=8192, swap_max=4096),
        ("memory.memsw.limit_in_bytes", "12288"),
        ("memory.swap.max", "4096"),
    ),
    (
        "memory.swap_max",
        Memory(max=8192, swap_max=0),
        ("memory.memsw.limit_in_bytes", "8192"),
        ("memory.swap.max", "0"),
    ),
    ("memory.swap_max", Memory(swap_max=MAX), ("memory.memsw.limit_in_bytes", "-1"), ("memory.swap.max", "max")),
    ("memory.swap_high", Memory(swap_high="1M"), None, ("memory.swap.high", "1048576")),
    ("memory.zswap_max", Memory(zswap_max=0), None, ("memory.zswap.max", "0")),
    ("memory.zswap_writeback", Memory(zswap_writeback=False), None, ("memory.zswap.writeback", "0")),
    ("memory.oom_group", Memory(oom_group=True), None, ("memory.oom.group", "1")),
    ("memory.soft_limit", Memory(soft_limit=4096), ("memory.soft_limit_in_bytes", "4096"), None),
    ("memory.swappiness", Memory(swappiness=0), ("memory.swappiness", "0"), None),
    ("cpu.max", Cpu(max=0.5), ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
    ("cpu.max", Cpu(max=1.5, period_usec=20_000), ("cpu.cfs_quota_us", "30000"), ("cpu.max", "30000 20000")),
    ("cpu.max", Cpu(max=MAX), ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000")),
    ("cpu.period_usec", Cpu(period_usec=50_000), ("cpu.cfs_period_us", "50000"), ("cpu.max", "max 50000")),
    ("cpu.burst_usec", Cpu(burst_usec=1000), ("cpu.cfs_burst_us", "1000"), ("cpu.max.burst", "1000")),
    ("cpu.weight", Cpu(weight=100), ("cpu.shares", "1024"), ("cpu.weight", "100")),
    ("cpu.weight", Cpu(weight=1), ("cpu.shares", "2"), ("cpu.weight", "1")),
    ("cpu.idle", Cpu(idle=True), ("cpu.idle", "1"), ("cpu.idle", "1")),
    ("cpu.idle", Cpu(idle=False), ("cpu.idle", "0"), ("cpu.idle", "0")),
    ("cpu.uclamp_min", Cpu(uclamp_min=12.5), ("cpu.uclamp.min", "12.50"), ("cpu.uclamp.min", "12.50")),
    ("cpu.uclamp_max", Cpu(uclamp_max=MAX), ("cpu.uclamp.max", "max"), ("cpu.uclamp.max", "max")),
    ("cpu.rt_runtime_usec", Cpu(rt_runtime_usec=-1), ("cpu.rt_runtime_us", "-1"), None),
    ("cpu.rt_period_usec", Cpu(rt_period_usec="1s"), ("cpu.rt_period_us", "1000000"), None),
    ("cpuset.cpus", Cpuset(cpus="2,0-1"), ("cpuset.cpus", "0-2"), ("cpuset.cpus", "0-2")),
    ("cpuset.cpus", Cpuset(cpus=[]), None, ("cpuset.cpus", "\n")),
    ("cpuset.mems", Cpuset(mems=[0]), ("cpuset.mems", "0"), ("cpuset.mems", "0")),
    ("cpuset.exclusive", Cpuset(exclusive={3}), None, ("cpuset.cpus.exclusive", "3")),
    ("cpuset.partition", Cpuset(partition="isolated"), None, ("cpuset.cpus.partition", "isolated")),
    *IO_CASES,
    ("pids.max", Pids(max=0), ("pids.max", "0"), ("pids.max", "0")),
    ("pids.max", Pids(max=4194304), ("pids.max", "4194304"), ("pids.max", "4194304")),
    ("pids.max", Pids(max="max"), ("pids.max", "max"), ("pids.max", "max")),
    (
        "hugetlb.max.2MB",
        Hugetlb(max={"2M": "5M"}),
        ("hugetlb.2MB.limit_in_bytes", "4194304"),
        ("hugetlb.2MB.max", "4194304"),
    ),
    ("hugetlb.max.2MB", Hugetlb(max={2 << 20: MAX}), ("hugetlb.2MB.limit_in_bytes", "-1"), ("hugetlb.2MB.max", "max")),
    (
        "hugetlb.rsvd_max.2MB",
        Hugetlb(rsvd_max={"2048kB": 0}),
        ("hugetlb.2MB.rsvd.limit_in_bytes", "0"),
        ("hugetlb.2MB.rsvd.max", "0"),
    ),
    (
        "rdma.max",
        Rdma(max={"rxe0": {"hca_handle": 2}}),
        ("rdma.max", "rxe0 hca_handle=2"),
        ("rdma.max", "rxe0 hca_handle=2"),
    ),
    (
        "rdma.max",
        Rdma(max={"rxe0": {"hca_handle": "max", "hca_object": 2**31 - 1}, "siw0": {"hca_object": 7}}),
        ("rdma.max", "rxe0 hca_handle=max hca_object=max\nsiw0 hca_object=7"),
        ("rdma.max", "rxe0 hca_handle=max hca_object=max\nsiw0 hca_object=7"),
    ),
    (
        "misc.max",
        Misc(max={"sev": 5, "sev_es": MAX}),
        ("misc.max", "sev 5\nsev_es max"),
        ("misc.max", "sev 5\nsev_es max"),
    ),
    (
        "dmem.max",
        Dmem(max={"drm/0/vram0": "1M"}),
        ("dmem.max", "drm/0/vram0 1048576"),
        ("dmem.max", "drm/0/vram0 1048576"),
    ),
    ("dmem.low", Dmem(low={"r": 0}), ("dmem.low", "r 0"), ("dmem.low", "r 0")),
    ("dmem.min", Dmem(min={"r": MAX}), ("dmem.min", "r max"), ("dmem.min", "r max")),
    ("devices.allow", Devices(allow=["null"]), None, ("@devices", "deny a *:* rwm\nallow c 1:3 rwm")),
    ("devices.deny", Devices(deny=["null r"]), None, ("@devices", "allow a *:* rwm\ndeny c 1:3 r")),
    ("devices.default", Devices(default="deny"), None, ("@devices", "deny a *:* rwm")),
    ("net.classid", Net(classid="1:10"), ("net_cls.classid", "65552"), ("@net_class", "65552")),
    ("net.classid", Net(classid=2**32 - 1), ("net_cls.classid", "4294967295"), ("@net_class", "4294967295")),
    ("net.classid", Net(classid=0), ("net_cls.classid", "0"), ("@net_class", "0")),
    ("net.classid", Net(classid=5), ("net_cls.classid", "5"), None),
    ("net.priority", Net(priority={"lo": 1, "eth0": "5"}), ("net_prio.ifpriomap", "lo 1\neth0 5"), None),
    ("net.mark", Net(mark="0x2a"), None, ("@net_mark", "42")),
    ("net.accounting", Net(accounting=True), None, ("@net_counters", "1")),
    ("core.type", Core(type="threaded"), None, ("cgroup.type", "threaded")),
    ("core.max_depth", Core(max_depth=0), None, ("cgroup.max.depth", "0")),
    ("core.max_descendants", Core(max_descendants=MAX), None, ("cgroup.max.descendants", "max")),
    ("core.pressure", Core(pressure=False), None, ("cgroup.pressure", "0")),
]

# What measured kernels write to a file that is then read: (setting, version, texts by file, value).
READ: list[tuple[str, int, dict[str, str], Any]] = [
    ("memory.max", 1, {"memory.limit_in_bytes": "9223372036854771712\n"}, MAX),
    ("memory.max", 1, {"memory.limit_in_bytes": "9223372036854710272\n"}, MAX),  # pages of 64 KiB
    ("memory.max", 1, {"memory.limit_in_bytes": "4997120\n"}, 4997120),
    ("memory.swap_max", 1, {"memory.memsw.limit_in_bytes": "12288\n", "memory.limit_in_bytes": "8192\n"}, 4096),
    ("memory.swap_max", 1, {"memory.memsw.limit_in_bytes": "9223372036854771712\n"}, MAX),
    ("memory.oom_kill_disable", 1, {"memory.oom_control": "oom_kill_disable 1\nunder_oom 0\noom_kill 3\n"}, True),
    ("cpu.max", 2, {"cpu.max": "max 50000\n"}, MAX),
    ("cpu.period_usec", 2, {"cpu.max": "max 50000\n"}, 50000),
    ("cpu.max", 1, {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, MAX),
    ("cpu.max", 1, {"cpu.cfs_quota_us": "25000\n"}, None),  # no amount without its period
    ("cpu.weight", 1, {"cpu.shares": "3\n", "cpu.idle": "1\n"}, None),
    ("cpu.weight", 2, {"cpu.weight": "0\n", "cpu.idle": "1\n"}, None),
    ("cpu.weight", 2, {"cpu.weight": "100\n", "cpu.idle": "0\n"}, 100),
    ("cpu.weight", 1, {"cpu.shares": "262144\n"}, 10000),
    ("cpu.uclamp_max", 2, {"cpu.uclamp.max": "50.56\n"}, 50.56),
    ("devices.default", 1, {"devices.list": "a *:* rwm\n"}, "allow"),
    ("devices.default", 1, {"devices.list": ""}, "deny"),
    (
        "devices.allow",
        1,
        {"devices.list": "c 1:3 rwm\nc 4:* \nc 5000:1 r\nc 136:* rw\n"},
        Devices(allow=["null", "pts rw"]).allow,
    ),
    ("devices.deny", 1, {"devices.list": "a *:* rwm\n"}, ()),
    ("cpuset.cpus", 2, {"cpuset.cpus": "\n"}, ()),
    ("hugetlb.max.2MB", 1, {"hugetlb.2MB.limit_in_bytes": "9223372036852678656\n"}, MAX),
    ("hugetlb.max.2MB", 1, {"hugetlb.2MB.limit_in_bytes": "9223372035781033984\n"}, MAX),  # as it is for 1GB
    ("hugetlb.max.2MB", 2, {"hugetlb.2MB.max": "9223372036854771712\n"}, MAX),  # 6.18
    ("rdma.max", 2, {"rdma.max": ""}, {}),
    ("misc.max", 2, {"misc.max": "sev 18446744073709551615\nsev_es 3\n"}, {"sev": MAX, "sev_es": 3}),
    *[("core.type", 2, {"cgroup.type": f"domain{state}\n"}, "domain") for state in ("", " threaded", " invalid")],
    ("cpuset.partition", 2, {"cpuset.cpus.partition": "isolated\n"}, Partition("isolated")),
    ("cpuset.partition", 2, {"cpuset.cpus.partition": "root invalid\n"}, Partition("root", valid=False)),
    (
        "cpuset.partition",
        2,
        {"cpuset.cpus.partition": f"root invalid ({_LAPSED})\n"},
        Partition("root", False, _LAPSED),
    ),
    ("net.priority", 1, {"net_prio.ifpriomap": "lo 0\neth0 4294967295\n"}, {"lo": 0, "eth0": 4294967295}),
    ("net.accounting", 2, {"@net_counters": ""}, False),
    ("net.accounting", 2, {"@net_counters": "rx_bytes 0\nrx_packets 0\ntx_bytes 0\ntx_packets 0\n"}, True),
]

# What is written, and what the file reads afterwards: KERNEL-FACTS.md, appendix A; a plan must not write it again.
HELD: list[tuple[str, int, str, str]] = [
    *[("memory.max", 2, a, b) for a, b in [("1", "0"), ("4097", "4096"), ("12345", "12288"), ("max", "max")]],
    *[("memory.max", 2, str(n), "max") for n in (2**64 - 1, 2**63 - 4096, 2**63 - 1, 2**63)],
    *[("memory.max", 1, a, b) for a, b in [("-1", "9223372036854771712"), ("5000001", "4997120"), ("0", "0")]],
    ("memory.swap_max", 1, "10000002", "9998336"),
    ("memory.zswap_writeback", 2, "1", "1"),
    ("memory.oom_kill_disable", 1, "1", "oom_kill_disable 1\nunder_oom 0"),
    ("cpu.max", 2, "50000 100000", "50000 100000"),
    ("cpu.weight", 1, "1024", "1024"),
    *[
        ("cpu.uclamp_max", 2, a, b)
        for a, b in [("99.99", "max"), ("100.00", "max"), ("max", "max"), ("50.56", "50.56")]
    ],
    ("cpu.uclamp_min", 2, "0.00", "0.00"),
    ("cpuset.cpus", 2, "\n", ""),
    ("cpuset.cpus", 2, "0-3", "0-3"),
    ("pids.max", 2, "max", "max"),
    ("hugetlb.max.2MB", 1, "-1", "9223372036852678656"),
    ("hugetlb.max.2MB", 2, "max", "9223372036854771712"),
    ("hugetlb.max.2MB", 2, "4194304", "4194304"),
    ("rdma.max", 2, "rxe0 hca_handle=2", "rxe0 hca_handle=2 hca_object=max\nsiw0 hca_handle=max hca_object=max"),
    ("misc.max", 2, "sev max", "sev max\nsev_es 5"),
    ("dmem.max", 2, "r max", "r max"),
    ("net.priority", 1, "eth0 5", "lo 0\neth0 5"),
    ("net.accounting", 2, "1", "rx_bytes 0"),
    ("net.accounting", 2, "0", ""),
]

OTHER: list[tuple[str, int, str, str]] = [
    ("memory.max", 2, "8192", "4096"),
    ("memory.max", 2, "max", "4096"),
    ("memory.max", 2, "0", "max"),
    ("memory.max", 1, "-1", "4096"),
    ("memory.oom_kill_disable", 1, "0", "oom_kill_disable 1\nunder_oom 0"),
    ("cpu.max", 2, "max 100000", "max 50000"),
    ("cpu.uclamp_max", 2, "99.90", "max"),
    ("cpu.uclamp_max", 2, "max", "0.00"),
    ("cpuset.cpus", 2, "\n", "0-3"),
    ("cpuset.partition", 2, "root", "root invalid"),
    ("pids.max", 2, "0", "max"),
    ("hugetlb.max.2MB", 2, "0", "max"),
    ("rdma.max", 2, "rxe0 hca_handle=2", "rxe0 hca_handle=3 hca_object=max"),
    ("rdma.max", 2, "rxe0 hca_handle=2", "siw0 hca_handle=2"),
    ("misc.max", 2, "sev 4", "sev max\nsev_es 4"),
    ("net.priority", 1, "eth0 5", "lo 5\neth0 0"),
    ("net.accounting", 2, "1", ""),
    ("net.accounting", 2, "0", "rx_bytes 0"),
]

NONSENSE: list[tuple[str, Any, tuple[str, ...]]] = [
    *[("memory", value, (f"memory={value!r}: not a size", "'100M'")) for value in ("10Q", "-1", True, b"1", 1.5)],
    *[("memory", value, (f"memory={value!r}: not a size",)) for value in (float("nan"), float("inf"))],
    *[("memory", value, (f"memory={value!r}: out of range", "0 to 2**64-1")) for value in (-1, 2**64)],
    *[("cpu", value, (f"cpu.max={value!r}: must be above 0", "MAX for no limit")) for value in (0, -1, "0%", -0.5)],
    *[
        ("cpu", value, (f"cpu.max={value!r}: beyond any machine", "1.5"))
        for value in (1e30, 2**21, "1e30", Decimal("1e99999"))
    ],
    *[
        ("cpu", value, (f"cpu.max={value!r}: the kernel gives at least 1 ms", "0.001 CPUs"))
        for value in (0.0001, "0.01%")
    ],
    *[
        ("cpu", value, (f"cpu.max={value!r}: not an amount of CPU",))
        for value in ("x", True, float("nan"), float("inf"))
    ],
    ("cpu", "9" * 100_000, ("cpu.max='999", "beyond any machine")),
    ("cpu", "1e999999999999", ("cpu.max='1e999999999999': not an amount of CPU",)),
    *[("pids", value, (f"pids.max={value!r}: out of range", "0 to 4194304")) for value in (-1, 4194305, "-1", 10**30)],
    *[
        ("pids", value, (f"pids.max={value!r}: not a whole number", "0 to 4194304"))
        for value in (1.5, "abc", True, "1K")
    ],
    *[
        ("cpuset", value, ("cpuset.cpus: cpu list", repr(value), "ascending range", "'0-3,5'"))
        for value in ("3-1", "x")
    ],
    ("cpuset", [-1], ("cpuset.cpus: cpu list [-1]: -1 is not a CPU number", "ints from 0")),
    ("cpuset", "0-99999999", ("cpuset.cpus: cpu list '0-99999999'", "beyond any machine")),
    ("cpuset", 3, ("cpuset.cpus: cpu list 3: not a list of ints", "[0, 1]")),
    ("cpuset", itertools.count(2**20 - 9), ("cpuset.cpus: cpu list count(", "is not a CPU number")),
    *[
        ("net", value, (f"net.classid={value!r}: not a class id", "'1:10'"))
        for value in (
            *["1:1:1", "zz", "10", "1:", ":1", "1:10000", "g:1", "-1", "1.5", "0x", "0x100000000"],
            "",
            1.5,
            True,
        )
    ],
    *[("net", value, (f"net.classid={value!r}: out of range", "0 to 2**32-1")) for value in (2**32, -1)],
    ("core", "max", ("core='max': there is no shorthand", "Core(max_depth=…")),
]

NONSENSE_SPECS: list[tuple[type[Any], dict[str, Any], tuple[str, ...]]] = [
    *[(Memory, {name: "10Q"}, (f"memory.{name}='10Q': not a size",)) for name in ("max", "high", "low", "min")],
    *[(Memory, {name: -1}, (f"memory.{name}=-1: out of range",)) for name in ("swap_max", "swap_high", "zswap_max")],
    (Memory, {"oom_group": "yes"}, ("memory.oom_group='yes': not a flag", "True or False")),
    (Memory, {"swappiness": 201}, ("memory.swappiness=201: out of range", "0 to 200")),
    (Cpu, {"period_usec": 999}, ("cpu.period_usec=999: out of range", "1000 to 1000000")),
    (Cpu, {"period_usec": "2s"}, ("cpu.period_usec='2s': out of range", "1000 to 1000000")),
    (Cpu, {"burst_usec": -1}, ("cpu.burst_usec=-1: out of range",)),
    (Cpu, {"weight": 0}, ("cpu.weight=0: out of range", "1 to 10000")),
    (Cpu, {"weight": 10001}, ("cpu.weight=10001: out of range", "1 to 10000")),
    (Cpu, {"weight": MAX}, ("cpu.weight=MAX: not a whole number",)),
    (Cpu, {"idle": 2}, ("cpu.idle=2: not a flag",)),
    (Cpu, {"idle": True, "weight": 5}, ("cpu.weight=5 with cpu.idle=True", "set one of them")),
    (Cpu, {"max": 0.01, "period_usec": 1000}, ("cpu.max=0.01 with period_usec=1000", "at least 1000", "longer period")),
    (
        Cpu,
        {"max": 0.5, "period_usec": 10_000, "burst_usec": 5001},
        ("cpu.burst_usec=5001: more than the quota of 5000 us", "at most that"),
    ),
    *[
        (Cpu, {"uclamp_min": value}, ("cpu.uclamp_min=", "0 to 100, or MAX"))
        for value in (-1, 100.1, "x", True, 10**400)
    ],
    (Cpu, {"uclamp_max": float("nan")}, ("cpu.uclamp_max=nan: not a percentage",)),
    (Cpu, {"rt_runtime_usec": -2}, ("cpu.rt_runtime_usec=-2: out of range",)),
    (Cpuset, {"mems": "0-"}, ("cpuset.mems: cpu list '0-'",)),
    (Cpuset, {"exclusive": [True]}, ("cpuset.exclusive: cpu list [True]",)),
    (Cpuset, {"partition": "alone"}, ("cpuset.partition='alone': not a partition type", "'isolated'")),
    (Cpuset, {"partition": Partition("alone")}, ("cpuset.partition=Partition(type='alone'", "'isolated'")),
    (Cpuset, {"partition": ["root"]}, ("cpuset.partition=['root']: not a partition type",)),
    (Cpuset, {"partition": "root invalid\nrm -rf"}, ("not a partition type",)),
    *[
        (Hugetlb, {field: value}, (f"hugetlb.{field}=", "not a mapping", "{'2M': '64M'}"))
        for field in ("max", "rsvd_max")
        for value in (1, "2M", "", ["2M"], MAX, b"2M")
    ],
    *[
        (Hugetlb, {"max": {size: "1G"}}, ("hugetlb.max={", "not a size of pages", "power of two"))
        for size in ("3M", "2.5M", "x", "", 0, -(2**21), 3 << 20, 1, None, True, 2.0**21, ("2M",))
    ],
    (Hugetlb, {"max": {"2M": 1, "2048K": 2}}, ("hugetlb.max: 2MB is named twice",)),
    (Hugetlb, {"max": {"2M": -1}}, ("hugetlb.max[2MB]=-1: out of range",)),
    (Hugetlb, {"rsvd_max": {"1G": "much"}}, ("hugetlb.rsvd_max[1GB]='much': not a size",)),
    (Hugetlb, {"max": {"2M": None}}, ("hugetlb.max[2MB]=None: not a size",)),
    (Misc, {"max": {"sev": -1}}, ("misc.max['sev']=-1: out of range",)),
    (Misc, {"max": {"sev": "1K"}}, ("misc.max['sev']='1K': not a whole number",)),
    (Rdma, {"max": {"rxe0": 5}}, ("rdma.max['rxe0']=5: not a mapping", "each resource")),
    (Rdma, {"max": {"rxe0": {"hca_handle": 2**31}}}, ("rdma.max['rxe0']['hca_handle']=2147483648: out of range",)),
    (Dmem, {"low": {"r": -1}}, ("dmem.low['r']=-1: out of range",)),
    *[
        (Core, {"type": value}, ("core.type=", "not a type that can be asked for", "'threaded'"))
        for value in ("domain threaded", "", True, ["threaded"])
    ],
    *[
        (Net, {"priority": {name: 1}}, (f"net.priority[{name!r}]: not the name of a network interface", "1 to 15"))
        for name in ("a/b", "..", "a:b", "x" * 16)
    ],
    *[
        (Net, {"priority": {name: 1}}, ("net.priority={", "not the name of a network interface"))
        for name in ("", "a b", "a\nb", 7, None)
    ],
    *[(Net, {"priority": {"lo": value}}, ("net.priority['lo']=",)) for value in (-1, 2**32, "x", None, True, 1.5)],
    *[(Net, {"priority": value}, ("net.priority=", "not a mapping")) for value in (5, "eth0", ["eth0"], MAX)],
    *[(Net, {"mark": value}, (f"net.mark={value!r}: ",)) for value in (-1, 2**32, "x", "0x", "0x123456789", True, 1.5)],
    (Net, {"accounting": "maybe"}, ("net.accounting='maybe': not a flag",)),
    (Core, {"max_depth": -1}, ("core.max_depth=-1: out of range", "0 to 2147483647")),
    (Core, {"max_depth": 2**31}, ("core.max_depth=2147483648: out of range",)),
    (Core, {"pressure": "off"}, ("core.pressure='off': not a flag",)),
]


def _rows() -> Iterator[tuple[str, Controller, Row]]:
    for name, controller in TABLE.items():
        for row in (*controller.settings, *controller.readings):
            yield name, controller, row


def _all(controller: Controller) -> tuple[Row, ...]:
    return (*controller.settings, *controller.readings)


def _attribute(row: Row) -> str:
    """Return the attribute of the class that a row is, or is a part of."""
    return row.attribute.partition(".")[0]


def _value(setting: str, spec: Any) -> Any:
    name, _, attribute = setting.partition(".")
    return TABLE[name].split(spec)[attribute]


def _side(setting: str, version: int) -> Side:
    name, _, attribute = setting.partition(".")
    side = TABLE[name].row(attribute).side(version)
    assert side is not None
    return side


def _split(setting: str, spec: Any) -> Any:
    """Return a spec by rows."""
    controller = CONTROLLERS[setting.partition(".")[0]]
    return SimpleNamespace(**controller.split(spec)) if controller.parts else spec


def _reading(name: str, attribute: str, version: int, texts: Mapping[str, str]) -> Any:
    side = next(row for row in TABLE[name].readings if row.attribute == attribute).side(version)
    assert side is not None
    return side.codec.decode(texts[side.file], texts)


SIDES = [
    (setting, spec, version, file) for setting, spec, v1, v2 in CASES for version, file in ((1, v1), (2, v2)) if file
]


class TestTable:
    """The table of controllers, and the classes that mirror it."""

    @pytest.mark.parametrize("controller", TABLE.values(), ids=TABLE)
    def test_every_setting_has_one_row(self, controller: Controller) -> None:
        """Each attribute of the spec is one row, and each row an attribute."""
        fields = {field.name for field in attrs.fields(controller.spec) if field.repr}

        assert sorted(fields) == sorted({_attribute(row) for row in controller.settings})

    @pytest.mark.parametrize("controller", TABLE.values(), ids=TABLE)
    def test_every_reading_has_one_row(self, controller: Controller) -> None:
        """Each attribute of the statistics is one row, and each row an attribute."""
        fields = [field.name for field in attrs.fields(OF_SIZE.get(controller.name, controller.stats))]

        assert sorted(fields) == sorted(_attribute(row) for row in controller.readings)

    @pytest.mark.parametrize("controller", TABLE.values(), ids=TABLE)
    @pytest.mark.parametrize("side", ["spec", "stats"])
    def test_docstrings_name_every_attribute(self, controller: Controller, side: str) -> None:
        """What a class has, its docstring explains, file included."""
        cls = controller.spec if side == "spec" else OF_SIZE.get(controller.name, controller.stats)
        rows = controller.settings if side == "spec" else controller.readings

        assert [row.attribute for row in rows if f"\n        {_attribute(row)}: " not in (cls.__doc__ or "")] == []

    def test_a_missing_side_has_a_reason(self) -> None:
        """Whoever asks for what a version has not is told why; a row with both sides needs no reason."""
        for name, controller in TABLE.items():
            for row in controller.settings:
                missing = row.v1 is None or row.v2 is None
                # core's v1 side is missing on every row
                assert missing == bool(row.reason), f"{name}.{row.attribute}"

    def test_a_row_has_a_side(self) -> None:
        """No row is about nothing, and its files are of the controller that it names."""
        for name, controller, row in _rows():
            sides = [side for side in (row.v1, row.v2) if side]

            assert sides, f"{name}.{row.attribute}"
            # cpu.stat and *.pressure are v2 core files, of the controller's name nevertheless
            prefixes = {side.file.split(".")[0] for side in sides if not side.file.startswith(f"@{name}")}
            assert prefixes <= {name, "cgroup", *controller.v1, "cpuacct"}, f"{name}.{row.attribute}"

    def test_every_case_is_covered(self) -> None:
        """Each setting is in the tables of this file."""
        settings = {f"{name}.{row.attribute}" for name, controller in TABLE.items() for row in controller.settings}

        assert settings == {case[0] for case in CASES} | {case[0] for case in READ}

    @pytest.mark.parametrize("cls", [Limits, Stats])
    def test_results_mirror_it(self, cls: type[Any]) -> None:
        """``limits()`` and ``stats()`` have one attribute a controller."""
        assert set(CONTROLLERS) == {field.name for field in attrs.fields(cls)}

    def test_keywords_mirror_it(self) -> None:
        """So have the keywords."""
        assert set(CONTROLLERS) == set(ControllerKeywords.__annotations__)

    def test_specs_are_values(self) -> None:
        """Specs are equal by value, hashable, frozen, and changed by ``attrs.evolve``."""
        spec = Memory(max="1M", high="512K")

        assert spec == Memory(high=524288, max=1048576)
        assert hash(spec) == hash(Memory(high=524288, max=1048576))
        assert attrs.evolve(spec, high=None) == Memory(max="1M")
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            spec.max = 0  # type: ignore[misc]


class TestCodecs:
    """What is written, and what that means when it is read."""

    @pytest.mark.parametrize(("setting", "spec", "v1", "v2"), CASES)
    def test_files(self, setting: str, spec: Any, v1: File, v2: File) -> None:
        """Each setting is in the file that the table says, or in none."""
        del spec
        name, _, attribute = setting.partition(".")
        row = TABLE[name].row(attribute)

        assert v1 is None or (row.v1 is not None and row.v1.file == v1[0])
        assert v2 is None or (row.v2 is not None and row.v2.file == v2[0])

    @pytest.mark.parametrize(("setting", "spec", "version", "file"), SIDES)
    def test_encode(self, setting: str, spec: Any, version: int, file: tuple[str, str]) -> None:
        """A value is written as the kernel wants it: plain numbers in the base unit."""
        rows = _split(setting, spec)

        assert file[1] == _side(setting, version).codec.encode(getattr(rows, setting.partition(".")[2]), rows)

    @pytest.mark.parametrize(("setting", "spec", "version", "file"), SIDES)
    def test_decode(self, setting: str, spec: Any, version: int, file: tuple[str, str]) -> None:
        """Reading back what was written gives the value."""
        limit, period = getattr(spec, "max", None), getattr(spec, "period_usec", None)
        texts = {
            "memory.limit_in_bytes": str(-1 if limit is None else limit),
            "cpu.cfs_period_us": str(period or 100_000),
        }
        texts[file[0]] = file[1] + "\n"

        assert _value(setting, spec) == _side(setting, version).codec.decode(file[1] + "\n", texts)

    @pytest.mark.parametrize(("setting", "version", "texts", "value"), READ)
    def test_decode_of_measured_texts(self, setting: str, version: int, texts: dict[str, str], value: Any) -> None:
        """What real kernels write is read as what it means."""
        side = _side(setting, version)
        expected = texts[side.file].strip() if value is ... else value

        found = side.codec.decode(texts[side.file], texts)

        assert expected == found
        assert type(expected) is type(found)

    @pytest.mark.parametrize(("setting", "version", "wanted", "held"), HELD)
    def test_same(self, setting: str, version: int, wanted: str, held: str) -> None:
        """What the kernel rounded is what was asked for."""
        assert _side(setting, version).codec.same(held + "\n", wanted, 4096)

    @pytest.mark.parametrize(("setting", "version", "wanted", "held"), OTHER)
    def test_not_same(self, setting: str, version: int, wanted: str, held: str) -> None:
        """What differs is to be written."""
        assert not _side(setting, version).codec.same(held + "\n", wanted, 4096)

    def test_same_knows_the_page_size(self) -> None:
        """12288 is no whole page where pages have 64 KiB."""
        assert _side("memory.max", 2).codec.same("0\n", "12288", 65536)

    @pytest.mark.parametrize("setting", ["memory.max", "memory.high", "memory.swap_max", "memory.low"])
    def test_defaults_are_measured(self, setting: str) -> None:
        """A new group's limits are none, its protections zero."""
        assert ("0" if setting == "memory.low" else "max") == _side(setting, 2).default

    @CALM
    @given(st.integers(1000, 10**12), st.integers(1000, 10**6))
    def test_quota_round_trip(self, quota: int, period: int) -> None:
        """A quota and its period are CPUs and back the same, to the microsecond."""
        cpus = _side("cpu.max", 2).codec.decode(f"{quota} {period}\n", {})

        if cpus <= 2**20:
            assert quota == quota_usec(Cpu(max=cpus, period_usec=period))

    def test_an_empty_list_on_v1(self) -> None:
        """It would make a group that takes no process; leaving it out inherits."""
        with says(UnsupportedError, "an empty list of cpuset", "takes no process", "leave it out to inherit"):
            _side("cpuset.cpus", 1).codec.encode((), Cpuset(cpus=[]))

    def test_swap_needs_memory_on_v1(self) -> None:
        """v1 has no limit of swap by itself, and the refusal says what to do."""
        with says(UnsupportedError, "memory.swap_max=4096 without memory.max", "memory.memsw", "set max too"):
            _side("memory.swap_max", 1).codec.encode(4096, Memory(swap_max=4096))


class TestReadings:
    """Statistics, from measured texts."""

    @pytest.mark.parametrize(
        ("name", "attribute", "version", "file", "text", "value"),
        [
            ("memory", "current", 2, "memory.current", "4096\n", 4096),
            ("memory", "current", 2, "memory.current", "-4096\n", 0),
            ("memory", "peak", 1, "memory.max_usage_in_bytes", "8192\n", 8192),
            ("memory", "swap_current", 1, "memory.stat", "swap 1\ntotal_swap 4096\n", 4096),
            ("cpu", "usage_usec", 1, "cpuacct.usage", "1234567\n", 1234),
            ("cpu", "usage_usec", 2, "cpu.stat", "usage_usec 1234\nuser_usec 1000\n", 1234),
            ("cpu", "throttled_usec", 1, "cpu.stat", "nr_periods 1\nnr_throttled 1\nthrottled_time 5000\n", 5),
            ("cpu", "nr_bursts", 2, "cpu.stat", "usage_usec 1\n", None),
            ("cpu", "throttled_local_usec", 1, "cpu.stat.local", "throttled_time 5000\n", 5),
            ("pids", "current", 2, "pids.current", "3\n", 3),
            ("pids", "events_max", 1, "pids.events", "max 7\n", 7),
            ("core", "populated", 2, "cgroup.events", "populated 1\nfrozen 0\n", 1),
            ("core", "type", 2, "cgroup.type", "domain threaded\n", "domain threaded"),
            ("core", "frozen_usec", 2, "cgroup.stat.local", "frozen_usec 12\n", 12),
            ("cpuset", "cpus_effective", 1, "cpuset.effective_cpus", "0-1,4\n", (0, 1, 4)),
            (
                "cpuset",
                "partition",
                2,
                "cpuset.cpus.partition",
                "root invalid (x y)\n",
                Partition("root", False, "x y"),
            ),
            ("net", "rx_bytes", 2, "@net_counters", "rx_bytes 7\nrx_packets 1\n", 7),
            ("net", "tx_packets", 2, "@net_counters", "", None),
        ],
    )
    def test_plain(self, name: str, attribute: str, version: int, file: str, text: str, value: Any) -> None:
        """One number or word each; nanoseconds become microseconds, a negative gauge zero."""
        assert value == _reading(name, attribute, version, {file: text})

    def test_v2_memory_events(self) -> None:
        """Known keys are attributes, unknown ones kept."""
        text = "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\nbrand_new 6\n"

        assert _reading("memory", "events", 2, {"memory.events": text}) == MemoryEvents(
            low=1, high=2, max=3, oom=4, oom_kill=5, extra={"brand_new": 6}
        )

    def test_v1_memory_events(self) -> None:
        """v1 knows two of them; before 4.13 one."""
        control = {"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"}
        old = {"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"}

        assert _reading("memory", "events", 1, control | {"memory.failcnt": "9\n"}) == MemoryEvents(max=9, oom_kill=2)
        assert _reading("memory", "events", 1, old) == MemoryEvents()

    def test_swap_events(self) -> None:
        """Swap has events of its own."""
        texts = {"memory.swap.events": "high 1\nmax 2\nfail 3\n"}

        assert _reading("memory", "swap_events", 2, texts) == SwapEvents(high=1, max=2, fail=3)

    def test_v1_memory_stat(self) -> None:
        """The subtree's keys are mapped; the group's own are no statistics of the subtree, and kept as they are."""
        text = (
            "cache 1\nrss 2\nrss_huge 3\nshmem 4\nmapped_file 5\nswap 6\nswapcached 7\npgpgin 8\npgfault 9\n"
            "inactive_anon 10\nhierarchical_memory_limit 9223372036854771712\n"
            "total_cache 11\ntotal_rss 12\ntotal_rss_huge 13\ntotal_shmem 14\ntotal_mapped_file 15\ntotal_swap 16\n"
            "total_swapcached 17\ntotal_pgpgin 18\ntotal_pgfault 19\ntotal_inactive_anon 20\n"
        )

        stat = _reading("memory", "stat", 1, {"memory.stat": text})

        assert stat == MemoryStat(
            anon=12,
            file=11,
            anon_thp=13,
            shmem=14,
            file_mapped=15,
            swapcached=17,
            pgfault=19,
            inactive_anon=20,
            extra={
                "cache": 1,
                "rss": 2,
                "rss_huge": 3,
                "shmem": 4,
                "mapped_file": 5,
                "swap": 6,
                "swapcached": 7,
                "pgpgin": 8,
                "pgfault": 9,
                "inactive_anon": 10,
                "hierarchical_memory_limit": 9223372036854771712,
                "total_swap": 16,
                "total_pgpgin": 18,
            },
        )

    def test_v2_memory_stat(self) -> None:
        """v2's keys are the attributes."""
        assert _reading("memory", "stat", 2, {"memory.stat": "anon 1\nfile -1\nnew_key 3\n"}) == MemoryStat(
            anon=1, file=0, extra={"new_key": 3}
        )

    def test_unknown_keys_of_cpu_stat(self) -> None:
        """They are kept, and only they."""
        text = "usage_usec 1\nnr_periods 2\nthrottled_usec 3\ncore_sched.force_idle_usec 4\n"

        assert _reading("cpu", "extra", 2, {"cpu.stat": text}) == {"core_sched.force_idle_usec": 4}

    def test_every_attribute_of_cpu_stat_is_known(self) -> None:
        """No key is both an attribute and in ``extra``."""
        text = "".join(f"{field.name} 1\n" for field in attrs.fields(CpuStats) if field.name.endswith(("_usec", "ds")))

        assert _reading("cpu", "extra", 2, {"cpu.stat": text}) == {"throttled_local_usec": 1}

    def test_pressure(self) -> None:
        """Pressure is a part of its controller's statistics."""
        line = PressureLine(avg10=1.5, avg60=0.0, avg300=0.0, total_usec=7)

        assert Pressure(some=line) == _reading(
            "memory", "pressure", 2, {"memory.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=7\n"}
        )


class TestShorthand:
    """A keyword's plain value."""

    @pytest.mark.parametrize(
        ("name", "value", "spec"),
        [
            ("memory", "100M", Memory(max=100 << 20, swap_max=0)),
            ("memory", 0, Memory(max=0, swap_max=0)),
            ("memory", MAX, Memory(max=MAX, swap_max=MAX)),
            ("memory", "max", Memory(max=MAX, swap_max=MAX)),
            ("memory", Memory(max="100M"), Memory(max="100M")),
            ("cpu", 1.5, Cpu(max=1.5)),
            ("cpu", "150%", Cpu(max=1.5)),
            ("cpu", Decimal("0.1"), Cpu(max=0.1)),
            ("cpu", MAX, Cpu(max="max")),
            ("cpuset", "0-1,4", Cpuset(cpus=(0, 1, 4))),
            ("cpuset", range(2), Cpuset(cpus="0,1")),
            ("pids", 64, Pids(max=64)),
            ("pids", 0, Pids(max=0)),
            ("pids", "max", Pids(max=MAX)),
            ("net", "1:10", Net(classid=0x10010)),
            ("net", "FFFF:ffff", Net(classid=2**32 - 1)),
            ("net", "0x10010", Net(classid="1:10")),
            ("net", "0", Net(classid=0)),
            ("net", 0x10010, Net(classid=65552)),
        ],
        ids=shown,
    )
    def test_main_limit(self, name: str, value: Any, spec: Any) -> None:
        """It is the main limit; a spec is itself."""
        assert {name: spec} == parse_specs({name: value})

    def test_memory_without_swap(self) -> None:
        """``memory="100M"`` means no swap beyond, where swap is accounted; ``Memory(max=…)`` says nothing of swap."""
        short = Memory.shorthand("100M")

        assert short.swap_max == 0
        assert short.where_accounted == {"swap_max"}
        assert Memory(max="100M").swap_max is None
        assert Memory(max="100M").where_accounted == frozenset()

    def test_none_is_left_out(self) -> None:
        """``None`` leaves things as they are."""
        assert parse_specs({"memory": None, "pids": None}) == {}

    def test_order(self) -> None:
        """Specs come in the order in which limits are written."""
        assert list(parse_specs({"pids": 1, "memory": 1, "cpuset": "0", "cpu": 1})) == [
            "cpuset",
            "cpu",
            "memory",
            "pids",
        ]

    @pytest.mark.parametrize("name", ["mem", "memory.max", "Memory", "blkio"])
    def test_unknown_keyword(self, name: str) -> None:
        """The message has the keyword and all that there are."""
        with says(SpecError, f"{name}=: there is no such controller", ", ".join(CONTROLLERS)):
            parse_specs({name: 1})


class TestValues:
    """What a value may be."""

    def test_three_states(self) -> None:
        """Nothing, no limit and zero are three."""
        assert [Memory().max, Memory(max=None).max, Memory(max="max").max, Memory(max=0).max] == [None, None, MAX, 0]
        assert [Pids().max, Pids(max=MAX).max, Pids(max="0").max] == [None, MAX, 0]

    def test_depth_of_all(self) -> None:
        """2147483647 levels are no limit: to the kernel both are one number."""
        assert Core(max_depth=MAX) == Core(max_depth=2**31 - 1)

    def test_partition(self) -> None:
        """One that lapsed is written as the kernel does, and is a wish for one of its type when it is given again."""
        lapsed = Partition("isolated", False, _LAPSED)

        assert str(lapsed) == f"isolated invalid ({_LAPSED})"
        assert [str(Partition("root")), str(Partition("root", valid=False))] == ["root", "root invalid"]
        assert Cpuset(partition="isolated").partition == Partition("isolated")
        assert _side("cpuset.partition", 2).codec.encode(Cpuset(partition=lapsed).partition, None) == "isolated"

    @pytest.mark.parametrize("text", ["", "root broken", "roots", "root (x)"])
    def test_no_partition(self, text: str) -> None:
        """What the kernel is not known to write is no partition."""
        with pytest.raises(FormatError, match="not a partition"):
            _reading("cpuset", "partition", 2, {"cpuset.cpus.partition": text})

    @pytest.mark.parametrize(("name", "value", "fragments"), NONSENSE, ids=shown)
    def test_nonsense(self, name: str, value: Any, fragments: tuple[str, ...]) -> None:
        """Nonsense is a SpecError with value, rule and remedy."""
        with says(SpecError, *fragments):
            parse_specs({name: value})

    @pytest.mark.parametrize(("cls", "keywords", "fragments"), NONSENSE_SPECS, ids=shown)
    def test_nonsense_in_specs(self, cls: type[Any], keywords: dict[str, Any], fragments: tuple[str, ...]) -> None:
        """The same for each attribute, by its name."""
        with says(SpecError, *fragments):
            cls(**keywords)

    @pytest.mark.parametrize("cls", [controller.spec for controller in CONTROLLERS.values()])
    def test_unknown_attribute(self, cls: type[Any]) -> None:
        """A misspelt attribute is no attribute."""
        with pytest.raises(TypeError, match="unexpected keyword argument 'maximum'"):
            cls(maximum=1)


class TestHugetlb:
    """Rows for each size of huge pages."""

    def test_rows_are_those_of_the_sizes(self) -> None:
        """A machine has one row for each of its sizes; without huge pages it has none."""
        there = CONTROLLERS["hugetlb"].of(("64KB", "2MB"))

        assert [row.attribute for row in there.settings] == [
            *("max.64KB", "max.2MB", "rsvd_max.64KB", "rsvd_max.2MB"),
        ]
        assert CONTROLLERS["hugetlb"].of(()).settings == ()

    def test_parts(self) -> None:
        """A spec is one value a row, and these are the spec again."""
        spec = Hugetlb(max={"2M": "4M", "1G": MAX}, rsvd_max={"2M": 0})
        parts = CONTROLLERS["hugetlb"].split(spec)

        assert parts == {"max.2MB": 4 << 20, "max.1GB": MAX, "rsvd_max.2MB": 0}
        assert spec == CONTROLLERS["hugetlb"].join(parts)
        assert CONTROLLERS["hugetlb"].split(Hugetlb()) == {}

    def test_words(self) -> None:
        """On the command line it is a string."""
        assert parse_specs({"hugetlb": "2M=64M,1G=max"}) == {"hugetlb": Hugetlb(max={"2MB": "64M", "1GB": MAX})}

    def test_statistics(self) -> None:
        """What a v1 and a v2 kernel tell of a size."""
        texts = {"hugetlb.2MB.failcnt": "2\n", "hugetlb.2MB.rsvd.failcnt": "1\n"}
        numa_v1 = {"hugetlb.2MB.numa_stat": "total=0 N0=0 N1=0\nhierarchical_total=4194304 N0=4194304 N1=0\n"}
        numa_v2 = {"hugetlb.2MB.numa_stat": "total=4194304 N0=4194304 N1=0\n"}

        assert _reading("hugetlb", "events_local_max.2MB", 1, texts) == 3
        assert _reading("hugetlb", "numa_stat.2MB", 1, numa_v1) == {0: 4 << 20, 1: 0}
        assert _reading("hugetlb", "numa_stat.2MB", 2, numa_v2) == {0: 4 << 20, 1: 0}
        assert TABLE["hugetlb"].join_stats({"current.2MB": 5, "current.1GB": 6, "peak.1GB": 7}) == HugetlbStats(
            pages={"2MB": HugetlbPages(current=5), "1GB": HugetlbPages(current=6, peak=7)}
        )


class TestByResource:
    """Controllers whose files have a line for each device or resource."""

    @pytest.mark.parametrize(
        ("setting", "held", "wanted", "pending"),
        [
            ("misc.max", "sev max\nsev_es 5\n", "sev 3\nsev_es 5", ("sev 3",)),
            ("misc.max", "sev max\n", "sev max", ()),
            ("misc.max", None, "sev max\nsev_es 1", ("sev max", "sev_es 1")),
            (
                "rdma.max",
                "a hca_handle=1 hca_object=max\nb hca_handle=1 hca_object=2\n",
                "b hca_handle=2\na hca_handle=1",
                ("b hca_handle=2",),
            ),
            ("dmem.max", "r max\n", "q 1\nr max", ("q 1",)),
        ],
    )
    def test_one_line_a_write(self, setting: str, held: str | None, wanted: str, pending: tuple[str, ...]) -> None:
        """Only what differs is written, each line by itself."""
        assert pending == _side(setting, 2).codec.pending(held, wanted, 4096)

    def test_statistics(self) -> None:
        """What the kernel's documentation shows, as values."""
        rdma = {
            "rdma.current": "mlx4_0 hca_handle=1 hca_object=20\n",
            "rdma.events": "mlx4_0 hca_handle.max=5 hca_handle.alloc_fail=3 hca_object.max=0 hca_object.alloc_fail=0\n",
        }
        misc = {"misc.events": "sev.max 3\n", "misc.current": "sev 0\n", "misc.capacity": "sev 50\nsev_es 10\n"}
        dmem = {"dmem.capacity": "drm/0000:03:00.0/vram0 8514437120\ndrm/0000:03:00.0/stolen 67108864\n"}

        assert _reading("rdma", "current", 2, rdma) == {"mlx4_0": {"hca_handle": 1, "hca_object": 20}}
        assert _reading("rdma", "events", 2, rdma)["mlx4_0"]["hca_handle.alloc_fail"] == 3
        assert _reading("misc", "events_max", 2, misc) == {"sev": 3}
        assert _reading("misc", "capacity", 2, misc) == {"sev": 50, "sev_es": 10}
        assert _reading("dmem", "capacity", 1, dmem)["drm/0000:03:00.0/stolen"] == 64 << 20


class TestPerfEvent:
    """The controller that has nothing to set."""

    def test_shorthand(self) -> None:
        """It is asked for, or it is not."""
        assert parse_specs({"perf_event": True}) == {"perf_event": PerfEvent()}
        assert parse_specs({"perf_event": None}) == {}

    @pytest.mark.parametrize("bad", [False, 0, "yes", 1.5, {}, []])
    def test_nonsense(self, bad: Any) -> None:
        """All else says that there is nothing to set."""
        with says(SpecError, f"perf_event={bad!r}: it has nothing to set", "give True"):
            parse_specs({"perf_event": bad})


class TestWithoutRows:
    """The tables of files that no row has."""

    @pytest.mark.parametrize("hierarchy", MEASURED)
    def test_every_file_has_its_place(self, hierarchy: str) -> None:
        """Of the files that five kernels have, none is one that nobody thought of."""
        rows = (row for controller in CONTROLLERS.values() for row in _all(controller.of(("2MB", "1GB"))))
        known = {name for row in rows for side in (row.v1, row.v2) if side for name in (side.file, *side.also)}

        assert [name for name in MEASURED[hierarchy] if name not in known and reason_without_row(name) is None] == []

    def test_no_row_has_them(self) -> None:
        """A file that gets a row is taken out of them."""
        files = {side.file for _, _, row in _rows() for side in (row.v1, row.v2) if side}
        assert sorted(file for file in files if any(fnmatchcase(file, pattern) for pattern in LEFT_OUT)) == []

    @pytest.mark.parametrize(
        ("file", "reason"),
        [
            ("cgroup.procs", VERBS["cgroup.procs"]),
            ("memory.kmem.tcp.failcnt", LEFT_OUT["memory.kmem.*"]),
            ("cpuacct.usage_percpu_sys", LEFT_OUT["cpuacct.usage_percpu*"]),
            ("memory.max", None),
            ("memory.nosuch", None),
        ],
    )
    def test_reasons(self, file: str, reason: str | None) -> None:
        """A file is there by itself, or by a pattern."""
        assert reason == reason_without_row(file)
