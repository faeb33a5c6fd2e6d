"""cgctl on a machine in memory: the same verbs, and limits that do what limits do."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

import cgctl
from cgctl.testing import FakeSystem
from tests.unit.in_memory import make

_M = 1 << 20


class TestGroups:
    """The verbs."""

    def test_limits_are_held(self, system: FakeSystem) -> None:
        """What was asked for is what ``limits`` reads, and the plan is done."""
        group = make(system, memory="100M", cpu=0.5, pids=64, cpuset="0-1")
        limits = group.limits()

        assert (limits.memory and limits.memory.max) == 100 * _M
        assert (limits.cpu and limits.cpu.max) == 0.5
        assert (limits.pids and limits.pids.max) == 64
        assert (limits.cpuset and limits.cpuset.cpus) == (0, 1)
        assert len(cgctl.Group("p1", system=system, exist_ok=True, memory="100M", cpu=0.5, pids=64).plan()) == 0

    def test_update(self, system: FakeSystem) -> None:
        """Limits go up and down, and come back rounded as the kernel does."""
        group = make(system, memory="100M")

        assert getattr(group.update(memory=5_000_001).memory, "max", None) == 4_997_120
        assert getattr(group.update(memory="1G").memory, "max", None) == 1 << 30

    def test_huge_pages(self, system: FakeSystem) -> None:
        """Its huge pages are of two sizes, and so are the limits on them."""
        group = make(system, hugetlb={"2M": "5M"})
        held = group.update(hugetlb=cgctl.Hugetlb(rsvd_max={"1G": "3G"})).hugetlb

        assert held == cgctl.Hugetlb(max={"2MB": 4 * _M, "1GB": cgctl.MAX}, rsvd_max={"2MB": cgctl.MAX, "1GB": 3 << 30})
        with pytest.raises(cgctl.UnsupportedError, match=r"it has: 2MB 1GB"):
            group.update(hugetlb={"64K": 0})

    def test_there_already(self, system: FakeSystem) -> None:
        """A second one of the same name is refused."""
        make(system, pids=5)
        with pytest.raises(cgctl.GroupExistsError):
            make(system, pids=5)

    def test_remove(self, system: FakeSystem) -> None:
        """It goes, with all below it and what was made on the way to it."""
        group = make(system, memory="100M")
        group.group("a/b", pids=3).create()
        group.remove()

        assert not group.exists()
        assert [system.kernel.listdir(tree.mount_point) for tree in system.kernel.trees if tree.root.children] == []

    def test_vanished(self, system: FakeSystem) -> None:
        """What somebody else removed is not there."""
        group = make(system, pids=5)
        for path in group.paths().values():
            system.kernel.rmdir(path)
        with pytest.raises(cgctl.GroupNotFoundError):
            group.limits()

    def test_with_joins_and_returns(self, system: FakeSystem) -> None:
        """The caller's process in memory is in the group for the block, and home after it."""
        before = system.filesystem.read("/proc/self/cgroup")
        with cgctl.Group("p1", memory="10M", system=system) as group:
            assert group.pids() == [os.getpid()]
            with cgctl.Group("p2", pids=5, system=system) as inner:
                assert all("/p1/p2" in path for path in inner.paths().values())

        assert system.filesystem.read("/proc/self/cgroup") == before
        assert not group.exists()

    def test_devices(self) -> None:
        """v2 has attached programs as files, in memory too."""
        system = FakeSystem("v2")
        group = make(system, devices=["null", "urandom r"])

        assert [str(rule) for rule in group.limits().devices.allow] == ["c 1:3 rwm", "c 1:9 r"]  # type: ignore[union-attr]


class TestLimits:
    """What limits do."""

    def test_memory(self, system: FakeSystem) -> None:
        """Who goes over the limit is killed, and it is counted."""
        group = make(system, memory="100M")
        task, other = system.kernel.spawn(group), system.kernel.spawn(group)
        other.allocate("10M")
        task.allocate("60M")
        task.allocate("60M")
        memory = group.stats().memory

        assert (task.alive, task.status, other.alive) == (False, -9, True)
        assert memory is not None
        assert memory.events is not None
        assert (memory.current, memory.events.oom_kill) == (10 * _M, 1)
        assert memory.peak in (100 * _M, None)  # what was touched before the limit was met counts

    def test_memory_of_a_group_above(self, system: FakeSystem) -> None:
        """A limit holds for all below together; the one that holds most is killed."""
        parent = make(system, memory="100M")
        child = parent.group("a", memory="1G").create()
        small, large = system.kernel.spawn(parent.group("b", memory="1G").create()), system.kernel.spawn(child)
        large.allocate("70M")
        small.allocate("40M")

        assert (small.alive, large.alive) == (True, False)

    def test_pids(self, system: FakeSystem) -> None:
        """A fork beyond the limit is ``EAGAIN``."""
        task = system.kernel.spawn(make(system, pids=2))
        child = task.fork()
        with pytest.raises(OSError, match="unavailable") as caught:
            child.fork()
        assert caught.value.errno == errno.EAGAIN

        child.exit(3)
        with pytest.raises(OSError, match="unavailable"):
            task.fork()  # a zombie counts until it is waited for
        assert task.wait() == (child.pid, 3)
        assert task.fork().alive

    def test_freeze(self, system: FakeSystem) -> None:
        """Frozen processes are, and run again after."""
        group = make(system, pids=5)
        task = system.kernel.spawn(group)
        states = [task.state]
        for verb in (group.freeze, group.thaw):
            verb()
            states.append(task.state)

        assert states == ["running", "frozen", "running"]

    def test_kill(self, system: FakeSystem) -> None:
        """All are killed, in groups below too, frozen ones as well, and nobody else."""
        group = make(system, pids=9)
        leaves = [group.group(name, pids=5).create() for name in ("a", "b/c")]
        tasks = [system.kernel.spawn(each) for each in (*leaves, leaves[1])]
        outside = system.kernel.spawn()
        group.freeze()
        group.kill()

        assert [task.alive for task in tasks] == [False] * 3
        assert outside.alive
        assert group.pids() == []


