"""core: what every v2 group has, whatever its controllers: state, events and the size of its subtree.

v1 has no such files (its ``freezer`` controller stands in for freezing), so on a machine without a v2
hierarchy these settings are unsupported and these statistics are absent.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from cgctl.controllers._codec import Codec, Count, Flag, Key, Text
from cgctl.controllers._row import CORE, Controller, Row, Side
from cgctl.errors import SpecError
from cgctl.units import MAX, Limit, Size, parse_count_or_max, parse_flag

__all__ = ["CONTROLLER", "Core", "CoreStats"]

_INT_MAX: Final = 2**31 - 1
_REASON: Final = "v1 groups have no core interface files; this needs a cgroup2 mount (mount -t cgroup2 none DIR)"


def _limit(value: Size | None, name: str) -> Limit | None:
    number = None if value is None else parse_count_or_max(value, f"core.{name}", 0, _INT_MAX)
    # To the kernel they are the same, and it reads back "max".
    return MAX if number == _INT_MAX else number


def _max_depth(value: Size | None) -> Limit | None:
    return _limit(value, "max_depth")


def _max_descendants(value: Size | None) -> Limit | None:
    return _limit(value, "max_descendants")


def _pressure(value: int | str | None) -> bool | None:
    return None if value is None else parse_flag(value, "core.pressure")


@attrs.frozen(kw_only=True)
class Core:
    """What to set on a v2 group itself; ``None`` leaves a setting as it is.

    Attributes:
        max_depth: levels of groups allowed below, 0..2147483647, or ``MAX`` (``cgroup.max.depth``, since 4.14).
        max_descendants: groups allowed below, or ``MAX`` (``cgroup.max.descendants``, since 4.14).
        pressure: whether pressure is accounted for this group (``cgroup.pressure``, since 6.1).

    Raises:
        SpecError: a value is out of range.
    """

    max_depth: Limit | None = attrs.field(default=None, converter=_max_depth)
    max_descendants: Limit | None = attrs.field(default=None, converter=_max_descendants)
    pressure: bool | None = attrs.field(default=None, converter=_pressure)

    @classmethod
    def shorthand(cls, value: Any) -> Core:
        """Refuse: the core files have no main limit."""
        msg = f"core={value!r}: there is no shorthand; give Core(max_depth=…, max_descendants=…)"
        raise SpecError(msg)


@attrs.frozen(kw_only=True)
class CoreStats:
    """What a v2 group tells of itself; all ``None`` where there is no v2 hierarchy.

    Attributes:
        type: ``domain``, ``threaded``, ``domain threaded`` or ``domain invalid`` (``cgroup.type``).
        populated: whether a live process is in it or below (``cgroup.events``).
        frozen: whether it is frozen, by itself or from above (``cgroup.events``, since 5.2).
        nr_descendants: groups below (``cgroup.stat``).
        nr_dying_descendants: removed groups below that still hold memory (``cgroup.stat``).
        frozen_usec: time spent frozen, microseconds (``cgroup.stat.local``, since 6.18).
    """

    type: str | None = None
    populated: int | None = None
    frozen: int | None = None
    nr_descendants: int | None = None
    nr_dying_descendants: int | None = None
    frozen_usec: int | None = None


def _side(file: str, codec: Codec, **more: Any) -> Side:
    return Side(controller=CORE, file=f"cgroup.{file}", codec=codec, **more)


def _row(attribute: str, file: str, codec: Codec, **more: Any) -> Row:
    return Row(attribute=attribute, v1=None, v2=_side(file, codec, **more), reason=_REASON)


CONTROLLER = Controller(
    name="core",
    spec=Core,
    stats=CoreStats,
    settings=(
        _row("max_depth", "max.depth", Count(), default="max", since="4.14"),
        _row("max_descendants", "max.descendants", Count(), default="max", since="4.14"),
        _row("pressure", "pressure", Flag(), default="1", since="6.1"),
    ),
    readings=(
        _row("type", "type", Text()),
        _row("populated", "events", Key(key="populated")),
        _row("frozen", "events", Key(key="frozen"), since="5.2"),
        _row("nr_descendants", "stat", Key(key="nr_descendants")),
        _row("nr_dying_descendants", "stat", Key(key="nr_dying_descendants")),
        _row("frozen_usec", "stat.local", Key(key="frozen_usec"), since="6.18"),
    ),
    v1=(),
    domain=False,
    everywhere=True,
)
