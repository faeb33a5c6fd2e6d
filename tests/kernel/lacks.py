"""What a layout or a kernel may lack: feature → how that is seen → why → since when it is there.

The one place of these tests that knows versions. A test asks for its features by :func:`require`; where one is absent
it is skipped, with the reason. But a kernel that is new enough to have it must have it: then the test fails.

Nothing here asks cgctl: what is there is seen by making groups with bare system calls.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import secrets
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import pytest

from tests.kernel import disks, wire
from tests.leaks import PREFIX
from tests.require import skip_unless


@attrs.frozen
class Lack:
    """Something that may be absent.

    Attributes:
        probe: whether it is there.
        reason: why it may not be.
        since: the release from which on it must be there; ``None`` where that is a matter of mounts, of how the kernel
            was built or booted, or of the machine.
    """

    probe: Callable[[], bool]
    reason: str
    since: str | None = None


# --- what is mounted ------------------------------------------------------------------------------------------------


@functools.cache
def hierarchies() -> dict[str, str]:
    """Return mount points by controller: ``"v2"`` is the v2 hierarchy, ``"v1:memory"`` and so on those of v1."""
    found: dict[str, str] = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            found.setdefault("v2", before.split(" ")[4])
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(f"v1:{option}", before.split(" ")[4])
    return found


@functools.cache
def v2_controllers() -> frozenset[str]:
    """Return the controllers of the v2 hierarchy."""
    if "v2" not in hierarchies():
        return frozenset()
    return frozenset(Path(hierarchies()["v2"], "cgroup.controllers").read_text(encoding="utf-8").split())


@contextmanager
def bare_group(mount_point: str) -> Iterator[Path]:
    """Make a group with a bare mkdir, and remove it."""
    path = Path(mount_point, f"{PREFIX}bare-{secrets.token_hex(3)}")
    path.mkdir()
    try:
        yield path
    finally:
        path.rmdir()


@functools.cache
def files(version: int) -> frozenset[str]:
    """Return the names of all interface files that a group can have in hierarchies of one version."""
    found: set[str] = set()
    for key, mount_point in hierarchies().items():
        if (key == "v2") != (version == 2):
            continue
        with suppress(OSError), _enabled(mount_point, version), bare_group(mount_point) as group:
            found.update(entry.name for entry in group.iterdir() if entry.is_file())
    return frozenset(found)


@contextmanager
def _enabled(mount_point: str, version: int) -> Iterator[None]:
    """Enable all that a group could have, in v2's root, as long as it takes to look."""
    control = Path(mount_point, "cgroup.subtree_control")
    already = control.read_text(encoding="utf-8").split() if version == 2 else []
    new = sorted(v2_controllers() - {*already}) if version == 2 else []
    for name in new:
        _control(control, f"+{name}")
    try:
        yield
    finally:
        for name in new:
            _control(control, f"-{name}")


def _control(path: Path, word: str) -> None:
    """Enable or disable one controller; some cannot be (a real-time task is in the way of ``cpu``)."""
    with suppress(OSError):
        fd = os.open(path, os.O_WRONLY)
        try:
            os.write(fd, word.encode())
        finally:
            os.close(fd)


def huge_pages() -> tuple[str, ...]:
    """Return the sizes of huge pages that limits can be put on, as the files of hugetlb spell them."""
    found = {match[1] for name in files(1) | files(2) if (match := re.match(r"hugetlb\.(\d+[KMG]B)\.", name))}
    return tuple(sorted(found))


@functools.cache
def resources(file: str) -> tuple[str, ...]:
    """Return the devices or resources that a file such as ``misc.max`` has lines of; most machines have none."""
    for key, mount_point in hierarchies().items():
        version = 2 if key == "v2" else 1
        if file not in files(version) or (version == 1 and key != f"v1:{file.partition('.')[0]}"):
            continue
        with _enabled(mount_point, version), bare_group(mount_point) as group:
            return tuple(line.split()[0] for line in Path(group, file).read_text(encoding="utf-8").splitlines())
    return ()


