"""``cgctl.run`` and ``Group.run``: limits that hold, ends that are told, and nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cgctl
from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make, ready
from tests.kernel.inside import is_alive
from tests.kernel.pace import CPU_BAND, DEAD_SEC, SLOWNESS, eventually
from tests.leaks import PREFIX, groups

pytestmark = pytest.mark.host

_M = 1 << 20
_KILLED = -signal.SIGKILL


class TestMemory:
    """The memory limit."""

    def test_over_the_limit(self) -> None:
        """A program that wants more is killed at the limit, never above it, and the result says so."""
        lacks.require("memory")
        done = cgctl.run(payloads.hog(200), memory="100M", capture_output=True)

        assert (done.returncode, done.oom_killed, done.timed_out, done.stdout) == (_KILLED, True, False, b"")
        assert _peak(done) <= 100 * _M

    def test_below_the_limit(self) -> None:
        """A program that needs less is not disturbed."""
        lacks.require("memory")
        done = cgctl.run(payloads.hog(40), memory="100M", capture_output=True)

        assert (done.returncode, done.oom_killed, done.stdout) == (0, False, b"ready\n")

    @pytest.mark.slow
    def test_always(self) -> None:
        """Fifty of fifty are killed, each at the limit."""
        lacks.require("memory")
        results = [cgctl.run(payloads.hog(200), memory="100M", capture_output=True) for _ in range(50)]

        assert [(done.returncode, done.oom_killed) for done in results] == [(_KILLED, True)] * 50
        assert max(map(_peak, results)) <= 100 * _M

    def test_a_child_is_the_victim(self) -> None:
        """A kill of any process of the tree counts, also if the program itself ends well."""
        lacks.require("memory")
        script = "import subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)"
        done = cgctl.run([sys.executable, "-c", script, *payloads.hog(200)], memory="100M")

        assert (done.returncode, done.oom_killed) == (0, True)
        done.check_returncode()

    @pytest.mark.parametrize("limit", ["4K", "16K", "128K"])
    def test_too_small_to_begin(self, limit: str) -> None:
        """A limit that not even exec fits into is an OOM kill, and neither an error nor a hang."""
        lacks.require("memory")
        done = cgctl.run(payloads.SLEEPER, memory=limit, timeout=60)

        assert (done.returncode, done.oom_killed, done.timed_out) == (_KILLED, True, False)

    def test_raised_while_it_runs(self, make: Make) -> None:
        """A limit that is raised holds at once for what runs."""
        lacks.require("memory")
        group = make(memory="60M")
        with ready(group.popen(payloads.hog(40, 600), stdout=subprocess.PIPE)):
            group.update(memory="200M")
            assert group.run(payloads.hog(100), capture_output=True).returncode == 0


def _peak(done: cgctl.Completed) -> int:
    memory = done.stats.memory
    assert memory is not None
    return memory.peak or 0


class TestCpu:
    """The processor limit."""

    @pytest.mark.slow
    def test_half_a_processor(self, name: str, make: Make) -> None:
        """At 0.5 CPUs, a spinner gets half of the time, within 3 %."""
        lacks.require("cpu")
        # With such a weight, directly below the root, others on this machine do not matter.
        group = make(name=f"/{name}", cpu=cgctl.Cpu(max=0.5, weight=10_000))
        done = group.run(payloads.spinner(4), capture_output=True, text=True)
        used, passed = map(float, done.stdout.split()[1:])

        assert used / passed == pytest.approx(0.5, rel=CPU_BAND)

    def test_no_more_than_allowed(self) -> None:
        """At 0.2 CPUs, a spinner gets no more than that over a second, a period more or less."""
        lacks.require("cpu")
        done = cgctl.run(payloads.spinner(1), cpu=0.2, capture_output=True, text=True)
        used, passed = map(float, done.stdout.split()[1:])

        assert used <= 0.2 * passed * (1 + CPU_BAND) + 0.05

    def test_cpuset(self) -> None:
        """The program sees just the processors that it may run on."""
        lacks.require("cpuset", "two processors")
        last = max(os.sched_getaffinity(0))
        script = "import os; print(*os.sched_getaffinity(0))"
        done = cgctl.run(payloads.python(script), cpuset=[last], capture_output=True, text=True)

        assert done.stdout == f"{last}\n"


class TestPids:
    """The limit of tasks."""

    def test_fork_bomb(self) -> None:
        """At 20 tasks, the program itself included, forks end with EAGAIN."""
        lacks.require("pids")
        done = cgctl.run(payloads.fork_bomb(100), pids=20, capture_output=True)

        assert json.loads(done.stdout) == {"forks": 19, "errno": errno.EAGAIN}
        assert done.stats.pids is not None
        assert done.stats.pids.events_max == 1

    def test_limits_above_count_too(self, make: Make) -> None:
        """A run below a group obeys the group's limit."""
        lacks.require("pids")
        done = make(pids=10).run(payloads.fork_bomb(100), capture_output=True)

        assert json.loads(done.stdout) == {"forks": 9, "errno": errno.EAGAIN}


