"""Processor time on the kernel in memory: quotas, weights and processors, while a virtual clock advances."""

from __future__ import annotations

import time
from typing import Any, Literal

import pytest

import cgctl
from cgctl.fake import Task
from cgctl.fake.time.filling import Bound, Node, fill
from cgctl.testing import FakeSystem

LAYOUTS: tuple[Literal["v1", "v2", "hybrid"], ...] = ("v1", "v2", "hybrid")


@pytest.fixture(params=LAYOUTS)
def system(request: pytest.FixtureRequest) -> FakeSystem:
    """A machine in memory with two processors, of each layout."""
    return FakeSystem(request.param, kernel="6.1", cpus=2)


def make(system: FakeSystem, name: str = "p1", **keywords: Any) -> cgctl.Group:
    """Create a group that counts processor time."""
    return cgctl.Group(name, system=system, **{"cpu": cgctl.Cpu(), **keywords}).create()


def burning(system: FakeSystem, group: cgctl.Group | None, cpu_time: float = 1000, number: int = 1) -> list[Task]:
    """Start processes that have much to do."""
    tasks = [system.kernel.spawn(group) for _ in range(number)]
    for task in tasks:
        task.burn(cpu_time)
    return tasks


def stat(group: cgctl.Group) -> cgctl.CpuStats:
    """Read a group's cpu.stat."""
    found = group.stats().cpu
    assert found is not None
    return found


def shares(tasks: list[Task]) -> list[float]:
    """Return what each task has had of its work, in seconds, rounded to milliseconds."""
    return [round(1000 - getattr(task.threads[0].head, "left", 0) / 1e9, 3) for task in tasks]


class TestQuota:
    """``cpu.max``, and v1's quota and period."""

    def test_half_a_processor(self, system: FakeSystem) -> None:
        """Two seconds of work take all but four: 40 periods, and it waits in each but the last."""
        group = make(system, cpu=0.5)
        (task,) = burning(system, group, 2)
        system.kernel.advance("3.94s")
        assert task.busy
        system.kernel.advance("10ms")
        assert not task.busy

        counted = stat(group)
        assert (counted.nr_periods, counted.nr_throttled, counted.throttled_usec) == (39, 39, 39 * 50_000)
        system.kernel.advance(1)
        # The timer goes on for a period in which nobody runs, and one more.
        assert stat(group).nr_periods == 41

    def test_a_new_quota_has_a_timer_for_two_periods(self, system: FakeSystem) -> None:
        """As measured on a kernel: without any process, the periods are counted until there was an idle one."""
        group = make(system, cpu=0.5)
        system.kernel.advance(1)

        assert stat(group).nr_periods == 2

    def test_threads_share_it(self, system: FakeSystem) -> None:
        """Two threads on two processors use it up in half the time, and wait on both."""
        group = make(system, cpu=0.5)
        task = system.kernel.spawn(group)
        for thread in (task.threads[0], task.thread()):
            thread.burn(1)
        system.kernel.advance("1.95s")

        assert stat(group).throttled_usec == 19 * 2 * 75_000
        assert task.busy

    def test_a_quota_above_holds_for_all_below(self, system: FakeSystem) -> None:
        """The least of all on the way up is what there is; who is held back from above is told so where it is."""
        parent = make(system, cpu=0.5)
        groups = [parent.group(name, cpu=cpu).create() for name, cpu in (("a", 0.4), ("b", cgctl.Cpu()))]
        tasks = [task for group in groups for task in burning(system, group)]
        system.kernel.advance(10)
        first, second = shares(tasks)

        assert first + second == pytest.approx(5)
        assert first <= 4

    def test_bursts(self, system: FakeSystem) -> None:
        """What was not used in one period is used in a later one, and counted."""
        group = make(system, cpu=cgctl.Cpu(max=0.2, burst_usec=20_000))
        task = system.kernel.spawn(group)
        for _ in range(4):
            task.burn("10ms")
            system.kernel.advance("100ms")
        task.burn("40ms")
        system.kernel.advance("100ms")

        counted = stat(group)
        assert not task.busy
        assert (counted.nr_bursts, counted.burst_usec, counted.nr_throttled) == (1, 20_000, 0)

    def test_a_write_gives_the_quota_anew(self, system: FakeSystem) -> None:
        """Who is held back goes on at once when the limit is changed, or taken away."""
        group = make(system, cpu=0.5)
        (task,) = burning(system, group, "80ms")  # type: ignore[arg-type]
        system.kernel.advance("60ms")
        assert stat(group).throttled_usec == 0
        group.update(cpu=cgctl.MAX)
        assert stat(group).throttled_usec == 10_000
        system.kernel.advance("30ms")

        assert not task.busy

    def test_an_hour_is_quick(self, system: FakeSystem) -> None:
        """Whole repetitions are done at once, and come to the same as each by itself."""
        group = make(system, cpu=0.5)
        tasks = burning(system, group, 10_000, number=50)
        began = time.process_time()
        system.kernel.advance(3600)

        assert time.process_time() - began < 1
        counted = stat(group)
        assert counted.nr_periods == counted.nr_throttled == 36_000
        assert counted.usage_usec == 1800 * 10**6
        assert {round(task.threads[0].head.left / 1e9, 6) for task in tasks} == {10_000 - 36.0}  # type: ignore[union-attr]

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_what_is_waited_for_is_met(self, layout: Literal["v1", "v2", "hybrid"]) -> None:
        """Also if it happens in the middle of what is done at once: at the next event."""
        system, other = (FakeSystem(layout, kernel="6.1", cpus=2) for _ in range(2))
        group, beside = make(system, cpu=0.5), make(other, cpu=0.5)
        for each, where in ((group, system), (beside, other)):
            burning(where, each, 10_000)
        assert system.kernel.advance_until(lambda: (stat(group).usage_usec or 0) >= 500_010_000)
        other.kernel.advance("1000.05s")

        assert system.kernel.now == 1000.05
        assert stat(group) == stat(beside)

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_repetitions_are_what_steps_are(self, layout: Literal["v1", "v2", "hybrid"]) -> None:
        """In one go or in many small steps: the counters are the same."""
        found = []
        for steps in (1, 70):
            system = FakeSystem(layout, kernel="6.1", cpus=2)
            group = make(system, cpu=0.3)
            inner = group.group("a", cpu=cgctl.Cpu(max=0.2, period_usec=70_000)).create()
            other = group.group("b", cpu=cgctl.Cpu()).create()
            tasks = [*burning(system, other, 5), *burning(system, inner, 1)]
            for _ in range(steps):
                system.kernel.advance(14 / steps)
            found.append((stat(group), stat(inner), [task.busy for task in tasks]))

        assert found[0] == found[1]


