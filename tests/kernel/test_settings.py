"""Every row of the settings, on this kernel: set through the API and read back, or refused for the reason it states."""

from __future__ import annotations

import os
from typing import Any

import pytest

import cgctl
from cgctl import MAX, IoMax
from cgctl.controllers import CONTROLLERS, Row
from tests.kernel import disks, lacks
from tests.kernel.conftest import Make

pytestmark = pytest.mark.host

_M = 1 << 20
_DISK, _NUMBER = disks.NAME, disks.NUMBER
_LAST = max(os.sched_getaffinity(0))
SIZES = lacks.huge_pages() or ("2MB",)
TABLE = {name: controller.of(SIZES) for name, controller in CONTROLLERS.items()}
"""The controllers, with the rows that this machine's huge pages give them."""
_TTY = cgctl.DeviceRule("c", 5, 0, "r")
_DEVICES = (cgctl.DeviceRule("c", 1, 3), cgctl.DeviceRule("c", 136, "*", "rw"))

# Attribute → specs to give, one after the other, and what the kernel then holds of that attribute (``...``: just that).
VALUES: dict[str, list[tuple[dict[str, Any], Any]]] = {
    "core.type": [({"type": "threaded"}, "threaded"), ({"type": "threaded"}, "threaded")],
    "core.max_depth": [({"max_depth": 3}, 3), ({"max_depth": MAX}, MAX)],
    "core.max_descendants": [({"max_descendants": 0}, 0), ({"max_descendants": 7}, 7)],
    "core.pressure": [({"pressure": False}, False), ({"pressure": True}, True)],
    "cpuset.cpus": [({"cpus": f"{_LAST}"}, (_LAST,)), ({"cpus": [0]}, (0,))],
    "cpuset.mems": [({"mems": "0"}, (0,)), ({"mems": (0,)}, (0,))],
    "cpuset.exclusive": [({"cpus": f"{_LAST}", "exclusive": f"{_LAST}"}, (_LAST,)), ({"exclusive": ""}, ())],
    "cpuset.partition": [
        ({"cpus": f"{_LAST}", "partition": "root"}, cgctl.Partition("root")),
        ({"partition": "member"}, cgctl.Partition("member")),
    ],
    "cpu.max": [({"max": 0.5}, 0.5), ({"max": "125%"}, 1.25), ({"max": MAX}, MAX)],
    "cpu.period_usec": [({"max": 0.5, "period_usec": 50_000}, 50_000), ({"period_usec": "200ms"}, 200_000)],
    "cpu.burst_usec": [({"max": 0.5, "burst_usec": 10_000}, 10_000), ({"burst_usec": 0}, 0)],
    "cpu.idle": [({"idle": True}, True), ({"idle": False}, False)],
    "cpu.weight": [({"weight": 1}, 1), ({"weight": 333}, 333), ({"weight": 10_000}, 10_000)],
    "cpu.uclamp_min": [({"uclamp_min": 10.5}, 10.5), ({"uclamp_min": 0}, 0.0)],
    "cpu.uclamp_max": [({"uclamp_max": 50}, 50.0), ({"uclamp_max": MAX}, MAX)],
    "cpu.rt_period_usec": [({"rt_period_usec": 500_000}, 500_000)],
    "cpu.rt_runtime_usec": [({"rt_runtime_usec": 1_000}, 1_000), ({"rt_runtime_usec": 0}, 0)],
    "memory.max": [({"max": "64M"}, 64 * _M), ({"max": 5_000_001}, 4_997_120), ({"max": MAX}, MAX)],
    "memory.swap_max": [({"max": "64M", "swap_max": "16M"}, 16 * _M), ({"max": "32M", "swap_max": 0}, 0)],
    "memory.high": [({"high": "48M"}, 48 * _M), ({"high": MAX}, MAX)],
    "memory.low": [({"low": "8M"}, 8 * _M), ({"low": 0}, 0)],
    "memory.min": [({"min": "8M"}, 8 * _M), ({"min": 0}, 0)],
    "memory.swap_high": [({"swap_high": "8M"}, 8 * _M), ({"swap_high": MAX}, MAX)],
    "memory.zswap_max": [({"zswap_max": "8M"}, 8 * _M), ({"zswap_max": 0}, 0)],
    "memory.zswap_writeback": [({"zswap_writeback": False}, False), ({"zswap_writeback": True}, True)],
    "memory.oom_group": [({"oom_group": True}, True), ({"oom_group": False}, False)],
    "memory.soft_limit": [({"soft_limit": "32M"}, 32 * _M), ({"soft_limit": MAX}, MAX)],
    "memory.swappiness": [({"swappiness": 10}, 10), ({"swappiness": 100}, 100)],
    "memory.oom_kill_disable": [({"oom_kill_disable": True}, True), ({"oom_kill_disable": False}, False)],
    "io.weight": [({"weight": 50}, 50), ({"weight": 10_000}, 10_000), ({"weight": 100}, 100)],
    "io.weight.bfq": [({"weight": 50}, 50), ({"weight": 10_000}, 10_000), ({"weight": 100}, 100)],
    "io.device_weight": [
        ({"device_weight": {_DISK: 50}}, {_NUMBER: 50}),
        ({"device_weight": {_DISK: "default"}}, None),
    ],
    "io.device_weight.bfq": [({"device_weight": {_DISK: 50}}, None)],
    "io.max.rbps": [({"max": {_DISK: "10M"}}, {_NUMBER: 10 * _M}), ({"max": {_NUMBER: MAX}}, None)],
    "io.max.wbps": [({"max": {_DISK: IoMax(wbps="10M")}}, {_NUMBER: 10 * _M}), ({"max": {_DISK: "max"}}, None)],
    "io.max.riops": [({"max": {_DISK: IoMax(riops=100, rbps=5000)}}, {_NUMBER: 100})],
    "io.max.wiops": [
        ({"max": {_DISK: IoMax(wiops=2**32 - 2)}}, {_NUMBER: 2**32 - 2}),
        ({"max": {_DISK: IoMax(riops=7)}}, {_NUMBER: 2**32 - 2}),
    ],
    "io.latency": [({"latency": {_DISK: "10ms"}}, {_NUMBER: 10_000}), ({"latency": {_DISK: 0}}, {})],
    "io.prio_class": [({"prio_class": "idle"}, "idle"), ({"prio_class": "no-change"}, "no-change")],
    "io.cost_qos": [({"cost_qos": {_DISK: "enable=1"}}, None)],
    "io.cost_model": [({"cost_model": {_DISK: "ctrl=auto"}}, None)],
    "devices.default": [({"default": "deny"}, "deny"), ({"default": "allow"}, "allow")],
    "devices.deny": [({"allow": ["null"]}, ()), ({"default": "allow"}, ())],
    "devices.allow": [
        ({"allow": ["null", "c 136:* rw"]}, _DEVICES),
        ({"allow": ["tty r"]}, (_TTY,)),
        ({"allow": []}, ()),
    ],
    "net.classid": [({"classid": "1:10"}, 0x10010), ({"classid": 2**32 - 1}, 2**32 - 1), ({"classid": 0}, 0)],
    "net.priority": [({"priority": {"lo": 5}}, {"lo": 5}), ({"priority": "lo=0"}, {"lo": 0})],
    "net.mark": [({"mark": "0x2a"}, 42), ({"mark": 2**32 - 1}, 2**32 - 1), ({"mark": 0}, 0)],
    "net.accounting": [({"accounting": True}, True), ({"accounting": False}, False)],
    "pids.max": [({"max": 0}, 0), ({"max": 5}, 5), ({"max": MAX}, MAX)],
    # The kernel rounds down to whole pages, as cgctl says beforehand.
    **{
        f"hugetlb.{limit}.{size}": [
            ({limit: {size: "3G"}}, 3 << 30),
            ({limit: {size: MAX}}, MAX),
            ({limit: {size: 5}}, 0),
        ]
        for limit in ("max", "rsvd_max")
        for size in SIZES
    },
    # Of the devices and resources that there are; where there are none, of none.
    "rdma.max": [({"max": {key: {"hca_handle": 5, "hca_object": MAX} for key in lacks.resources("rdma.max")}}, ...)],
    "misc.max": [({"max": dict.fromkeys(lacks.resources("misc.max"), 5)}, ...)],
    **{
        f"dmem.{limit}": [({limit: dict.fromkeys(lacks.resources(f"dmem.{limit}"), 1 << 20)}, ...)]
        for limit in ("max", "low", "min")
    },
}

