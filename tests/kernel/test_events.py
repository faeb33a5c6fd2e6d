"""What happens to groups, told by this kernel."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import cgctl
from cgctl.filesystem import notifying
from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make, ready
from tests.kernel.pace import PATIENCE_SEC

pytestmark = pytest.mark.host


def until(events: cgctl.Events, kind: str) -> list[str]:
    """Wait for an event of a kind, and return what was told on the way to it."""
    found: list[str] = []
    while kind not in found:
        found.append(events.wait(PATIENCE_SEC).kind)
    return found


@contextmanager
def later(action: object) -> Iterator[None]:
    """Do something while the body waits."""
    thread = threading.Timer(0.05, action)  # type: ignore[arg-type]
    thread.start()
    try:
        yield
    finally:
        thread.join()


class TestWhatIsTold:
    """Each kind that this kernel and layout can tell of."""

    def test_processes_come_and_go(self, make: Make) -> None:
        """The first one in the group, or below, and the last one."""
        group = make(pids=50)
        process = group.popen(payloads.SLEEPER, stdout=subprocess.PIPE)
        with ready(process), group.events("populated", "empty") as events:
            process.kill()
            assert events.wait(PATIENCE_SEC).kind == "empty"

            with ready(group.popen(payloads.SLEEPER, stdout=subprocess.PIPE)):
                assert events.wait(PATIENCE_SEC).kind == "populated"

    def test_a_program_that_is_over_before_it_is_looked(self, make: Make) -> None:
        """Its end is told all the same, where v2 tells."""
        group = make(pids=50)
        if "unified" not in group.paths():
            return
        with group.events("empty") as events:
            group.run(["true"])
            assert events.wait(PATIENCE_SEC).kind == "empty"

    def test_out_of_memory(self, make: Make) -> None:
        """There is an OOM, somebody is killed for it, and then nobody is left."""
        lacks.require("memory")
        group = make(memory="24M")
        with group.events("oom", "oom_kill", "empty") as events:
            process = group.popen(payloads.hog(64))
            told = until(events, "empty")
            process.wait(PATIENCE_SEC)

        assert [*dict.fromkeys(told)] == ["oom", "oom_kill", "empty"]

    def test_the_limit_is_met(self, make: Make) -> None:
        """Before there is an OOM."""
        lacks.require("v2 memory")
        group = make(memory="24M")
        with group.events("memory_max", "oom_kill") as events:
            done = group.run(payloads.hog(64))
            told = until(events, "oom_kill")

        assert done.oom_killed
        assert told[0] == "memory_max"

    def test_throttled(self, make: Make) -> None:
        """At ``high``."""
        lacks.require("v2 memory")
        group = make(memory=cgctl.Memory(high="16M", swap_max=0))
        with group.events("memory_high") as events:
            group.run(payloads.hog(16), timeout=PATIENCE_SEC, stdout=subprocess.DEVNULL)

            assert events.wait(PATIENCE_SEC).count > 0

    def test_a_fork_is_refused(self, make: Make) -> None:
        """Wherever this kernel counts it."""
        lacks.require("pids")
        group = make(pids=5)
        with group.events("pids_max") as events, ready(group.popen(payloads.SLEEPER, stdout=subprocess.PIPE)):
            process = group.popen(payloads.fork_bomb(20), stdout=subprocess.DEVNULL)
            told = events.wait(PATIENCE_SEC)
            process.wait(PATIENCE_SEC)

        assert told.kind == "pids_max"

    def test_frozen_and_thawed(self, make: Make) -> None:
        """Its processes stop, and go on."""
        group = make(pids=5)
        with ready(group.popen(payloads.SLEEPER, stdout=subprocess.PIPE)), group.events("frozen", "thawed") as events:
            group.freeze()
            assert events.wait(PATIENCE_SEC).kind == "frozen"
            group.thaw()
            assert events.wait(PATIENCE_SEC).kind == "thawed"

    def test_thresholds_of_usage(self, make: Make) -> None:
        """On v1."""
        lacks.require("v1 memory")
        group = make(memory="64M")
        with group.events("usage", usage="24M") as events, ready(group.popen(payloads.hog(32), stdout=subprocess.PIPE)):
            assert events.wait(PATIENCE_SEC).kind == "usage"

    @pytest.mark.slow
    def test_pressure(self, make: Make) -> None:
        """Two processes want one processor's half: each waits for the other, and for the quota."""
        lacks.require("cpu")
        group = make(cpu=0.2)
        if "unified" not in group.paths():
            with pytest.raises(cgctl.UnsupportedError, match="v1 knows no pressure"):
                group.events("cpu_pressure", some="50ms")
            return
        with group.events("cpu_pressure", some="50ms", window="2s") as events:
            processes = [group.popen(payloads.spinner(PATIENCE_SEC), stdout=subprocess.DEVNULL) for _ in range(4)]
            told = events.wait(PATIENCE_SEC)
            with pytest.raises(cgctl.UnsupportedError, match="event loop would take that"):
                events.fileno()
            for process in processes:
                process.kill()
                process.wait(PATIENCE_SEC)

        assert told.kind == "cpu_pressure"