def version_of(controller: str) -> int:
    """Return in hierarchies of which version a controller is; 0 if in none."""
    v1 = V1_NAMES.get(controller, controller)
    return 2 if controller in v2_controllers() else 1 if f"v1:{v1}" in hierarchies() else 0


V1_NAMES = {"io": "blkio"}
"""What v1 calls a controller, where that is another name."""


# --- what there may not be ------------------------------------------------------------------------------------------


def _writable() -> bool:
    mount_points = set(hierarchies().values())
    return bool(mount_points) and all(os.access(path, os.W_OK) for path in mount_points) and os.geteuid() == 0


def _mount_namespace() -> bool:
    unshare = shutil.which("unshare")
    return (
        unshare is not None
        and subprocess.run([unshare, "-m", "true"], check=False, capture_output=True).returncode == 0
    )


def _bpf() -> bool:
    """Ask for the programs of the v2 root, by a bare ``bpf(BPF_PROG_QUERY)``; the attributes have room for all."""
    libc, attr = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(256)
    number = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine)
    if "v2" not in hierarchies() or number is None:
        return False
    fd = os.open(hierarchies()["v2"], os.O_RDONLY | os.O_DIRECTORY)
    try:
        struct.pack_into("=II", attr, 0, fd, 6)
        return bool(libc.syscall(number, 16, attr, len(attr)) == 0)
    finally:
        os.close(fd)


def _sockets_of_v2() -> bool:
    """Tell whether programs of v2 groups see traffic: before 5.15 they do not where v1's controllers of it are used."""
    beside = {"v1:net_cls", "v1:net_prio"} & set(hierarchies())
    return _bpf() and not (beside and b" cgroup_sk_alloc_disable\n" in Path("/proc/kallsyms").read_bytes())


def _mounts(kind: str, *options: str) -> bool:
    """Tell whether a file system can be mounted, by unshare and mount."""
    script = (
        "mount -t tmpfs none /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/m &&"
        f" mount -t {kind} -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w none /mnt/m"
    )
    argv = ["unshare", "-m", *options, "sh", "-c", script]
    return (
        shutil.which("unshare") is not None and subprocess.run(argv, check=False, capture_output=True).returncode == 0
    )


def _veth() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    argv = ["unshare", "-n", "ip", "link", "add", "cgctl-a", "type", "veth", "peer", "name", "cgctl-b"]
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0


def _module(name: str) -> bool:
    modprobe = shutil.which("modprobe")
    return (
        modprobe is not None and not subprocess.run([modprobe, "-n", name], check=False, capture_output=True).returncode
    )


def _file(version: int, name: str) -> Callable[[], bool]:
    return lambda: name in files(version)


@functools.cache
def _takes(file: str, data: bytes) -> bool:
    """Tell whether a v2 group takes something written to a file."""
    if file not in files(2):
        return False
    mount_point = hierarchies()["v2"]
    with _enabled(mount_point, 2), bare_group(mount_point) as group:
        fd = os.open(group / file, os.O_WRONLY)
        try:
            os.write(fd, data)
        except OSError:
            return False
        finally:
            os.close(fd)
    return True


def _isolated() -> bool:
    return _takes("cpuset.cpus.partition", b"isolated")


def _resettable() -> bool:
    return version_of("memory") == 1 or _takes("memory.peak", b"0")


def _in_v1(controller: str) -> Lack:
    return Lack(lambda: version_of(controller) == 1, f"controller {controller} is not in a v1 hierarchy here")


def _somewhere(controller: str) -> Lack:
    return Lack(lambda: version_of(controller) > 0, f"controller {controller} is in no mounted hierarchy here")