ROWS = [
    pytest.param(controller, row, id=f"{controller}.{row.attribute}")
    for controller, each in TABLE.items()
    for row in each.settings
]


# What rows take beside their file.
NEEDS = {"io.device_weight": ("disk under BFQ",), "io.device_weight.bfq": ("disk under BFQ",)}


def _is_here(row: Row) -> bool:
    side = _side(row)
    if side is not None and side.file.startswith("@"):
        return lacks.FEATURES["net" if side.clash else "attached programs"].probe()
    return side is not None and side.file in lacks.files(_version(row))


def _version(row: Row) -> int:
    """Return the version whose side of a row is used here; 0 for none."""
    for version in (row.prefer, 3 - row.prefer):
        side = row.side(version)
        if side is None:
            continue
        if side.controller == "cgroup":
            if "v2" in lacks.hierarchies():
                return 2
        elif row.v1 is None or row.v2 is None or lacks.version_of(side.controller) == version:
            return lacks.version_of(side.controller)
    return 0


def _held(limits: cgctl.Limits, controller: str, attribute: str) -> Any:
    return TABLE[controller].split(getattr(limits, controller))[attribute]


def _side(row: Row) -> Any:
    return row.side(_version(row)) if _version(row) else None


HERE = [param for param in ROWS if _is_here(param.values[1])]  # type: ignore[arg-type]
NOT_HERE = [param for param in ROWS if not _is_here(param.values[1])]  # type: ignore[arg-type]


