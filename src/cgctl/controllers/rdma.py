"""rdma: how many handles and objects of each RDMA device a group may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from cgctl.controllers._lines import NestedLines
from cgctl.controllers._row import Controller, Row, Side
from cgctl.controllers._values import COUNT, by_name, saturating, whole_or_max
from cgctl.units import Limit, Size

__all__ = ["CONTROLLER", "Rdma", "RdmaStats"]

_MOST: Final = 2**31 - 1
_RESOURCES: Final = by_name("resource", saturating(whole_or_max(COUNT, 0, _MOST), _MOST), separator=" ")
_DEVICES: Final = by_name("device", _RESOURCES)
_LINES: Final = NestedLines(unlimited=_MOST)


def _max(value: Mapping[str, Mapping[str, Size]] | str | None) -> Mapping[str, Mapping[str, Limit]] | None:
    return _DEVICES(value, "rdma.max")


@attrs.frozen(kw_only=True)
class Rdma:
    """What to set on the rdma controller; ``None``, and a device or resource that is not named, leave it as it is.

    Attributes:
        max: device, such as ``"mlx5_0"`` → resource → how many, 0..2147483647, or ``MAX`` (``rdma.max``). The
            resources are ``hca_handle``, device handles that may be open, and ``hca_object``, the objects (memory
            regions, queues) that may exist.

    Raises:
        SpecError: it is no mapping of mappings, or a limit is out of range.
    """

    max: Mapping[str, Mapping[str, Limit]] | None = attrs.field(default=None, converter=_max)

    @classmethod
    def shorthand(cls, value: Any) -> Rdma:
        """Make the spec of ``rdma={"mlx5_0": {"hca_handle": 2}}``: at most so many."""
        return cls(max=value)


@attrs.frozen(kw_only=True)
class RdmaStats:
    """What the rdma controller tells: device → resource → number. ``None`` where this kernel does not say.

    Attributes:
        current: how many the group holds (``rdma.current``).
        peak: the most that it held at once (``rdma.peak``, since 7.2).
        events: how often limits were met, in the group and below: the resource's name with ``.max`` counts those met,
            with ``.alloc_fail`` the requests that were refused (``rdma.events``, since 7.2).
        events_local: the same, of this group alone (``rdma.events.local``, since 7.2).
    """

    current: Mapping[str, Mapping[str, int]] | None = None
    peak: Mapping[str, Mapping[str, int]] | None = None
    events: Mapping[str, Mapping[str, int]] | None = None
    events_local: Mapping[str, Mapping[str, int]] | None = None


def _row(attribute: str, file: str, **more: Any) -> Row:
    values, unit = more.pop("values", None), f"{COUNT}, by resource, by device"
    side = Side(controller="rdma", file=f"rdma.{file}", codec=_LINES, **more)
    return Row(attribute=attribute, v1=side, v2=side, values=values, unit=unit)


CONTROLLER = Controller(
    name="rdma",
    spec=Rdma,
    stats=RdmaStats,
    settings=(_row("max", "max", default="", values=_DEVICES),),
    readings=(
        _row("current", "current"),
        _row("peak", "peak", since="7.2"),
        _row("events", "events", since="7.2"),
        _row("events_local", "events.local", since="7.2"),
    ),
)
