"""dmem: how much memory of devices, such as graphics cards, a group may use, by region.

Which regions there are is for the devices' drivers to say: ``stats().dmem.capacity`` has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from cgctl.controllers._lines import Lines
from cgctl.controllers._row import Controller, Row, Side
from cgctl.controllers._values import BYTES, LIMITS, by_name, saturating
from cgctl.units import Limit, Size

__all__ = ["CONTROLLER", "Dmem", "DmemStats"]

_UNLIMITED: Final = 2**63 // 4096 - 1
"""The most that a counter of pages counts to, and this controller's count bytes by it."""
_REGIONS: Final = by_name("region", saturating(LIMITS, _UNLIMITED))
_LINES: Final = Lines(unlimited=_UNLIMITED)


def _max(value: Mapping[str, Size] | str | None) -> Mapping[str, Limit] | None:
    return _REGIONS(value, "dmem.max")


def _low(value: Mapping[str, Size] | str | None) -> Mapping[str, Limit] | None:
    return _REGIONS(value, "dmem.low")


def _min(value: Mapping[str, Size] | str | None) -> Mapping[str, Limit] | None:
    return _REGIONS(value, "dmem.min")


@attrs.frozen(kw_only=True)
class Dmem:
    """What to set on the dmem controller (since 6.14); ``None``, and a region that is not named, leave it as it is.

    Each is a mapping of region, such as ``"drm/0000:03:00.0/vram0"``, to bytes, ``"1G"`` or ``MAX``.

    Attributes:
        max: the most that may be used (``dmem.max``).
        low: what is best left alone when others have more (``dmem.low``).
        min: what is never taken away for others (``dmem.min``).

    Raises:
        SpecError: it is no mapping, or a limit is no size.
    """

    max: Mapping[str, Limit] | None = attrs.field(default=None, converter=_max)
    low: Mapping[str, Limit] | None = attrs.field(default=None, converter=_low)
    min: Mapping[str, Limit] | None = attrs.field(default=None, converter=_min)

    @classmethod
    def shorthand(cls, value: Any) -> Dmem:
        """Make the spec of ``dmem={"drm/0000:03:00.0/vram0": "1G"}``: at most so much of it."""
        return cls(max=value)


@attrs.frozen(kw_only=True)
class DmemStats:
    """What the dmem controller tells: region → bytes. ``None`` where this kernel does not say.

    Attributes:
        capacity: how much there is (``dmem.capacity``, in the root; not seen from within a cgroup namespace).
        current: how much the group uses (``dmem.current``).
    """

    capacity: Mapping[str, int] | None = None
    current: Mapping[str, int] | None = None


def _row(attribute: str, **more: Any) -> Row:
    values, unit = more.pop("values", None), f"{BYTES}, by region"
    side = Side(controller="dmem", file=f"dmem.{attribute}", codec=_LINES, since="6.14", **more)
    return Row(attribute=attribute, v1=side, v2=side, values=values, unit=unit)


CONTROLLER = Controller(
    name="dmem",
    spec=Dmem,
    stats=DmemStats,
    settings=tuple(_row(name, default="", values=_REGIONS) for name in ("max", "low", "min")),
    readings=(_row("capacity", root=True), _row("current")),
)
