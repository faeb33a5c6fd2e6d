"""memory: what a group may hold in memory and swap, and what it does hold.

Sizes are bytes. v1 has no limit of swap by itself: ``memory.memsw.limit_in_bytes`` counts memory and
swap together, so ``swap_max`` is that limit less the memory limit, and changing ``max`` alone moves
both so that the swap allowed stays the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from cgctl.controllers._codec import Bytes, Codec, Count, Flag, Key, Keyed, Number, Psi
from cgctl.controllers._row import CORE, Controller, Row, Side
from cgctl.controllers._values import BYTES, COUNT, FLAGS, LIMITS, PRESSURE, whole
from cgctl.errors import UnsupportedError
from cgctl.formats import Pressure, parse_flat_keyed
from cgctl.units import MAX, Limit, Size, is_max, parse_count, parse_limit

__all__ = ["CONTROLLER", "Memory", "MemoryEvents", "MemoryStat", "MemoryStats", "SwapEvents"]


_SWAPPINESS: Final = whole("", 0, 200)


def _limit(value: Size | None, name: str) -> Limit | None:
    return None if value is None else LIMITS(value, f"memory.{name}")


def _flag(value: int | str | None, name: str) -> bool | None:
    return None if value is None else FLAGS(value, f"memory.{name}")


# One function an attribute: a converter is not told its name, and type checkers know none but plain functions.


def parse_swappiness(value: int | str | None) -> str:
    """Return what ``memory.reclaim`` takes after the amount.

    Raises:
        SpecError: it is none of 0..200 and ``"max"``.
    """
    if value is None or is_max(value):
        return "" if value is None else " swappiness=max"
    return f" swappiness={parse_count(value, 'reclaim: swappiness', 0, 200)}"


def _max(value: Size | None) -> Limit | None:
    return _limit(value, "max")


def _high(value: Size | None) -> Limit | None:
    return _limit(value, "high")


def _low(value: Size | None) -> Limit | None:
    return _limit(value, "low")


def _min(value: Size | None) -> Limit | None:
    return _limit(value, "min")


def _swap_max(value: Size | None) -> Limit | None:
    return _limit(value, "swap_max")


def _swap_high(value: Size | None) -> Limit | None:
    return _limit(value, "swap_high")


def _zswap_max(value: Size | None) -> Limit | None:
    return _limit(value, "zswap_max")


def _soft_limit(value: Size | None) -> Limit | None:
    return _limit(value, "soft_limit")


def _zswap_writeback(value: int | str | None) -> bool | None:
    return _flag(value, "zswap_writeback")


def _oom_group(value: int | str | None) -> bool | None:
    return _flag(value, "oom_group")


def _oom_kill_disable(value: int | str | None) -> bool | None:
    return _flag(value, "oom_kill_disable")


def _swappiness(value: int | str | None) -> int | None:
    return _SWAPPINESS(value, "memory.swappiness")


@attrs.frozen(kw_only=True)
class Memory:
    """What to set on the memory controller; ``None`` leaves a setting as it is.

    Sizes are an ``int`` of bytes, a string such as ``"100M"`` (powers of 1024), or ``MAX``. The kernel
    rounds them down to whole pages.

    Attributes:
        max: hard limit; the kernel reclaims, then kills (``memory.max`` | v1 ``memory.limit_in_bytes``).
        high: above this the group is throttled and reclaimed hard (``memory.high``; not on v1).
        low: best-effort protection from reclaim (``memory.low`` | v1 ``memory.soft_limit_in_bytes``, lossy).
        min: hard protection from reclaim (``memory.min``; not on v1).
        swap_max: hard limit of swap (``memory.swap.max`` | v1 ``memory.memsw.limit_in_bytes`` less ``max``).
        swap_high: above this the group is throttled (``memory.swap.high``, since 5.8; not on v1).
        zswap_max: hard limit of compressed swap in memory (``memory.zswap.max``, since 5.19; not on v1).
        zswap_writeback: whether zswap may write to the disk (``memory.zswap.writeback``, since 6.8; not on v1).
        oom_group: kill the whole group when one of it is killed (``memory.oom.group``, since 4.19; not on v1).
        soft_limit: v1 only, ``memory.soft_limit_in_bytes``.
        swappiness: v1 only, 0..200 (0..100 before 5.8), ``memory.swappiness``.
        oom_kill_disable: v1 only, ``memory.oom_control``: tasks wait at the limit instead of being killed.

    Raises:
        SpecError: a value is no size, out of range, or contradicts another.
    """

    max: Limit | None = attrs.field(default=None, converter=_max)
    high: Limit | None = attrs.field(default=None, converter=_high)
    low: Limit | None = attrs.field(default=None, converter=_low)
    min: Limit | None = attrs.field(default=None, converter=_min)
    swap_max: Limit | None = attrs.field(default=None, converter=_swap_max)
    swap_high: Limit | None = attrs.field(default=None, converter=_swap_high)
    zswap_max: Limit | None = attrs.field(default=None, converter=_zswap_max)
    zswap_writeback: bool | None = attrs.field(default=None, converter=_zswap_writeback)
    oom_group: bool | None = attrs.field(default=None, converter=_oom_group)
    soft_limit: Limit | None = attrs.field(default=None, converter=_soft_limit)
    swappiness: int | None = attrs.field(default=None, converter=_swappiness)
    oom_kill_disable: bool | None = attrs.field(default=None, converter=_oom_kill_disable)
    where_accounted: frozenset[str] = attrs.field(default=frozenset(), repr=False, eq=False)

    @classmethod
    def shorthand(cls, value: Any) -> Memory:
        """Make the spec of ``memory="100M"``: that much memory, and no swap beyond where swap is accounted."""
        limit = parse_limit(value, "memory")
        if limit is MAX:
            return cls(max=MAX, swap_max=MAX, where_accounted=frozenset({"swap_max"}))
        return cls(max=limit, swap_max=0, where_accounted=frozenset({"swap_max"}))


@attrs.frozen(kw_only=True)
class MemoryEvents:
    """How often each boundary was met (``memory.events``), since the group was made.

    On v1 only ``max`` (``memory.failcnt`` and ``memory.memsw.failcnt``, this group alone) and ``oom_kill``
    (``memory.oom_control``, since 4.13, summed over the subtree) are known.
    """

    low: int | None = None
    high: int | None = None
    max: int | None = None
    oom: int | None = None
    oom_kill: int | None = None
    oom_group_kill: int | None = None
    sock_throttled: int | None = None
    extra: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class SwapEvents:
    """How often a swap boundary was met (``memory.swap.events``)."""

    high: int | None = None
    max: int | None = None
    fail: int | None = None
    extra: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class MemoryStat:
    """What the group's memory is used for (``memory.stat``), subtree included.

    Sizes are bytes, the rest counts. The names are v2's; of v1 the keys with the same meaning are
    mapped (from the ``total_`` ones), and all others are in ``extra`` under the kernel's name.
    """

    anon: int | None = None
    file: int | None = None
    kernel: int | None = None
    kernel_stack: int | None = None
    pagetables: int | None = None
    sec_pagetables: int | None = None
    percpu: int | None = None
    sock: int | None = None
    vmalloc: int | None = None
    shmem: int | None = None
    zswap: int | None = None
    zswapped: int | None = None
    zswap_incomp: int | None = None
    file_mapped: int | None = None
    file_dirty: int | None = None
    file_writeback: int | None = None
    swapcached: int | None = None
    anon_thp: int | None = None
    file_thp: int | None = None
    shmem_thp: int | None = None
    inactive_anon: int | None = None
    active_anon: int | None = None
    inactive_file: int | None = None
    active_file: int | None = None
    unevictable: int | None = None
    slab_reclaimable: int | None = None
    slab_unreclaimable: int | None = None
    slab: int | None = None
    workingset_refault_anon: int | None = None
    workingset_refault_file: int | None = None
    workingset_activate_anon: int | None = None
    workingset_activate_file: int | None = None
    workingset_restore_anon: int | None = None
    workingset_restore_file: int | None = None
    workingset_nodereclaim: int | None = None
    pgdemote_kswapd: int | None = None
    pgdemote_direct: int | None = None
    pgdemote_khugepaged: int | None = None
    pgdemote_proactive: int | None = None
    pgpromote_success: int | None = None
    pgscan: int | None = None
    pgsteal: int | None = None
    pgscan_kswapd: int | None = None
    pgscan_direct: int | None = None
    pgscan_khugepaged: int | None = None
    pgscan_proactive: int | None = None
    pgsteal_kswapd: int | None = None
    pgsteal_direct: int | None = None
    pgsteal_khugepaged: int | None = None
    pgsteal_proactive: int | None = None
    pswpin: int | None = None
    pswpout: int | None = None
    pgfault: int | None = None
    pgmajfault: int | None = None
    pgrefill: int | None = None
    pgactivate: int | None = None
    pgdeactivate: int | None = None
    pglazyfree: int | None = None
    pglazyfreed: int | None = None
    swpin_zero: int | None = None
    swpout_zero: int | None = None
    zswpin: int | None = None
    zswpout: int | None = None
    zswpwb: int | None = None
    thp_fault_alloc: int | None = None
    thp_collapse_alloc: int | None = None
    thp_swpout: int | None = None
    thp_swpout_fallback: int | None = None
    numa_pages_migrated: int | None = None
    numa_pte_updates: int | None = None
    numa_hint_faults: int | None = None
    extra: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class MemoryStats:
    """What the memory controller tells. ``None`` where this kernel or version does not say.

    Attributes:
        current: bytes in use, page cache included (``memory.current`` | v1 ``memory.usage_in_bytes``).
        peak: the highest *current* so far (``memory.peak``, since 5.19 | v1 ``memory.max_usage_in_bytes``).
        swap_current: bytes in swap (``memory.swap.current`` | v1 ``memory.stat`` ``total_swap``).
        swap_peak: the highest *swap_current* so far (``memory.swap.peak``, since 6.5; not on v1).
        zswap_current: bytes that compressed swap takes (``memory.zswap.current``, since 5.19; not on v1).
        under_oom: whether tasks wait at the limit because the OOM killer is disabled (v1 ``memory.oom_control``; not on
            v2, which kills).
        events: boundaries met, subtree included (``memory.events``).
        events_local: boundaries met by this group alone (``memory.events.local``, since 5.2; not on v1).
        swap_events: swap boundaries met (``memory.swap.events``; not on v1).
        stat: what the memory is used for (``memory.stat``).
        pressure: time lost to a lack of memory (``memory.pressure``, since 4.20; not on v1).
    """

    current: int | None = None
    peak: int | None = None
    swap_current: int | None = None
    swap_peak: int | None = None
    zswap_current: int | None = None
    under_oom: int | None = None
    events: MemoryEvents | None = None
    events_local: MemoryEvents | None = None
    swap_events: SwapEvents | None = None
    stat: MemoryStat | None = None
    pressure: Pressure | None = None


class _MemorySwap(Bytes):
    """v1's limit of memory and swap together, as a limit of swap."""

    def encode(self, value: Limit, spec: Any) -> str:
        if value is MAX:
            return "-1"
        if spec.max is None or spec.max is MAX:
            reason = (
                "v1 limits memory and swap together (memory.memsw.limit_in_bytes), so a limit of swap needs one of"
                " memory; set max too, or swap_max=MAX"
            )
            feature = f"memory.swap_max={value} without memory.max"
            raise UnsupportedError(feature, reason)
        return str(spec.max + value)

    def decode(self, text: str, texts: Mapping[str, str]) -> Limit:
        both = Bytes.decode(self, text, texts)
        limit = Bytes.decode(self, texts.get("memory.limit_in_bytes", "-1"), texts)
        return MAX if both is MAX or limit is MAX else max(both - limit, 0)


