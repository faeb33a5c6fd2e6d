"""What a thread has to do, one piece after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs

__all__ = ["Blocked", "Burn", "Call", "Stall", "Transfer", "Work"]


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


@attrs.define(eq=False)
class Stall:
    """Sleep that memory costs.

    Attributes:
        left: nanoseconds.
    """

    left: float


@attrs.define(eq=False)
class Blocked:
    """Something that may have to wait for others.

    Attributes:
        attempt: tries it again, at every event, and returns whether it is done.
        io: whether it is disks that are waited for.
    """

    attempt: Callable[[], bool]
    io: bool = False


@attrs.define(eq=False)
class Transfer:
    """Bytes to or from a block device.

    Attributes:
        device: its numbers, as ``"8:0"``.
        way: ``r`` or ``w``.
        left: bytes.
        request: how many of them go at once; the last request is a part of one, so that all of them have the same size.
    """

    device: str
    way: Literal["r", "w"]
    left: float
    request: float


Work = Burn | Call | Stall | Blocked | Transfer
