"""Taking memory back: page cache first, and then, where there is swap, what processes hold.

The kernel weighs both against each other by ``swappiness`` and by what was used last. Here nobody uses what he has, so
the cheaper goes first; only the ends of the scale make a difference: 0 never swaps, ``max`` swaps first and only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cgctl.fake.memory import oom
from cgctl.fake.memory.counters import CURRENT, MEMSW, adjust, event, high, limit, swap_event, swap_room
from cgctl.fake.memory.protection import LOW, MIN, floors
from cgctl.fake.tree import Group

__all__ = ["fits", "reclaim", "reclaim_to_high", "shrink"]

_NEVER: Final = 0


def reclaim(group: Group, wanted: int, *, swap: bool = True, cache: bool = True) -> int:
    """Take memory of a group and those below back, and return how many bytes that were."""
    freed = 0
    steps: list[Callable[[Group, int], int]] = [*([_drop] if cache else []), *([_swap_out] if swap else [])]
    # What memory.low keeps is taken only where nothing else is left, and what memory.min keeps never.
    low, least = floors(group, LOW), floors(group, MIN)
    either = {each: max(low.get(each, 0), least.get(each, 0)) for each in {**low, **least}}
    for floor, last in ((either, False), (least, True)):
        for step in steps:
            for each in group.below():
                if freed >= wanted:
                    return freed
                if each.pages:
                    part = min(wanted - freed, each.counts.get(CURRENT, 0) - floor[each] if each in floor else wanted)
                    taken = step(each, part) if part > 0 else 0
                    freed += taken
                    if last and taken and each.values.get(LOW, "0\n") != "0\n":
                        event(each, "low")
    return freed


def _drop(group: Group, wanted: int) -> int:
    """Drop page cache."""
    own = group.pages
    if own is None:
        return 0
    size = min(own.cache, wanted)
    if size:
        own.cache -= size
        adjust(group, file=-size)
    return size


def _swap_out(group: Group, wanted: int) -> int:
    """Write to swap what processes hold, as far as there is room (``can_reclaim_anon_pages``)."""
    own = group.pages
    if own is None or not own.anon or (group.tree.version == 1 and int(group.get("memory.swappiness")) == _NEVER):
        return 0
    room, limited = swap_room(group)
    size = min(wanted, room)
    if size < min(wanted, sum(own.anon.values())) and limited:
        # __mem_cgroup_try_charge_swap counts both, in the group whose page it is.
        swap_event(group, "max")
        swap_event(group, "fail")
    left = size
    for task in list(own.anon):
        if left <= 0:
            break
        part = min(own.anon[task], left)
        own.anon[task] -= part
        if not own.anon[task]:
            del own.anon[task]
        own.swapped[task] = own.swapped.get(task, 0) + part
        task.anon -= part
        task.swapped += part
        left -= part
    if size:
        adjust(group, anon=-size, swap=size)
        group.kernel.swapped += size
    return size


def fits(group: Group, counter: str, wanted: int) -> bool:
    """Tell whether a v1 limit can be set: what is over it is taken back first (``mem_cgroup_resize_max``)."""
    over = group.counts.get(counter, 0) - wanted
    return over <= 0 or reclaim(group, over, swap=counter != MEMSW) >= over


def shrink(group: Group) -> None:
    """Bring a v2 group under its new limit, by reclaim and then by killing (``memory_max_write``)."""
    while (over := group.counts.get(CURRENT, 0) - limit(group)) > 0:
        if reclaim(group, over) < over and not oom.kill(group):
            return


def reclaim_to_high(group: Group) -> None:
    """Take back what is over a new memory.high, as far as it can be (``memory_high_write``)."""
    reclaim(group, group.counts.get(CURRENT, 0) - high(group))