class _SoftLimit(Bytes):
    """v1's soft limit as a protection: none of the one is none of the other."""

    def encode(self, value: Limit, spec: Any) -> str:
        return Bytes.encode(self, MAX if value == 0 else value, spec)

    def decode(self, text: str, texts: Mapping[str, str]) -> Limit:
        limit = Bytes.decode(self, text, texts)
        return 0 if limit is MAX else limit


class _OomControl(Flag):
    """v1's ``memory.oom_control`` as a setting: written as a flag, read as keys."""

    def decode(self, text: str, texts: Mapping[str, str]) -> bool:
        del texts
        return parse_flat_keyed(text)["oom_kill_disable"] != 0

    def same(self, held: str, wanted: str, page_size: int) -> bool:
        del page_size
        return self.decode(held, {}) == (wanted == "1")


_FAILURES: Final = ("memory.failcnt", "memory.memsw.failcnt")


class _V1Events(Codec):
    """v1's counters, as :class:`MemoryEvents`."""

    def decode(self, text: str, texts: Mapping[str, str]) -> MemoryEvents:
        # Where no swap is allowed both limits are the same, and the kernel meets that of the sum first.
        failures = [int(texts[name]) for name in _FAILURES if name in texts]
        return MemoryEvents(oom_kill=parse_flat_keyed(text).get("oom_kill"), max=sum(failures) if failures else None)


