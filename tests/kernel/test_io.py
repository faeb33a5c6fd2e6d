"""Limits and weights of I/O are kept by the kernel, devices are found by path, and statistics tell what was done."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import cgctl
from cgctl import MAX, Io, IoMax
from tests.kernel import disks, lacks
from tests.kernel.conftest import Make
from tests.kernel.pace import EMULATED

pytestmark = pytest.mark.host

# In a guest it is these for whose sake it is run.
long = pytest.mark.host if EMULATED else pytest.mark.slow
_M = 1 << 20


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Return what to read and write on the disk: all of it, if it is the machine's own, else a file."""
    lacks.require("io", "disk")
    if disks.is_own():
        return disks.OWN
    if disks.number(str(tmp_path)) != disks.NUMBER:
        pytest.skip("disk: the temporary directory is on another one than the root directory")
    path = tmp_path / "file"
    path.write_bytes(bytes(8 * _M))
    os.sync()
    return str(path)


@attrs.frozen
class Done:
    """What a payload of direct I/O did: the bytes and seconds that it was timed for, and all bytes that it moved."""

    timed: int
    seconds: float
    moved: int

    @property
    def rate(self) -> float:
        """Bytes in a second."""
        return self.timed / self.seconds


def _done(group: cgctl.Group, argv: list[str]) -> Done:
    """Run a payload of direct I/O."""
    done = group.run(argv, capture_output=True, text=True, check=True)
    _, timed, seconds, moved = done.stdout.split()
    return Done(int(timed), float(seconds), int(moved))


