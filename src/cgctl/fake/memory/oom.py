"""The OOM killer: who holds most, in memory and swap, is killed; the oldest of equals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cgctl.fake.memory.counters import event
from cgctl.fake.tree import Group

if TYPE_CHECKING:
    from cgctl.fake.task import Task

__all__ = ["kill"]

SIGKILL: Final = 9


def kill(group: Group) -> bool:
    """Kill who holds most; false if there is nobody."""
    event(group, "oom")
    victims = {thread.task for each in group.below() for thread in each.threads}
    chosen = max(victims, key=lambda task: (task.anon + task.swapped, -task.pid), default=None)
    if chosen is None:
        return False
    place = group.kernel.group_of(chosen, group.tree)
    whole = next((each for each in _between(place, group) if each.values.get("memory.oom.group") == "1\n"), None)
    if whole is None:
        _kill(chosen, place)
        return True
    event(whole, "oom_group_kill")
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
    event(place.nearest("memory"), "oom_kill")
    # Who is frozen dies too, on v1 as well: mark_oom_victim thaws it.
    task.kernel.processes.end(task, -SIGKILL)