class TestTimeout:
    """The end of the time allowed."""

    def test_kills_the_tree(self) -> None:
        """What is out of time is killed with all its children, and the result says so, without an exception."""
        done = cgctl.run(payloads.FAMILY, pids=20, timeout="300ms", capture_output=True)

        assert (done.returncode, done.timed_out, done.oom_killed) == (_KILLED, True, False)
        assert 300_000 <= done.wall_usec < 10_000_000 * SLOWNESS

    def test_sigterm_first(self) -> None:
        """With *grace* it is asked to end before it is killed, and its own exit status counts."""
        done = cgctl.run(payloads.POLITE, pids=20, timeout=0.5 * SLOWNESS, grace="60s", stdout=subprocess.DEVNULL)

        assert (done.returncode, done.timed_out) == (7, True)

    def test_grace_is_over(self) -> None:
        """One that does not mind SIGTERM is killed after its grace."""
        begun = 0.5 * SLOWNESS
        done = cgctl.run(payloads.STUBBORN, timeout=begun, grace="100ms", stdout=subprocess.DEVNULL)

        assert (done.returncode, done.timed_out) == (_KILLED, True)

    def test_output_until_then(self) -> None:
        """What was written until the timeout is in the result."""
        done = cgctl.run(payloads.SLEEPER, timeout=0.5 * SLOWNESS, capture_output=True, text=True)

        assert (done.stdout, done.timed_out) == ("ready\n", True)

    def test_in_time(self) -> None:
        """A timeout that is not reached changes nothing."""
        done = cgctl.run(["true"], timeout="1m")

        assert (done.returncode, done.timed_out) == (0, False)


class TestLeftovers:
    """What a program leaves behind."""

    @pytest.mark.parametrize("fds", ["closed", "open"])
    def test_daemons_end_with_the_program(self, fds: str) -> None:
        """A daemon, with a session of its own and no parent, is killed when the program exits; nobody waits for it."""
        done = cgctl.run(payloads.daemoniser(fds), pids=20, capture_output=True, text=True)
        daemon = int(done.stdout)

        assert done.returncode == 0
        assert eventually(lambda: not is_alive(daemon), DEAD_SEC)
        assert done.wall_usec < 30_000_000 * SLOWNESS

    def test_the_leaf_is_gone(self, make: Make) -> None:
        """When run returns, its leaf is gone and the group is as before; its statistics are the run's own."""
        group = make(pids=20)
        done = group.run(payloads.daemoniser(), capture_output=True)

        assert group.children() == []
        assert group.pids() == []
        assert done.stats.core is not None or done.stats.pids is not None

    def test_one_shot_groups_are_gone(self) -> None:
        """A one-shot group is gone when run returns."""
        cgctl.run(["true"], pids=5)

        assert groups(PREFIX) == []


class TestCheck:
    """``check=True``."""

    def test_out_of_memory(self) -> None:
        """OutOfMemoryError has the result, and says what to do."""
        lacks.require("memory")
        with pytest.raises(cgctl.OutOfMemoryError, match=r"at its memory limit.*; raise memory=") as caught:
            cgctl.run(payloads.hog(80), memory="40M", check=True, capture_output=True)

        assert caught.value.completed.oom_killed

    def test_exit_status(self) -> None:
        """ProcessError is subprocess's CalledProcessError, with the output."""
        with pytest.raises(subprocess.CalledProcessError) as caught:
            cgctl.run(payloads.say("out", "err", 3), check=True, capture_output=True, text=True)

        assert isinstance(caught.value, cgctl.ProcessError)
        assert (caught.value.returncode, caught.value.stdout, caught.value.stderr) == (3, "out\n", "err\n")

    def test_timeout(self) -> None:
        """TimeoutExpired is subprocess's too, with the output until then, and the result."""
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            cgctl.run(payloads.SLEEPER, check=True, timeout=0.5 * SLOWNESS, capture_output=True)

        assert isinstance(caught.value, cgctl.TimeoutExpired)
        assert caught.value.timeout == 0.5 * SLOWNESS
        assert caught.value.output == b"ready\n"
        assert caught.value.completed.timed_out

    def test_all_is_well(self) -> None:
        """A success raises nothing."""
        assert cgctl.run(["true"], check=True).returncode == 0


