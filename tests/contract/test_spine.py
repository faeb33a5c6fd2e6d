"""The spine, in every layout: as whoever runs it, in the group that it is in; or an honest ``UnsupportedError``.

Each test is a line of the table in ``docs/support.md``, which has its name and how it went. Groups are made where cgctl
puts them by itself, below the caller's own group: with ``CGCTL_BASE`` a systemd unit could not be told from its parent.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import cgctl
from tests.contract.here import needs
from tests.kernel import payloads
from tests.kernel.pace import CPU_BAND, PATIENCE_SEC, eventually

Make = Callable[..., cgctl.Group]
_KILLED = -signal.SIGKILL


@pytest.fixture
def make(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Create groups below this process's own; they are emptied and removed after the test."""
    monkeypatch.delenv("CGCTL_BASE")
    made: list[cgctl.Group] = []
    numbers = itertools.count(1)

    def create(**keywords: object) -> cgctl.Group:
        group = cgctl.Group(f"{name}-{next(numbers)}", join=False, **keywords)  # type: ignore[arg-type]
        group.create()
        made.append(group)
        return group

    yield create
    for group in reversed(made):
        with suppress(cgctl.GroupNotFoundError):
            group.kill(timeout=PATIENCE_SEC)
            group.remove()


@pytest.fixture
def start() -> Iterator[Callable[..., cgctl.Process]]:
    """Start payloads that stay in a group, and end them after the test."""
    started: list[cgctl.Process] = []

    def begin(group: cgctl.Group, argv: list[str]) -> cgctl.Process:
        process = group.popen(argv, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate(timeout=PATIENCE_SEC)


Start = Callable[[cgctl.Group, list[str]], cgctl.Process]


def _where(pid: int | str = "self") -> str:
    return Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")


def test_run_in_a_group(make: Make) -> None:
    """A program runs in a group of its own, and its output and its status come back."""
    with needs():
        done = make().run(payloads.say("out", "err", 7), capture_output=True, text=True)

        assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_memory_oom_kill(make: Make) -> None:
    """A program over its memory limit is killed, and this is told; one below is not."""
    with needs("memory"):
        group = make(memory="48M")
        killed, fine = group.run(payloads.hog(96)), group.run(payloads.hog(8), stdout=subprocess.DEVNULL)

        assert (killed.returncode, killed.oom_killed) == (_KILLED, True)
        assert (fine.returncode, fine.oom_killed) == (0, False)


def test_cpu_quota(make: Make) -> None:
    """At 0.25 CPUs, a spinner uses no more than that, by its own clock; emulated within 40 %, else within 3 %."""
    with needs("cpu"):
        done = make(cpu=0.25).run(payloads.spinner(2), capture_output=True, text=True)
        used, passed = map(float, done.stdout.split()[1:])

        assert 0 < used <= 0.25 * passed * (1 + CPU_BAND) + 0.05


def test_pids(make: Make) -> None:
    """At 10 tasks, the eleventh fork is refused with EAGAIN."""
    with needs("pids"):
        done = make(pids=10).run(payloads.fork_bomb(30), capture_output=True, text=True)

        assert done.stdout == '{"forks": 9, "errno": 11}\n'


def test_cpuset(make: Make) -> None:
    """A program runs on the processor that its group is given."""
    with needs("cpuset"):
        last = max(os.sched_getaffinity(0))
        script = payloads.python("import os; print(*os.sched_getaffinity(0))")
        done = make(cpuset=[last]).run(script, capture_output=True, text=True)

        assert done.stdout == f"{last}\n"


def test_limits_together(make: Make) -> None:
    """Four controllers hold at once, and read back as they were set."""
    with needs("memory", "cpu", "cpuset", "pids"):
        held = make(memory="64M", cpu=0.5, cpuset=[0], pids=20).limits()

        assert held.memory is not None
        assert held.cpu is not None
        assert held.cpuset is not None
        assert held.pids is not None
        assert (held.memory.max, held.cpu.max, held.cpuset.cpus, held.pids.max) == (64 << 20, 0.5, (0,), 20)


def test_freeze_and_thaw(make: Make, start: Start) -> None:
    """A frozen group does nothing until it is thawed."""
    with needs():
        group = make()
        process = start(group, payloads.POLITE)
        # A signal between its last look for one and its sleep would be seen to only after that: ten minutes.
        assert eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING)
        group.freeze()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(cgctl.TimeoutExpired):
            process.wait(0.2)
        group.thaw()

        assert process.wait(PATIENCE_SEC) == 7


def test_kill(make: Make, start: Start) -> None:
    """All processes of a group and of those below are killed, also those that mind no SIGTERM."""
    with needs():
        group = make()
        started = [start(group, payloads.FAMILY), start(group.group("below").create(), payloads.STUBBORN)]
        group.kill(timeout=PATIENCE_SEC)

        assert [process.wait(PATIENCE_SEC) for process in started] == [_KILLED, _KILLED]
        assert group.pids() == []


def test_nested_limits(make: Make) -> None:
    """A limit above holds below, whatever the group below says."""
    with needs("pids"):
        below = make(pids=5).group("below", pids=100).create()
        done = below.run(payloads.fork_bomb(30), capture_output=True, text=True)

        assert done.stdout == '{"forks": 4, "errno": 11}\n'


def test_join_and_return(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the block this process and what it starts are in the group; afterwards where they were."""
    monkeypatch.delenv("CGCTL_BASE")
    before = _where()
    with needs():
        with cgctl.Group(name) as outer, cgctl.Group("inner"):
            assert f"/{name}/inner\n" in _where()
            child = subprocess.run(payloads.WHERE, stdout=subprocess.PIPE, text=True, check=True)
            assert f"/{name}/inner\n" in child.stdout

        assert _where() == before
        assert not outer.exists()


def test_recursive_removal(make: Make) -> None:
    """A group goes with all groups below it."""
    with needs():
        group = make()
        for below in ("a/b/c", "a/d", "e"):
            group.group(below).create()
        directories = group.paths().values()
        group.remove()

        assert not any(map(os.path.exists, directories))


def test_statistics(make: Make) -> None:
    """Peak memory, processor time and tasks are counted while and after they are used."""
    with needs("memory", "pids"):
        group = make(memory="64M", pids=20)
        done = group.run(payloads.hog(24), stdout=subprocess.DEVNULL)
        assert done.stats.memory is not None

        assert done.stats.memory.peak is None or done.stats.memory.peak >= 24 << 20
        assert eventually(lambda: group.stats().pids.current == 0)  # type: ignore[union-attr]
