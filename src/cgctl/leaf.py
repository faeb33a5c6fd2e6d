"""The group that one process tree has to itself, for as long as it runs, and what is left of it."""

from __future__ import annotations

import contextlib
from typing import Any

import attrs

from cgctl.controllers import CONTROLLERS, MemoryStats, Stats
from cgctl.errors import GroupNotFoundError
from cgctl.group import Group
from cgctl.layout import UNIFIED
from cgctl.marks import OWNER
from cgctl.reading import controllers_in

__all__ = ["Leaf", "unlimited"]

_FINISH_TIMEOUT = 10.0
_INNER = "payload"


class Leaf:
    """A fresh group for one program and all that it starts.

    Attributes:
        group: the leaf.
        stats: the final statistics, once the program has ended.
        oom_killed: whether the kernel killed any of its processes at a memory limit.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.stats = Stats()
        self.oom_killed = False
        self._existence = group._existence  # noqa: SLF001 - a leaf is guarded as a with block is
        self._existence.make(ephemeral=True)
        places = group.address.existing()
        self._counts_memory = "memory" in controllers_in(group.system.filesystem, group.system.layout, places)
        self._holder = self._nearest_with_memory()
        self._kills_before = _kills(_memory(self._holder))
        self._inner: Group | None = None

    def nest(self) -> None:
        """Put the program one v2 group deeper: the root of a cgroup namespace, with the limits out of its reach.

        It has no controllers, and so nothing that could be set from within. v1 is never mounted in a sandbox. It goes
        with the leaf, as whatever the program makes in it does.
        """
        place = self.group.address.existing().get(UNIFIED)
        if place is None:
            return
        marks = {OWNER: self._existence.mark} if self._existence.mark else {}
        self.group.system.filesystem.mkdir(f"{place.directory}/{_INNER}", marks)
        self._inner = Group(_INNER, parent=self.group)

    def kill(self) -> None:
        """Send SIGKILL to the whole tree."""
        with contextlib.suppress(GroupNotFoundError):
            self.group.kill()

    def finish(self) -> None:
        """Kill what the payload left behind, read the final statistics, and remove the leaf."""
        try:
            with contextlib.suppress(GroupNotFoundError):
                self.group.kill(timeout=_FINISH_TIMEOUT)
                self.stats, kills = self._final()
                self.oom_killed = kills > 0
        finally:
            # The next run below the same group wants the controllers again, and the caller where it is now.
            self._existence.kill_and_remove(settle=not self.group.address.base.parts)

    def kills(self) -> int:
        """Return how many of its processes the kernel has killed at a memory limit.

        A leaf without the memory controller is not told: then all that were killed meanwhile in the nearest group
        above that has it are taken for its own.
        """
        if self._counts_memory:
            return _kills(_memory(self.group))
        return _kills(_memory(self._holder)) - self._kills_before

    @property
    def place(self) -> Group:
        """The group that the program is in: the leaf, or the one deeper of a cgroup namespace."""
        return self.group if self._inner is None else self._inner

    def _nearest_with_memory(self) -> Group | None:
        for address in self.group.address.above():
            group = Group.at(address)
            if _memory(group) is not None:
                return group
        return None

    def _final(self) -> tuple[Stats, int]:
        """Return the final statistics, and how many were killed at a memory limit."""
        stats, above = self.group.stats(), _memory(self._holder)
        if not self._counts_memory:
            return attrs.evolve(stats, memory=above), _kills(above) - self._kills_before
        kills = _kills(stats.memory)
        if stats.memory is None or stats.memory.peak is None or above is None or above.peak is None:
            return stats, kills
        # A leaf's counter may run some pages ahead of the group that holds the limit; no leaf used more than that one.
        peak = min(stats.memory.peak, above.peak)
        return attrs.evolve(stats, memory=attrs.evolve(stats.memory, peak=peak)), kills


def unlimited(group: Group) -> dict[str, Any]:
    """Return the controllers that a group has, without limits: for a group below it that counts the same.

    Where v1 keeps a controller's limits in the group alone, that one is left out: who is below is in the group then.
    """
    layout = group.system.layout
    found = controllers_in(group.system.filesystem, layout, group.address.existing())
    bound = (name for name in found if not CONTROLLERS[name].flat or layout.locate(name))
    return {name: CONTROLLERS[name].spec() for name in bound}


def _memory(group: Group | None) -> MemoryStats | None:
    try:
        return group.stats("memory").memory if group else None
    except GroupNotFoundError:
        return None


def _kills(memory: MemoryStats | None) -> int:
    return (memory.events.oom_kill or 0) if memory and memory.events else 0
