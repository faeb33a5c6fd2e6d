"""Pressure on the kernel in memory: what tasks waited for, and the averages of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

import cgctl
from cgctl.testing import FakeSystem


def make(system: FakeSystem, name: str = "p1", **keywords: Any) -> cgctl.Group:
    """Create a group."""
    return cgctl.Group(name, system=system, **{"cpu": cgctl.Cpu(), **keywords}).create()


def total(group: cgctl.Group, resource: str, kind: str) -> int:
    """Read for how long was waited, in microseconds."""
    lines = dict(line.split(" ", 1) for line in group.read(f"{resource}.pressure").splitlines())
    return int(lines[kind].rpartition("total=")[2])


def burning(system: FakeSystem, group: cgctl.Group, number: int) -> None:
    """Start processes that have much to do."""
    for _ in range(number):
        system.kernel.spawn(group).burn("1h")


class TestProcessors:
    """cpu.pressure."""

    @pytest.mark.parametrize(
        ("cpus", "tasks", "some"), [(1, 1, 0), (1, 2, 10_000_000), (2, 3, 5_000_000), (2, 4, 10_000_000), (4, 4, 0)]
    )
    def test_more_tasks_than_processors(self, cpus: int, tasks: int, some: int) -> None:
        """As many tasks as wait at once, of as many processors as are busy; nobody waits while none runs."""
        system = FakeSystem("v2", cpus=cpus)
        group = make(system)
        burning(system, group, tasks)
        system.kernel.advance(10)

        assert (total(group, "cpu", "some"), total(group, "cpu", "full")) == (some, 0)

    def test_a_quota(self) -> None:
        """Who is held back waits, and there is nobody else who runs."""
        system = FakeSystem("v2", cpus=2)
        group = make(system, cpu=0.5)
        burning(system, group, 1)
        system.kernel.advance(10)

        assert (total(group, "cpu", "some"), total(group, "cpu", "full")) == (5_000_000, 5_000_000)

    def test_of_others(self) -> None:
        """Who waits for another group waits, and that one not; above both there is always somebody who runs."""
        system = FakeSystem("v2", cpus=1)
        parent = make(system)
        light, heavy = (
            make(system, f"p1/{name}", cpu=cgctl.Cpu(weight=weight)) for name, weight in (("a", 100), ("b", 300))
        )
        for group in (light, heavy):
            burning(system, group, 1)
        system.kernel.advance(8)

        assert [total(group, "cpu", "full") for group in (light, heavy, parent)] == [6_000_000, 2_000_000, 0]
        assert total(parent, "cpu", "some") == 8_000_000

    def test_the_machine_has_no_full(self) -> None:
        """Of all tasks together it would mean nothing."""
        system = FakeSystem("v2", cpus=1)
        burning(system, make(system, cpu=0.5), 1)
        system.kernel.advance(2)

        assert (
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=0"
            in system.kernel.read("/sys/fs/cgroup/cpu.pressure").decode()
        )

    def test_before_there_was_full(self) -> None:
        """5.10 has one line."""
        system = FakeSystem("v2", kernel="5.10", cpus=1)
        group = make(system)
        burning(system, group, 2)
        system.kernel.advance(2)

        assert group.read("cpu.pressure").startswith("some avg10=")
        assert "full" not in group.read("cpu.pressure")


class TestOthers:
    """io.pressure and memory.pressure."""

    def test_disks(self) -> None:
        """Who waits for a disk waits; while another one computes, not all do."""
        system = FakeSystem("v2")
        group = make(system, io=cgctl.Io(max={"8:0": cgctl.IoMax(rbps="1M")}))
        reader = system.kernel.spawn(group)
        reader.read("8:0", "10M", direct=True)
        system.kernel.advance(4)
        assert (total(group, "io", "some"), total(group, "io", "full")) == (4_000_000, 4_000_000)
        burner = system.kernel.spawn(group)
        burner.burn("1h")
        system.kernel.advance(2)

        assert (total(group, "io", "some"), total(group, "io", "full")) == (5_000_000, 5_000_000)

    def test_waiting_for_what_was_written(self) -> None:
        """``sync`` waits for disks too."""
        system = FakeSystem("v2", disks={"8:0": "1M"})
        group = make(system)
        task = system.kernel.spawn(group)
        task.write("8:0", "3M")
        task.sync()
        system.kernel.advance(10)

        assert total(group, "io", "full") == 3_000_000

    def test_memory(self) -> None:
        """What memory.high costs is a stall of memory."""
        system = FakeSystem("v2")
        group = make(system, memory=cgctl.Memory(high="100M"))
        task = system.kernel.spawn(group)
        task.allocate("110M")
        begun = system.kernel.now
        system.kernel.advance_until(lambda: not task.busy)

        assert total(group, "memory", "full") == round((system.kernel.now - begun) * 1e6)


class TestAverages:
    """avg10, avg60 and avg300."""

    def test_the_kernels_formula(self) -> None:
        """Up in steps of two seconds, and down again: by hand, with EXP_10s = 1677, EXP_60s = 1981, EXP_300s = 2034."""
        system = FakeSystem("v2", cpus=1)
        group = make(system)
        burning(system, group, 2)
        expected = [0, 0, 0]
        for stalled in (100, 100, 100, 0, 0):
            if not stalled:
                group.kill()
            system.kernel.advance(2)
            for index, decay in enumerate((1677, 1981, 2034)):
                load = expected[index]
                extra = 2047 if stalled * 2048 >= load else 0
                expected[index] = (load * decay + stalled * 2048 * (2048 - decay) + extra) // 2048
            texts = [f"{load // 2048}.{load % 2048 * 100 // 2048:02}" for load in expected]
            assert group.read("cpu.pressure").startswith("some avg10={} avg60={} avg300={} ".format(*texts))

    def test_between_two_seconds_nothing_changes(self) -> None:
        """The total goes up at once, the averages later."""
        system = FakeSystem("v2", cpus=1)
        group = make(system)
        burning(system, group, 2)
        system.kernel.advance("1.9s")

        assert group.read("cpu.pressure").startswith("some avg10=0.00 avg60=0.00 avg300=0.00 total=1900000\n")

    def test_repetitions_are_what_steps_are(self) -> None:
        """Under a quota, in one go or second by second: totals and averages are the same."""
        texts = []
        for steps in (1, 60):
            system = FakeSystem("v2", cpus=2)
            group = make(system, cpu=cgctl.Cpu(max=0.3, period_usec=300_000))
            burning(system, group, 3)
            for _ in range(steps):
                system.kernel.advance(60 / steps)
            texts.append([group.read(f"{name}.pressure") for name in ("cpu", "io")])

        assert texts[0] == texts[1]
        assert "avg60=0.00" not in texts[0][0]

    def test_an_hour_is_quick(self) -> None:
        """A hundred tasks that wait: with a quota and without."""
        system = FakeSystem("v2")
        burning(system, make(system, "a"), 50)
        burning(system, make(system, "b", cpu=0.5), 50)
        began = time.process_time()
        system.kernel.advance(3600)

        assert time.process_time() - began < 1

    def test_switched_off(self) -> None:
        """Nothing is counted meanwhile."""
        system = FakeSystem("v2", cpus=1)
        group = make(system)
        burning(system, group, 2)
        group.write("cgroup.pressure", "0")
        system.kernel.advance(2)
        group.write("cgroup.pressure", "1")

        assert total(group, "cpu", "some") == 0
