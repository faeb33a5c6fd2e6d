"""What limits on memory do: charging up the tree, reclaim of page cache, and the OOM killer.

Deterministic: page cache is dropped before anybody is killed, and the victim is who holds most, the oldest of equals.
"""

from __future__ import annotations

from collections.abc import Iterator
from errno import ESRCH
from typing import TYPE_CHECKING, Final

from cgctl.fake.parse import UNLIMITED_PAGES
from cgctl.fake.refusal import refuse
from cgctl.fake.tree import Group
from cgctl.units import parse_size

if TYPE_CHECKING:
    from cgctl.fake.task import Task

__all__ = [
    "allocate",
    "charge",
    "charged",
    "effective",
    "fits",
    "free",
    "held",
    "reclaim",
    "reclaim_to_high",
    "shrink",
    "uncharge",
]

_PAGE: Final = 4096
_UNLIMITED: Final = UNLIMITED_PAGES * 4096
_CURRENT: Final = "memory.current"


def allocate(task: Task, size: int | str) -> None:
    """Let a process touch memory; where a limit does not allow it, the kernel kills."""
    with task.kernel.mutex:
        wanted = -(-parse_size(size) // _PAGE) * _PAGE
        where = _place(task)
        if not task.alive:
            refuse(ESRCH)
        if where is None or charge(task, where, wanted, "anon"):
            task.anon += wanted


def free(task: Task, size: int | str | None = None) -> None:
    """Let a process give memory back; all of it, if *size* is not given."""
    with task.kernel.mutex:
        given = task.anon if size is None else min(-(-parse_size(size) // _PAGE) * _PAGE, task.anon)
        task.anon -= given
        where = _place(task)
        if where is not None:
            uncharge(where, given, "anon")


def _place(task: Task) -> Group | None:
    return next((group for tree, group in task.threads[0].groups.items() if "memory" in tree.controllers), None)


def charged(group: Group) -> Iterator[Group]:
    """Yield the groups that are charged with what a process of this one holds, nearest first."""
    for each in group.nearest("memory").line():
        # The root has no counters of its own.
        if each.parent is None:
            return
        yield each
        alone = each.tree.version == 1 and not each.profile.hierarchical
        if alone and each.parent.get("memory.use_hierarchy") == "0\n":
            return


def limit(group: Group) -> int:
    """Return how many bytes a group may hold."""
    if group.tree.version == 1:
        return int(group.get("memory.limit_in_bytes"))
    text = group.get("memory.max")
    return _UNLIMITED if text == "max\n" else int(text)


def effective(group: Group, name: str) -> int:
    """Return the least of a v1 limit that is on a group by itself or from above."""
    return min((int(each.get(name)) for each in charged(group)), default=_UNLIMITED)


def held(group: Group, kind: str, *, subtree: bool) -> int:
    """Return bytes of a kind that a v1 group holds, with or without those below."""
    if subtree:
        return group.counts.get(f"memory.{kind}", 0)
    return group.counts.get(f"memory.own.{kind}", 0)


def charge(task: Task, group: Group, size: int, kind: str) -> bool:
    """Charge a group, and all above, with memory of a process; false if it was killed for it."""
    if size <= 0:
        return True
    while task.alive:
        over = next((each for each in charged(group) if each.counts.get(_CURRENT, 0) + size > limit(each)), None)
        if over is None:
            _add(group, size, kind)
            for each in charged(group):
                _note_high(each)
            return True
        missing = over.counts.get(_CURRENT, 0) + size - limit(over)
        _event(over, "max")
        if reclaim(over, missing) >= missing:
            continue
        _out_of_memory(over)
    return False


def _add(group: Group, size: int, kind: str) -> None:
    first = True
    for each in charged(group):
        counts = each.counts
        for name in (_CURRENT, f"memory.{kind}", "memory.memsw"):
            counts[name] = counts.get(name, 0) + size
        if first:
            counts[f"memory.own.{kind}"] = counts.get(f"memory.own.{kind}", 0) + size
            first = False
        counts["memory.peak"] = max(counts.get("memory.peak", 0), counts[_CURRENT])
        counts["memory.memsw.peak"] = max(counts.get("memory.memsw.peak", 0), counts["memory.memsw"])


def uncharge(group: Group, size: int, kind: str) -> None:
    """Take back a charge."""
    first = True
    for each in charged(group):
        for name in (_CURRENT, f"memory.{kind}", "memory.memsw"):
            each.counts[name] = max(each.counts.get(name, 0) - size, 0)
        if first:
            each.counts[f"memory.own.{kind}"] = max(each.counts.get(f"memory.own.{kind}", 0) - size, 0)
            first = False


def reclaim(group: Group, wanted: int) -> int:
    """Drop page cache of a group and those below, and return how many bytes that were."""
    freed = 0
    for each in group.below():
        if freed >= wanted:
            break
        cached = min(each.counts.get("memory.own.file", 0), wanted - freed)
        if cached > 0:
            uncharge(each, cached, "file")
            freed += cached
    return freed


def fits(group: Group, name: str, wanted: int) -> bool:
    """Tell whether a v1 limit can be set: what is over it is reclaimed first."""
    over = group.counts.get(name, 0) - wanted
    return over <= 0 or reclaim(group, over) >= over


def shrink(group: Group) -> None:
    """Bring a v2 group under its new limit, by reclaim and then by killing."""
    while (over := group.counts.get(_CURRENT, 0) - limit(group)) > 0:
        if reclaim(group, over) >= over:
            return
        if not _out_of_memory(group):
            return


def reclaim_to_high(group: Group) -> None:
    """Reclaim what is over a new memory.high."""
    text = group.get("memory.high")
    if text != "max\n":
        reclaim(group, group.counts.get(_CURRENT, 0) - int(text))


def _note_high(group: Group) -> None:
    if group.tree.version == 1:
        return
    text = group.get("memory.high")
    if text != "max\n" and group.counts.get(_CURRENT, 0) > int(text):
        reclaim(group, group.counts.get(_CURRENT, 0) - int(text))
        _event(group, "high")


def _out_of_memory(group: Group) -> bool:
    """Kill who holds most; false if there is nobody."""
    victims = {thread.task for each in group.below() for thread in each.threads}
    chosen = max(victims, key=lambda task: (task.anon, -task.pid), default=None)
    if chosen is None:
        return False
    _event(group, "oom")
    place = group.kernel.group_of(chosen, group.tree)
    whole = next((each for each in _between(place, group) if each.values.get("memory.oom.group") == "1\n"), None)
    if whole is None:
        _kill(chosen, place)
        return True
    _event(whole, "oom_group_kill")
    for task in sorted({thread.task for each in whole.below() for thread in each.threads}, key=lambda task: task.pid):
        _kill(task, group.kernel.group_of(task, group.tree))
    return True


def _between(place: Group, group: Group) -> list[Group]:
    """Return the groups from a victim's up to the one that is out of memory, the highest first."""
    found = []
    for each in place.line():
        found.append(each)
        if each is group:
            break
    return found[::-1]


def _kill(task: Task, place: Group) -> None:
    _event(place.nearest("memory"), "oom_kill")
    task.kernel.processes.kill(task)


def _event(group: Group, key: str) -> None:
    """Count an event where it happened and, on v2, in all groups above."""
    if group.parent is None:
        return
    local = f"memory.events.local:{key}"
    group.counts[local] = group.counts.get(local, 0) + 1
    if group.tree.version == 1:
        if key == "max":
            group.counts["memory.failcnt"] = group.counts.get("memory.failcnt", 0) + 1
        return
    for each in group.line():
        name = f"memory.events:{key}"
        each.counts[name] = each.counts.get(name, 0) + 1
        each.kernel.notify()