class TestWeights:
    """``cpu.weight`` and shares, among those that would run."""

    @pytest.mark.parametrize(
        ("weights", "expected"), [((100, 100), (10, 10)), ((300, 100), (15, 5)), ((1, 99), (0.2, 19.8))]
    )
    def test_two_groups(self, weights: tuple[int, int], expected: tuple[float, float]) -> None:
        """Two groups with four threads each, on two processors for ten seconds."""
        system = FakeSystem("v2", cpus=2)
        groups = [make(system, f"g{index}", cpu=cgctl.Cpu(weight=weight)) for index, weight in enumerate(weights)]
        for group in groups:
            burning(system, group, number=4)
        system.kernel.advance(10)

        assert [(stat(group).usage_usec or 0) / 1e6 for group in groups] == pytest.approx(expected, abs=0.15)

    def test_a_thread_has_one_processor_at_most(self, system: FakeSystem) -> None:
        """What the heavy one cannot use, the others have."""
        heavy = make(system, "heavy", cpu=cgctl.Cpu(weight=10_000))
        tasks = [*burning(system, heavy), *burning(system, make(system, "light"), number=2)]
        system.kernel.advance(10)

        assert shares(tasks) == [10, 5, 5]

    def test_groups_before_threads(self, system: FakeSystem) -> None:
        """A group of many threads has what a group of one has."""
        crowd, alone = make(system, "crowd", cpuset="0"), make(system, "alone", cpuset="0")
        tasks = [*burning(system, crowd, number=3), *burning(system, alone)]
        system.kernel.advance(12)

        assert shares(tasks) == [2, 2, 2, 6]

    def test_idle(self) -> None:
        """An idle group has 3 of 1027."""
        system = FakeSystem("v2", cpus=1)
        tasks = [
            *burning(system, make(system, "idle", cpu=cgctl.Cpu(idle=True))),
            *burning(system, make(system, "other")),
        ]
        system.kernel.advance(10.27)

        assert shares(tasks) == [0.03, 10.24]