@pytest.mark.parametrize(("controller", "row"), HERE)
def test_what_is_set_is_held(controller: str, row: Row, name: str, make: Make) -> None:
    """A value given to create or update is what ``limits`` then reads, rounded; nothing is left to do."""
    spec = CONTROLLERS[controller].spec
    attribute = row.attribute
    lacks.require(*(("disk",) if controller == "io" else ()), *NEEDS.get(f"{controller}.{attribute}", ()))
    (first, held), *others = [
        (values, values[attribute] if held is ... else held) for values, held in VALUES[f"{controller}.{attribute}"]
    ]
    # Below the root: there real-time budgets are to be had, and partitions.
    group = make(name=f"/{name}", exist_ok=True, **{controller: spec(**first)})

    assert held == _held(group.limits(), controller, attribute)
    assert len(group.plan()) == 0
    for values, held in others:
        assert held == _held(group.update(**{controller: spec(**values)}), controller, attribute)


@pytest.mark.parametrize(("controller", "row"), NOT_HERE)
def test_what_cannot_be_had_is_refused(controller: str, row: Row, name: str) -> None:
    """A setting that this layout or kernel lacks raises UnsupportedError, with the reason and release of its row."""
    values, _ = VALUES[f"{controller}.{row.attribute}"][0]
    side = _side(row)
    with pytest.raises(cgctl.UnsupportedError) as caught:
        cgctl.Group(name, **{controller: CONTROLLERS[controller].spec(**values)}).create()

    # (feature, reason, since) as the layout, the row or the file has it.
    if _version(row) == 0 and not CONTROLLERS[controller].everywhere:
        assert caught.value.reason.startswith(f"controller '{controller}' is in no mounted hierarchy")
    elif side is None:
        assert (caught.value.reason, caught.value.since) == (row.reason, None)
    elif side.clash and lacks.FEATURES["net beside v1"].probe():
        assert (caught.value.reason, caught.value.since) == (side.clash.reason, "5.15")
    else:
        assert lacks.is_excused(side.file)
        assert side.file in caught.value.reason
        assert caught.value.since == side.since or "boot with" in caught.value.reason


