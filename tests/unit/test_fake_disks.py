"""Disk traffic on the kernel in memory: what limits let through while a virtual clock advances, and what is counted."""

from __future__ import annotations

import errno
from typing import Any, Literal

import pytest

import cgctl
from cgctl.fake import Task
from cgctl.testing import FakeSystem

_M = 1 << 20
_DISK = "8:0"
LAYOUTS: tuple[Literal["v1", "v2", "hybrid"], ...] = ("v1", "v2", "hybrid")


@pytest.fixture(params=LAYOUTS)
def system(request: pytest.FixtureRequest) -> FakeSystem:
    """A machine in memory with two disks, of each layout."""
    return FakeSystem(request.param, kernel="6.1", disks=("8:0", "8:16"))


def make(system: FakeSystem, name: str = "p1", **limits: Any) -> cgctl.Group:
    """Create a group with limits on the first disk."""
    spec = cgctl.Io(max={_DISK: cgctl.IoMax(**limits)} if limits else None)
    return cgctl.Group(name, system=system, io=spec, cpu=cgctl.Cpu()).create()


def takes(system: FakeSystem, *tasks: Task) -> float:
    """Let time pass until they have nothing to do, and return how much that was."""
    begun = system.kernel.now
    assert system.kernel.advance_until(lambda: not any(task.busy for task in tasks), "1h")
    return round(system.kernel.now - begun, 6)


def device(group: cgctl.Group) -> cgctl.IoDevice:
    """Read the statistics of the first disk."""
    stats = group.stats("io").io
    assert stats is not None
    return (stats.devices or {}).get(_DISK) or cgctl.IoDevice()


class TestLimits:
    """``io.max``, and v1's four files."""

    def test_bytes(self, system: FakeSystem) -> None:
        """Ten megabytes at one a second take ten seconds; the other way and the other disk are free."""
        task = system.kernel.spawn(make(system, rbps="1M"))
        task.read(_DISK, "10M", direct=True)
        assert takes(system, task) == 10
        task.write(_DISK, "10M", direct=True)
        task.read("8:16", "10M", direct=True)

        assert takes(system, task) == 0

    def test_operations(self, system: FakeSystem) -> None:
        """Requests are counted too; the tighter of both limits holds."""
        task = system.kernel.spawn(make(system, wiops=100, wbps="100M"))
        task.write(_DISK, "4M", request="4K", direct=True)
        assert takes(system, task) == 10.24
        task.write(_DISK, "400M", request="8M", direct=True)

        assert takes(system, task) == 4

    def test_those_in_a_group_share_it(self, system: FakeSystem) -> None:
        """Two that read at once have half of it each."""
        group = make(system, rbps="1M")
        tasks = [system.kernel.spawn(group) for _ in range(2)]
        for task, size in zip(tasks, ("1M", "3M"), strict=True):
            task.read(_DISK, size, direct=True)
        assert takes(system, tasks[0]) == 2
        assert takes(system, tasks[1]) == 2

    def test_groups_below(self, system: FakeSystem) -> None:
        """v2's limit is one of all below; v1's of the group alone."""
        group = make(system, rbps="1M")
        tasks = [system.kernel.spawn(make(system, f"p1/{name}")) for name in ("a", "b")]
        for task in tasks:
            task.read(_DISK, "1M", direct=True)

        assert takes(system, *tasks) == (2 if "unified" in group.paths() and len(group.paths()) == 1 else 0)

    def test_a_change_holds_at_once(self, system: FakeSystem) -> None:
        """What is on its way goes on at the new rate."""
        group = make(system, rbps="1M")
        task = system.kernel.spawn(group)
        task.read(_DISK, "10M", direct=True)
        system.kernel.advance(5)
        group.update(io=cgctl.Io(max={_DISK: cgctl.IoMax(rbps="5M")}))

        assert takes(system, task) == 1

    def test_who_is_frozen_asks_for_nothing(self, system: FakeSystem) -> None:
        """And goes on when thawed."""
        group = make(system, rbps="1M")
        task = system.kernel.spawn(group)
        task.read(_DISK, "2M", direct=True)
        system.kernel.advance(1)
        group.freeze()
        system.kernel.advance(10)
        group.thaw()

        assert takes(system, task) == 1

    def test_a_slow_disk(self) -> None:
        """A disk has the speed that it was given, whoever wants it."""
        system = FakeSystem("v2", disks={_DISK: "10M", "8:16": "1G"})
        tasks = [system.kernel.spawn(make(system, name)) for name in ("a", "b")]
        tasks[0].read(_DISK, "10M", direct=True)
        tasks[1].write(_DISK, "20M", direct=True)
        assert takes(system, tasks[0]) == 2

        assert takes(system, tasks[1]) == 1


