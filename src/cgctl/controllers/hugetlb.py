"""hugetlb: how much memory in huge pages a group may use, of each size.

A limit of ``max`` is met when a page is touched, and then the process gets ``SIGBUS``; one of ``rsvd_max`` when
memory is reserved, so that ``mmap`` fails with ``ENOMEM``. Sizes of pages are spelled as the kernel's files are
named (``2MB``); those that a machine has are in ``/sys/kernel/mm/hugepages``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from cgctl.controllers._codec import Count, Key, Number
from cgctl.controllers._row import SIZE, Controller, Row, Side
from cgctl.controllers._values import BYTES, COUNT, LIMITS
from cgctl.errors import SpecError, shown
from cgctl.formats import format_huge_page, parse_nested_keyed
from cgctl.units import MAX, Limit, Size, parse_size

__all__ = ["CONTROLLER", "Hugetlb", "HugetlbPages", "HugetlbStats"]

_WORD: Final = re.compile(r"([0-9]+)(?:K|M|G)(?:I?B)?", re.IGNORECASE | re.ASCII)
_LEAST_PAGE: Final = 4096
_UNLIMITED: Final = 2**63 - 2**35
"""From here on a limit is none: the kernel's is the largest number of whole pages, and none is above 16 GiB."""


def _page_size(name: object, what: str) -> str:
    size = name
    if isinstance(name, str) and _WORD.fullmatch(name.strip()):
        size = parse_size(name, what)
    if isinstance(size, bool) or not isinstance(size, int) or size < _LEAST_PAGE or size.bit_count() != 1:
        msg = f"{what}={{{shown(name)}: ...}}: not a size of pages; give a power of two such as '2M' or '1G'"
        raise SpecError(msg)
    return format_huge_page(size)


def _limits(value: Any, what: str) -> dict[str, Limit] | None:
    if value is None:
        return None
    if isinstance(value, str):
        words = [word.partition("=") for word in value.split(",")]
        value = {size: limit for size, equals, limit in words if equals} or value
    if not isinstance(value, Mapping):
        msg = f"{what}={shown(value)}: not a mapping; give a limit for each size of pages, such as {{'2M': '64M'}}"
        raise SpecError(msg)
    found: dict[str, Limit] = {}
    for name, limit in value.items():
        size = _page_size(name, what)
        if size in found:
            msg = f"{what}: {size} is named twice; give one limit for each size of pages"
            raise SpecError(msg)
        found[size] = _whole_pages(LIMITS.parse(limit, f"{what}[{size}]"), size)
    return found


def _whole_pages(limit: Limit, size: str) -> Limit:
    """Round a limit down to whole pages, as the kernel does."""
    return MAX if limit is MAX or limit >= _UNLIMITED else limit - limit % parse_size(size)


def _max(value: Mapping[Any, Size] | str | None) -> Mapping[str, Limit] | None:
    return _limits(value, "hugetlb.max")


def _rsvd_max(value: Mapping[Any, Size] | str | None) -> Mapping[str, Limit] | None:
    return _limits(value, "hugetlb.rsvd_max")


@attrs.frozen(kw_only=True)
class Hugetlb:
    """What to set on the hugetlb controller; ``None``, and a size that is not named, leave it as it is.

    Both are mappings of page size (``"2M"``, ``"2MB"`` or bytes) to limit (bytes, ``"64M"`` or ``MAX``); limits are
    rounded down to whole pages.

    Attributes:
        max: memory in use (``hugetlb.SIZE.max`` | v1 ``hugetlb.SIZE.limit_in_bytes``); beyond it, touching a page
            is a ``SIGBUS``.
        rsvd_max: memory reserved (``hugetlb.SIZE.rsvd.max`` | v1 ``hugetlb.SIZE.rsvd.limit_in_bytes``, since 5.7);
            beyond it, ``mmap`` is an ``ENOMEM``.

    Raises:
        SpecError: a size is no power of two, or a limit no size.
    """

    max: Mapping[str, Limit] | None = attrs.field(default=None, converter=_max)
    rsvd_max: Mapping[str, Limit] | None = attrs.field(default=None, converter=_rsvd_max)

    @classmethod
    def shorthand(cls, value: Any) -> Hugetlb:
        """Make the spec of ``hugetlb={"2M": "64M"}``: at most so much memory in pages of that size."""
        return cls(max=value)


@attrs.frozen(kw_only=True)
class HugetlbPages:
    """What the hugetlb controller tells of one size of pages. ``None`` where this kernel or version does not say.

    Attributes:
        current: bytes in use (``hugetlb.SIZE.current`` | v1 ``hugetlb.SIZE.usage_in_bytes``).
        peak: the highest *current* so far (v1 ``hugetlb.SIZE.max_usage_in_bytes``; not on v2).
        rsvd_current: bytes reserved (``hugetlb.SIZE.rsvd.current`` | v1 ``hugetlb.SIZE.rsvd.usage_in_bytes``).
        rsvd_peak: the highest *rsvd_current* so far (v1 ``hugetlb.SIZE.rsvd.max_usage_in_bytes``; not on v2).
        events_max: how often a limit was met, in the group and below (``hugetlb.SIZE.events``; not on v1).
        events_local_max: how often a limit was met by this group (``hugetlb.SIZE.events.local`` | v1, lossy,
            ``hugetlb.SIZE.failcnt`` and ``hugetlb.SIZE.rsvd.failcnt``).
        numa_stat: memory node → bytes in use, the groups below included (``hugetlb.SIZE.numa_stat``, since 5.17).
    """

    current: int | None = None
    peak: int | None = None
    rsvd_current: int | None = None
    rsvd_peak: int | None = None
    events_max: int | None = None
    events_local_max: int | None = None
    numa_stat: Mapping[int, int] | None = None


