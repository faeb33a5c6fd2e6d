"""PSI triggers: who is to be told when more than so much was waited for in a span of time (``update_triggers``).

The kernel looks ten times in a window, from when there is something to wait for, and for one window after that; what an
ordinary user asks for, it looks at with the averages, every two seconds. It tells at most once in a window.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from cgctl.fake.tree import Group

__all__ = ["Trigger"]

_LOOKS: Final = 10
_AVERAGES: Final = 2_000_000_000


@attrs.define(eq=False, kw_only=True)
class Trigger:
    """One trigger; all times are nanoseconds.

    Attributes:
        group: what it is on.
        line: what is waited for, as ``cpu some``.
        threshold: for how long.
        window: in how long.
        privileged: whether it is looked at by itself, and not with the averages.
        event: whether it has fired, and nobody was told.
        next: when it is looked at again; infinite while there is nothing to wait for.
        end: until when it is looked at, if nothing more is waited for.
        told: when it has fired last.
        pending: whether it is to fire as soon as a window has passed since then.
        seen: what was waited for when it was looked at.
        begun: when its window began,
        value: what was waited for by then,
        before: and in the window before.
    """

    group: Group
    line: str
    threshold: int
    window: int
    privileged: bool = True
    event: bool = False
    next: float = math.inf
    end: float = -math.inf
    told: float = -math.inf
    pending: bool = False
    seen: float = attrs.field(init=False)
    begun: int = attrs.field(init=False)
    value: float = attrs.field(init=False)
    before: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.begun = self.group.kernel.clock.now
        self.value = self.seen = self.total

    @property
    def total(self) -> float:
        """For how long was waited in all."""
        pressure = self.group.pressure
        line = pressure.lines.get(self.line) if pressure else None
        return line.total if line else 0.0

    def wake(self, now: int) -> None:
        """Begin to look, if it has stopped: somebody waits."""
        if self.next != math.inf:
            return
        if self.privileged:
            if now > self.end:
                self._begin(now, 0.0)
                self.seen = self.value
            self.next = now + self.window // _LOOKS
        else:
            self.next = (now // _AVERAGES + 1) * _AVERAGES
        self.end = now + self.window

    def look(self, now: int) -> None:
        """See whether it is to fire."""
        total = self.total
        changed = total > self.seen
        self.seen = total
        if changed:
            self.end = now + self.window
            self.pending = self._growth(now, total) >= self.threshold or self.pending
        if self.pending and now >= self.told + self.window:
            self.event, self.told, self.pending = True, now, False
        step = self.window // _LOOKS if self.privileged else _AVERAGES
        self.next = now + step if now <= self.end else math.inf

    def _begin(self, now: int, before: float) -> None:
        self.begun, self.value, self.before = now, self.total, before

    def _growth(self, now: int, total: float) -> float:
        """Return how much more it is in the window, with what there was of the one before (``window_update``)."""
        growth, elapsed = total - self.value, now - self.begun
        if elapsed > self.window:
            self._begin(now, growth)
            return growth
        return growth + self.before * (self.window - elapsed) / self.window
