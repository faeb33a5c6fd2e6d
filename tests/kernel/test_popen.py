"""``cgctl.popen``: what subprocess.Popen is, for a tree in a group of its own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from typing import IO, Any

import psutil
import pytest

import cgctl
from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make, ready
from tests.kernel.inside import is_alive, where
from tests.kernel.pace import DEAD_SEC, PATIENCE_SEC, eventually
from tests.leaks import PREFIX, groups

pytestmark = pytest.mark.host

_KILLED = -signal.SIGKILL


def _pipe(pipe: IO[Any] | None) -> IO[Any]:
    assert pipe is not None
    return pipe


def test_it_runs_in_its_group() -> None:
    """The process is in the group from its first instruction, and ``group`` is that group."""
    lacks.require("pids")
    with cgctl.popen(payloads.WHERE, pids=20, stdout=subprocess.PIPE, text=True) as process:
        group = process.group
        name = group.address.name
        seen = _pipe(process.stdout).read()
    lines = [line for line in seen.splitlines() if name in line]

    assert len(lines) >= 1
    assert process.returncode == 0
    assert not group.exists()


def test_poll_and_wait() -> None:
    """Poll says nothing while it runs; wait gives the status; afterwards both give it."""
    process = cgctl.popen(payloads.SLEEPER, pids=20, stdout=subprocess.DEVNULL)
    assert process.poll() is None
    assert is_alive(process.pid)
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        process.wait(timeout=0.05)
    process.terminate()

    assert caught.value.timeout == 0.05
    assert process.wait(PATIENCE_SEC) == -signal.SIGTERM
    assert process.poll() == -signal.SIGTERM


def test_communicate() -> None:
    """Communicate times out as subprocess does, keeps what was read, and can be called again."""
    process = cgctl.popen(payloads.SLEEPER, pids=20, stdout=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.05)
    assert eventually(lambda: _has_output(process))
    process.kill()

    assert process.communicate() == ("ready\n", None)
    assert process.returncode == _KILLED


def _has_output(process: cgctl.Process) -> bool:
    try:
        process.communicate(timeout=0.05)
    except subprocess.TimeoutExpired as error:
        return bool(error.output == b"ready\n")
    return True


def test_fileno_is_a_pidfd() -> None:
    """It can be polled: readable once the program has ended; after wait it is closed."""
    process = cgctl.popen(payloads.SLEEPER, pids=20, stdout=subprocess.DEVNULL)
    assert select.select([process], [], [], 0)[0] == []
    process.send_signal(signal.SIGKILL)
    assert select.select([process], [], [], PATIENCE_SEC)[0] == [process]
    process.wait()
    with pytest.raises(ValueError, match="has been waited for"):
        process.fileno()


def test_kill_is_for_the_tree() -> None:
    """Kill ends the whole tree, send_signal reaches the program alone."""
    with ready(cgctl.popen(payloads.FAMILY, pids=20, stdout=subprocess.PIPE)) as process:
        tree = process.group.pids()

    assert len(tree) == 3
    assert process.returncode == _KILLED
    assert eventually(lambda: not any(map(is_alive, tree)), DEAD_SEC)


def test_it_is_our_child() -> None:
    """The program is the caller's own child, as subprocess's is."""
    process = cgctl.popen(payloads.SLEEPER, pids=20, stdout=subprocess.DEVNULL)
    parent = psutil.Process(process.pid).ppid()
    process.kill()
    process.wait()

    assert parent == os.getpid()


def test_with_waits() -> None:
    """Leaving ``with`` closes the pipes and waits."""
    with cgctl.popen(payloads.COPY, pids=20, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        _pipe(process.stdin).write(b"abc")
        _pipe(process.stdin).close()
        assert _pipe(process.stdout).read() == b"ABC"

    assert process.returncode == 0
    assert _pipe(process.stdout).closed


def test_after_the_end() -> None:
    """Signals to what has ended are nothing, and waiting again gives the same."""
    process = cgctl.popen(["true"], pids=20)
    process.wait()
    process.kill()
    process.terminate()

    assert process.wait() == 0
    assert groups(PREFIX) == []


def test_limits_can_change_meanwhile() -> None:
    """The group of a running program can be updated and asked."""
    lacks.require("pids")
    with ready(cgctl.popen(payloads.SLEEPER, pids=20, stdout=subprocess.PIPE)) as process:
        limits = process.group.update(pids=5)
        stats = process.group.stats("pids").pids

    assert limits.pids == cgctl.Pids(max=5)
    assert stats is not None
    assert stats.current == 1


def test_several_in_one_group(make: Make) -> None:
    """Programs in one group have a leaf each, and end without touching each other."""
    group = make(pids=40)
    first, second = (group.popen(payloads.SLEEPER, stdout=subprocess.DEVNULL) for _ in range(2))
    assert len(group.children()) == 2
    assert where(first.pid) != where(second.pid)
    first.kill()
    first.wait()
    assert second.poll() is None
    assert len(group.children()) == 1
    second.kill()
    second.wait()

    assert group.children() == []


def test_a_process_can_be_added_elsewhere(make: Make) -> None:
    """A cgctl.Process is a process for ``add``; its own group goes when it ends all the same."""
    group = make(pids=40)
    process = cgctl.popen(payloads.SLEEPER, pids=20, stdout=subprocess.DEVNULL)
    group.add(process)
    assert process.pid in group.pids()
    process.send_signal(signal.SIGKILL)

    assert process.wait() == _KILLED
    assert not process.group.exists()