class TestRemoval:
    """The end of a group."""

    def test_it_is_the_last_event(self, make: Make) -> None:
        """Whoever waits is woken by it."""
        group = make(pids=5)
        with group.events(timeout=PATIENCE_SEC) as events, later(group.remove):
            assert [event.kind for event in events] == ["removed"]

    def test_after_it_an_event_loop_has_its_peace(self, make: Make) -> None:
        """The descriptor is ready for the removal, and then no more."""
        group = make(pids=5)
        with group.events() as events:
            group.remove()
            assert select.select([events.fileno()], [], [], PATIENCE_SEC)[0]
            told = events.pending()
            while not told:  # where it is polled, it was ready for that
                told = [events.wait(PATIENCE_SEC)]
            ready = select.select([events.fileno()], [], [], 0.15)[0]

        assert [event.kind for event in told] == ["removed"]
        assert ready == []

    def test_where_inotify_is_not_to_be_had(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """A user has 128 instances; who has none looks again and again."""
        monkeypatch.setattr(notifying.Notifier, "removals", lambda *_: False)
        group = make(pids=5)
        with group.events(timeout=PATIENCE_SEC) as events, later(group.remove):
            assert [event.kind for event in events] == ["removed"]

    def test_others_do_not_end_it(self, make: Make) -> None:
        """A group beside it is removed, and nothing has happened to this one."""
        group, beside = make(pids=5), make(pids=5)
        with group.events() as events:
            beside.remove()
            with pytest.raises(cgctl.TimeoutExpired):
                events.wait("200ms")

    def test_of_the_group_of_a_program(self, make: Make) -> None:
        """It goes when the program has ended."""
        process = make(pids=9).popen(payloads.SLEEPER, stdout=subprocess.PIPE)
        with ready(process), process.group.events("removed", timeout=PATIENCE_SEC) as events:
            with later(process.kill):
                process.wait(PATIENCE_SEC)

            assert [event.kind for event in events] == ["removed"]


class TestWaiting:
    """How it waits."""

    @pytest.mark.slow
    def test_no_busy_loop(self, make: Make) -> None:
        """A second of waiting costs next to no processor time, polled or told."""
        script = (
            "import sys, time, cgctl\n"
            "with cgctl.Group(sys.argv[1]).events() as events:\n"
            "    begun = time.process_time()\n"
            "    try:\n"
            "        events.wait('1s')\n"
            "    except cgctl.TimeoutExpired:\n"
            "        print(time.process_time() - begun)\n"
        )
        group = make(pids=5)
        done = subprocess.run(
            [sys.executable, "-c", script, group.name],
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SEC * 4,
        )

        assert float(done.stdout) < 0.3

    def test_in_an_event_loop(self, make: Make) -> None:
        """Its descriptor is ready when something has happened, and not before."""
        group = make(pids=9)

        async def wait() -> list[str]:
            loop, found = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(events.fileno(), found.set)
            try:
                with later(lambda: processes.append(group.popen(payloads.SLEEPER))):
                    await asyncio.wait_for(found.wait(), PATIENCE_SEC)
                    return [event.kind for event in events.pending()]
            finally:
                loop.remove_reader(events.fileno())

        processes: list[cgctl.Process] = []
        with group.events("populated") as events:
            if "unified" in group.paths():
                assert select.select([events.fileno()], [], [], 0) == ([], [], [])
            # Where it is polled, the descriptor is ready from time to time.
            told = asyncio.run(wait()) or [events.wait(PATIENCE_SEC).kind]
        for process in processes:
            process.kill()
            process.wait(PATIENCE_SEC)

        assert told[:1] == ["populated"]

    def test_nothing_stays_open(self, make: Make) -> None:
        """Whether it went well or not."""
        group = make(pids=5)
        with group.events():
            pass
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with group.events():
                pass
            with pytest.raises(cgctl.UnsupportedError):
                group.events("empty", "oom_kill")

        assert len(os.listdir("/proc/self/fd")) == before
