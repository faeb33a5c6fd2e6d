"""pids: how many tasks (processes and threads) a group may have at once."""

from __future__ import annotations

from typing import Any, Final

import attrs

from cgctl.controllers._codec import Count, Key, Number
from cgctl.controllers._row import Controller, Row, Side
from cgctl.controllers._values import COUNT, whole_or_max
from cgctl.units import Limit, Size

__all__ = ["CONTROLLER", "Pids", "PidsStats"]

_TASKS: Final = "tasks"
_MAX: Final = whole_or_max(_TASKS, 0, 4_194_304)


def _max(value: Size | None) -> Limit | None:
    return _MAX(value, "pids.max")


@attrs.frozen(kw_only=True)
class Pids:
    """What to set on the pids controller; ``None`` leaves a setting as it is.

    Attributes:
        max: tasks at once, 0..4194304, or ``MAX``; beyond it ``fork`` fails with ``EAGAIN`` (``pids.max``).

    Raises:
        SpecError: the value is no whole number in this range.
    """

    max: Limit | None = attrs.field(default=None, converter=_max)

    @classmethod
    def shorthand(cls, value: Any) -> Pids:
        """Make the spec of ``pids=64``: at most that many tasks."""
        return cls(max=value)


@attrs.frozen(kw_only=True)
class PidsStats:
    """What the pids controller tells. ``None`` where this kernel does not say.

    Attributes:
        current: tasks now, zombies included (``pids.current``).
        peak: the most at once so far (``pids.peak``, since 6.1).
        events_max: forks refused at a limit (``pids.events`` key ``max``). Until 6.10, and on v1, they
            count in the group that forked; since 6.11, on v2, in the group whose limit it was.
        events_local_max: forks refused at this group's own limit (``pids.events.local``, since 6.11; not on v1).
    """

    current: int | None = None
    peak: int | None = None
    events_max: int | None = None
    events_local_max: int | None = None


def _side(file: str, codec: Any, **more: Any) -> Side:
    return Side(controller="pids", file=f"pids.{file}", codec=codec, **more)


def _reading(attribute: str, file: str, codec: Any, unit: str, since: str | None = None) -> Row:
    side = _side(file, codec, since=since)
    return Row(attribute=attribute, v1=side, v2=side, unit=unit)


_LIMIT: Final = _side("max", Count(), default="max")


CONTROLLER = Controller(
    name="pids",
    spec=Pids,
    stats=PidsStats,
    settings=(Row(attribute="max", v1=_LIMIT, v2=_LIMIT, values=_MAX),),
    readings=(
        _reading("current", "current", Number(), _TASKS),
        _reading("peak", "peak", Number(), _TASKS, since="6.1"),
        _reading("events_max", "events", Key(key="max"), COUNT),
        Row(
            attribute="events_local_max",
            v1=None,
            v2=_side("events.local", Key(key="max"), since="6.11"),
            unit=COUNT,
        ),
    ),
    domain=False,
)
