"""What can be told of a group, and what has to be said for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, get_args

import attrs

from cgctl.errors import SpecError, shown
from cgctl.units import check_range, format_duration, parse_duration, parse_size

__all__ = ["KINDS", "PRESSURES", "Event", "Kind", "Threshold", "parse_request"]

Kind: TypeAlias = Literal[
    "populated",
    "empty",
    "frozen",
    "thawed",
    "oom",
    "oom_kill",
    "oom_group_kill",
    "memory_low",
    "memory_high",
    "memory_max",
    "pids_max",
    "usage",
    "cpu_pressure",
    "io_pressure",
    "memory_pressure",
    "removed",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
PRESSURES: Final[tuple[Kind, ...]] = ("cpu_pressure", "io_pressure", "memory_pressure")
_LEAST_WINDOW, _LONGEST_WINDOW = 500_000, 10_000_000
_WINDOW: Final = "2s"
"""What anybody may ask for: who lacks CAP_SYS_RESOURCE is given whole multiples of it alone."""


@attrs.frozen(kw_only=True)
class Event:
    """Something that has happened to a group.

    Attributes:
        kind: what:

            - ``"populated"``: the first process is in the group or below; ``"empty"``: the last one is gone.
            - ``"frozen"``: all have stopped; ``"thawed"``: they run again.
            - ``"oom"``: an allocation failed at a limit; ``"oom_kill"``: a process was killed for it;
              ``"oom_group_kill"``: a whole group was.
            - ``"memory_low"``: memory was taken back though it was protected by ``low``; ``"memory_high"``: who
              allocated was throttled at ``high``; ``"memory_max"``: the use was about to go over ``max``.
            - ``"pids_max"``: a fork was refused at a limit.
            - ``"usage"``: the use of memory went over the threshold, up or down.
            - ``"cpu_pressure"``, ``"io_pressure"``, ``"memory_pressure"``: so much time was lost within a window.
            - ``"removed"``: the group is gone. It is the last event.
        time: when it was noticed: seconds of the clock of ``time.monotonic()`` (of the kernel's own, in memory).
        count: how often it has happened since the event of this kind before.
    """

    kind: Kind
    time: float
    count: int = 1


@attrs.frozen(kw_only=True)
class Threshold:
    """From where on some kinds are told.

    Attributes:
        pressure: what is written to a pressure file, such as ``some 150000 2000000``; empty if nothing was said.
        usage: bytes of memory; 0 if nothing was said.
    """

    pressure: str = ""
    usage: int = 0


def parse_request(
    kinds: Sequence[Kind],
    *,
    some: float | str | None,
    full: float | str | None,
    window: float | str | None,
    usage: int | str | None,
) -> Threshold:
    """Check what is to be told.

    Raises:
        SpecError: a kind is not known, or lacks its threshold, or a threshold has no kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            msg = f"events({shown(kind)}): nothing that can be told; give one of {', '.join(KINDS)}"
            raise SpecError(msg)
    pressures = [kind for kind in kinds if kind in PRESSURES]
    if pressures and (some is None) == (full is None):
        given = "both are given" if some is not None else "neither is given"
        msg = f'events({pressures[0]!r}): how much time is to be lost? {given}; give some="150ms" or full="50ms"'
        raise SpecError(msg)
    if not pressures and not (some is full is window is None):
        msg = f"events: some, full and window are of pressure; name one of {', '.join(PRESSURES)} with them"
        raise SpecError(msg)
    if ("usage" in kinds) == (usage is None):
        msg = 'events: "usage" and usage= belong together; give events("usage", usage="80M")'
        raise SpecError(msg)
    return Threshold(
        pressure=_pressure(some, full, window) if pressures else "",
        usage=0 if usage is None else parse_size(usage, "usage"),
    )


def _pressure(some: float | str | None, full: float | str | None, window: float | str | None) -> str:
    span = _usec(_WINDOW if window is None else window, "window", _LEAST_WINDOW)
    word, lost = ("full", full) if some is None else ("some", some)
    usec = _usec(lost, word, 1)
    if usec > span:
        msg = f"{word}={shown(lost)}: more than the window of {format_duration(span)}; give at most that"
        raise SpecError(msg)
    return f"{word} {usec} {span}"


def _usec(value: object, what: str, least: int) -> int:
    return check_range(parse_duration(value, what), what, least, _LONGEST_WINDOW, given=value)
