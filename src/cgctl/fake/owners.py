"""Who may do what: the owners of groups and files, and which processes a user may move."""

from __future__ import annotations

from errno import EACCES, EPERM
from typing import TYPE_CHECKING, Final

from cgctl.fake.refusal import refuse
from cgctl.fake.tree import Group

if TYPE_CHECKING:
    from cgctl.fake.task import Task

__all__ = ["Owners"]

_DIRECTORY, _MAKER = "", "/"
# The mode's bits of the owner and of all others.
_READ, _WRITE = (0o400, 0o004), (0o200, 0o002)
_PROCS: Final = "cgroup.procs"


class Owners:
    """Whose everything is; what is not said to be somebody's is root's.

    Attributes:
        user: who does what is done.
    """

    def __init__(self) -> None:
        self.user = 0
        # Group → what of it → uid: the directory, a file, whoever made all of them, or enabled a controller.
        self._held: dict[Group, dict[str, int]] = {}
        self._tasks: dict[Task, int] = {}

    # --- whose it is ------------------------------------------------------------------------------------------------

    def made(self, group: Group) -> None:
        """Note who made a group: the directory and its files are his (``cgroup_kn_set_ugid``)."""
        if self.user:
            self._held[group] = {_DIRECTORY: self.user, _MAKER: self.user}

    def enabled(self, group: Group, controllers: frozenset[str]) -> None:
        """Note who enabled controllers: their files in the groups below are his."""
        if self.user or group in self._held:
            self._held.setdefault(group, {}).update((f"+{name}", self.user) for name in controllers)

    def forget(self, group: Group) -> None:
        """Forget a group that was removed."""
        self._held.pop(group, None)

    def give(self, group: Group, name: str, uid: int) -> None:
        """Give a directory (no name) or a file to a user."""
        if uid == -1:
            return
        if self.user and not (self.user == self._owner(group, name) == uid):
            refuse(EPERM)
        self._held.setdefault(group, {})[name] = uid

    def _owner(self, group: Group, name: str = _DIRECTORY) -> int:
        held = self._held.get(group, {})
        if name in held:
            return held[name]
        controller = name.split(".", 1)[0]
        if group.tree.version != 1 and group.parent and controller in group.parent.control:
            return self._held.get(group.parent, {}).get(f"+{controller}", 0)
        return held.get(_MAKER, 0) if name else 0

    # --- what he may ------------------------------------------------------------------------------------------------

    def vet_file(self, group: Group, name: str, mode: int, *, writing: bool) -> None:
        """Refuse to open a file that is not for the user."""
        own, others = _WRITE if writing else _READ
        if self.user and not mode & (own if self._owner(group, name) == self.user else others):
            refuse(EACCES)

    def vet_directory(self, group: Group) -> None:
        """Refuse to change what is in a directory that is not the user's."""
        if not self.owns(group):
            refuse(EACCES)

    def owns(self, group: Group) -> bool:
        """Tell whether the user may change what is in a directory."""
        return not self.user or self._owner(group) == self.user

    # --- processes --------------------------------------------------------------------------------------------------

    def born(self, task: Task, parent: Task | None) -> None:
        """Note whose a process is: its parent's, or the user's."""
        uid = self.user if parent is None else self._tasks.get(parent, 0)
        if uid:
            self._tasks[task] = uid

    def of(self, task: Task) -> int:
        """Return whose a process is."""
        return self._tasks.get(task, 0)

    def buried(self, task: Task) -> None:
        """Forget a process that is no more."""
        self._tasks.pop(task, None)

    def vet_signal(self, task: Task) -> None:
        """Refuse to signal somebody else's process."""
        if self.user and self.of(task) != self.user:
            refuse(EPERM)

    def vet_move(self, task: Task, source: Group, target: Group) -> None:
        """Refuse a move that the user may not make.

        v1 asks whose the process is (``__cgroup1_procs_write``); v2 who may write to ``cgroup.procs`` of the nearest
        group that is above both (``cgroup_procs_write_permission``).
        """
        if not self.user:
            return
        if target.tree.version == 1:
            if self.of(task) != self.user:
                refuse(EACCES)
            return
        above = set(source.line())
        common = next(group for group in target.line() if group in above)
        if self._owner(common, _PROCS) != self.user:
            refuse(EACCES)
