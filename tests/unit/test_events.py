"""What happens to groups of a machine in memory, told in the order in which it happens."""

from __future__ import annotations

import errno
from itertools import pairwise
from typing import Any

import pytest

import cgctl
from cgctl.events import KINDS
from cgctl.fake.time.work import Call
from cgctl.testing import FakeSystem
from tests.unit.in_memory import make

V2: list[Any] = ["5.10", "6.1", "6.12", "6.18", "7.3"]


def kinds(events: cgctl.Events) -> list[str]:
    """Return what has happened meanwhile, without waiting."""
    return [event.kind for event in events.pending()]


class TestWhatIsTold:
    """Each kind, on each layout."""

    def test_processes_come_and_go(self, system: FakeSystem) -> None:
        """The first one in the group, or below, and the last one."""
        group = make(system, pids=9)
        below = [group.group(name, pids=9).create() for name in ("a", "b")]
        with group.events("populated", "empty") as events:
            task = system.kernel.spawn(below[0])
            assert kinds(events) == ["populated"]

            other = system.kernel.spawn(below[1])
            task.exit()
            assert kinds(events) == []

            other.exit()
            assert kinds(events) == ["empty"]

    def test_who_comes_and_goes_between_two_looks(self, system: FakeSystem) -> None:
        """v2 tells of the end, and v1 is looked at too late."""
        group = make(system, pids=9)
        with group.events() as events:
            system.kernel.spawn(group).exit()
            assert kinds(events) == (["empty"] if "unified" in group.paths() else [])

            task = system.kernel.spawn(group)
            assert kinds(events) == ["populated"]
            system.kernel.spawn(group).exit()
            assert kinds(events) == []
            task.exit()
            assert kinds(events) == ["empty"]

    def test_one_of_both(self, system: FakeSystem) -> None:
        """What was not asked for is not told."""
        group = make(system, pids=9)
        with group.events("empty") as events:
            task = system.kernel.spawn(group)
            assert kinds(events) == []

            task.exit()
            assert kinds(events) == ["empty"]

    def test_what_was_before_is_no_event(self, system: FakeSystem) -> None:
        """Neither a process that is there, nor an OOM that has been."""
        group = make(system, memory="10M")
        system.kernel.spawn(group).allocate("20M")
        system.kernel.spawn(group)
        with group.events() as events:
            assert kinds(events) == []

    def test_out_of_memory(self, system: FakeSystem) -> None:
        """The limit is met, then there is an OOM, then somebody is killed for it, and then nobody is left."""
        group = make(system, memory="10M")
        task = system.kernel.spawn(group)
        with group.events("empty", "oom_kill", "oom", "memory_max", timeout=60) as events:
            task.allocate("20M")

            assert [event.kind for event in events] == ["memory_max", "oom", "oom_kill", "empty"]

    def test_kills_below_are_counted(self, system: FakeSystem) -> None:
        """Two processes of two groups, since the last look."""
        group = make(system, memory="100M")
        groups = [group.group(name, memory="10M").create() for name in ("a", "b")]
        with group.events("oom_kill") as events:
            for each in groups:
                system.kernel.spawn(each).allocate("20M")

            assert [(event.kind, event.count) for event in events.pending()] == [("oom_kill", 2)]

    def test_a_fork_is_refused(self, system: FakeSystem) -> None:
        """At the limit of pids, in the group or below."""
        group = make(system, pids=1)
        task = system.kernel.spawn(group.group("below", pids=5).create())
        with group.events("pids_max") as events:
            for _ in range(2):
                with pytest.raises(OSError, match="Resource temporarily unavailable"):
                    task.fork()

            assert [(event.kind, event.count) for event in events.pending()] == [("pids_max", 2)]

    def test_frozen_and_thawed(self, system: FakeSystem) -> None:
        """Its processes stop, and go on."""
        group = make(system, pids=9)
        system.kernel.spawn(group)
        with group.events("frozen", "thawed") as events:
            group.freeze()
            assert kinds(events) == ["frozen"]

            group.thaw()
            assert kinds(events) == ["thawed"]

    @pytest.mark.parametrize("kernel", V2)
    def test_v2_has_more(self, kernel: str) -> None:
        """Throttling at ``high``."""
        system = FakeSystem("v2", kernel=kernel)
        group = make(system, memory=cgctl.Memory(high="1M"))
        task = system.kernel.spawn(group)
        with group.events("memory_high") as events:
            task.allocate("2M")
            system.kernel.advance("5s")

            assert kinds(events) == ["memory_high"]

    def test_v1_has_thresholds(self) -> None:
        """Of usage, in both directions."""
        system = FakeSystem("v1", kernel="6.1")
        group = make(system, memory="100M")
        task = system.kernel.spawn(group)
        with group.events("usage", usage="20M") as events:
            task.allocate("10M")
            assert kinds(events) == []

            task.allocate("10M")
            assert kinds(events) == ["usage"]

            task.free("10M")
            assert kinds(events) == ["usage"]

    @pytest.mark.parametrize("layout", ["v2", "hybrid"])
    def test_pressure(self, layout: Any) -> None:
        """Two want the only processor, as long as it takes; once a window at most."""
        system = FakeSystem(layout, kernel="6.1", cpus=1)
        group = make(system, pids=9)
        for _ in range(2):
            system.kernel.spawn(group).burn("3s")
        with group.events("cpu_pressure", some="500ms", window="1s") as events:
            times = [event.time for event in events]

        assert 6 <= len(times) <= 7
        assert times[0] <= 1.0
        assert all(later - earlier >= 1.0 for earlier, later in pairwise(times))

    def test_removed_is_the_last(self, system: FakeSystem) -> None:
        """The iteration ends with it, and nothing is to be waited for any more."""
        group = make(system, memory="10M", pids=5)
        with group.events() as events:
            group.remove()

            assert [event.kind for event in events] == ["removed"]
            assert events.pending() == []
            with pytest.raises(cgctl.GroupNotFoundError, match=r"^group 'p1' is gone; there is nothing more"):
                events.wait(1)

    def test_another_of_the_same_name_is_another(self, system: FakeSystem) -> None:
        """It is the group that was listened to, and not its name."""
        group = make(system, pids=5)
        with group.events("populated") as events:
            group.remove()
            again = make(system, pids=5)
            system.kernel.spawn(again)

            assert [event.kind for event in events] == ["removed"]


