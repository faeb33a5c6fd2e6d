"""Memory on the kernel in memory: page cache, swap, reclaim, throttling and the OOM killer."""

from __future__ import annotations

import errno
from typing import Any

import pytest

import cgctl
from cgctl.fake import FakeKernel
from cgctl.testing import FakeSystem

_M = 1 << 20


def make(system: FakeSystem, name: str = "p1", **keywords: Any) -> cgctl.Group:
    """Create a group with a limit on memory."""
    return cgctl.Group(name, system=system, **{"memory": cgctl.Memory(), **keywords}).create()


def reading(group: cgctl.Group, name: str) -> int:
    """Read a number, or a key of a file as ``file:key``."""
    file, _, key = name.partition(":")
    text = group.read(file)
    return int(dict(line.split() for line in text.splitlines())[key] if key else text)


class TestCache:
    """Page cache."""

    def test_it_is_dropped_before_anybody_is_killed(self) -> None:
        """It stays up to the limit, and makes room for what processes need."""
        system = FakeSystem("v2")
        group = make(system, memory="100M")
        task = system.kernel.spawn(group)
        task.cache("500M")
        assert (reading(group, "memory.current"), reading(group, "memory.stat:file")) == (100 * _M, 100 * _M)
        task.allocate("60M")

        assert reading(group, "memory.stat:file") == 40 * _M
        assert reading(group, "memory.events:max") > 0
        assert (reading(group, "memory.events:oom_kill"), task.alive) == (0, True)

    def test_it_outlives_the_process(self) -> None:
        """It is the group's, and when the group is removed it is counted above."""
        system = FakeSystem("v2")
        group = make(system, memory="100M")
        child = group.group("a", memory=cgctl.Memory()).create()
        task = system.kernel.spawn(child)
        task.cache("10M")
        task.exit()
        assert reading(child, "memory.current") == 10 * _M
        child.remove()

        assert reading(group, "memory.current") == 10 * _M
        group.reclaim("10M")
        assert reading(group, "memory.current") == 0

    def test_reclaim(self) -> None:
        """What there is to reclaim is, and if that is not enough it is said."""
        system = FakeSystem("v2")
        group = make(system)
        system.kernel.spawn(group).cache("10M")
        group.reclaim("4M")
        assert reading(group, "memory.current") == 6 * _M
        with pytest.raises(OSError, match="EAGAIN") as caught:
            group.reclaim("7M")

        assert caught.value.errno == errno.EAGAIN
        assert reading(group, "memory.current") == 0


class TestSwap:
    """Swap, on a machine that has some."""

    def test_what_does_not_fit_is_swapped_out(self) -> None:
        """As far as there is room in swap; then it is killed."""
        system = FakeSystem("v2", swap="1G")
        group = make(system, memory=cgctl.Memory(max="100M", swap_max="50M"))
        task = system.kernel.spawn(group)
        task.allocate("140M")
        assert (reading(group, "memory.current"), reading(group, "memory.swap.current")) == (100 * _M, 40 * _M)
        assert (task.anon, task.swapped) == (100 * _M, 40 * _M)
        task.allocate("20M")

        assert not task.alive
        assert reading(group, "memory.swap.current") == system.kernel.swapped == 0
        assert reading(group, "memory.swap.peak") == 50 * _M
        assert reading(group, "memory.swap.events:max") > 0

    def test_no_swap_no_room(self) -> None:
        """Without swap on the machine nothing goes there, whatever the limit."""
        system = FakeSystem("v2")
        group = make(system, memory=cgctl.Memory(max="100M"))
        task = system.kernel.spawn(group)
        task.allocate("101M")

        assert not task.alive

    def test_touching_it_brings_it_back(self) -> None:
        """Which takes room again."""
        system = FakeSystem("v2", swap="1G")
        group = make(system, memory=cgctl.Memory(max="100M"))
        task = system.kernel.spawn(group)
        task.allocate("50M")
        group.reclaim("50M")
        assert task.swapped == 50 * _M
        task.touch("20M")

        assert (reading(group, "memory.current"), reading(group, "memory.swap.current")) == (20 * _M, 30 * _M)
        task.free()
        assert (task.swapped, system.kernel.swapped, reading(group, "memory.swap.current")) == (0, 0, 0)

    def test_swappiness(self) -> None:
        """0 takes no memory of processes, and ``max`` nothing else."""
        system = FakeSystem("v2", kernel="6.18", swap="1G")
        group = make(system)
        task = system.kernel.spawn(group)
        task.allocate("10M")
        task.cache("10M")
        group.write("memory.reclaim", "4M swappiness=max")
        assert (task.swapped, reading(group, "memory.stat:file")) == (4 * _M, 10 * _M)
        with pytest.raises(OSError, match="EAGAIN"):
            group.write("memory.reclaim", "12M swappiness=0")

        assert (task.swapped, reading(group, "memory.stat:file")) == (4 * _M, 0)

    def test_v1_sum(self) -> None:
        """v1 limits memory and swap together; swapping does not help against that."""
        system = FakeSystem("v1", kernel="6.1", swap="1G")
        group = make(system, memory=cgctl.Memory(max="100M", swap_max="50M"))
        task = system.kernel.spawn(group)
        task.allocate("150M")
        assert reading(group, "memory.usage_in_bytes") == 100 * _M
        assert reading(group, "memory.memsw.usage_in_bytes") == 150 * _M
        assert reading(group, "memory.stat:swap") == 50 * _M
        task.allocate("1M")

        assert not task.alive
        assert reading(group, "memory.memsw.failcnt") > 0

    def test_v1_without_swappiness(self) -> None:
        """Swappiness 0 means: never."""
        system = FakeSystem("v1", kernel="6.1", swap="1G")
        group = make(system, memory=cgctl.Memory(max="100M", swappiness=0))
        task = system.kernel.spawn(group)
        task.allocate("101M")

        assert not task.alive


