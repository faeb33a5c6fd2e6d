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


class TestTriggers:
    """What is written to an open file of pressure; who else may, and what of the kernel, is in tests/selftests."""

    @staticmethod
    def _watched(system: FakeSystem, data: bytes = b"some 150000 1000000", **keywords: Any) -> Any:
        group = make(system, **keywords)
        file = system.kernel.watch(f"{group.paths()['unified']}/cpu.pressure")
        file.write(data)
        burning(system, group, 1)
        return file

    def test_when_it_fires(self) -> None:
        """It is looked ten times in a window, from when somebody waits, after 20 ms; 80 of each 100 ms are lost."""
        system = FakeSystem("v2", cpus=1)
        file = self._watched(system, cpu=0.2)

        assert system.kernel.poll([file], 60) == [file]
        assert system.kernel.now == pytest.approx(0.22)

    def test_once_in_a_window(self) -> None:
        """As long as it goes on, it is told every second and not more often."""
        system = FakeSystem("v2", cpus=1)
        file, times = self._watched(system, cpu=0.2), []
        for _ in range(4):
            system.kernel.poll([file], None)
            times.append(system.kernel.now)

        assert times == pytest.approx([0.22, 1.22, 2.22, 3.22])

    def test_below_the_threshold(self) -> None:
        """A tenth of the time is not 150 ms of a second, however long it goes on."""
        system = FakeSystem("v2", cpus=1)
        file = self._watched(system, cpu=0.9)

        assert system.kernel.poll([file], 60) == []
        assert system.kernel.now == 60

    def test_as_time_is_let_pass(self) -> None:
        """Whoever lets time pass by himself finds it fired afterwards, once."""
        system = FakeSystem("v2", cpus=1)
        file = self._watched(system, cpu=0.2)
        assert not file.ready
        system.kernel.advance("10s")

        assert [system.kernel.poll([file], 0) for _ in range(2)] == [[file], []]

    def test_of_memory(self) -> None:
        """What memory.high costs is waited for too."""
        system = FakeSystem("v2")
        group = make(system, memory=cgctl.Memory(high="10M"))
        file = system.kernel.watch(f"{group.paths()['unified']}/memory.pressure")
        file.write(b"full 100000 1000000")
        system.kernel.spawn(group).allocate("50M")

        assert system.kernel.poll([file], 60) == [file]

    def test_closed(self) -> None:
        """With the file goes the trigger."""
        system = FakeSystem("v2", cpus=1)
        file = self._watched(system, cpu=0.2)
        assert system.kernel.clock.pressure.triggers
        file.close()

        assert not system.kernel.clock.pressure.triggers

    def test_nobody_closes_it(self) -> None:
        """Nor does it stay when the file is merely forgotten."""
        system = FakeSystem("v2", cpus=1)
        self._watched(system, cpu=0.2)

        assert not system.kernel.clock.pressure.triggers

    def test_nothing_will_happen(self) -> None:
        """Waiting without end for what cannot come is refused, and not done."""
        system = FakeSystem("v2")
        group = make(system)
        file = system.kernel.watch(f"{group.paths()['unified']}/cpu.pressure")
        file.write(b"some 150000 1000000")

        with pytest.raises(RuntimeError, match="watched for ever"):
            system.kernel.poll([file], None)

    @pytest.mark.parametrize(
        ("kernel", "data", "takes"),
        [
            ("5.10", b"some 9 3000000", True),
            *(
                (kernel, data, takes)
                for kernel in ("6.1", "6.12", "7.3")
                for data, takes in ((b"some 9 3000000", False), (b"some 9 4000000", True))
            ),
        ],
    )
    def test_of_an_ordinary_user(self, kernel: str, data: bytes, takes: bool) -> None:  # noqa: FBT001
        """He may have windows of two seconds and multiples of that, but on the first kernel."""
        system = FakeSystem("v2", kernel=kernel, user=1000)
        system.kernel.mkdir("/sys/fs/cgroup/user/a")
        file = system.kernel.watch("/sys/fs/cgroup/user/a/cpu.pressure")
        if takes:
            file.write(data)
        else:
            with pytest.raises(OSError, match="Invalid argument"):
                file.write(data)

    def test_with_the_averages(self) -> None:
        """What a user asks for is looked at every two seconds."""
        system = FakeSystem("v2", cpus=1, user=1000)
        system.kernel.advance("500ms")
        system.kernel.mkdir("/sys/fs/cgroup/user/a")
        file = system.kernel.watch("/sys/fs/cgroup/user/a/cpu.pressure")
        file.write(b"some 150000 2000000")
        for _ in range(2):
            system.kernel.spawn("/sys/fs/cgroup/user/a").burn("1h")

        assert system.kernel.poll([file], 60) == [file]
        assert system.kernel.now == 2

    @pytest.mark.parametrize(
        ("data", "takes"),
        [
            ("some 4294967297 1000000", True),
            ("some\t5\n1000000", True),
            ("full5 1000000x", True),
            ("some 51000000", False),
            ("some -1 1000000", False),
            (" some 5 1000000", False),
        ],
    )
    def test_what_is_one(self, data: str, takes: bool) -> None:  # noqa: FBT001
        """It is read as sscanf does."""
        group = make(FakeSystem("v2"))
        if takes:
            group.write("cpu.pressure", data)
        else:
            with pytest.raises(cgctl.StepError, match="EINVAL"):
                group.write("cpu.pressure", data)
