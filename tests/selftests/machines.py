"""A machine to show it on: one in memory, or this one."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import cgctl
from cgctl.fake import Task
from cgctl.testing import FakeSystem, ProgramTask
from tests.differential.nursery import Nursery, Process
from tests.kernel import payloads
from tests.kernel.pace import PATIENCE_SEC

__all__ = ["Machine", "Memory", "Real", "said"]


class Machine(Protocol):
    """What these tests need of one."""

    @property
    def system(self) -> cgctl.System:
        """What cgctl is given."""

    def start(self, group: cgctl.Group, threads: int = 1) -> int:
        """Start a process that sleeps, in a group; return its number."""

    def fork(self, pid: int) -> int:
        """Have a process fork; return the child's number."""

    def threads(self, pid: int) -> list[int]:
        """Return the numbers of a process's threads."""

    def alive(self, pid: int) -> bool:
        """Tell whether a process has not ended."""

    def kill(self, pid: int) -> None:
        """Kill a process."""

    def hog(self, group: cgctl.Group, mebibytes: int) -> bool:
        """Have a process in a group touch memory; tell whether it was killed for that."""

    def spin(self, groups: list[cgctl.Group], seconds: float) -> list[float]:
        """Have a process in each group, all on one processor, use what it gets; return how much that was."""

    def poll(self, watches: Sequence[Any], timeout: float) -> list[Any]:
        """Wait until open files have something to say, and return those, in their order."""

    def spinning(self, group: cgctl.Group) -> AbstractContextManager[None]:
        """Have a process in a group use what it gets, meanwhile."""

    def wait(self, until: Callable[[], bool]) -> bool:
        """Wait until something holds."""


def said(group: cgctl.Group, file: str, key: str) -> int:
    """Read a number of a flat-keyed file."""
    return {word: int(value) for word, value in map(str.split, group.read(file).splitlines())}[key]


def _sleep(task: ProgramTask) -> Iterator[float]:
    yield float(task.args[1])


class Memory:
    """One in memory."""

    def __init__(self, kernel: str) -> None:
        self._system = FakeSystem("v2", kernel=kernel, cpus=2)
        self._system.programs["sleep"] = _sleep
        self.kernel = self._system.kernel

    @property
    def system(self) -> cgctl.System:
        """What cgctl is given."""
        return self._system

    def _task(self, pid: int) -> Task:
        return self.kernel.tasks[pid]

    def start(self, group: cgctl.Group, threads: int = 1) -> int:
        """Start a process."""
        task = self.kernel.spawn(group)
        for _ in range(threads - 1):
            task.thread()
        return task.pid

    def fork(self, pid: int) -> int:
        """Fork."""
        return self._task(pid).fork().pid

    def threads(self, pid: int) -> list[int]:
        """List the threads."""
        return [thread.tid for thread in self._task(pid).threads]

    def alive(self, pid: int) -> bool:
        """Look."""
        return pid in self.kernel.tasks and self._task(pid).alive

    def kill(self, pid: int) -> None:
        """Kill."""
        self.kernel.signal(pid, signal.SIGKILL)

    def hog(self, group: cgctl.Group, mebibytes: int) -> bool:
        """Touch memory."""
        task = self.kernel.spawn(group)
        task.allocate(mebibytes << 20)
        self.kernel.advance("10s")
        killed = not task.alive
        if not killed:
            task.exit()
        return killed

    def spin(self, groups: list[cgctl.Group], seconds: float) -> list[float]:
        """Burn."""
        before = [said(group, "cpu.stat", "usage_usec") for group in groups]
        tasks = [self.kernel.spawn(group) for group in groups]
        for task in tasks:
            task.burn(10 * seconds)
        self.kernel.advance(seconds)
        used = [said(group, "cpu.stat", "usage_usec") - start for group, start in zip(groups, before, strict=True)]
        for task in tasks:
            self.kernel.signal(task.pid, signal.SIGKILL)
        return [each / 1e6 for each in used]

    def poll(self, watches: Sequence[Any], timeout: float) -> list[Any]:
        """Wait in virtual time."""
        return self.kernel.poll(watches, timeout)

    @contextmanager
    def spinning(self, group: cgctl.Group) -> Iterator[None]:
        """Burn."""
        task = self.kernel.spawn(group)
        task.burn("1h")
        yield
        task.exit()

    def wait(self, until: Callable[[], bool]) -> bool:
        """Look at once: here nothing comes later by itself."""
        return until()


class Real:
    """This one."""

    def __init__(self, nursery: Nursery) -> None:
        self._system = cgctl.System.detect()
        self.nursery = nursery
        self.processes: dict[int, Process] = {}

    @property
    def system(self) -> cgctl.System:
        """What cgctl is given."""
        return self._system

    def _born(self, process: Process) -> int:
        self.processes[process.pid] = process
        return process.pid

    def start(self, group: cgctl.Group, threads: int = 1) -> int:
        """Start a process."""
        pid = self._born(self.nursery.take(threads))
        group.add(pid)
        return pid

    def fork(self, pid: int) -> int:
        """Fork."""
        child = self.nursery.fork(self.processes[pid])
        if isinstance(child, int):
            raise OSError(child, os.strerror(child))
        return self._born(child)

    def threads(self, pid: int) -> list[int]:
        """List the threads."""
        return list(self.processes[pid].tids)

    def alive(self, pid: int) -> bool:
        """Look."""
        return not self.processes[pid].ended(0)

    def kill(self, pid: int) -> None:
        """Kill."""
        os.kill(pid, signal.SIGKILL)

    def hog(self, group: cgctl.Group, mebibytes: int) -> bool:
        """Touch memory."""
        return group.run(payloads.hog(mebibytes), stdout=subprocess.DEVNULL).returncode == -signal.SIGKILL

    def spin(self, groups: list[cgctl.Group], seconds: float) -> list[float]:
        """Spin, all of them on the same processor; what they use is looked at when all have begun."""
        only = min(os.sched_getaffinity(0))
        started = [group.popen(payloads.spinner(600), stdout=subprocess.DEVNULL) for group in groups]
        for process in started:
            os.sched_setaffinity(process.pid, {only})

        def used() -> list[int]:
            return [said(group, "cpu.stat", "usage_usec") for group in groups]

        began = used()
        self.wait(lambda: all(now > before + 300_000 for now, before in zip(used(), began, strict=True)))
        before = used()
        time.sleep(seconds)
        found = [(now - start) / 1e6 for now, start in zip(used(), before, strict=True)]
        for process in started:
            process.kill()
            process.wait(PATIENCE_SEC)
        return found

    def poll(self, watches: Sequence[Any], timeout: float) -> list[Any]:
        """Wait."""
        poll = select.poll()
        fds = [watch._fd for watch in watches]
        for fd in fds:
            poll.register(fd, select.POLLPRI)
        told = dict(poll.poll(timeout * 1000))
        return [watch for watch, fd in zip(watches, fds, strict=True) if fd in told]

    @contextmanager
    def spinning(self, group: cgctl.Group) -> Iterator[None]:
        """Spin."""
        process = group.popen(payloads.spinner(600), stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait(PATIENCE_SEC)

    def wait(self, until: Callable[[], bool]) -> bool:
        """Wait."""
        deadline = time.monotonic() + PATIENCE_SEC
        while not (holds := until()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return holds

    def close(self) -> None:
        """End all that was started."""
        for process in self.processes.values():
            self.nursery.end(process)
