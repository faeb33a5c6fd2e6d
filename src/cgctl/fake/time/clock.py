"""The clock: from event to event."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cgctl.errors import SpecError
from cgctl.fake.time.disks import Disks
from cgctl.fake.time.pressure import Tracker
from cgctl.fake.time.repetition import Repetitions
from cgctl.fake.time.scheduler import Scheduler
from cgctl.fake.time.stalls import Stalls
from cgctl.fake.time.work import Blocked, Call, Work
from cgctl.units import parse_duration

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.task import Thread
    from cgctl.fake.time.bandwidth import Bandwidth

__all__ = ["Clock"]

_NSEC_IN_USEC: Final = 1_000
# Less than that is what floating point leaves of a nanosecond.
_NOTHING: Final = 1e-3
_NEVER: Final = 1 << 62


class Clock:
    """The virtual time of one kernel, and all that goes on while it passes.

    Attributes:
        now: nanoseconds since the machine was started.
        busy: the threads that have something to do, in the order in which they got it.
        accounts: the groups' CPU quotas.
        scheduler: who runs, and how fast.
        disks: what is read and written.
        stalls: who sleeps because of memory.
        pressure: who waits, and for how long.
    """

    def __init__(self, kernel: FakeKernel) -> None:
        self.now = 0
        self.busy: dict[Thread, None] = {}
        self.accounts: dict[Bandwidth, None] = {}
        self.scheduler = Scheduler(kernel)
        self.disks = Disks(kernel)
        self.stalls = Stalls(kernel)
        self.pressure = Tracker(kernel)
        # In this order: pressure follows from what the others found.
        self._engines: tuple[Scheduler | Disks | Stalls | Tracker, ...] = (
            *(self.scheduler, self.disks, self.stalls),
            self.pressure,
        )
        self._kernel = kernel
        self._advancing = False

    def give(self, thread: Thread, work: Work, *, first: bool = False) -> None:
        """Give a thread something more to do, after all else or before it."""
        if thread.work is None:
            thread.work = []
        thread.work.insert(0 if first else len(thread.work), work)
        self.busy[thread] = None

    def forget(self, thread: Thread) -> None:
        """Let go a thread that has ended."""
        thread.work = None
        self.busy.pop(thread, None)

    def advance(self, time: float | str) -> None:
        """Let time pass.

        Args:
            time: how long; a number is seconds.

        Raises:
            SpecError: it is no time, or the clock is already being advanced.
        """
        usec = parse_duration(time, "time")
        self._advance(self.now + usec * _NSEC_IN_USEC, lambda: False)

    def advance_until(self, happened: Callable[[], bool], time: float | str | None = None) -> bool:
        """Let time pass until something has happened; false if it has not in time, or never would.

        Raises:
            SpecError: it is no time, or the clock is already being advanced.
        """
        if happened():
            return True
        end = _NEVER if time is None else self.now + parse_duration(time, "time") * _NSEC_IN_USEC
        return self._advance(end, happened)

    def is_idle(self) -> bool:
        """Tell whether nothing is to happen any more, however much time passes."""
        if self._advancing:
            return False
        self._settle(Repetitions())
        return all(math.isinf(engine.due()) for engine in self._engines) and self._kernel.programs.due(_NEVER) == _NEVER

    def _advance(self, end: int, happened: Callable[[], bool]) -> bool:
        if self._advancing:
            msg = "time cannot be let pass while the clock is advancing: let what is called return first"
            raise SpecError(msg)
        self._advancing = True
        try:
            return self._run(end, happened)
        finally:
            self._advancing = False

    def _run(self, end: int, happened: Callable[[], bool]) -> bool:
        repetitions, fired = Repetitions(), False
        while True:
            self._settle(repetitions)
            if happened():
                return True
            stop = min(end, self._kernel.programs.due(end))
            if fired and not self.pressure.looking:
                self._repeat(repetitions, min(stop, self.disks.begins(stop)), happened)
            due = min(engine.due() for engine in self._engines)
            if self.now >= end or (math.isinf(due) and stop == _NEVER):
                return False
            time = stop - self.now if math.isinf(due) else min(max(math.ceil(due - _NOTHING), 1), stop - self.now)
            for engine in self._engines:
                engine.elapse(time)
            self.now += time
            fired = self.scheduler.fire()

    def _settle(self, repetitions: Repetitions) -> None:
        """Let all happen that takes no time, and find out who does what, and how fast."""
        while True:
            self._finish()
            if self._kernel.programs.run():
                repetitions.forget()
                continue
            self.disks.prepare()
            if not self.disks.passed:
                break
        for engine in self._engines:
            if engine is not self.disks:
                engine.prepare()

    def _finish(self) -> None:
        """Take away what is done, and call what is to be called."""
        for thread in list(self.busy):
            while (work := thread.head) and self._is_done(work):
                thread.done(work)
                if isinstance(work, Call):
                    work.action()
            if not thread.work:
                self.forget(thread)

    @staticmethod
    def _is_done(work: Work) -> bool:
        if isinstance(work, Blocked):
            return work.attempt()
        return isinstance(work, Call) or work.left < _NOTHING

    def _repeat(self, repetitions: Repetitions, end: int, happened: Callable[[], bool]) -> None:
        """Where everything is as it was at another refill, do all whole repetitions that there will be, at once."""
        heads = tuple(id(thread.head) for thread in self.busy)
        state = (self.scheduler.phase(), self.disks.phase(), self.pressure.phase(), heads)
        counters = [counter for engine in self._engines for counter in engine.counters()]
        now = self.now

        def moved(time: int) -> bool:
            step = now + time - self.now
            self.now += step
            for account in self.accounts:
                if account.timer is not None:
                    account.timer += step
            return happened()

        times, period = repetitions.look(state, now, counters, end, moved)
        self.pressure.repeat(times, period)