class TestCounts:
    """``io.stat``, and v1's throttle files."""

    def test_what_was_done(self, system: FakeSystem) -> None:
        """Bytes and requests, as they go."""
        group = make(system, rbps="1M")
        task = system.kernel.spawn(group)
        task.read(_DISK, "10M", request="1M", direct=True)
        task.write(_DISK, "3M", request="2M", direct=True)
        system.kernel.advance("3.5s")
        assert (device(group).rbytes, device(group).rios) == (3.5 * _M, 3)
        takes(system, task)

        assert (device(group).rbytes, device(group).rios) == (10 * _M, 10)
        assert (device(group).wbytes, device(group).wios) == (3 * _M, 2)

    def test_of_groups_below(self, system: FakeSystem) -> None:
        """They are counted above too."""
        group = make(system)
        task = system.kernel.spawn(make(system, "p1/a"))
        task.read(_DISK, "1M", direct=True)
        takes(system, task)

        assert device(group).rbytes == _M

    @pytest.mark.parametrize(("kernel", "expected"), [("5.10", ""), ("6.12", "8:0 \n")])
    def test_a_disk_without_traffic(self, kernel: str, expected: str) -> None:
        """Since some release after 5.10 a disk that was configured has a line."""
        assert make(FakeSystem("v2", kernel=kernel), rbps="1M").read("io.stat") == expected

    def test_v1_text(self) -> None:
        """Each sort by itself, and the sum."""
        system = FakeSystem("v1", kernel="6.1")
        group = make(system)
        task = system.kernel.spawn(group)
        task.read(_DISK, "1M", request="512K", direct=True)
        takes(system, task)

        lines = "8:0 Read 2\n8:0 Write 0\n8:0 Sync 2\n8:0 Async 0\n8:0 Discard 0\n8:0 Total 2\nTotal 2\n"
        assert group.read("blkio.throttle.io_serviced") == lines


class TestPageCache:
    """Without ``direct``."""

    def test_writing_costs_nothing_yet(self) -> None:
        """It is in memory, and goes to the disk after thirty seconds, under the limit of the group."""
        system = FakeSystem("v2")
        group = make(system, wbps="1M")
        group.update(memory=cgctl.Memory())
        task = system.kernel.spawn(group)
        task.write(_DISK, "10M")
        assert takes(system, task) == 0
        assert group.stats("memory").memory.current == 10 * _M  # type: ignore[union-attr]
        system.kernel.advance(30)
        assert not device(group).wbytes
        system.kernel.advance(5)
        assert device(group).wbytes == 5 * _M
        task.sync()

        assert takes(system, task) == 5

    def test_v1_writes_it_as_the_kernels_own(self) -> None:
        """No limit of the group holds, and none of its counters says so."""
        system = FakeSystem("v1", kernel="6.1")
        group = make(system, wbps="1M")
        task = system.kernel.spawn(group)
        task.write(_DISK, "10M")
        task.sync()

        assert takes(system, task) == 0
        assert "Total 0" in group.read("blkio.throttle.io_service_bytes")
        root = system.kernel.read("/sys/fs/cgroup/blkio/blkio.throttle.io_service_bytes").decode()
        assert "8:0 Async 10485760\n" in root

    def test_reading_is_charged(self) -> None:
        """And is dropped again where there is no room for it."""
        system = FakeSystem("v2")
        group = make(system)
        group.update(memory="10M")
        task = system.kernel.spawn(group)
        task.read(_DISK, "100M")

        assert takes(system, task) == 0
        assert group.stats("memory").memory.current == 10 * _M  # type: ignore[union-attr]


class TestWithProcessors:
    """Together with what else takes time."""

    def test_one_after_the_other(self, system: FakeSystem) -> None:
        """A thread reads, computes on it, and writes."""
        task = system.kernel.spawn(make(system, rbps="1M", wbps="2M"))
        task.read(_DISK, "2M", direct=True)
        task.burn(1)
        task.write(_DISK, "2M", direct=True)

        assert takes(system, task) == 4

    def test_repetitions(self, system: FakeSystem) -> None:
        """While another one is throttled, whole repetitions are done at once, and the traffic goes on in them."""
        group = make(system, rbps="1M")
        group.update(cpu=0.5)
        reader, burner = system.kernel.spawn(group), system.kernel.spawn(group)
        burner.burn("1h")
        reader.read(_DISK, "600M", direct=True)
        system.kernel.advance(500)
        assert device(group).rbytes == 500 * _M

        assert takes(system, reader) == 100


class TestNonsense:
    """What is refused."""

    def test_devices(self, system: FakeSystem) -> None:
        """Disks that are not there, and what is no disk."""
        task = system.kernel.spawn()
        for name, number in (("9:9", errno.ENXIO), ("/dev/sdz", errno.ENOENT), ("/dev/null", errno.ENOTBLK)):
            with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is looked at
                task.read(name, "1M")
            assert caught.value.errno == number
        task.read("/dev/disk1", "1M")

    def test_values(self, system: FakeSystem) -> None:
        """Requests of nothing, and disks that do not move."""
        with pytest.raises(cgctl.SpecError, match="request=0"):
            system.kernel.spawn().read(_DISK, "1M", request=0)
        with pytest.raises(cgctl.SpecError, match="disks=0"):
            FakeSystem(disks={_DISK: 0})

    def test_the_dead(self, system: FakeSystem) -> None:
        """Who has ended reads nothing."""
        task = system.kernel.spawn()
        task.exit()
        for verb in (task.read, task.write):
            with pytest.raises(ProcessLookupError):
                verb(_DISK, "1M")
