"""cpuset: on which CPUs and memory nodes a group may run and allocate.

v2 inherits what is left empty; v1 starts empty and refuses processes until both lists are set, so the
plan copies the parent's where nothing is asked. Both lists are the request; ``stats().cpuset`` tells
what is in effect.

The kernel takes any partition that is asked for, and says afterwards whether it is one (since 6.1; before, it refuses).
One that is not is refused here as well, with the kernel's reason; one that lapses later is told by ``limits`` and
``stats``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from cgctl.controllers._codec import Codec, CpuList
from cgctl.controllers._row import Controller, Row, Side
from cgctl.controllers._values import LIST, WORD, Values
from cgctl.errors import SpecError, UnsupportedError, shown
from cgctl.formats import HIGHEST_CPU, FormatError, format_cpu_list, parse_cpu_list

__all__ = ["CONTROLLER", "Cpuset", "CpusetStats", "Partition"]

_WORDS: Final = ("member", "root", "isolated")


def _parse_list(value: Any, what: str) -> tuple[int, ...]:
    try:
        return parse_cpu_list(value if isinstance(value, str) else format_cpu_list(value))
    except SpecError as error:
        msg = f"{what}: {error}"
        raise SpecError(msg) from None


@attrs.frozen
class Partition:
    """What a group is to the CPUs of its parent (``cpuset.cpus.partition``).

    Attributes:
        type: ``"member"``, which shares its parent's; ``"root"``, which takes its own away from there; or
            ``"isolated"``, which keeps them from load balancing too (since 6.1).
        valid: whether it is so; a partition lapses when the group above is none any more, or its CPUs are gone.
        reason: why it is not, in the kernel's words; empty if it does not say.
    """

    type: str
    valid: bool = True
    reason: str = ""

    def __str__(self) -> str:
        """Return it as the kernel writes it: ``root``, or ``root invalid (Parent is not a partition root)``."""
        return self.type + ("" if self.valid else " invalid") + (f" ({self.reason})" if self.reason else "")


def _parse_partition(value: Any, what: str) -> Partition:
    if isinstance(value, str) and value in _WORDS:
        return Partition(value)
    # What limits() returned can be given again, lapsed or not: then its type is what is wished.
    if isinstance(value, Partition) and value.type in _WORDS:
        return value
    msg = f"{what}={shown(value)}: not a partition type; give 'member', 'root' or 'isolated'"
    raise SpecError(msg)


_NUMBERS: Final = Values(unit=LIST, parse=_parse_list, low=0, high=HIGHEST_CPU)
_TYPES: Final = Values(unit=WORD, parse=_parse_partition, words=_WORDS)


def _cpus(value: str | Iterable[int] | None) -> tuple[int, ...] | None:
    return _NUMBERS(value, "cpuset.cpus")


def _mems(value: str | Iterable[int] | None) -> tuple[int, ...] | None:
    return _NUMBERS(value, "cpuset.mems")


def _exclusive(value: str | Iterable[int] | None) -> tuple[int, ...] | None:
    return _NUMBERS(value, "cpuset.exclusive")


def _partition(value: str | Partition | None) -> Partition | None:
    return _TYPES(value, "cpuset.partition")


@attrs.frozen(kw_only=True)
class Cpuset:
    """What to set on the cpuset controller; ``None`` leaves a setting as it is.

    Attributes:
        cpus: CPUs to run on: ``"0-1,4"`` or an iterable of ints; empty inherits, on v2 (``cpuset.cpus``).
        mems: memory nodes to allocate from, likewise (``cpuset.mems``).
        partition: ``"member"``, ``"root"`` or ``"isolated"``, or a :class:`Partition`, which it then is
            (``cpuset.cpus.partition``, since 5.0, ``"isolated"`` since 6.1; not on v1).
        exclusive: CPUs that no sibling may claim (``cpuset.cpus.exclusive``, since 6.7; not on v1).

    Raises:
        SpecError: a value is no list of CPUs, or no partition type.
    """

    cpus: tuple[int, ...] | None = attrs.field(default=None, converter=_cpus)
    mems: tuple[int, ...] | None = attrs.field(default=None, converter=_mems)
    partition: Partition | None = attrs.field(default=None, converter=_partition)
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
        partition: what it is, whether it holds, and why not (``cpuset.cpus.partition``).
    """

    cpus_effective: tuple[int, ...] | None = None
    mems_effective: tuple[int, ...] | None = None
    exclusive_effective: tuple[int, ...] | None = None
    partition: Partition | None = None


def _side(file: str, codec: Any, **more: Any) -> Side:
    return Side(controller="cpuset", file=f"cpuset.{file}", codec=codec, **more)


class _List(CpuList):
    """v1's lists, of which an empty one inherits nothing."""

    def encode(self, value: tuple[int, ...], spec: Any) -> str:
        if not value:
            reason = "on v1 an empty list inherits nothing, and the group takes no process; leave it out to inherit"
            raise UnsupportedError("an empty list of cpuset", reason)
        return CpuList.encode(self, value, spec)


class _Partition(Codec):
    """A partition's type, and whether it holds."""

    def encode(self, value: Partition, spec: Any) -> str:
        del spec
        return value.type

    def decode(self, text: str, texts: Mapping[str, str]) -> Partition:
        del texts
        kind, _, rest = text.strip().partition(" ")
        word, _, reason = rest.partition(" ")
        if kind not in _WORDS or (rest and word != "invalid"):
            msg = f"not a partition: {text!r}"
            raise FormatError(msg)
        return Partition(kind, valid=not rest, reason=reason.removeprefix("(").removesuffix(")"))

    def stands(self, held: str) -> bool:
        return held.strip() in {"root", "isolated"}


_ALONG: Final = ("cpuset.cpus.partition",)

_SETTINGS = (
    Row(
        attribute="cpus",
        v1=_side("cpus", _List(), default=""),
        v2=_side("cpus", CpuList(), default="", also=_ALONG),
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
        v2=_side("cpus.exclusive", CpuList(), default="", also=_ALONG, since="6.7"),
        values=_NUMBERS,
        reason="v1 has only a flag for all CPUs of the group (cpuset.cpu_exclusive), no list",
    ),
    Row(
        attribute="partition",
        v1=None,
        v2=_side("cpus.partition", _Partition(), default="member", since="5.0", verified=True),
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
    Row(attribute="partition", v1=None, v2=_side("cpus.partition", _Partition(), since="5.0"), unit=WORD),
)

CONTROLLER = Controller(
    name="cpuset",
    spec=Cpuset,
    stats=CpusetStats,
    settings=_SETTINGS,
    readings=_READINGS,
    domain=False,
)