class TestWaiting:
    """Timeouts, and who waits."""

    def test_until_it_happens(self, system: FakeSystem) -> None:
        """Time passes until then, and not longer than a look takes where nobody tells."""
        group = make(system, cpu=0.5)
        task = system.kernel.spawn(group)
        task.burn("1s")
        system.kernel.give(task.threads[0], Call(task.exit))
        with group.events("empty") as events:
            event = events.wait("1m")

        assert event.kind == "empty"
        assert 1.9 <= event.time <= 2.2

    def test_timeout_of_one_wait(self, system: FakeSystem) -> None:
        """It is an error, after that time."""
        group = make(system, pids=5)
        with group.events("empty") as events, pytest.raises(cgctl.TimeoutExpired, match=r"'p1'.* after 3.0 s$"):
            events.wait("3s")

        assert system.kernel.now == pytest.approx(3.0)

    def test_timeout_of_all(self, system: FakeSystem) -> None:
        """The iteration ends."""
        group = make(system, pids=5)
        with group.events("empty", timeout="3s") as events:
            assert list(events) == []

        assert system.kernel.now == pytest.approx(3.0)

    def test_where_nothing_is_ever_going_to_happen(self, system: FakeSystem) -> None:
        """In memory that is known, so nobody waits for ever."""
        with make(system, pids=5).events("empty") as events:
            assert list(events) == []
            with pytest.raises(cgctl.TimeoutExpired):
                events.wait()

    def test_closed(self, system: FakeSystem) -> None:
        """Nothing is to be had from it."""
        events = make(system, pids=5).events("empty")
        events.close()
        events.close()

        assert list(events) == []
        with pytest.raises(ValueError, match=r"^the events are closed$"):
            events.wait(0)

    def test_no_descriptor(self, system: FakeSystem) -> None:
        """There is none in memory."""
        with make(system, pids=5).events("empty") as events, pytest.raises(cgctl.UnsupportedError, match="in memory"):
            events.fileno()


