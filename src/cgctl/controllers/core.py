"""core: what every v2 group has, whatever its controllers: state, events and the size of its subtree.

v1 has no such files (its ``freezer`` controller stands in for freezing), so on a machine without a v2
hierarchy these settings are unsupported and these statistics are absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from cgctl.controllers._codec import Codec, Count, Flag, Key, Text
from cgctl.controllers._row import CORE, Controller, Row, Side
from cgctl.controllers._values import COUNT, FLAGS, USEC, WORD, Values, saturating, whole_or_max
from cgctl.errors import SpecError, shown
from cgctl.units import Limit, Size

__all__ = ["CONTROLLER", "Core", "CoreStats"]

_INT_MAX: Final = 2**31 - 1
_LEVELS: Final = saturating(whole_or_max("levels", 0, _INT_MAX), _INT_MAX)
_GROUPS: Final = saturating(whole_or_max("groups", 0, _INT_MAX), _INT_MAX)
_REASON: Final = "v1 groups have no core interface files; this needs a cgroup2 mount (mount -t cgroup2 none DIR)"


def _max_depth(value: Size | None) -> Limit | None:
    return _LEVELS(value, "core.max_depth")


def _max_descendants(value: Size | None) -> Limit | None:
    return _GROUPS(value, "core.max_descendants")


def _parse_type(value: Any, what: str) -> str:
    if isinstance(value, str) and value in _TYPES.words:
        return value
    msg = (
        f"{what}={shown(value)}: not a type that can be asked for; give 'threaded', or 'domain' for what every group is"
    )
    raise SpecError(msg)


_TYPES: Final = Values(unit=WORD, parse=_parse_type, words=("domain", "threaded"))


def _type(value: str | None) -> str | None:
    return _TYPES(value, "core.type")


def _pressure(value: int | str | None) -> bool | None:
    return FLAGS(value, "core.pressure")


@attrs.frozen(kw_only=True)
class Core:
    """What to set on a v2 group itself; ``None`` leaves a setting as it is.

    Attributes:
        type: ``"threaded"`` for a group of threads, below the group of their process; for ever, and with none but the
            controllers ``cpu``, ``cpuset``, ``pids`` and ``perf_event``. ``"domain"`` is any other (``cgroup.type``,
            since 4.14).
        max_depth: levels of groups allowed below, 0..2147483647, or ``MAX`` (``cgroup.max.depth``, since 4.14).
        max_descendants: groups allowed below, or ``MAX`` (``cgroup.max.descendants``, since 4.14).
        pressure: whether pressure is accounted for this group (``cgroup.pressure``, since 6.1).

    Raises:
        SpecError: a value is out of range.
    """

    type: str | None = attrs.field(default=None, converter=_type)
    max_depth: Limit | None = attrs.field(default=None, converter=_max_depth)
    max_descendants: Limit | None = attrs.field(default=None, converter=_max_descendants)
    pressure: bool | None = attrs.field(default=None, converter=_pressure)

    @classmethod
    def shorthand(cls, value: Any) -> Core:
        """Refuse: the core files have no main limit."""
        msg = f"core={value!r}: there is no shorthand; give Core(max_depth=…), Core(type='threaded') or others"
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


class _Type(Codec):
    """Whether a group is threaded; the others' three types are states, which the statistics tell."""

    def decode(self, text: str, texts: Mapping[str, str]) -> str:
        del texts
        return "threaded" if text.strip() == "threaded" else "domain"

    def same(self, held: str, wanted: str, page_size: int) -> bool:
        del page_size
        return self.decode(held, {}) == wanted


def _side(file: str, codec: Codec, **more: Any) -> Side:
    return Side(controller=CORE, file=f"cgroup.{file}", codec=codec, **more)


def _setting(attribute: str, file: str, codec: Codec, values: Values[Any], **more: Any) -> Row:
    return Row(attribute=attribute, v1=None, v2=_side(file, codec, **more), values=values, reason=_REASON)


def _reading(attribute: str, file: str, codec: Codec, unit: str, since: str | None = None) -> Row:
    return Row(attribute=attribute, v1=None, v2=_side(file, codec, since=since), unit=unit, reason=_REASON)


CONTROLLER = Controller(
    name="core",
    spec=Core,
    stats=CoreStats,
    settings=(
        _setting("type", "type", _Type(), _TYPES, default="domain", since="4.14"),
        _setting("max_depth", "max.depth", Count(), _LEVELS, default="max", since="4.14"),
        _setting("max_descendants", "max.descendants", Count(), _GROUPS, default="max", since="4.14"),
        _setting("pressure", "pressure", Flag(), FLAGS, default="1", since="6.1"),
    ),
    readings=(
        _reading("type", "type", Text(), WORD),
        _reading("populated", "events", Key(key="populated"), FLAGS.unit),
        _reading("frozen", "events", Key(key="frozen"), FLAGS.unit, since="5.2"),
        _reading("nr_descendants", "stat", Key(key="nr_descendants"), COUNT),
        _reading("nr_dying_descendants", "stat", Key(key="nr_dying_descendants"), COUNT),
        _reading("frozen_usec", "stat.local", Key(key="frozen_usec"), USEC, since="6.18"),
    ),
    domain=False,
)
