"""Signals to ``cgctl run``: the command gets them, and nothing is left."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cli.conftest import CommandLine, state

pytestmark = pytest.mark.host

COUNT = (
    "n=0; trap 'n=$((n+1)); echo got $n' {signal}; echo ready; while [ $n = 0 ]; do sleep 0.05; done; sleep 0.2; exit 9"
)
"""Says which signals it gets, and ends a while after the first."""


ON_A_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes its input the controlling terminal, and becomes another program."""


@contextmanager
def _running(command: CommandLine, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command that says when it is ready."""
    with command.start("run", *arguments) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_forwarded(command: CommandLine, number: signal.Signals) -> None:
    """The command gets a signal that is sent to cgctl, once, and its exit status is cgctl's."""
    script = COUNT.format(signal=number.name.removeprefix("SIG"))
    with _running(command, "-m", "64m", "sh", "-c", script) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)

    assert (out, err, process.returncode) == ("got 1\n", "", 9)
    assert command.left() == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_kills_by_default(command: CommandLine, number: signal.Signals, status: int) -> None:
    """One that does not care dies of it, with all that it started; cgctl says so by its exit status."""
    with _running(command, "--name", "job", "sh", "-c", "sleep 60 & echo ready; exec sleep 61") as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)

    assert (out, err, process.returncode) == ("", "", status)
    assert command.left() == []


def test_a_stubborn_one_is_killed(command: CommandLine) -> None:
    """One that goes on after SIGTERM is killed when its time to stop is over."""
    stubborn = "trap '' TERM; echo ready; while :; do sleep 60; done"
    with _running(command, "--stop-timeout", "200ms", "sh", "-c", stubborn) as process:
        process.terminate()
        process.communicate(timeout=30)

    assert process.returncode == 137
    assert command.left() == []


def test_what_is_ignored_stays_ignored(command: CommandLine) -> None:
    """A signal that cgctl was started to ignore is ignored by it, and by the command."""
    argv = command.argv("run", "sh", "-c", "kill -HUP $PPID $$; echo alive")

    done = subprocess.run(["nohup", *argv], env=command.env, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_killed_itself(command: CommandLine) -> None:
    """When cgctl is killed, so is the command, and its group is removed."""
    with _running(command, "-m", "64m", "sh", "-c", "echo ready; exec sleep 60") as process:
        pids = [pid for name in command.left()[1:] for pid in command.group(name.partition("/")[2]).pids()]
        process.kill()
        process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    pause = 0.001
    while len(command.left()) > 1 and time.monotonic() < deadline:
        time.sleep(pause)
        pause *= 2

    assert pids
    assert [pid for pid in pids if state(pid) != "ended"] == []
    assert command.left() in ([], [command.base])


def test_interrupted_on_a_terminal(command: CommandLine) -> None:
    """^C reaches the command by the terminal, and cgctl does not send it again."""
    argv = command.argv("run", "sh", "-c", COUNT.format(signal="INT"))
    terminal, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, *argv],
        env=command.env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            seen = _read_until(terminal, b"ready")
            os.write(terminal, b"\x03")
            seen += _read_until(terminal, b"\0")
            status = process.wait(30)
        finally:
            process.kill()
            os.close(terminal)

    assert status == 9
    assert seen.count(b"got") == 1
    assert command.left() == []


def _read_until(terminal: int, text: bytes) -> bytes:
    """Read until there is this text, or the end."""
    seen = b""
    while text not in seen:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # EIO: nobody has the other end any more
            break
        seen += data
    return seen