def _v1(file: str, codec: Codec, **more: Any) -> Side:
    return Side(controller="memory", file=f"memory.{file}", codec=codec, **more)


def _v2(file: str, codec: Codec, controller: str = "memory", **more: Any) -> Side:
    return Side(controller=controller, file=f"memory.{file}", codec=codec, **more)


_V1_BYTES = Bytes(unlimited="-1")
_UNLIMITED = "9223372036854771712"

_SETTINGS = (
    Row(
        attribute="max",
        v1=_v1("limit_in_bytes", _V1_BYTES, default=_UNLIMITED, also=("memory.memsw.limit_in_bytes",)),
        v2=_v2("max", Bytes(), default="max"),
        values=LIMITS,
    ),
    Row(
        attribute="swap_max",
        v1=_v1(
            "memsw.limit_in_bytes",
            _MemorySwap(unlimited="-1"),
            default=_UNLIMITED,
            also=("memory.limit_in_bytes",),
            optional=True,
        ),
        v2=_v2("swap.max", Bytes(), default="max", optional=True, since="4.5"),
        values=LIMITS,
    ),
    Row(
        attribute="high",
        v1=None,
        v2=_v2("high", Bytes(), default="max"),
        values=LIMITS,
        reason="v1 cannot throttle a group below its limit; use max",
    ),
    Row(
        attribute="low",
        v1=_v1("soft_limit_in_bytes", _SoftLimit(unlimited="-1"), default=_UNLIMITED),
        v2=_v2("low", Bytes(), default="0"),
        values=LIMITS,
        lossy=(
            "low = soft limit: v1 reclaims from groups above their soft limit first, only under global pressure, so"
            " no protection (0) is no soft limit; cgroup-v1/memory.rst §7"
        ),
    ),
    Row(
        attribute="min",
        v1=None,
        v2=_v2("min", Bytes(), default="0", since="4.18"),
        values=LIMITS,
        reason="v1 has no hard protection of memory; low is the nearest",
    ),
    Row(
        attribute="swap_high",
        v1=None,
        v2=_v2("swap.high", Bytes(), default="max", optional=True, since="5.8"),
        values=LIMITS,
        reason="v1 cannot throttle by swap; use swap_max",
    ),
    Row(
        attribute="zswap_max",
        v1=None,
        v2=_v2("zswap.max", Bytes(), default="max", optional=True, since="5.19"),
        values=LIMITS,
        reason="v1 does not account zswap",
    ),
    Row(
        attribute="zswap_writeback",
        v1=None,
        v2=_v2("zswap.writeback", Flag(), default="1", optional=True, since="6.8"),
        values=FLAGS,
        reason="v1 does not account zswap",
    ),
    Row(
        attribute="oom_group",
        v1=None,
        v2=_v2("oom.group", Flag(), default="0", since="4.19"),
        values=FLAGS,
        reason="v1 kills one process at a time; kill the group when oom_kill counts",
    ),
    Row(
        attribute="soft_limit",
        v1=_v1("soft_limit_in_bytes", _V1_BYTES, default=_UNLIMITED),
        v2=None,
        values=LIMITS,
        reason="v2 has no soft limit; use low to protect, or high to throttle",
    ),
    Row(
        attribute="swappiness",
        v1=_v1("swappiness", Count()),
        v2=None,
        values=_SWAPPINESS,
        reason="v2 has no swappiness for each group; use swap_max, or vm.swappiness for the machine",
    ),
    Row(
        attribute="oom_kill_disable",
        v1=_v1("oom_control", _OomControl()),
        v2=None,
        values=FLAGS,
        reason="v2 cannot disable the OOM killer; use high to throttle instead of killing",
    ),
)