class TestProcessors:
    """cpuset."""

    def test_those_in_a_set_share_it(self, system: FakeSystem) -> None:
        """Three on one processor, and one on the other."""
        first, second = make(system, "a", cpuset="0"), make(system, "b", cpuset="1")
        tasks = [*burning(system, first, number=3), *burning(system, second)]
        system.kernel.advance(9)

        assert shares(tasks) == [3, 3, 3, 9]

    def test_sets_that_overlap(self) -> None:
        """Who may run anywhere gets what those in narrower sets leave."""
        system = FakeSystem("v2", cpus=3)
        groups = [make(system, name, cpuset=cpus) for name, cpus in (("a", "0-1"), ("b", "1-2"), ("c", "1"))]
        tasks = [task for group in groups for task in burning(system, group, number=2)]
        system.kernel.advance(10)

        assert sum(shares(tasks)) == pytest.approx(30)
        assert sum(shares(tasks[4:])) <= 10


class TestTasks:
    """Who has something to do."""

    def test_frozen_ones_wait(self, system: FakeSystem) -> None:
        """They use nothing, and go on when they are thawed."""
        group = make(system)
        (task,) = burning(system, group, 1)
        group.freeze()
        system.kernel.advance(5)
        assert stat(group).usage_usec == 0
        group.thaw()
        system.kernel.advance(1)

        assert not task.busy

    def test_the_dead_leave_their_usage(self, system: FakeSystem) -> None:
        """Whoever is killed uses nothing any more; what was used stays counted."""
        group = make(system)
        burning(system, group)
        system.kernel.advance(1)
        group.kill()
        system.kernel.advance(1)

        assert stat(group).usage_usec == 10**6

    def test_user_and_system(self, system: FakeSystem) -> None:
        """Both are counted, here and above."""
        group = make(system)
        child = group.group("a", cpu=cgctl.Cpu()).create()
        task = system.kernel.spawn(child)
        task.burn(1)
        task.burn("250ms", system=True)
        system.kernel.advance(2)

        for each in (group, child):
            assert (stat(each).user_usec, stat(each).system_usec) == (10**6, 250_000)

    def test_then(self, system: FakeSystem) -> None:
        """A function is called when its turn has come, and may give more to do."""
        task, at = system.kernel.spawn(), list[float]()
        task.burn("1s")
        task.then(lambda: at.append(system.kernel.now))
        task.then(lambda: task.burn("0.5s"))
        task.then(lambda: task.then(lambda: task.exit(3)))
        system.kernel.advance(5)

        assert (at, task.status, system.kernel.now) == ([1.0], 3, 5.0)

    def test_nonsense(self, system: FakeSystem) -> None:
        """Times that are none, the dead, and a clock that is already advancing."""
        kernel = system.kernel
        task = kernel.spawn()
        for wrong in (-1, "soon"):
            with pytest.raises(cgctl.SpecError):
                kernel.advance(wrong)
        task.then(lambda: kernel.advance(1))
        with pytest.raises(cgctl.SpecError, match="while the clock is advancing"):
            kernel.advance(1)
        task.exit()
        with pytest.raises(ProcessLookupError):
            task.burn(1)


class TestFilling:
    """The arithmetic by itself."""

    def test_factors(self) -> None:
        """A bound may count one part more than another."""
        first, second = Node(1), Node(1)
        fill(Node(1, [first, second]), [Bound(3, [(first, 1), (second, 2)]), Bound(10, [(first, 1)])])

        assert (first.rate, second.rate) == (1, 1)

    def test_what_is_left_goes_to_the_nearest(self) -> None:
        """A thread that has enough leaves the rest to its own group first."""
        small, large, other = Node(1), Node(1), Node(1)
        root = Node(1, [Node(1, [small, large]), other])
        fill(root, [Bound(0.1, [(small, 1)]), Bound(1, [(small, 1), (large, 1), (other, 1)])])

        assert [round(node.rate, 9) for node in (small, large, other)] == [0.1, 0.4, 0.5]