def resettable(layout: str, kernel: str) -> Any:
    """A machine whose peaks can be reset."""
    return pytest.param({"layout": layout, "kernel": kernel}, id=f"{layout}-{kernel}")


class TestPeak:
    """``group.peak``: the most since a moment."""

    @pytest.mark.parametrize("fake_system", [resettable("v2", "6.12"), resettable("v1", "6.1")], indirect=True)
    def test_since_a_reset(self, fake_system: FakeSystem) -> None:
        """It begins with what is in use, goes up with that, and begins anew when it is told to."""
        group = make(fake_system, memory="100M")
        task = fake_system.kernel.spawn(group)
        task.allocate("50M")
        task.free("40M")
        with group.peak() as peak:
            seen = [peak.read()]
            task.allocate("20M")
            task.free("25M")
            seen.append(peak.read())
            peak.reset()
            seen.append(peak.read())

        assert seen == [10 * _M, 30 * _M, 5 * _M]
        with pytest.raises(ValueError, match="closed"):
            peak.read()

    def test_of_several_who_watch(self, fake_system: FakeSystem) -> None:
        """v2 keeps one for each, but who resets hides from the others what was before; the group's own goes on."""
        group = make(fake_system, memory="100M")
        task = fake_system.kernel.spawn(group)
        with group.peak() as one, group.peak() as other:
            task.allocate("40M")
            task.free("30M")
            one.reset()
            hidden = (one.read(), other.read())
            task.allocate("5M")
            task.free()
            memory = group.stats().memory

            assert hidden == (10 * _M, 10 * _M)
            assert (one.read(), other.read()) == (15 * _M, 15 * _M)
            assert memory is not None
            assert memory.peak == 40 * _M
        assert fake_system.kernel.watchers == {}

    @pytest.mark.parametrize("fake_system", [resettable("v2", "6.1"), resettable("v2", "5.10")], indirect=True)
    def test_where_it_cannot_be_reset(self, fake_system: FakeSystem) -> None:
        """Before 6.12 v2 has none, and that is said."""
        with pytest.raises(cgctl.UnsupportedError, match=r"since Linux 6\.12"):
            make(fake_system, memory="1M").peak()

    def test_of_a_group_that_has_gone(self, fake_system: FakeSystem) -> None:
        """Who still has it open is told that the group has gone."""
        group = make(fake_system, memory="1M")
        with group.peak() as peak:
            fake_system.kernel.vanish(group)
            for verb in (peak.read, peak.reset):
                with pytest.raises(cgctl.GroupNotFoundError, match="removed meanwhile"):
                    verb()
        with pytest.raises(cgctl.GroupNotFoundError):
            group.peak()


class TestNonsense:
    """What is refused."""

    @pytest.mark.parametrize(
        "keywords",
        [{"layout": "v3"}, {"kernel": "4.4"}, {"cpus": 0}, {"nodes": 0}],
    )
    def test_refused(self, keywords: dict[str, Any]) -> None:
        """A machine that cannot be is a SpecError, which names the value."""
        with pytest.raises(cgctl.SpecError, match=str(next(iter(keywords.values())))):
            FakeSystem(**keywords)


@pytest.mark.parametrize("fake_system", ["v2", {"layout": "v1", "kernel": "6.1"}], indirect=True)
def test_the_fixture(fake_system: FakeSystem) -> None:
    """The plugin gives a fresh machine for each test, of any kind."""
    assert not cgctl.Group("job", system=fake_system).exists()
    make(fake_system, pids=2)


@pytest.mark.parametrize("kernel", ["6.12", "6.18", "7.3"])
def test_exclusive_processors_are_cleared_where_processes_are(kernel: str) -> None:
    """Of the sets of processors the exclusive one alone may become empty in a populated group."""
    system = FakeSystem("v2", kernel=kernel)
    group = cgctl.Group("p1", cpuset=cgctl.Cpuset(exclusive="0"), system=system).create()
    system.kernel.spawn(group)
    group.write("cpuset.cpus.exclusive", "\n")

    assert group.read("cpuset.cpus.exclusive") == "\n"


def test_a_long_list_of_processors() -> None:
    """It may be as long as the kernel's greatest number of processors needs, which Debian builds with 8192."""
    group = make(FakeSystem("v2"), cpuset="0")
    group.write("cpuset.cpus", " " * 4097)
    with pytest.raises(cgctl.StepError, match="E2BIG"):
        group.write("cgroup.procs", " " * 4097)

    assert group.read("cpuset.cpus") == "\n"


def test_half_of_which_charges_move() -> None:
    """Of memory.move_charge_at_immigrate 32 bits are looked at, and all are kept; from 6.13 on it does nothing."""
    group = make(FakeSystem("v1", kernel="6.1"), memory="100M")
    group.write("memory.move_charge_at_immigrate", "4294967297")
    with pytest.raises(cgctl.StepError, match="EINVAL"):
        group.write("memory.move_charge_at_immigrate", "4")

    assert group.read("memory.move_charge_at_immigrate") == "4294967297\n"