FEATURES: dict[str, Lack] = {
    "host": Lack(_writable, "not root, or cgroups are not mounted writable"),
    "memory": _somewhere("memory"),
    "cpu": _somewhere("cpu"),
    "cpuset": _somewhere("cpuset"),
    "pids": _somewhere("pids"),
    "io": _somewhere("io"),
    "v2 io": Lack(lambda: "io" in v2_controllers(), "controller io is not in the v2 hierarchy"),
    "disk": Lack(lambda: bool(disks.NUMBER), "the root directory is on no disk"),
    "own disk": Lack(disks.is_own, "there is no disk that belongs to the tests alone"),
    "disk under BFQ": Lack(disks.is_under_bfq, "the scheduler of the disk is not BFQ"),
    "bfq": Lack(lambda: bool({"blkio.bfq.weight"} & files(1) or {"io.bfq.weight"} & files(2)), "BFQ is not loaded"),
    "hugetlb": _somewhere("hugetlb"),
    "rdma": _somewhere("rdma"),
    "misc": _somewhere("misc"),
    "dmem": _somewhere("dmem"),
    "perf_event": Lack(
        lambda: "v1:perf_event" in hierarchies() or "v2" in hierarchies(), "no hierarchy has perf_event here"
    ),
    "devices": Lack(
        lambda: "v1:devices" in hierarchies() or _bpf(),
        "neither v1's controller devices nor programs on v2 groups (CONFIG_CGROUP_BPF, CAP_BPF)",
    ),
    "bpf_jit_harden": Lack(
        lambda: "CGCTL_VM_KERNEL" in os.environ and Path("/proc/sys/net/core/bpf_jit_harden").exists(),
        "the machine's settings are not the tests' to change, or programs are not compiled (CONFIG_BPF_JIT)",
    ),
    "rdma_rxe": Lack(
        lambda: "CGCTL_VM_KERNEL" in os.environ and _module("rdma_rxe"),
        "this kernel has no RDMA device in software (rdma_rxe), or its modules are not the tests' to load",
    ),
    "pages of 2MB": Lack(
        lambda: "CGCTL_VM_KERNEL" in os.environ and "2MB" in huge_pages(),
        "the machine's huge pages are not the tests' to allocate, or there are none of 2 MiB",
    ),
    "v1 memory": _in_v1("memory"),
    "v1 cpu": _in_v1("cpu"),
    "v1 cpuset": _in_v1("cpuset"),
    "v1 devices": _in_v1("devices"),
    "v2": Lack(lambda: "v2" in hierarchies(), "no v2 hierarchy is mounted"),
    "no v2": Lack(lambda: "v2" not in hierarchies(), "a v2 hierarchy is mounted"),
    "v2 memory": Lack(lambda: "memory" in v2_controllers(), "controller memory is not in the v2 hierarchy"),
    "v2 cpu": Lack(lambda: "cpu" in v2_controllers(), "controller cpu is not in the v2 hierarchy"),
    "v2 pids": Lack(lambda: "pids" in v2_controllers(), "controller pids is not in the v2 hierarchy"),
    "no v2 pids": Lack(lambda: "pids" not in v2_controllers(), "controller pids is in the v2 hierarchy"),
    "v2 cpuset": Lack(lambda: "cpuset" in v2_controllers(), "controller cpuset is not in the v2 hierarchy"),
    "traffic classes": Lack(
        wire.can_be_had, "not root, or iproute2, CONFIG_VETH, CONFIG_NET_SCH_HTB or a network namespace is missing"
    ),
    "net classes": Lack(
        lambda: version_of("net_cls") == 1 or _bpf(), "net_cls is not mounted, and no program can be attached instead"
    ),
    "net": Lack(
        _sockets_of_v2, "no program can be attached to a v2 group, or net_cls or net_prio is mounted beside it"
    ),
    "net beside v1": Lack(
        lambda: _bpf() and bool({"v1:net_cls", "v1:net_prio"} & set(hierarchies())),
        "no v2 hierarchy with programs has net_cls or net_prio beside it",
    ),
    "v1 net_prio": _in_v1("net_prio"),
    "attached programs": Lack(
        _bpf, "CONFIG_BPF_SYSCALL or CONFIG_CGROUP_BPF is missing, or the right to attach programs (CAP_BPF)"
    ),
    "no systemd": Lack(lambda: not Path("/run/systemd/system").is_dir(), "systemd is the single writer of groups"),
    "two processors": Lack(lambda: len(os.sched_getaffinity(0)) > 1, "there is one processor only"),
    "bubblewrap": Lack(lambda: shutil.which("bwrap") is not None, "bubblewrap is not installed"),
    "overlayfs": Lack(lambda: _mounts("overlay"), "no overlayfs can be mounted (CONFIG_OVERLAY_FS)"),
    "overlayfs in user namespaces": Lack(
        lambda: _mounts("overlay", "--user", "--map-root-user"), "no overlayfs in user namespaces", "5.11"
    ),
    "veth": Lack(_veth, "no veth interfaces (CONFIG_VETH)"),
    "ping": Lack(lambda: shutil.which("ping") is not None, "ping is not installed"),
    "mount namespace": Lack(_mount_namespace, "no mount namespace can be made"),
    "swap accounting": Lack(
        lambda: bool({"memory.memsw.limit_in_bytes"} & files(1) or {"memory.swap.max"} & files(2)),
        "swap is not accounted (CONFIG_SWAP, swapaccount=1)",
    ),
    "cpu.idle": Lack(lambda: "cpu.idle" in files(1) | files(2), "groups cannot be idle", "5.15"),
    "cpu bursts": Lack(
        lambda: bool({"cpu.max.burst", "cpu.cfs_burst_us"} & (files(1) | files(2))), "quota cannot be saved", "5.14"
    ),
    "real-time groups": Lack(_file(1, "cpu.rt_runtime_us"), "no real-time budgets (v1, CONFIG_RT_GROUP_SCHED)"),
    "cgroup.kill": Lack(_file(2, "cgroup.kill"), "no v2 hierarchy, or before Linux 5.14"),
    "memory.reclaim": Lack(_file(2, "memory.reclaim"), "no controller memory in v2, or before Linux 5.19"),
    "no memory.reclaim": Lack(lambda: "memory.reclaim" not in files(2), "this kernel has memory.reclaim"),
    "freezer": Lack(
        lambda: "v1:freezer" in hierarchies() or "cgroup.freeze" in files(2), "nothing freezes (v1 freezer, or 5.2)"
    ),
    "a machine of its own": Lack(
        lambda: "CGCTL_VM_KERNEL" in os.environ, "whoever shares this machine's groups would be harmed by a mistake"
    ),
    "a spare disk": Lack(lambda: Path("/dev/vdb").exists(), "there is no disk to be written to"),
    "resettable peak": Lack(_resettable, "v2 resets no peak before Linux 6.12"),
    "no resettable peak": Lack(lambda: not _resettable(), "this kernel can reset peaks"),
    "reclaim with swappiness": Lack(lambda: _takes("memory.reclaim", b"0 swappiness=1"), "before Linux 6.9"),
    "zswap": Lack(_file(2, "memory.zswap.max"), "no zswap (CONFIG_ZSWAP), or before Linux 5.19"),
    "v1 freezer": _in_v1("freezer"),
    "v1 pids": _in_v1("pids"),
    "cgroup.pressure": Lack(_file(2, "cgroup.pressure"), "no PSI, or before Linux 6.1"),
    "isolated partitions": Lack(_isolated, "controller cpuset is not in the v2 hierarchy, or before Linux 6.1"),
    "no isolated partitions": Lack(
        lambda: "cpuset.cpus.partition" in files(2) and not _isolated(), "this kernel has isolated partitions"
    ),
    "cpuset.cpus.exclusive": Lack(_file(2, "cpuset.cpus.exclusive"), "no cpuset in v2, or before Linux 6.7"),
    "cpuset partitions": Lack(_file(2, "cpuset.cpus.partition"), "controller cpuset is not in the v2 hierarchy"),
}