@attrs.frozen(kw_only=True)
class HugetlbStats:
    """What the hugetlb controller tells.

    Attributes:
        pages: size of pages, such as ``"2MB"`` → what it tells of these.
    """

    pages: Mapping[str, HugetlbPages] = attrs.field(factory=dict)


class _Limit(Count):
    """A limit; what is beyond any machine is none."""

    def decode(self, text: str, texts: Mapping[str, str]) -> Limit:
        number = Count.decode(self, text, texts)
        return MAX if number is MAX or number >= _UNLIMITED else number

    def same(self, held: str, wanted: str, page_size: int) -> bool:
        del page_size
        return self.decode(held, {}) == self.decode(wanted, {})


class _Failures(Number):
    """v1's two counters, of use and of reservation, as v2's one."""

    def decode(self, text: str, texts: Mapping[str, str]) -> int:
        del text
        return sum(int(each) for each in texts.values())


class _Numa(Number):
    """``total=BYTES N0=BYTES N1=BYTES``; the last line, where v1 has a second one, is that of the subtree."""

    def decode(self, text: str, texts: Mapping[str, str]) -> Any:
        del texts
        (pairs,) = parse_nested_keyed(f"nodes {text.splitlines()[-1]}").values()
        return {int(name[1:]): int(value) for name, value in pairs.items() if name.startswith("N")}


def _side(file: str, codec: Any, **more: Any) -> Side:
    also = tuple(f"hugetlb.{SIZE}.{name}" for name in more.pop("also", ()))
    return Side(controller="hugetlb", file=f"hugetlb.{SIZE}.{file}", codec=codec, also=also, **more)


def _setting(attribute: str, v1: str, v2: str, since: str | None = None) -> Row:
    return Row(
        attribute=f"{attribute}.{SIZE}",
        v1=_side(v1, _Limit(unlimited="-1"), default="-1", since=since),
        v2=_side(v2, _Limit(), default="max", since=since),
        values=LIMITS,
    )


def _parts(spec: Hugetlb) -> dict[str, Limit]:
    named = {"max": spec.max, "rsvd_max": spec.rsvd_max}
    return {f"{name}.{size}": limit for name, limits in named.items() for size, limit in (limits or {}).items()}


def _split(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Turn ``{"max.2MB": 1}`` into ``{"max": {"2MB": 1}}``."""
    found: dict[str, dict[str, Any]] = {}
    for attribute, value in values.items():
        name, _, size = attribute.partition(".")
        found.setdefault(name, {})[size] = value
    return found


def _whole(values: Mapping[str, Any]) -> Hugetlb:
    found = _split(values)
    return Hugetlb(max=found.get("max"), rsvd_max=found.get("rsvd_max"))


def _whole_stats(values: Mapping[str, Any]) -> HugetlbStats:
    pages: dict[str, dict[str, Any]] = {}
    for attribute, value in values.items():
        name, _, size = attribute.partition(".")
        pages.setdefault(size, {})[name] = value
    return HugetlbStats(pages={size: HugetlbPages(**told) for size, told in pages.items()})


CONTROLLER = Controller(
    name="hugetlb",
    spec=Hugetlb,
    stats=HugetlbStats,
    settings=(
        _setting("max", "limit_in_bytes", "max"),
        _setting("rsvd_max", "rsvd.limit_in_bytes", "rsvd.max", since="5.7"),
    ),
    readings=(
        Row(
            attribute=f"current.{SIZE}",
            v1=_side("usage_in_bytes", Number()),
            v2=_side("current", Number()),
            unit=BYTES,
        ),
        Row(attribute=f"peak.{SIZE}", v1=_side("max_usage_in_bytes", Number()), v2=None, unit=BYTES),
        Row(
            attribute=f"rsvd_current.{SIZE}",
            v1=_side("rsvd.usage_in_bytes", Number(), since="5.7"),
            v2=_side("rsvd.current", Number(), since="5.7"),
            unit=BYTES,
        ),
        Row(
            attribute=f"rsvd_peak.{SIZE}",
            v1=_side("rsvd.max_usage_in_bytes", Number(), since="5.7"),
            v2=None,
            unit=BYTES,
        ),
        Row(attribute=f"events_max.{SIZE}", v1=None, v2=_side("events", Key(key="max")), unit=COUNT),
        Row(
            attribute=f"events_local_max.{SIZE}",
            v1=_side("failcnt", _Failures(), also=("rsvd.failcnt",)),
            v2=_side("events.local", Key(key="max")),
            unit=COUNT,
            lossy="v1 counts where the limit is, v2 where the process is",
        ),
        Row(
            attribute=f"numa_stat.{SIZE}",
            v1=_side("numa_stat", _Numa(), since="5.17"),
            v2=_side("numa_stat", _Numa(), since="5.17"),
            unit=f"{BYTES}, by node",
        ),
    ),
    parts=_parts,
    whole=_whole,
    whole_stats=_whole_stats,
)
