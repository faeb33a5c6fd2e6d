"""Sleep that memory costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cgctl.fake.time.work import Stall

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.task import Thread

__all__ = ["Stalls"]


class Stalls:
    """The threads of one kernel that sleep because of memory."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.sleeping: list[tuple[Thread, Stall]] = []

    def prepare(self) -> None:
        """Find out who sleeps."""
        self.sleeping = [(thread, work) for thread in self._kernel.clock.busy if isinstance(work := thread.head, Stall)]

    def due(self) -> float:
        """Return when the first wakes up, in nanoseconds from now."""
        return min((stall.left for _, stall in self.sleeping), default=math.inf)

    def elapse(self, time: int) -> None:
        """Let time pass."""
        for _, stall in self.sleeping:
            stall.left -= time

    def counters(self) -> Iterator[tuple[object, str]]:
        """Yield how much each still has to sleep."""
        yield from ((stall, "left") for _, stall in self.sleeping)