@long
@pytest.mark.parametrize("rate", [1 * _M, 8 * _M], ids=["1M", "8M"])
@pytest.mark.parametrize("way", ["read", "write"])
def test_bytes_in_a_second(way: str, rate: int, file: str, make: Make) -> None:
    """Direct I/O is held to its rate, within a tenth."""
    group = make(io={disks.NAME: IoMax(**{"rbps" if way == "read" else "wbps": rate})})
    done = _done(group, disks.direct(file, way, 2 * rate, block=rate // 64))

    assert done.rate == pytest.approx(rate, rel=0.1)


@long
@pytest.mark.parametrize("way", ["read", "write"])
def test_operations_in_a_second(way: str, file: str, make: Make) -> None:
    """Operations are held to their number, within a tenth, whatever their size."""
    group = make(io={disks.NAME: IoMax(**{"riops" if way == "read" else "wiops": 100})})
    done = _done(group, disks.direct(file, way, 200 * 4096, block=4096))

    assert done.rate / 4096 == pytest.approx(100, rel=0.1)


@long
def test_a_limit_is_lifted(file: str, make: Make) -> None:
    """``MAX`` takes a limit away, and the other direction was never held back by it."""
    group = make(io={disks.NAME: IoMax(rbps=_M)})
    slow = _done(group, disks.direct(file, "read", 2 * _M))
    written = _done(group, disks.direct(file, "write", 2 * _M))
    group.update(io={disks.NAME: MAX})
    fast = _done(group, disks.direct(file, "read", 2 * _M))

    assert slow.rate == pytest.approx(_M, rel=0.1)
    assert min(written.rate, fast.rate) > 2 * _M


@long
def test_a_limit_is_of_the_groups_below(file: str, make: Make) -> None:
    """A program in a group below, which has no I/O setting of its own, is held to the limit above, on v1 too."""
    lacks.require("pids")
    above = make(io={disks.NAME: IoMax(wbps=_M)})
    below = make(name="below", parent=above, pids=50)
    done = _done(below, disks.direct(file, "write", 2 * _M))

    assert done.rate == pytest.approx(_M, rel=0.1)


@long
@pytest.mark.parametrize(("weight", "times"), [(100, 1), (25, 4)])
def test_weights_share_a_disk(weight: int, times: int, make: Make) -> None:
    """Under BFQ, a group with four times the weight gets four times as much of a busy disk, within a quarter."""
    lacks.require("io", "bfq", "own disk")
    near = pytest.approx(times, rel=0.25)
    with disks.slow_under_bfq() as path:
        number = disks.number(path)
        groups = [make(io=Io(weight=each)) for each in (weight, 100)]
        # BFQ waits for a group's next request, and so keeps its share: one reader of such blocks gives 1.0 and 4.0, as
        # measured; eight readers of small ones from 0.7 to 1.9 and from 2.9 to 7.2.
        argv = disks.direct(path, "read", 1 << 40, many=1)
        running = [group.popen(argv, stdout=subprocess.PIPE) for group in groups]
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        shares = _shares(groups, number, near)
        for process in running:
            process.kill()
            process.communicate()
        for group in groups:
            group.remove()

    assert statistics.median(shares[-3:]) == near


def _shares(groups: list[cgctl.Group], number: str, near: object) -> list[float]:
    """Measure how much more the second group has, until the median of three is near: others disturb the disk."""
    shares: list[float] = []
    before = [_device(group, number).rbytes or 0 for group in groups]
    while len(shares) < 12 and not (len(shares) > 2 and statistics.median(shares[-3:]) == near):
        time.sleep(2)
        after = [_device(group, number).rbytes or 0 for group in groups]
        shares.append((after[1] - before[1]) / (after[0] - before[0]))
        before = after
    return shares


def test_weights_of_one_disk(make: Make) -> None:
    """A disk's weight goes to the file of its scheduler, on that file's scale; ``default`` takes it away."""
    lacks.require("io", "bfq", "own disk")
    with disks.scheduled_by("bfq"):
        group = make(io=Io(weight=200, device_weight={disks.OWN: 300}))
        limits = _limits(group)
        file = "io.bfq.weight" if lacks.version_of("io") == 2 else "blkio.bfq.weight_device"
        text = group.read(file)
        group.update(io=Io(device_weight={disks.OWN: "default"}))
        after = _limits(group)

    # 100 + 100 / 11 and 100 + 200 / 11; v2's io.weight keeps the former as it is.
    assert f"{disks.NUMBER} 118" in text
    assert (limits.weight, limits.device_weight) == (limits.weight, {disks.NUMBER: 298})
    assert limits.weight == (200 if lacks.version_of("io") == 2 else 199)
    assert after.device_weight == {}


@pytest.mark.parametrize("weight", [1, 25, 100, 111, 10_000])
def test_weight_is_held_where_the_scales_meet(weight: int, make: Make) -> None:
    """Weights that both scales have are read back as they were set."""
    lacks.require("io", "bfq")
    group = make(io=Io(weight=weight))

    assert _limits(group).weight == weight
    assert len(group.plan()) == 0


def test_statistics_are_what_was_done(file: str, make: Make) -> None:
    """Bytes and operations of a disk are those of the program, to the byte; the disk has its name."""
    # From 6.10 on, v1 counts only what passes a throttle that some group has set up.
    group = make(io={disks.NAME: "1G"})
    read, written = (_done(group, disks.direct(file, way, 16 * 65536)).moved for way in ("read", "write"))
    told = _device(group, disks.NUMBER)

    assert told.name is not None
    assert disks.number(f"/dev/{told.name}") == disks.NUMBER
    assert (told.wbytes, told.wios) == (written, written // 65536)
    # Where the program is on the same disk, its own pages are counted too.
    assert (told.rbytes or 0) >= read
    assert (told.rios or 0) >= read // 65536
    if disks.is_own():
        assert (told.rbytes, told.rios) == (read, read // 65536)


def test_statistics_count_the_groups_below(file: str, make: Make) -> None:
    """What a group below has done is counted in the one above too."""
    above = make(io={disks.NAME: "1G"})
    below = make(name="below", parent=above, io={disks.NAME: "1G"})
    written = _done(below, disks.direct(file, "write", 16 * 65536)).moved

    assert _device(above, disks.NUMBER).wbytes == _device(below, disks.NUMBER).wbytes == written


def test_a_partition_stands_for_its_disk(make: Make) -> None:
    """A limit on a partition is one on its disk, and two wishes for one disk are nonsense."""
    lacks.require("io", "own disk")
    with disks.partitioned() as (disk, partition):
        group = make(io={partition: "1M"})
        limits = _limits(group)
        with pytest.raises(cgctl.SpecError, match="named before otherwise"):
            group.update(io={partition: "1M", disk: "2M"})
        done = _done(group, disks.direct(partition, "read", 2 * _M, block=_M // 64))
        numbers = disks.number(disk), disks.number(partition)
        group.remove()

    assert numbers[0] != numbers[1]
    assert limits.max == {numbers[0]: IoMax(rbps=_M, wbps=_M, riops=MAX, wiops=MAX)}
    assert done.rate == pytest.approx(_M, rel=0.1)


def test_a_path_stands_for_its_disk(make: Make) -> None:
    """Any path on a disk names it."""
    lacks.require("io")
    number = disks.number("/")
    if not number:
        pytest.skip("disk: the root directory is on none")
    group = make(io={"/": "100M"})

    assert _limits(group).max == {number: IoMax(rbps=100 * _M, wbps=100 * _M, riops=MAX, wiops=MAX)}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/dev/shm", "tmpfs at /dev/shm is in memory and has no disk; name a disk, or a path on one"),  # noqa: S108 - it is there
        ("/proc", "proc at /proc (proc) is on no block device that the kernel knows; name the disk, if it has one"),
        ("/dev/null", "it is a character device, and the kernel limits I/O of block devices only; name a disk"),
        (
            "/nonexistent",
            "the path cannot be looked up (ENOENT); give one that is there, such as those that lsblk --paths prints",
        ),
    ],
)
def test_what_is_on_no_disk(path: str, reason: str, name: str) -> None:
    """What lies on no disk is refused with the reason, before anything is made."""
    lacks.require("io")
    group = cgctl.Group(name, io={path: "1M"})
    with pytest.raises(cgctl.UnsupportedError) as caught:
        group.create()

    assert (caught.value.feature, caught.value.reason) == (f"io.max of {path}", reason)
    assert not group.exists()


def test_overlay_is_on_no_disk(tmp_path: Path, name: str) -> None:
    """An overlay is on the disks of its directories, which the refusal names."""
    lacks.require("io", "own disk")
    with _overlay(tmp_path) as (path, upper), pytest.raises(cgctl.UnsupportedError, match="overlay at") as caught:
        cgctl.Group(name, io={path: "1M"}).create()

    assert caught.value.reason.endswith(f"name the disk that its upper directory {upper} is on")


@contextlib.contextmanager
def _overlay(directory: Path) -> Iterator[tuple[str, str]]:
    names = [str(directory / name) for name in ("lower", "upper", "work", "merged")]
    for each in names:
        os.mkdir(each)
    subprocess.run(["modprobe", "overlay"], check=True)
    options = "lowerdir={},upperdir={},workdir={}".format(*names)
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, names[3]], check=True)
    try:
        yield names[3], names[1]
    finally:
        subprocess.run(["umount", names[3]], check=True)


@pytest.mark.parametrize(
    ("spec", "errno", "told"),
    [
        ({"max": {"99:0": "1M"}}, "ENODEV", "there is no disk 99:0"),
        ({"device_weight": {"/": 50}}, "EOPNOTSUPP", "BFQ"),
    ],
)
def test_what_the_kernel_refuses(spec: dict[str, Any], errno: str, told: str, name: str) -> None:
    """A disk that there is not, or whose scheduler keeps no weights, is refused with the cause; no group stays."""
    lacks.require("io", "bfq", "disk")
    if "[bfq]" in Path("/sys/dev/block", disks.number("/"), "queue/scheduler").read_text(encoding="utf-8"):
        pytest.skip("the disk of the root directory is under BFQ")
    group = cgctl.Group(name, io=Io(**spec))
    with pytest.raises(cgctl.StepError, match=f"{errno} .*{told}"):
        group.create()

    assert not group.exists()


def test_weights_by_cost() -> None:
    """Iocost is switched on and told what is wanted in v2's root; groups' weights and statistics then are by cost."""
    lacks.require("v2 io", "own disk")
    root = cgctl.System.detect().root()
    qos = cgctl.IoCostQos(enable=True, rpct=95, rlat_usec=5000, wpct=90, wlat_usec=10_000, min=50, max=150)
    model = cgctl.IoCostModel(rbps=100 * _M, rseqiops=5000, rrandiops=4000)
    try:
        root.update(io=Io(cost_qos={disks.OWN: qos}, cost_model={disks.OWN: model}))
        limits, told = _limits(root), _device(root, disks.NUMBER)
        with cgctl.Group("cgctl-cost", io=Io(device_weight={disks.OWN: 500}), join=False) as group:
            held = _limits(group)
    finally:
        root.update(io=Io(cost_qos={disks.OWN: "enable=0"}))
    off = _limits(root).cost_qos

    assert limits.cost_qos == {disks.NUMBER: attrs.evolve(qos, ctrl="user")}
    assert limits.cost_model is not None
    assert (limits.cost_model[disks.NUMBER].ctrl, limits.cost_model[disks.NUMBER].rbps) == ("user", 100 * _M)
    assert off == {disks.NUMBER: attrs.evolve(qos, ctrl="user", enable=False)}
    assert told.cost_vrate is not None
    assert held.device_weight == {disks.NUMBER: 500}


def _limits(group: cgctl.Group) -> Io:
    limits = group.limits().io
    assert limits is not None
    return limits


def _device(group: cgctl.Group, number: str) -> cgctl.IoDevice:
    stats = group.stats("io").io
    assert stats is not None
    assert stats.devices is not None
    return stats.devices[number]
