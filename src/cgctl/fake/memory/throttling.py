"""memory.high and memory.swap.high: who allocates above them sleeps, the longer the further above.

From ``mm/memcontrol.c``, for a kernel with 250 ticks a second, as Debian builds it.
"""

from __future__ import annotations

from typing import Final

from cgctl.fake.memory.counters import CURRENT, PAGE, SWAP, charged, event, high, swap_event
from cgctl.fake.memory.reclaim import reclaim
from cgctl.fake.tree import Group

__all__ = ["BATCH", "penalty", "room"]

_HZ: Final = 250
_NSEC_IN_TICK: Final = 1_000_000_000 // _HZ
_BATCH_PAGES: Final = 64
BATCH: Final = _BATCH_PAGES * PAGE
"""``MEMCG_CHARGE_BATCH``: so much is charged before it is looked again."""
# MEMCG_DELAY_PRECISION_SHIFT, MEMCG_DELAY_SCALING_SHIFT, MEMCG_MAX_HIGH_DELAY_JIFFIES.
_PRECISION, _SCALING = 20, 14
_LONGEST: Final = 2 * _HZ
_NOT_WORTH_IT: Final = _HZ // 100


def room(place: Group) -> int | None:
    """Return how much may be allocated before anybody is above his memory.high; ``None``: there is none."""
    if place.tree.version == 1:
        return None
    found: int | None = None
    for group in charged(place):
        for counter, name in ((CURRENT, "memory.high"), (SWAP, "memory.swap.high")):
            text = group.values.get(name, "max\n")
            if text == "max\n":
                continue
            left = int(text) - group.counts.get(counter, 0)
            # Swap that is too high slows down every allocation, but none makes it higher by itself.
            if counter == CURRENT or left < 0:
                found = left if found is None else min(found, left)
    return found


def penalty(place: Group, size: int) -> int:
    """Take back what is above, and return for how long who has allocated *size* sleeps, in nanoseconds.

    That is ``__mem_cgroup_handle_over_high``.
    """
    groups = list(charged(place))
    for group in groups:
        if group.counts.get(CURRENT, 0) > high(group):
            event(group, "high")
            reclaim(group, min(size, group.counts.get(CURRENT, 0) - high(group)))
    ticks = _delay(size, max((_overage(group, CURRENT) for group in groups), default=0))
    for group in groups:
        if _overage(group, SWAP):
            swap_event(group, "high")
    ticks += _delay(size, max((_overage(group, SWAP) for group in groups), default=0))
    ticks = min(ticks, _LONGEST)
    return ticks * _NSEC_IN_TICK if ticks > _NOT_WORTH_IT else 0


def _overage(group: Group, counter: str) -> int:
    """Do what ``calculate_overage`` does."""
    most = high(group, counter) // PAGE
    usage = group.counts.get(counter, 0) // PAGE
    return (usage - most << _PRECISION) // max(most, 1) if usage > most else 0


def _delay(size: int, overage: int) -> int:
    """Do what ``calculate_high_delay`` does: ticks."""
    return (overage * overage * _HZ >> _PRECISION + _SCALING) * (size // PAGE) // _BATCH_PAGES
