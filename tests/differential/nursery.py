"""Processes to play with, cheap to have: forked from one that has nothing loaded, with threads if wanted."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Final, Self

import attrs

__all__ = ["Nursery", "Process"]

PATIENCE_SEC: Final = 20.0
_MOST: Final = 8192

# Each child says its number and those of its further threads, and then sleeps; SIGUSR1 has it fork, and say what came
# of that. The nursery's end, or that of whoever reads from it, is everybody's, for all are in one process group.
_PROGRAM: Final = """
import os, signal, sys, threading
if "real-time" in sys.argv:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def live(threads):
    os.close(0)
    others = [threading.Thread(target=threading.Event().wait) for _ in range(threads - 1)]
    for each in others:
        each.start()
    say(os.getpid(), *(each.native_id for each in others))
    while True:
        signal.sigwait([signal.SIGUSR1])
        try:
            child = os.fork()
        except OSError as error:
            say(-error.errno)
        else:
            if not child:
                say(os.getpid())

for line in sys.stdin:
    if not os.fork():
        live(int(line))
os.killpg(0, signal.SIGKILL)
"""


@attrs.define(eq=False)
class Process:
    """One of them.

    Attributes:
        pid: its number.
        tids: those of its threads; the first is *pid*.
        pidfd: by which its end is seen.
    """

    pid: int
    tids: tuple[int, ...]
    pidfd: int
    _files: dict[int, int] = attrs.field(factory=dict)

    def membership(self, tid: int) -> str:
        """Return where a thread is, as ``/proc`` has it."""
        fd = self._files.get(tid, -1)
        if fd < 0:
            fd = self._files[tid] = os.open(f"/proc/{self.pid}/task/{tid}/cgroup", os.O_RDONLY)
        return os.pread(fd, _MOST, 0).decode("utf-8", "surrogateescape")

    def close(self) -> None:
        """Close what was opened of it."""
        os.close(self.pidfd)
        while self._files:
            os.close(self._files.popitem()[1])

    def ended(self, timeout: float) -> bool:
        """Wait until it has ended."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))


class Nursery:
    """Where they come from, and to which those that are left go back.

    Args:
        hurried: have them as real-time tasks, so that no limit of a group is in the way of who is born or dies there:
            to wait for those who may run for a hundredth of the time took a third of it all.
    """

    def __init__(self, *, hurried: bool = False) -> None:
        self._mother = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, *(["real-time"] if hurried else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._idle: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._idle:
            self.end(process)
        assert self._mother.stdin is not None
        self._mother.stdin.close()
        self._mother.wait()
        assert self._mother.stdout is not None
        self._mother.stdout.close()

    def take(self, threads: int = 1) -> Process:
        """Return a process with so many threads."""
        found = next((process for process in self._idle if len(process.tids) == threads), None)
        if found:
            self._idle.remove(found)
            return found
        assert self._mother.stdin is not None
        self._mother.stdin.write(b"%d\n" % threads)
        process = self._born()
        assert isinstance(process, Process)
        return process

    def give_back(self, process: Process) -> None:
        """Take a process that lives, for the next who wants one."""
        self._idle.append(process)

    def fork(self, parent: Process) -> Process | int:
        """Have a process fork: the child, or the errno."""
        os.kill(parent.pid, signal.SIGUSR1)
        return self._born()

    def end(self, process: Process) -> None:
        """Kill a process, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
        self.ended(process)

    @staticmethod
    def ended(process: Process, timeout: float = PATIENCE_SEC) -> None:
        """Wait for the end of a process that was killed, and until nothing is left of it.

        Raises:
            TimeoutError: it lives.
        """
        if not process.ended(timeout):
            raise TimeoutError(process.pid)
        process.close()
        # Its parent reaps it by itself, which is a moment later.
        deadline = time.monotonic() + timeout
        while os.path.exists(f"/proc/{process.pid}") and time.monotonic() < deadline:
            time.sleep(0.0005)

    def _born(self) -> Process | int:
        assert self._mother.stdout is not None
        if not select.select([self._mother.stdout], [], [], PATIENCE_SEC)[0]:
            raise TimeoutError("nobody was born")
        line = bytearray()
        while not line.endswith(b"\n"):
            line += os.read(self._mother.stdout.fileno(), 1)
        numbers = tuple(map(int, line.split()))
        return -numbers[0] if numbers[0] < 0 else Process(numbers[0], numbers, os.pidfd_open(numbers[0]))
