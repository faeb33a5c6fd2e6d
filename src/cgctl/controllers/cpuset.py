"""cpuset: on which CPUs and memory nodes a group may run and allocate.

v2 inherits what is left empty; v1 starts empty and refuses processes until both lists are set, so the
plan copies the parent's where nothing is asked. Both lists are the request; ``stats().cpuset`` tells
what is in effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import attrs

from cgctl.controllers._codec import CpuList, Text
from cgctl.controllers._row import Controller, Row, Side
from cgctl.controllers._values import LIST, WORD, Values
from cgctl.errors import SpecError, UnsupportedError, shown
from cgctl.formats import HIGHEST_CPU, format_cpu_list, parse_cpu_list

__all__ = ["CONTROLLER", "Cpuset", "CpusetStats"]

_PARTITION: Final = re.compile(r"member|(?:root|isolated)(?: invalid(?: \(.*\))?)?")


def _parse_list(value: Any, what: str) -> tuple[int, ...]:
    try:
        return parse_cpu_list(value if isinstance(value, str) else format_cpu_list(value))
    except SpecError as error:
        msg = f"{what}: {error}"
        raise SpecError(msg) from None


def _parse_partition(value: Any, what: str) -> str:
    # The kernel says "root invalid (reason)" of a partition that lapsed; limits() reads that back.
    if isinstance(value, str) and _PARTITION.fullmatch(value):
        return value
    msg = f"{what}={shown(value)}: not a partition type; give 'member', 'root' or 'isolated'"
    raise SpecError(msg)


_NUMBERS: Final = Values(unit=LIST, parse=_parse_list, low=0, high=HIGHEST_CPU)
_TYPES: Final = Values(unit=WORD, parse=_parse_partition, words=("member", "root", "isolated"))


def _cpus(value: str | Iterable[int] | None) -> tuple[int, ...] | None:
    return _NUMBERS(value, "cpuset.cpus")


def _mems(value: str | Iterable[int] | None) -> tuple[int, ...] | None:
    return _NUMBERS(value, "cpuset.mems")


def _exclusive(value: str | Iterable[int] | None) -> tuple[int, ...] | None:
    return _NUMBERS(value, "cpuset.exclusive")


def _partition(value: str | None) -> str | None:
    return _TYPES(value, "cpuset.partition")


@attrs.frozen(kw_only=True)
class Cpuset:
    """What to set on the cpuset controller; ``None`` leaves a setting as it is.

    Attributes:
        cpus: CPUs to run on: ``"0-1,4"`` or an iterable of ints; empty inherits, on v2 (``cpuset.cpus``).
        mems: memory nodes to allocate from, likewise (``cpuset.mems``).
        partition: ``"member"``, ``"root"`` or ``"isolated"`` (``cpuset.cpus.partition``, since 5.0; not on v1).
        exclusive: CPUs that no sibling may claim (``cpuset.cpus.exclusive``, since 6.7; not on v1).

    Raises:
        SpecError: a value is no list of CPUs, or no partition type.
    """

    cpus: tuple[int, ...] | None = attrs.field(default=None, converter=_cpus)
    mems: tuple[int, ...] | None = attrs.field(default=None, converter=_mems)
    partition: str | None = attrs.field(default=None, converter=_partition)
    exclusive: tuple[int, ...] | None = attrs.field(default=None, converter=_exclusive)

    @classmethod
    def shorthand(cls, value: Any) -> Cpuset:
        """Make the spec of ``cpuset="0-1"``: run on these CPUs."""
        return cls(cpus=value)


@attrs.frozen(kw_only=True)
class CpusetStats:
    """What the cpuset controller tells. ``None`` where this kernel or version does not say.

    Attributes:
        cpus_effective: CPUs that tasks really run on (``cpuset.cpus.effective`` | v1 ``cpuset.effective_cpus``).
        mems_effective: memory nodes really used (``cpuset.mems.effective`` | v1 ``cpuset.effective_mems``).
        exclusive_effective: CPUs really kept from siblings (``cpuset.cpus.exclusive.effective``, since 6.7).
        partition: the partition's state, with the kernel's reason where it is invalid (``cpuset.cpus.partition``).
    """

    cpus_effective: tuple[int, ...] | None = None
    mems_effective: tuple[int, ...] | None = None
    exclusive_effective: tuple[int, ...] | None = None
    partition: str | None = None


def _side(file: str, codec: Any, **more: Any) -> Side:
    return Side(controller="cpuset", file=f"cpuset.{file}", codec=codec, **more)


@attrs.frozen(kw_only=True)
class _List(CpuList):
    """v1's lists, of which an empty one inherits nothing."""

    def encode(self, value: tuple[int, ...], spec: Any) -> str:
        if not value:
            reason = "on v1 an empty list inherits nothing, and the group takes no process; leave it out to inherit"
            raise UnsupportedError("an empty list of cpuset", reason)
        return CpuList.encode(self, value, spec)


_SETTINGS = (
    Row(
        attribute="cpus",
        v1=_side("cpus", _List(), default=""),
        v2=_side("cpus", CpuList(), default=""),
        values=_NUMBERS,
    ),
    Row(
        attribute="mems",
        v1=_side("mems", _List(), default=""),
        v2=_side("mems", CpuList(), default=""),
        values=_NUMBERS,
    ),
    Row(
        attribute="exclusive",
        v1=None,
        v2=_side("cpus.exclusive", CpuList(), default="", since="6.7"),
        values=_NUMBERS,
        reason="v1 has only a flag for all CPUs of the group (cpuset.cpu_exclusive), no list",
    ),
    Row(
        attribute="partition",
        v1=None,
        v2=_side("cpus.partition", Text(), default="member", since="5.0"),
        values=_TYPES,
        reason="v1 has no partitions; sched_load_balance is the nearest",
    ),
)

_READINGS = (
    Row(
        attribute="cpus_effective",
        v1=_side("effective_cpus", CpuList()),
        v2=_side("cpus.effective", CpuList()),
        unit=LIST,
    ),
    Row(
        attribute="mems_effective",
        v1=_side("effective_mems", CpuList()),
        v2=_side("mems.effective", CpuList()),
        unit=LIST,
    ),
    Row(
        attribute="exclusive_effective",
        v1=None,
        v2=_side("cpus.exclusive.effective", CpuList(), since="6.7"),
        unit=LIST,
    ),
    Row(attribute="partition", v1=None, v2=_side("cpus.partition", Text(), since="5.0"), unit=WORD),
)

CONTROLLER = Controller(
    name="cpuset",
    spec=Cpuset,
    stats=CpusetStats,
    settings=_SETTINGS,
    readings=_READINGS,
    v1=("cpuset",),
    domain=False,
)
