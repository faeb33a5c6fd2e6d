"""PSI: for how long tasks waited for processors, disks and memory (``kernel/sched/psi.c``).

Of how many tasks wait and how many go on, the kernel makes shares of time as its own comment has it::

    threads = min(nonidle tasks, processors)
    some = min(delayed tasks / threads, 1)
    full = (threads - min(productive tasks, threads)) / threads
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from cgctl.fake.time.triggers import Trigger
from cgctl.fake.time.work import Blocked
from cgctl.fake.tree import Group

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.task import Thread

__all__ = ["Line", "Pressure", "Tracker", "shown"]

_PERIOD: Final = 2_000_000_000
# FSHIFT; EXP_10s, EXP_60s, EXP_300s: what is left of an average after two seconds, in 2048ths.
_SHIFT: Final = 11
_ONE: Final = 1 << _SHIFT
_DECAYS: Final = (1677, 1981, 2034)
_KEPT: Final = 128
_NOTHING: Final = 1e-9


@attrs.define(eq=False)
class Line:
    """One line of a file.

    Attributes:
        total: nanoseconds.
        sampled: what of them is in the averages.
        averages: of 10, 60 and 300 seconds, in 2048ths of a per cent.
        samples: the last ones, nanoseconds each.
    """

    total: float = 0.0
    sampled: float = 0.0
    averages: tuple[int, ...] = (0, 0, 0)
    samples: deque[float] = attrs.field(factory=lambda: deque(maxlen=_KEPT))

    def sample(self, stalled: float) -> None:
        """Take another two seconds into the averages (``calc_avgs``)."""
        per_cent = round(min(stalled, _PERIOD)) * 100 // _PERIOD * _ONE
        self.averages = tuple(
            (load * decay + per_cent * (_ONE - decay) + (_ONE - 1 if per_cent >= load else 0)) >> _SHIFT
            for load, decay in zip(self.averages, _DECAYS, strict=True)
        )


@attrs.define(eq=False)
class Pressure:
    """What a group's tasks waited for: line → time, as ``cpu some``.

    Attributes:
        lines: those that there was something of.
        updated: up to when the averages are.
    """

    updated: int
    lines: dict[str, Line] = attrs.field(factory=dict)

    def catch_up(self, now: int) -> None:
        """Bring the averages up to the last full two seconds."""
        for _ in range((now - self.updated) // _PERIOD):
            busy = False
            for line in self.lines.values():
                stalled = line.total - line.sampled
                line.samples.append(stalled)
                line.sample(stalled)
                line.sampled = line.total
                busy = busy or any(line.averages)
            self.updated += _PERIOD
            if not busy:
                break
        self.updated = now // _PERIOD * _PERIOD

    def repeat(self, times: int, period: int) -> None:
        """Take in what comes *times* again as it was in the last *period*."""
        for line in self.lines.values():
            samples = list(line.samples)[-(period // _PERIOD) :]
            for _ in range(times):
                for stalled in samples:
                    line.sample(stalled)


@attrs.define
class _Tasks:
    """How many tasks of a group wait for what; ``going`` is processors that they have."""

    running: int = 0
    going: float = 0.0
    io: int = 0
    memory: int = 0


class Tracker:
    """The pressure in all v2 groups of one kernel.

    Attributes:
        triggers: those of open files.
    """

    def __init__(self, kernel: FakeKernel) -> None:
        self.triggers: dict[Trigger, None] = {}
        self._kernel = kernel
        self._shares: list[tuple[Pressure, Line, float]] = []

    def prepare(self) -> None:
        """Find out who waits for what."""
        clock = self._kernel.clock
        tasks: dict[Group, _Tasks] = {}
        for each in clock.scheduler.running:
            for found in self._tasks(each.thread, tasks):
                found.running += 1
                found.going += each.rate
        waiting = [flow.thread for flow in clock.disks.flows if flow.thread]
        waiting += [thread for thread in clock.busy if isinstance(thread.head, Blocked) and thread.head.io]
        for thread in waiting:
            for found in self._tasks(thread, tasks):
                found.io += 1
        for thread, _ in clock.stalls.sleeping:
            for found in self._tasks(thread, tasks):
                found.memory += 1
        self._shares = [
            (pressure, line, share)
            for group, found in tasks.items()
            for name, share in _shares(found, self._kernel.cpus, root=group.parent is None)
            if share > _NOTHING
            for pressure, line in [self._line(group, name)]
        ]
        if self.triggers:
            waiting_for = {id(line) for _, line, _ in self._shares}
            for trigger in self.triggers:
                pressure = trigger.group.pressure
                if pressure and id(pressure.lines.get(trigger.line)) in waiting_for:
                    trigger.wake(clock.now)

    def _tasks(self, thread: Thread, tasks: dict[Group, _Tasks]) -> Iterator[_Tasks]:
        for tree, group in thread.groups.items():
            if tree.version != 1:
                for each in group.line():
                    if each.values.get("cgroup.pressure") != "0\n":
                        yield tasks.setdefault(each, _Tasks())

    def _line(self, group: Group, name: str) -> tuple[Pressure, Line]:
        now = self._kernel.clock.now
        pressure = group.pressure
        if pressure is None:
            pressure = group.pressure = Pressure(now // _PERIOD * _PERIOD)
        pressure.catch_up(now)
        return pressure, pressure.lines.setdefault(name, Line())

    def due(self) -> float:
        """Return when something changes by itself, in nanoseconds from now: when a trigger is looked at."""
        return min((trigger.next for trigger in self.triggers), default=math.inf) - self._kernel.clock.now

    @property
    def looking(self) -> bool:
        """Whether a trigger is looked at now and then, which must not be passed over."""
        return any(trigger.next != math.inf for trigger in self.triggers)

    def elapse(self, time: int) -> None:
        """Let time pass in which nothing changes, and take each two seconds of it into the averages."""
        now = self._kernel.clock.now
        end = now + time
        pressures = {pressure: None for pressure, _, _ in self._shares}
        while now < end:
            until = min((now // _PERIOD + 1) * _PERIOD, end)
            for _, line, share in self._shares:
                line.total += share * (until - now)
            if until % _PERIOD == 0:
                for pressure in pressures:
                    pressure.catch_up(until)
            now = until if pressures else end
        for trigger in self.triggers:
            if trigger.next <= end:
                trigger.look(end)

    # --- what repeats -----------------------------------------------------------------------------------------------

    def phase(self) -> tuple[int, ...]:
        """Return where in the two seconds it is, and what there was in them, if that matters to somebody."""
        lines = [line for pressure in self._pressures() for line in pressure.lines.values()]
        return (
            (self._kernel.clock.now % _PERIOD, *(round(line.total - line.sampled) for line in lines)) if lines else ()
        )

    def counters(self) -> Iterator[tuple[object, str]]:
        """Yield all that goes up by the same in each repetition, as object and attribute."""
        for pressure in self._pressures():
            yield pressure, "updated"
        for line in {line: None for pressure in self._pressures() for line in pressure.lines.values()}:
            yield line, "total"
            yield line, "sampled"

    def repeat(self, times: int, period: int) -> None:
        """Take into the averages what comes *times* again."""
        for pressure in self._pressures():
            pressure.repeat(times, period)

    def _pressures(self) -> dict[Pressure, None]:
        groups = {
            each: None
            for thread in self._kernel.clock.busy
            for tree, group in thread.groups.items()
            if tree.version != 1
            for each in group.line()
        }
        return {group.pressure: None for group in groups if group.pressure}


def _shares(tasks: _Tasks, cpus: int, *, root: bool) -> Iterator[tuple[str, float]]:
    threads = min(tasks.running + tasks.io + tasks.memory, cpus)
    running = min(tasks.running, threads)
    yield "cpu some", min((tasks.running - tasks.going) / threads, 1.0)
    if not root:
        # Of the whole machine it would mean nothing, and is 0 (psi_show).
        yield "cpu full", max(running - tasks.going, 0.0) / threads
    for name, waiting in (("io", tasks.io), ("memory", tasks.memory)):
        yield f"{name} some", min(waiting / threads, 1.0)
        yield f"{name} full", min(waiting, threads - running) / threads


def shown(group: Group, file: str) -> str:
    """Return the text of a file such as ``cpu.pressure``."""
    pressure, resource = group.pressure, file.partition(".")[0]
    if pressure:
        pressure.catch_up(group.kernel.clock.now)
    text = ""
    for kind in (line.partition(" ")[0] for line in group.get(file).splitlines()):
        line = pressure.lines.get(f"{resource} {kind}") if pressure else None
        averages, total = (line.averages, line.total) if line else ((0, 0, 0), 0.0)
        numbers = (f"{load >> _SHIFT}.{(load & _ONE - 1) * 100 >> _SHIFT:02}" for load in averages)
        words = (f"avg{span}={number}" for span, number in zip((10, 60, 300), numbers, strict=True))
        text += f"{kind} {' '.join(words)} total={round(total) // 1000}\n"
    return text
