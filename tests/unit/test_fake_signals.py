"""Signals on the kernel in memory: what they end, what waits, and what programs make of them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest

import cgctl
from cgctl.fake import FakeKernel, Task
from cgctl.testing import FakeSystem, ProgramTask

_ROOT = "/sys/fs/cgroup"
TERM, KILL, QUIT, CHLD, CONT, STOP, HUP = 15, 9, 3, 17, 18, 19, 1


def _frozen(layout: str) -> tuple[FakeKernel, Task, str]:
    kernel = FakeKernel(layout)  # type: ignore[arg-type]
    where, file, thawed = {
        "v2": (f"{_ROOT}/a", "cgroup.freeze", "0"),
        "v1": (f"{_ROOT}/freezer/a", "freezer.state", "THAWED"),
    }[layout]
    kernel.mkdir(where)
    task = kernel.spawn(where)
    kernel.write(f"{where}/{file}", b"1" if layout == "v2" else b"FROZEN")
    return kernel, task, f"{where}/{file}={thawed}"


@pytest.mark.parametrize(
    ("layout", "sent", "before", "after"),
    [
        # Measured on Linux 6.18, of a process that catches none of them.
        *(("v2", sent, -sent[0], -sent[0]) for sent in ((TERM,), (TERM, KILL), (KILL, TERM), (HUP, TERM), (10, 12))),
        *(("v1", sent, None, -sent[0]) for sent in ((TERM,), (TERM, KILL), (KILL, TERM), (HUP, TERM), (10, 12))),
        *((layout, (QUIT,), None, -QUIT) for layout in ("v1", "v2")),
        *((layout, (number,), None, None) for layout in ("v1", "v2") for number in (CHLD, CONT, STOP)),
        *(("v1", (QUIT, number), None, -first) for number, first in ((HUP, HUP), (TERM, QUIT), (KILL, KILL))),
        *(("v2", (QUIT, number), -number, -number) for number in (TERM, KILL)),
    ],
)
def test_while_frozen(layout: str, sent: tuple[int, ...], before: int | None, after: int | None) -> None:
    """The first that is to end a process does; on v1 when it is thawed, and one with a core nowhere before."""
    kernel, task, thaw = _frozen(layout)
    for number in sent:
        if task.alive:
            kernel.signal(task.pid, number)
    assert task.status == before
    path, _, data = thaw.partition("=")
    kernel.write(path, data.encode())

    assert task.status == after


def test_stopped() -> None:
    """Who is stopped uses no processor until he is told to continue."""
    system = FakeSystem("v2", cpus=1)
    task = system.kernel.spawn()
    task.burn(1)
    system.kernel.signal(task.pid, STOP)
    system.kernel.advance(5)
    assert (task.state, task.busy) == ("stopped", True)
    assert system.kernel.read(f"/proc/{task.pid}/stat").split()[2] == b"T"
    system.kernel.signal(task.pid, CONT)
    system.kernel.advance(1)

    assert (task.state, task.busy) == ("running", False)


def test_caught_when_it_goes_on() -> None:
    """What is caught waits for the thaw, in the order of the numbers, each once."""
    kernel, task, thaw = _frozen("v2")
    got: list[int] = []
    for number in (TERM, HUP):
        task.on_signal(number, got.append)
    for number in (TERM, HUP, TERM):
        kernel.signal(task.pid, number)
    assert got == []
    path, _, data = thaw.partition("=")
    kernel.write(path, data.encode())

    assert (got, task.alive) == ([HUP, TERM], True)


def test_what_is_done_with_one() -> None:
    """A signal is caught, ignored, or does what it does to everybody."""
    kernel = FakeKernel("v2")
    got: list[int] = []
    task = kernel.spawn()
    task.on_signal(TERM, got.append)
    task.on_signal(HUP, signal.SIG_IGN)
    for number in (TERM, HUP):
        kernel.signal(task.pid, number)
    assert (got, task.alive) == ([TERM], True)
    child = task.fork()
    kernel.signal(child.pid, HUP)
    assert child.alive
    kernel.signal(child.pid, TERM)
    assert child.status == -TERM
    task.on_signal(TERM, None)
    kernel.signal(task.pid, TERM)

    assert task.status == -TERM


@pytest.mark.parametrize("number", [0, KILL, STOP, 65])
def test_none_that_can_be_caught(number: int) -> None:
    """Nobody catches SIGKILL or SIGSTOP."""
    with pytest.raises(cgctl.SpecError, match="no signal that can be caught"):
        FakeKernel("v2").spawn().on_signal(number, print)


class TestPrograms:
    """What they make of it."""

    def test_in_the_time_of_grace(self, fake_system: FakeSystem) -> None:
        """A program that is told to end puts things in order, which takes time, and ends as it likes."""

        def serve(task: ProgramTask) -> Iterator[Any]:
            stopping: list[int] = []
            task.on_signal(TERM, stopping.append)
            while not stopping:
                yield "1s"
            task.print("saving")
            yield "3s"
            sys.exit(7)

        process = cgctl.popen(serve, system=fake_system, stdout=-1, text=True)
        with pytest.raises(cgctl.TimeoutExpired):
            process.wait(10)
        process.terminate()
        began = fake_system.kernel.now

        assert process.communicate() == ("saving\n", None)
        assert process.returncode == 7
        assert 3 <= fake_system.kernel.now - began <= 4

    def test_raised_where_it_waits(self, fake_system: FakeSystem) -> None:
        """What a handler raises comes out of the yield at once, and leaves what the program was at."""

        def stop(number: int) -> None:
            raise InterruptedError(number)

        def work(task: ProgramTask) -> Generator[Any, None, int]:
            task.on_signal(TERM, stop)
            task.burn("1h")
            try:
                yield
            except InterruptedError as error:
                task.print("signal", error)
            return 3

        process = cgctl.popen(work, system=fake_system, stdout=-1, text=True)
        fake_system.kernel.advance("10s")
        process.terminate()

        assert process.poll() == 3
        assert process.communicate() == ("signal 15\n", None)
        assert fake_system.kernel.now == 10

    def test_exit_in_a_handler(self, fake_system: FakeSystem) -> None:
        """It may end the program, with its status."""

        def serve(task: ProgramTask) -> Iterator[Any]:
            task.on_signal(TERM, lambda _: sys.exit(5))
            yield "1h"

        process = cgctl.popen(serve, system=fake_system)
        process.terminate()

        assert process.wait() == 5

    def test_by_itself(self, fake_system: FakeSystem) -> None:
        """A program that signals itself has its handler called there and then."""
        got: list[int] = []

        def own(task: ProgramTask) -> int:
            task.on_signal(HUP, got.append)
            task.kernel.signal(task.pid, HUP)
            return len(got)

        assert cgctl.run(own, system=fake_system).returncode == 1

    def test_run_asks_first(self, fake_system: FakeSystem) -> None:
        """When its time is over a program is asked to end, as a real one is, and killed if it minds nothing."""

        def stubborn(task: ProgramTask) -> Iterator[Any]:
            task.on_signal(TERM, signal.SIG_IGN)
            yield "1h"

        done = cgctl.run(stubborn, system=fake_system, timeout=1, grace=5)

        assert (done.returncode, done.timed_out) == (-KILL, True)
        assert 6_000_000 <= done.wall_usec <= 6_010_000


class TestWaitingForEver:
    """What would not end on the virtual clock does not begin."""

    @pytest.mark.parametrize("fake_system", ["v1", "v2", "hybrid"], indirect=True)
    def test_wait_empty(self, fake_system: FakeSystem) -> None:
        """A group whose processes have nothing to do is never going to be empty."""
        group = cgctl.Group("p1", system=fake_system, pids=9).create()
        task = fake_system.kernel.spawn(group)
        with pytest.raises(RuntimeError, match="for ever"):
            group.wait_empty()
        task.burn("5s")
        task.then(task.exit)
        group.wait_empty()

        assert fake_system.kernel.now == pytest.approx(5, abs=0.2)

    def test_frozen(self, fake_system: FakeSystem) -> None:
        """Nor is one that is frozen."""
        group = cgctl.Group("p1", system=fake_system).create()
        fake_system.kernel.spawn(group).burn("5s")
        group.freeze()

        with pytest.raises(RuntimeError, match="for ever"):
            group.wait_empty()
