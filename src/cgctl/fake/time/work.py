"""What a thread has to do, one piece after the other."""

from __future__ import annotations

from collections.abc import Callable

import attrs

__all__ = ["Burn", "Call", "Work"]


@attrs.define(eq=False)
class Burn:
    """Processor time.

    Attributes:
        left: nanoseconds of it still to be had.
        system: whether it is spent in the kernel.
    """

    left: float
    system: bool = False


@attrs.define(eq=False)
class Call:
    """A function to be called, which takes no time."""

    action: Callable[[], object]


Work = Burn | Call