class TestWhatIsRefused:
    """Nonsense, and what cannot be had."""

    @pytest.mark.parametrize(
        ("asked", "keywords", "message"),
        [
            (["opulent"], {}, r"^events\('opulent'\): nothing that can be told; give one of populated, empty, "),
            (["memory_pressure"], {}, r"neither is given; give some=\"150ms\" or full=\"50ms\"$"),
            (["cpu_pressure"], {"some": 1, "full": 1}, r"^events\('cpu_pressure'\): .*both are given"),
            (["io_pressure"], {"some": "150ms", "window": "400ms"}, r"^window='400ms'"),
            (["io_pressure"], {"some": "150ms", "window": "11s"}, r"^window='11s'"),
            (["io_pressure"], {"some": "3s"}, r"^some='3s': more than the window of 2s"),
            (["io_pressure"], {"full": 0}, r"^full=0"),
            (["empty"], {"some": "150ms"}, r"^events: some, full and window are of pressure"),
            (["usage"], {}, r"belong together"),
            (["empty"], {"usage": "1M"}, r"belong together"),
            (["empty"], {"timeout": "soon"}, r"^timeout='soon'"),
        ],
    )
    def test_nonsense(self, asked: list[Any], keywords: dict[str, Any], message: str) -> None:
        """It is said what is wrong, and nothing is opened."""
        group = make(FakeSystem("v2"), memory="10M")
        with pytest.raises(cgctl.SpecError, match=message):
            group.events(*asked, **keywords)

    @pytest.mark.parametrize("kind", ["memory_low", "memory_high", "oom_group_kill"])
    def test_what_v1_has_not(self, kind: Any) -> None:
        """By name."""
        group = make(FakeSystem("v1", kernel="6.1"), memory="10M")
        with pytest.raises(cgctl.UnsupportedError, match=f"^the event {kind} is not supported here: v1 "):
            group.events(kind)

    def test_v1_knows_no_pressure(self) -> None:
        """But where v2 stands beside it, that does, whatever controllers it has."""
        group = make(FakeSystem("v1", kernel="6.1"), memory="10M")
        with pytest.raises(cgctl.UnsupportedError, match="v1 knows no pressure"):
            group.events("memory_pressure", some="150ms")

        with make(FakeSystem("hybrid", kernel="6.1"), memory="10M").events("memory_pressure", some="150ms"):
            pass

    def test_v2_has_no_thresholds(self) -> None:
        """And what it has instead is said."""
        group = make(FakeSystem("v2"), memory="10M")
        with pytest.raises(cgctl.UnsupportedError, match="set high, and wait for memory_high"):
            group.events("usage", usage="10M")

    def test_a_kernel_that_counts_no_killed_groups(self) -> None:
        """``oom_group_kill`` is since 5.17."""
        group = make(FakeSystem("v2", kernel="5.10"), memory="10M")
        with pytest.raises(cgctl.UnsupportedError, match=r"memory\.events has no oom_group_kill"):
            group.events("oom_group_kill")

    def test_a_kernel_without_full_cpu_pressure(self) -> None:
        """That is since 5.13."""
        group = make(FakeSystem("v2", kernel="5.10"), memory="10M")
        with pytest.raises(cgctl.UnsupportedError, match=r"full of cpu is since 5\.13"):
            group.events("cpu_pressure", full="150ms")

    def test_without_the_controller(self, system: FakeSystem) -> None:
        """It says which one the group lacks, and by default what can be told is."""
        group = make(system, cpu=1)
        with pytest.raises(cgctl.UnsupportedError, match="memory"):
            group.events("oom_kill")

        with group.events() as events:
            system.kernel.spawn(group)
            assert kinds(events) == ["populated"]

    def test_a_group_that_is_not_there(self, system: FakeSystem) -> None:
        """As for every verb."""
        with pytest.raises(cgctl.GroupNotFoundError):
            cgctl.Group("p1", system=system).events()

    def test_a_group_that_goes_in_between(self, system: FakeSystem) -> None:
        """When it is looked for it is there, and when its files are opened it is not."""
        group = make(system, memory="10M")
        system.kernel.vanish(group, on="cgroup.events" if "unified" in group.paths() else "freezer.state")
        with pytest.raises(cgctl.GroupNotFoundError, match=r"^group 'p1' was removed meanwhile$"):
            group.events("frozen", "empty")

    def test_a_controller_that_is_taken_away(self) -> None:
        """The group is there, and its files are not: that is no removal."""
        system = FakeSystem("v2")
        group = make(system, memory="10M")
        above = group.paths()["unified"].rpartition("/")[0]
        with group.events("oom_kill", "empty") as events:
            system.kernel.write(f"{above}/cgroup.subtree_control", b"-memory")
            with pytest.raises(cgctl.StepError, match="the controller was taken from the group") as caught:
                events.wait(1)

        assert caught.value.errno == errno.ENODEV


def test_the_kinds_are_told_of_in_the_documentation() -> None:
    """Each is named in the docstring of what tells it."""
    assert [kind for kind in KINDS if f'"{kind}"' not in (cgctl.Event.__doc__ or "")] == []
