"""misc: how many of the machine's scarce resources a group may hold, such as keys for encrypted guests.

Which resources there are is the machine's to say: ``stats().misc.capacity`` has them. On most machines there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from cgctl.controllers._lines import Events, Lines
from cgctl.controllers._row import Controller, Row, Side
from cgctl.controllers._values import COUNT, by_name, saturating, whole_or_max
from cgctl.units import Limit, Size

__all__ = ["CONTROLLER", "Misc", "MiscStats"]

_MOST: Final = 2**64 - 1
_RESOURCES: Final = by_name("resource", saturating(whole_or_max(COUNT, 0, _MOST), _MOST))
_LINES: Final = Lines(unlimited=_MOST)


def _max(value: Mapping[str, Size] | str | None) -> Mapping[str, Limit] | None:
    return _RESOURCES(value, "misc.max")


@attrs.frozen(kw_only=True)
class Misc:
    """What to set on the misc controller (since 5.13); ``None``, and a resource that is not named, leave it as it is.

    Attributes:
        max: resource, such as ``"sev"`` → how many, or ``MAX`` (``misc.max``).

    Raises:
        SpecError: it is no mapping, or a limit is no whole number.
    """

    max: Mapping[str, Limit] | None = attrs.field(default=None, converter=_max)

    @classmethod
    def shorthand(cls, value: Any) -> Misc:
        """Make the spec of ``misc={"sev": 10}``: at most so many."""
        return cls(max=value)


@attrs.frozen(kw_only=True)
class MiscStats:
    """What the misc controller tells, by resource. ``None`` where this kernel does not say.

    Attributes:
        capacity: how many the machine has (``misc.capacity``, in the root; not seen from within a cgroup namespace).
        current: how many the group holds (``misc.current``).
        peak: the most that it held at once (``misc.peak``, since 6.11).
        events_max: how often its limit, or one below, was met (``misc.events``, since 5.16).
        events_local_max: how often its own limit was met (``misc.events.local``, since 6.11).
    """

    capacity: Mapping[str, int] | None = None
    current: Mapping[str, int] | None = None
    peak: Mapping[str, int] | None = None
    events_max: Mapping[str, int] | None = None
    events_local_max: Mapping[str, int] | None = None


def _row(attribute: str, file: str, codec: Any = _LINES, **more: Any) -> Row:
    since = more.pop("since", "5.13")
    values, unit = more.pop("values", None), f"{COUNT}, by resource"
    side = Side(controller="misc", file=f"misc.{file}", codec=codec, since=since, **more)
    return Row(attribute=attribute, v1=side, v2=side, values=values, unit=unit)


CONTROLLER = Controller(
    name="misc",
    spec=Misc,
    stats=MiscStats,
    settings=(_row("max", "max", default="", values=_RESOURCES),),
    readings=(
        _row("capacity", "capacity", root=True),
        _row("current", "current"),
        _row("peak", "peak", since="6.11"),
        _row("events_max", "events", Events(), since="5.16"),
        _row("events_local_max", "events.local", Events(), since="6.11"),
    ),
)