@attrs.frozen
class Absent:
    """An interface file that a group may be without.

    Attributes:
        since: the release that first has it, if this is why it may be absent.
        unless: what else it takes: how the kernel was built or booted.
    """

    since: str | None = None
    unless: str = ""


_PSI = "CONFIG_PSI, psi=1"
_SWAP = "CONFIG_SWAP, swapaccount=1"
_ZSWAP = "CONFIG_ZSWAP"
_BFQ = "CONFIG_BFQ_GROUP_IOSCHED, modprobe bfq"
_ROOT = "CONFIG_BLK_CGROUP_IOCOST, and the root group"

FILES: dict[str, Absent] = {
    "cgroup.pressure": Absent("6.1", _PSI),
    "cgroup.stat.local": Absent("6.18"),
    "cpu.pressure": Absent(unless=_PSI),
    "memory.pressure": Absent(unless=_PSI),
    "cpu.idle": Absent("5.15"),
    "cpu.max.burst": Absent("5.14"),
    "cpu.cfs_burst_us": Absent("5.14"),
    "cpu.stat.local": Absent("6.6"),
    "cpu.uclamp.min": Absent(unless="CONFIG_UCLAMP_TASK_GROUP"),
    "cpu.uclamp.max": Absent(unless="CONFIG_UCLAMP_TASK_GROUP"),
    "cpu.rt_period_us": Absent(unless="CONFIG_RT_GROUP_SCHED"),
    "cpu.rt_runtime_us": Absent(unless="CONFIG_RT_GROUP_SCHED"),
    "cpuset.cpus.exclusive": Absent("6.7"),
    "cpuset.cpus.exclusive.effective": Absent("6.7"),
    "memory.memsw.limit_in_bytes": Absent(unless=_SWAP),
    "memory.swap.max": Absent(unless=_SWAP),
    "memory.swap.high": Absent(unless=_SWAP),
    "memory.swap.current": Absent(unless=_SWAP),
    "memory.swap.events": Absent(unless=_SWAP),
    "memory.swap.peak": Absent("6.5", _SWAP),
    "memory.zswap.max": Absent("5.19", _ZSWAP),
    "memory.zswap.current": Absent("5.19", _ZSWAP),
    "memory.zswap.writeback": Absent("6.8", _ZSWAP),
    "memory.peak": Absent("5.19"),
    "io.pressure": Absent(unless=_PSI),
    "io.weight": Absent("5.4", "CONFIG_BLK_CGROUP_IOCOST"),
    "io.bfq.weight": Absent(unless=_BFQ),
    "blkio.bfq.weight": Absent(unless=_BFQ),
    "blkio.bfq.weight_device": Absent(unless=_BFQ),
    "io.latency": Absent(unless="CONFIG_BLK_CGROUP_IOLATENCY"),
    "io.prio.class": Absent("5.14", "CONFIG_BLK_CGROUP_IOPRIO"),
    "blkio.prio.class": Absent("5.14", "CONFIG_BLK_CGROUP_IOPRIO"),
    "io.cost.qos": Absent("5.4", _ROOT),
    "io.cost.model": Absent("5.4", _ROOT),
    "pids.peak": Absent("6.1"),
    "pids.events.local": Absent("6.11"),
    "hugetlb.2MB.numa_stat": Absent("5.17"),
    "hugetlb.1GB.numa_stat": Absent("5.17"),
    "misc.peak": Absent("6.11"),
    "misc.events": Absent("5.16"),
    "misc.events.local": Absent("6.11"),
    "rdma.peak": Absent("7.2"),
    "rdma.events": Absent("7.2"),
    "rdma.events.local": Absent("7.2"),
}


# Statistic → the release whose files first have the key.
KEYS = {"nice_usec": "6.11", "nr_bursts": "5.14", "burst_usec": "5.14"}


def require(*features: str) -> None:
    """Go on where all features can be had; else skip the test, or fail it where this kernel is new enough."""
    for feature in features:
        lack = FEATURES[feature]
        if lack.probe():
            continue
        if lack.since is not None and _running() >= _release(lack.since):
            pytest.fail(f"{feature} must be here since Linux {lack.since} (this is {os.uname().release})")
        skip_unless(feature, lack.reason)


def is_excused(file: str) -> bool:
    """Tell whether an interface file may be absent here, by the table."""
    absent = FILES.get(file)
    return absent is not None and bool(absent.unless or _running() < _release(absent.since or "0"))


def is_excused_key(attribute: str) -> bool:
    """Tell whether a file that is there may be without a statistic's key, by the table."""
    return attribute in KEYS and _running() < _release(KEYS[attribute])


def _release(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


@functools.cache
def _running() -> tuple[int, ...]:
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    assert match is not None
    return int(match[1]), int(match[2])
