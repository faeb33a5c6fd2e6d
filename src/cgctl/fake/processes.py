"""Processes: how they are born, signalled, moved and buried."""

from __future__ import annotations

from errno import EINVAL, EPERM, ESRCH
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from cgctl.fake import namespaces
from cgctl.fake.memory import holding
from cgctl.fake.parse import INT_MAX, kstrto, stripped
from cgctl.fake.refusal import refuse
from cgctl.fake.rules import core2, cpuset, others, pids
from cgctl.fake.task import SIGKILL, Task, Thread
from cgctl.fake.tree import Group, Tree

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel

__all__ = ["Processes"]

_Kind = TypeVar("_Kind", bound=Task)


class Processes:
    """What is done with the processes of one kernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._next_pid = 2
        self._ticks = 0

    def make(
        self,
        parent: Task | None,
        groups: dict[Tree, Group],
        pid: int | None = None,
        *,
        kind: type[_Kind] = Task,  # type: ignore[assignment] # the default of the type, which mypy has no word for
    ) -> _Kind:
        """Start a process, of which it is known that it may be."""
        if pid is None:
            while self._next_pid in self._kernel.tasks:
                self._next_pid += 1
            pid = self._next_pid
            self._next_pid += 1
        self._ticks += 1
        task = kind(self._kernel, pid, parent, groups, self._ticks)
        self._kernel.tasks[pid] = task
        self._kernel.owners.born(task, parent)
        if parent:
            parent.children.append(task)
            self._kernel.signals.inherited(parent, task)
        self._enter(task.threads[0])
        return task

    def _enter(self, thread: Thread) -> None:
        for tree, group in thread.groups.items():
            group.enter(thread)
            if "pids" in tree.controllers:
                pids.charge(group, 1)

    def fork(
        self,
        parent: Task,
        kind: type[_Kind] = Task,  # type: ignore[assignment] # the same
        *,
        pid: int | None = None,
    ) -> _Kind:
        """Start a child of a process, by default with the next number that is free.

        Raises:
            OSError: ``EAGAIN`` at a limit of the pids controller, ``ESRCH`` for a process that has ended.
        """
        with self._kernel.mutex:
            self._vet_fork(parent)
            return self.make(parent, dict(parent.threads[0].groups), pid, kind=kind)

    def start_thread(self, task: Task, *, tid: int | None = None) -> Thread:
        """Start a thread of a process, by default with the next number that is free.

        Raises:
            OSError: ``EAGAIN`` at a limit of the pids controller, ``ESRCH`` for a process that has ended.
        """
        with self._kernel.mutex:
            self._vet_fork(task)
            if tid is None:
                tid = self._next_pid
                self._next_pid += 1
            thread = Thread(tid, task, dict(task.threads[0].groups))
            task.threads.append(thread)
            self._enter(thread)
            return thread

    def _vet_fork(self, task: Task) -> None:
        if not task.alive:
            refuse(ESRCH)
        for tree, group in task.threads[0].groups.items():
            if "pids" in tree.controllers:
                pids.vet_fork(group)

    def is_halted(self, thread: Thread) -> bool:
        """Tell whether a thread does nothing, for it is frozen or its process was stopped."""
        return self.is_frozen(thread) or self._kernel.signals.is_stopped(thread.task)

    def is_frozen(self, thread: Thread) -> bool:
        """Tell whether a thread is frozen, in any hierarchy."""
        return any(
            core2.is_frozen(group) if tree.version != 1 else others.is_frozen_v1(group)
            for tree, group in thread.groups.items()
            if tree.version != 1 or "freezer" in tree.controllers
        )

    @staticmethod
    def is_frozen_v1(task: Task) -> bool:
        """Tell whether v1 has frozen one of a process's threads, so that nothing ends it."""
        return any(
            others.is_frozen_v1(group)
            for thread in task.threads
            for tree, group in thread.groups.items()
            if "freezer" in tree.controllers and tree.version == 1
        )

    def kill(self, task: Task, number: int = SIGKILL) -> None:
        """Signal a process."""
        with self._kernel.mutex:
            if task.alive and number:
                self._kernel.signals.send(task, number)

    def kill_all(self, group: Group) -> None:
        """Kill what is in one group."""
        for task in {thread.task for thread in group.threads}:
            self.kill(task, SIGKILL)

    def end(self, task: Task, status: int) -> None:
        """End a process: what it holds is given back, and its parent may wait for it."""
        with self._kernel.mutex:
            if not task.alive:
                return
            holding.free(task)
            task.status = status
            for thread in task.threads:
                self._kernel.clock.forget(thread)
                for group in thread.groups.values():
                    group.leave(thread)
            for thread in task.threads[1:]:
                self._forget(thread)
            del task.threads[1:]
            for child in task.children:
                child.parent = None
                if not child.alive:
                    self._bury(child)
            task.children.clear()
            self._kernel.signals.forget(task)
            if task.parent is not None and task.parent.alive:
                task.zombie = True
            else:
                self._bury(task)
            task.ended()
            self._kernel.notify()

    def unshare(self, task: Task) -> None:
        """Have a process in a cgroup namespace of its own.

        Raises:
            OSError: ``EPERM``: it is an ordinary user's; ``ESRCH``: it has ended.
        """
        with self._kernel.mutex:
            if not task.alive:
                refuse(ESRCH)
            if self._kernel.owners.of(task):
                refuse(EPERM)
            task.namespace = MappingProxyType(dict(task.threads[0].groups))

    def reap(self, parent: Task, which: Task | None = None) -> tuple[int, int] | None:
        """Wait for a child that has ended: for one, or whichever it is."""
        with self._kernel.mutex:
            for child in parent.children:
                if child.status is not None and which in {None, child}:
                    parent.children.remove(child)
                    self._bury(child)
                    return child.pid, child.status
            return None

    def _bury(self, task: Task) -> None:
        task.zombie = False
        self._forget(task.threads[0])
        self._kernel.tasks.pop(task.pid, None)
        self._kernel.owners.buried(task)

    def _forget(self, thread: Thread) -> None:
        for tree, group in thread.groups.items():
            if "pids" in tree.controllers:
                pids.charge(group, -1)

    # --- moving -----------------------------------------------------------------------------------------------------

    def attach(self, group: Group, text: str, *, whole: bool) -> None:
        """Do a write to ``cgroup.procs``, or (*whole* is false) to ``cgroup.threads`` or ``tasks``."""
        try:
            number = kstrto(stripped(text), -INT_MAX - 1, INT_MAX)
        except OSError:
            refuse(EINVAL)
        if number < 0:
            refuse(EINVAL)
        thread = self._kernel.caller.threads[0] if number == 0 else self._thread(number)
        if thread is None:
            refuse(ESRCH)
        task = thread.task
        self._kernel.owners.vet_move(task, thread.groups[group.tree], group)
        namespaces.vet_move(self._kernel, thread.groups[group.tree], group)
        self.vet_attach(group, group.tree, thread, whole=whole)
        if not task.alive:
            return
        for each in _by_set(task) if whole else [thread]:
            self._move(each, group)
        self._kernel.signals.arrive()

    def _thread(self, number: int) -> Thread | None:
        task = self._kernel.tasks.get(number)
        if task is not None:
            return task.threads[0]
        return next(
            (thread for each in self._kernel.tasks.values() for thread in each.threads if thread.tid == number), None
        )

    def vet_attach(self, group: Group, tree: Tree, thread: Thread | None = None, *, whole: bool = True) -> None:
        """Refuse a group that does not take a thread, or (*whole*) a process; ``None`` is one that is to be born."""
        if tree.version == 1:
            if "cpuset" in tree.controllers:
                cpuset.vet_attach_v1(group)
        else:
            core2.vet_move(thread, group, whole=whole)

    def _move(self, thread: Thread, group: Group) -> None:
        source = thread.groups[group.tree]
        if source is group:
            return
        source.leave(thread)
        group.enter(thread)
        thread.groups[group.tree] = group
        if "memory" in group.tree.controllers and thread is thread.task.threads[0]:
            holding.migrate(thread.task, source, group)
        # Below where the controller is enabled nothing changes for it.
        if "pids" in group.tree.controllers and group.nearest("pids") is not source.nearest("pids"):
            # In this order, so that a group above both counts one more for a moment, and has it in its peak.
            pids.charge(group, 1)
            pids.charge(source, -1)


def _by_set(task: Task) -> list[Thread]:
    """Return a process's threads in the order in which they are moved: those of one ``css_set`` after the other."""
    sets: dict[tuple[Group, ...], list[Thread]] = {}
    for thread in task.threads:
        sets.setdefault(tuple(thread.groups.values()), []).append(thread)
    return list(chain.from_iterable(sets.values()))
