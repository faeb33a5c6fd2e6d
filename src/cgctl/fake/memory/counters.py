"""How much each group holds: counters that go up to the root, their limits and peaks (``struct page_counter``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from cgctl.fake.parse import UNLIMITED_PAGES
from cgctl.fake.tree import Group

if TYPE_CHECKING:
    from cgctl.fake.task import Task

__all__ = [
    "CURRENT",
    "MEMSW",
    "PAGE",
    "SINCE_RESET",
    "SWAP",
    "UNLIMITED",
    "USE_OF_PEAK",
    "Pages",
    "adjust",
    "charged",
    "effective",
    "event",
    "held",
    "high",
    "limit",
    "pages",
    "swap_event",
    "swap_room",
    "tightest",
]

PAGE: Final = 4096
UNLIMITED: Final = UNLIMITED_PAGES * PAGE
CURRENT, MEMSW, SWAP = "memory.current", "memory.memsw", "memory.swap.current"
_PEAKS: Final = {CURRENT: "memory.peak", MEMSW: "memory.memsw.peak", SWAP: "memory.swap.peak"}
USE_OF_PEAK: Final = {peak: name for name, peak in _PEAKS.items()}
"""Peak → the counter that it is of."""
SINCE_RESET: Final = {peak: f"{peak}:local" for peak in USE_OF_PEAK}
"""Peak → the counter of what was highest since somebody reset it for himself (``local_watermark``)."""


@attrs.define(eq=False)
class Pages:
    """What was charged to one group itself, in bytes.

    Attributes:
        anon: what each process holds.
        swapped: what of it is in swap.
        cache: page cache.
    """

    anon: dict[Task, int] = attrs.field(factory=dict)
    swapped: dict[Task, int] = attrs.field(factory=dict)
    cache: int = 0


def pages(group: Group) -> Pages:
    """Return what was charged to a group itself; the account is made when it is first needed."""
    found = group.pages
    if found is None:
        found = group.pages = Pages()
    return found


def charged(group: Group) -> Iterator[Group]:
    """Yield the groups that are charged with what belongs to this one, nearest first; the root has no counters."""
    for each in group.line():
        if each.parent is None:
            return
        yield each
        alone = each.tree.version == 1 and not each.profile.hierarchical
        if alone and each.parent.get("memory.use_hierarchy") == "0\n":
            return


def adjust(place: Group, *, anon: int = 0, file: int = 0, swap: int = 0) -> None:
    """Change what a group and all above hold."""
    deltas = {
        CURRENT: anon + file,
        "memory.anon": anon,
        "memory.file": file,
        MEMSW: anon + file + swap,
        SWAP: swap,
    }
    deltas = {name: delta for name, delta in deltas.items() if delta}
    for group in charged(place):
        counts = group.counts
        for name, delta in deltas.items():
            now = counts[name] = counts.get(name, 0) + delta
            peak = _PEAKS.get(name)
            if peak and now > counts.get(peak, 0):
                counts[peak] = now
            if peak and now > counts.get(SINCE_RESET[peak], now):
                counts[SINCE_RESET[peak]] = now
    place.kernel.resident += anon + file


# --- limits ---------------------------------------------------------------------------------------------------------


def limit(group: Group, counter: str = CURRENT) -> int:
    """Return how many bytes a counter may say."""
    if group.tree.version == 1:
        names = {CURRENT: "memory.limit_in_bytes", MEMSW: "memory.memsw.limit_in_bytes"}
        return int(group.get(names[counter])) if counter in names else UNLIMITED
    names = {CURRENT: "memory.max", SWAP: "memory.swap.max"}
    return _bytes(group, names[counter]) if counter in names else UNLIMITED


def high(group: Group, counter: str = CURRENT) -> int:
    """Return the v2 value above which who allocates is slowed down."""
    if group.tree.version == 1:
        return UNLIMITED
    return _bytes(group, "memory.high" if counter == CURRENT else "memory.swap.high")


def _bytes(group: Group, name: str) -> int:
    text = group.values.get(name, "max\n")
    return UNLIMITED if text == "max\n" else int(text)


def tightest(place: Group) -> tuple[int, Group | None, str]:
    """Return how much more may be charged, and which group and counter say so; the root: the machine."""
    found: tuple[int, Group | None, str] = (UNLIMITED, None, CURRENT)
    for counter in (MEMSW, CURRENT):
        for group in charged(place):
            room = limit(group, counter) - group.counts.get(counter, 0)
            if room < found[0]:
                found = (room, group, counter)
    kernel = place.kernel
    if kernel.memory is not None and kernel.memory - kernel.resident < found[0]:
        found = (kernel.memory - kernel.resident, place.tree.root, CURRENT)
    return found


def swap_room(place: Group) -> tuple[int, bool]:
    """Return how much may be swapped out of a group, and whether a group's limit says so, not the machine."""
    kernel = place.kernel
    rooms = [limit(group, SWAP) - group.counts.get(SWAP, 0) for group in charged(place)]
    least = min(rooms, default=UNLIMITED)
    free = kernel.swap - kernel.swapped
    return max(min(least, free), 0), least < free


def effective(group: Group, name: str) -> int:
    """Return the least of a v1 limit that is on a group by itself or from above."""
    return min((int(each.get(name)) for each in charged(group)), default=UNLIMITED)


def held(group: Group, kind: str, *, subtree: bool) -> int:
    """Return bytes of a kind that a v1 group holds, with or without those below."""
    if subtree:
        return group.counts.get(SWAP if kind == "swap" else f"memory.{kind}", 0)
    own = group.pages
    if own is None:
        return 0
    return {"anon": sum(own.anon.values()), "swap": sum(own.swapped.values()), "file": own.cache}[kind]


# --- events ---------------------------------------------------------------------------------------------------------


def event(group: Group, key: str, *, counter: str = CURRENT) -> None:
    """Count an event where it happened and, on v2, in all groups above (``memcg_memory_event``)."""
    if group.parent is None:
        return
    _add(group, f"memory.events.local:{key}")
    if group.tree.version == 1:
        if key == "max":
            _add(group, "memory.memsw.failcnt" if counter == MEMSW else "memory.failcnt")
        return
    for each in group.line():
        _add(each, f"memory.events:{key}")
    group.kernel.notify()


def swap_event(group: Group, key: str) -> None:
    """Count an event of swap, which has no local file."""
    if group.tree.version != 1:
        for each in charged(group):
            _add(each, f"memory.swap.events:{key}")
        group.kernel.notify()


def _add(group: Group, name: str) -> None:
    group.counts[name] = group.counts.get(name, 0) + 1