class TestProtection:
    """memory.low and memory.min."""

    def test_others_give_first(self) -> None:
        """What is protected stays while others have something, and then only ``min`` does."""
        system = FakeSystem("v2")
        parent = make(system, memory="100M")
        specs = {"a": cgctl.Memory(low="30M"), "b": cgctl.Memory(min="30M")}
        groups = [parent.group(name, memory=spec).create() for name, spec in specs.items()]
        plain = parent.group("c", memory=cgctl.Memory()).create()
        for group, size in zip((*groups, plain), ("40M", "30M", "30M"), strict=True):
            system.kernel.spawn(group).cache(size)
        task = system.kernel.spawn(plain)
        task.allocate("40M")
        assert [reading(group, "memory.stat:file") // _M for group in (*groups, plain)] == [30, 30, 0]
        assert reading(groups[0], "memory.events:low") == 0
        task.allocate("20M")
        assert [reading(group, "memory.stat:file") // _M for group in groups] == [10, 30]
        assert reading(groups[0], "memory.events:low") > 0
        task.allocate("11M")

        assert not task.alive
        assert [reading(group, "memory.stat:file") // _M for group in groups] == [0, 30]

    def test_what_is_there_is_divided(self) -> None:
        """Two that want twice what the group above has keep half of it each."""
        system = FakeSystem("v2")
        top = make(system, memory="100M")
        parent = top.group("p", memory=cgctl.Memory(min="20M")).create()
        groups = [parent.group(name, memory=cgctl.Memory(min="20M")).create() for name in ("a", "b")]
        for group in groups:
            system.kernel.spawn(group).cache("40M")
        with pytest.raises(OSError, match="EAGAIN"):
            top.reclaim("80M")

        assert [reading(group, "memory.current") // _M for group in groups] == [10, 10]


class TestHigh:
    """memory.high."""

    def test_who_is_above_sleeps(self) -> None:
        """For 10 % above, the kernel's own table says 639 ms for each 256 KiB; the sum up to there is much less."""
        system = FakeSystem("v2")
        group = make(system, memory=cgctl.Memory(high="100M"))
        task, at = system.kernel.spawn(group), list[float]()
        task.allocate("100M")
        assert not task.busy
        task.allocate("10M")
        task.then(lambda: at.append(system.kernel.now))
        assert reading(group, "memory.current") == 110 * _M
        assert reading(group, "memory.events:high") == 40
        system.kernel.advance(60)

        ticks = [((n << 20) // 400) ** 2 * 250 >> 34 for n in range(1, 41)]
        assert at == [pytest.approx(sum(tick for tick in ticks if tick > 2) / 250, abs=1e-9)]
        assert ticks[-1] * 4 == 636

    def test_cache_is_given_up_instead(self) -> None:
        """Who can give something back does, and need not sleep."""
        system = FakeSystem("v2")
        group = make(system, memory=cgctl.Memory(high="100M"))
        task = system.kernel.spawn(group)
        task.cache("90M")
        task.allocate("50M")

        assert not task.busy
        assert reading(group, "memory.current") == 100 * _M

    def test_swap_high(self) -> None:
        """Too much in swap slows down too."""
        system = FakeSystem("v2", swap="1G")
        group = make(system, memory=cgctl.Memory(swap_high="10M"))
        task = system.kernel.spawn(group)
        task.allocate("40M")
        group.reclaim("40M")
        task.allocate("1M")

        assert task.busy
        assert reading(group, "memory.swap.events:high") == 4


class TestPlaces:
    """Where it is charged."""

    def test_memory_stays_where_it_was_touched(self) -> None:
        """A process that moves leaves it behind, and gives it back there."""
        system = FakeSystem("v2")
        first, second = make(system, "a"), make(system, "b")
        task = system.kernel.spawn(first)
        task.allocate("10M")
        second.add(task.pid)
        task.allocate("5M")
        assert [reading(group, "memory.current") // _M for group in (first, second)] == [10, 5]
        task.free("12M")
        assert [reading(group, "memory.current") // _M for group in (first, second)] == [0, 3]
        task.exit()

        assert [reading(group, "memory.current") for group in (first, second)] == [0, 0]

    def test_v1_moves_it_if_asked(self) -> None:
        """``memory.move_charge_at_immigrate``."""
        system = FakeSystem("v1", kernel="6.1")
        first, second = make(system, "a"), make(system, "b")
        second.write("memory.move_charge_at_immigrate", "1")
        task = system.kernel.spawn(first)
        task.allocate("10M")
        second.add(task.pid)

        assert [reading(group, "memory.usage_in_bytes") // _M for group in (first, second)] == [0, 10]

    def test_the_controller_goes(self) -> None:
        """What was charged is counted above, and given back there."""
        kernel = FakeKernel("v2")
        kernel.mkdir("/sys/fs/cgroup/a")
        for group in ("", "/a"):
            kernel.write(f"/sys/fs/cgroup{group}/cgroup.subtree_control", b"+memory")
        kernel.mkdir("/sys/fs/cgroup/a/b")
        task = kernel.spawn("/sys/fs/cgroup/a/b")
        task.allocate("10M")
        kernel.write("/sys/fs/cgroup/a/cgroup.subtree_control", b"-memory")
        assert kernel.read("/sys/fs/cgroup/a/memory.current") == b"10485760\n"
        task.free()

        assert kernel.read("/sys/fs/cgroup/a/memory.current") == b"0\n"


class TestOutOfMemory:
    """Who is killed."""

    def test_the_machine(self) -> None:
        """Where all of it is used, the largest process anywhere is killed."""
        system = FakeSystem("v2", memory="1G")
        large, small = system.kernel.spawn(make(system, "a")), system.kernel.spawn(make(system, "b"))
        large.allocate("700M")
        small.allocate("400M")

        assert (large.alive, small.alive) == (False, True)
        assert reading(cgctl.Group("a", system=system), "memory.events:oom_kill") == 1

    def test_swap_counts(self) -> None:
        """What a victim has in swap makes it larger."""
        system = FakeSystem("v2", swap="80M")
        group = make(system, memory=cgctl.Memory(max="100M"))
        first, second = system.kernel.spawn(group), system.kernel.spawn(group)
        first.allocate("80M")
        group.reclaim("80M")
        second.allocate("70M")
        first.allocate("40M")

        assert (first.alive, second.alive) == (False, True)

    def test_v1_waits_if_nobody_is_to_be_killed(self) -> None:
        """With ``oom_kill_disable`` a process waits until there is room."""
        system = FakeSystem("v1", kernel="6.1")
        group = make(system, memory="100M")
        group.write("memory.oom_control", "1")
        task, other = system.kernel.spawn(group), system.kernel.spawn(group)
        other.allocate("50M")
        task.allocate("60M")
        system.kernel.advance(10)
        assert (task.alive, task.busy, task.anon) == (True, True, 50 * _M)
        assert reading(group, "memory.oom_control:under_oom") == 1
        other.exit()
        system.kernel.advance("1ms")

        assert (task.busy, task.anon) == (False, 60 * _M)
        assert reading(group, "memory.oom_control:under_oom") == 0