class TestStreams:
    """Input and output."""

    def test_both_outputs(self) -> None:
        """Both outputs are captured, apart."""
        done = cgctl.run(payloads.say("out", "err", 4), capture_output=True)

        assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 4)

    def test_text(self) -> None:
        """With text, input and output are strings."""
        done = cgctl.run(payloads.COPY, input="gr\u00fc\u00dfe", text=True, encoding="utf-8", stdout=subprocess.PIPE)

        assert done.stdout == "GR\u00fc\u00dfE"

    def test_much_input(self) -> None:
        """More than a pipe holds goes through, both ways."""
        data = b"x" * (3 * _M)
        done = cgctl.run(payloads.COPY, input=data, capture_output=True)

        assert done.stdout == data.upper()

    def test_arguments_and_environment(self, tmp_path: Path) -> None:
        """argv, cwd and env are the program's."""
        script = "import os, sys; print(sys.argv[1], os.getcwd(), os.environ['WORD'])"
        done = cgctl.run(
            payloads.python(script, "a b"), cwd=tmp_path, env={"WORD": "x"}, capture_output=True, text=True
        )

        assert done.stdout == f"a b {tmp_path} x\n"
        assert done.args == payloads.python(script, "a b")

    def test_as_another_user(self) -> None:
        """A limit holds for a program that runs as somebody else, too."""
        lacks.require("pids")
        done = cgctl.run(
            ["/bin/sh", "-c", "id -u; id -g"], user=12345, group=12346, pids=5, capture_output=True, text=True
        )

        assert done.stdout == "12345\n12346\n"


class TestConcurrency:
    """Several runs at once."""

    def test_each_has_its_own_result(self, make: Make) -> None:
        """Of runs in one group at once, just those that were killed at the limit say so, and each peak is its own."""
        lacks.require("memory")
        group = make(memory="150M")
        results = _at_once(
            lambda: group.run(payloads.hog(300), capture_output=True),
            *[lambda: group.run(payloads.hog(10, 0.5), capture_output=True) for _ in range(3)],
        )

        assert [(done.returncode, done.oom_killed) for done in results] == [(_KILLED, True), *[(0, False)] * 3]
        assert all(_peak(done) < 100 * _M for done in results[1:])
        assert group.children() == []

    def test_fresh_groups_at_once(self) -> None:
        """One-shot runs of several threads do not get in each other's way."""
        results = _at_once(*[lambda: cgctl.run(payloads.say("x"), pids=20, capture_output=True) for _ in range(6)])

        assert [(done.returncode, done.stdout) for done in results] == [(0, b"x\n")] * 6
        assert groups(PREFIX) == []


def _at_once(*calls: Callable[[], cgctl.Completed]) -> list[cgctl.Completed]:
    results: dict[int, Any] = {}

    def call(number: int) -> None:
        try:
            results[number] = calls[number]()
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it
            results[number] = error

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results.values():
        if isinstance(result, BaseException):
            raise result
    return [results[number] for number in range(len(calls))]


class TestAfterKill:
    """A group that was killed."""

    def test_run_again(self, make: Make) -> None:
        """After kill, the group can run again: Linux 6.18 would kill whoever is born in it."""
        group = make(pids=20)
        for _ in range(3):
            process = group.popen(payloads.SLEEPER, stdout=subprocess.DEVNULL)
            group.kill()
            assert process.wait() == _KILLED
            assert group.run(payloads.say("on"), capture_output=True).stdout == b"on\n"

    def test_others_can_run(self, make: Make) -> None:
        """And so can other groups, and one-shot runs."""
        make(pids=20).kill()

        assert cgctl.run(payloads.say("on"), pids=5, capture_output=True).stdout == b"on\n"

    @pytest.mark.slow
    def test_frozen_from_above(self, make: Make) -> None:
        """A run in a frozen group ends in time, with an error; once it is thawed, the group can be used again."""
        lacks.require("freezer")
        group = make(pids=20)
        group.freeze()
        try:
            # On v1 not even SIGKILL reaches what is frozen from above: then it is the killing that is out of time.
            with pytest.raises((cgctl.LaunchError, cgctl.TimeoutExpired)):
                group.run(["true"])
        finally:
            group.thaw()
        group.kill()

        assert group.run(["true"]).returncode == 0
