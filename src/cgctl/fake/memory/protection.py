"""memory.min and memory.low: what reclaim leaves to a group (``page_counter_calculate_protection``).

The hierarchy is mounted without ``memory_recursiveprot`` here, so what a group above has not given to those below is
not theirs.
"""

from __future__ import annotations

from cgctl.fake.memory.counters import CURRENT
from cgctl.fake.parse import UNLIMITED_PAGES
from cgctl.fake.tree import Group

__all__ = ["LOW", "MIN", "floors"]

LOW, MIN = "memory.low", "memory.min"


def floors(target: Group, name: str) -> dict[Group, int]:
    """Return down to which use each group below *target* is left alone by a reclaim there; those that are not: none."""
    found: dict[Group, int] = {}
    if target.tree.version == 1:
        return found
    for group in target.below():
        if group is target or group.parent is None:
            continue
        wanted = _wanted(group, name)
        if group.parent is target:
            floor = _setting(group, name)
        else:
            above = found.get(group.parent, 0)
            siblings = sum(_wanted(each, name) for each in group.parent.children.values())
            # effective_protection: where all together want more than there is, each has its part of it.
            floor = wanted * above // siblings if siblings > above else wanted
        if floor:
            found[group] = floor
    return found


def _setting(group: Group, name: str) -> int:
    text = group.values.get(name, "0\n")
    return UNLIMITED_PAGES * 4096 if text == "max\n" else int(text)


def _wanted(group: Group, name: str) -> int:
    return min(group.counts.get(CURRENT, 0), _setting(group, name))