def test_every_row_has_values() -> None:
    """No row is without a value to be tried, and no value without a row."""
    rows = {f"{controller}.{row.attribute}" for controller, each in TABLE.items() for row in each.settings}

    assert set(VALUES) == rows


@pytest.mark.parametrize("limit", [50 * _M, 200 * _M])
def test_v1_memory_and_swap_move_together(limit: int, make: Make) -> None:
    """Changing the memory limit alone, up or down, leaves the swap allowed as it was."""
    lacks.require("v1 memory", "swap accounting")
    group = make(memory=cgctl.Memory(max=100 * _M, swap_max=10 * _M))
    memory = group.update(memory=cgctl.Memory(max=limit)).memory

    assert memory is not None
    assert (memory.max, memory.swap_max) == (limit, 10 * _M)


@pytest.mark.parametrize(("max_", "period"), [(0.2, 20_000), (2.0, 500_000), (1.0, 10_000)])
def test_quota_and_period_change_together(max_: float, period: int, make: Make) -> None:
    """Any change of quota and period is taken, also below a parent that allows no more."""
    lacks.require("cpu")
    parent = make(cpu=2.0)
    group = make(name="child", parent=parent, cpu=cgctl.Cpu(max=0.5, period_usec=100_000))
    cpu = group.update(cpu=cgctl.Cpu(max=max_, period_usec=period)).cpu

    assert cpu is not None
    assert (cpu.max, cpu.period_usec) == (max_, period)


def test_period_alone_keeps_the_amount(make: Make) -> None:
    """A new period changes the quota with it: the CPUs allowed stay the same."""
    lacks.require("cpu")
    group = make(cpu=0.5)
    cpu = group.update(cpu=cgctl.Cpu(period_usec=20_000)).cpu

    assert cpu is not None
    assert (cpu.max, cpu.period_usec) == (0.5, 20_000)


def test_weight_of_an_idle_group_needs_idle_off(make: Make) -> None:
    """An idle group has no weight; idle off and a weight together are taken."""
    lacks.require("cpu", "cpu.idle")
    group = make(cpu=cgctl.Cpu(idle=True))
    with pytest.raises(cgctl.SpecError, match="idle=False"):
        group.update(cpu=cgctl.Cpu(weight=50))
    cpu = group.update(cpu=cgctl.Cpu(idle=False, weight=50)).cpu

    assert cpu is not None
    assert (cpu.idle, cpu.weight) == (False, 50)


def test_nothing_is_changed_unasked(make: Make) -> None:
    """``None`` leaves a setting, and an update of one controller the others, as they are."""
    lacks.require("memory", "pids")
    group = make(memory="64M", pids=5)
    before = group.limits()
    group.update(pids=9)

    assert group.limits().memory == before.memory
    assert group.limits().pids == cgctl.Pids(max=9)


def test_shorthand_of_memory_allows_no_swap(make: Make) -> None:
    """``memory="64M"`` is 64 MiB, and no swap beyond where swap is accounted."""
    lacks.require("memory")
    memory = make(memory="64M").limits().memory

    assert memory is not None
    assert memory.max == 64 * _M
    assert memory.swap_max in (0, None)


def test_a_v1_cpuset_takes_processes_at_once(make: Make) -> None:
    """What is not asked of a cpuset is inherited, also where the kernel starts with empty lists."""
    lacks.require("v1 cpuset")
    group = make(cpuset="0", name="a/b").update(cpuset=cgctl.Cpuset(cpus=(0,)))

    assert group.cpuset is not None
    assert group.cpuset.mems == (0,)