_TO_V2 = {
    "total_rss": "anon",
    "total_cache": "file",
    "total_shmem": "shmem",
    "total_mapped_file": "file_mapped",
    "total_dirty": "file_dirty",
    "total_writeback": "file_writeback",
    "total_rss_huge": "anon_thp",
    "total_inactive_anon": "inactive_anon",
    "total_active_anon": "active_anon",
    "total_inactive_file": "inactive_file",
    "total_active_file": "active_file",
    "total_unevictable": "unevictable",
    "total_swapcached": "swapcached",
    "total_workingset_refault_anon": "workingset_refault_anon",
    "total_workingset_refault_file": "workingset_refault_file",
    "total_pgfault": "pgfault",
    "total_pgmajfault": "pgmajfault",
}
_LOCAL = {key.removeprefix("total_"): f"local_{key.removeprefix('total_')}" for key in _TO_V2}

_READINGS = (
    Row(attribute="current", v1=_v1("usage_in_bytes", Number()), v2=_v2("current", Number()), unit=BYTES),
    Row(attribute="peak", v1=_v1("max_usage_in_bytes", Number()), v2=_v2("peak", Number(), since="5.19"), unit=BYTES),
    Row(
        attribute="swap_current",
        v1=_v1("stat", Key(key="total_swap")),
        v2=_v2("swap.current", Number(), optional=True),
        unit=BYTES,
    ),
    Row(attribute="swap_peak", v1=None, v2=_v2("swap.peak", Number(), optional=True, since="6.5"), unit=BYTES),
    Row(attribute="zswap_current", v1=None, v2=_v2("zswap.current", Number(), optional=True, since="5.19"), unit=BYTES),
    Row(attribute="under_oom", v1=_v1("oom_control", Key(key="under_oom")), v2=None, unit=FLAGS.unit),
    Row(
        attribute="events",
        v1=_v1("oom_control", _V1Events(), also=_FAILURES, sum=True),
        v2=_v2("events", Keyed(into=MemoryEvents)),
        unit=COUNT,
        lossy=(
            "v1 counts an OOM kill in the victim's group only, so the subtree is summed; the failcnts are of this group"
            " alone"
        ),
    ),
    Row(attribute="events_local", v1=None, v2=_v2("events.local", Keyed(into=MemoryEvents), since="5.2"), unit=COUNT),
    Row(attribute="swap_events", v1=None, v2=_v2("swap.events", Keyed(into=SwapEvents), optional=True), unit=COUNT),
    Row(
        attribute="stat",
        v1=_v1("stat", Keyed(into=MemoryStat, rename=_LOCAL | _TO_V2)),
        v2=_v2("stat", Keyed(into=MemoryStat)),
        unit=f"{BYTES}, or {COUNT}",
        lossy="v1's rss counts swap cache as v2's anon does not; the other mapped keys mean the same",
    ),
    Row(attribute="pressure", v1=None, v2=_v2("pressure", Psi(), controller=CORE, since="4.20"), unit=PRESSURE),
)

CONTROLLER = Controller(
    name="memory",
    spec=Memory,
    stats=MemoryStats,
    settings=_SETTINGS,
    readings=_READINGS,
)
