"""The in-memory kernel: it answers as :class:`cgctl.filesystem.Filesystem` does, and has processes to play with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from errno import ENOTBLK, ENXIO, ESRCH
from typing import Final
from weakref import WeakSet

from cgctl.errors import SpecError
from cgctl.fake import layouts, namespaces, proc
from cgctl.fake.faults import Fault, Faults, Operation
from cgctl.fake.filesystem import MemoryFilesystem
from cgctl.fake.layouts import ROOT, Layout, Mounted
from cgctl.fake.owners import Owners
from cgctl.fake.processes import Processes
from cgctl.fake.profile import Profile, profile
from cgctl.fake.program import Program, Programs, ProgramTask, Streams
from cgctl.fake.refusal import refuse
from cgctl.fake.rules import devices, pids
from cgctl.fake.signals import Signals
from cgctl.fake.task import Task, Thread
from cgctl.fake.time.clock import Clock
from cgctl.fake.time.work import Work
from cgctl.fake.tree import Group, Tree
from cgctl.fake.watching import OpenFile
from cgctl.mounts import STATUS
from cgctl.units import parse_size

__all__ = ["FakeKernel"]

_PAGE: Final = 4096


class FakeKernel(MemoryFilesystem):
    """A kernel in memory: its cgroup filesystems, and the processes in them.

    Args:
        layout: ``"v2"``; ``"v1"``: all controllers as v1, those together that distributions mount so; ``"hybrid"``:
            the same, and a v2 hierarchy beside them with the controllers that this kernel cannot have as v1. Or the
            hierarchies one by one: ``(version, controllers, mount point)``.
        kernel: the series that it behaves like: ``"5.10"``, ``"6.1"``, ``"6.12"``, ``"6.18"`` or ``"7.3"``.
        cpus: processors.
        nodes: memory nodes.
        memory: how much there is, in bytes; ``None``: no end of it.
        swap: how much swap space there is.
        disks: block devices that are there, as ``"8:0"``; or each with its speed, in bytes a second (``"100M"``).
        named: v1 hierarchies without controllers, such as ``"systemd"``.
        without: interface files and v2 controllers that this kernel was built without.
        nsdelegate: whether v2 is mounted so that cgroup namespaces bound what those in them may do.
        caller: the pid of the process that stands for the one that uses it.

    Attributes:
        profile: what this kernel series has.
        trees: the mounted hierarchies.
        tasks: pid → process.
        caller: the process that stands for the one that uses it.
        processes: what is done with them.
        clock: the time, which passes only in :meth:`advance` and :meth:`advance_until`, and while somebody waits.
        signals: those that were sent, and what is done with them.
        programs: those that run.
        owners: whose groups, files and processes are.
        faults: what is to go wrong.
        watchers: group and peak → who has reset it for himself.
        opened: the files that are open.
        mutex: held while anything is looked at or changed.

    Raises:
        SpecError: an argument is nonsense.
    """

    def __init__(
        self,
        layout: Layout | Iterable[Mounted] = "v2",
        kernel: str = "6.12",
        *,
        cpus: int = 8,
        nodes: int = 1,
        memory: int | str | None = None,
        swap: int | str = 0,
        disks: Iterable[str] | Mapping[str, int | str] = ("8:0",),
        named: Iterable[str] = (),
        without: Iterable[str] = (),
        nsdelegate: bool = False,
        caller: int = 1000,
    ) -> None:
        try:
            self.profile: Profile = profile(kernel)
        except ValueError as error:
            raise SpecError(str(error)) from None
        if cpus < 1 or nodes < 1:
            msg = f"cpus={cpus}, nodes={nodes}: a machine has at least one of each"
            raise SpecError(msg)
        self.cpus = cpus
        self.nodes = nodes
        self.memory = None if memory is None else parse_size(memory, "memory") // _PAGE * _PAGE
        self.swap = parse_size(swap, "swap") // _PAGE * _PAGE
        self.resident = self.swapped = 0
        self.disks = tuple(disks)
        self.speeds = {name: _speed(disks[name]) for name in disks} if isinstance(disks, Mapping) else {}
        self.interfaces = ("lo",)
        self.without = frozenset(without)
        self.nsdelegate = nsdelegate
        self._kernel = self
        self.opened: WeakSet[OpenFile] = WeakSet()
        self.device_states: dict[Group, devices.State] = {}
        self.known_disks: dict[Group, list[str]] = {}
        self.mutex = threading.RLock()
        mounted = layouts.mounted(layout, self.profile) if isinstance(layout, str) else tuple(layout)
        mounted += tuple((1, (f"name={name}",), f"{ROOT}/{name}") for name in named)
        self.trees = tuple(self._tree_of(number, *each) for number, each in enumerate(mounted, 1))
        self.tasks: dict[int, Task] = {}
        self.clock = Clock(self)
        self.processes = Processes(self)
        self.signals = Signals(self)
        self.programs = Programs()
        self.watchers: dict[tuple[Group, str], list[OpenFile]] = {}
        self.faults = Faults(self)
        self.owners = Owners()
        self.caller: Task = self.processes.make(None, {tree: tree.root for tree in self.trees}, pid=caller)

    def __repr__(self) -> str:
        shown = ", ".join(tree.label or "v2" for tree in self.trees)
        return f"FakeKernel({shown}; {self.profile.kernel})"

    def _tree_of(self, number: int, version: int, controllers: tuple[str, ...], mount_point: str) -> Tree:
        if version != 1:
            return Tree(self, version, controllers, mount_point)
        if controllers and controllers[0].startswith("name="):
            return Tree(self, version, (), mount_point, name=controllers[0].removeprefix("name="), number=number)
        return Tree(self, version, controllers, mount_point, number=number)

    # --- finding ----------------------------------------------------------------------------------------------------

    def group_of(self, task: Task, tree: Tree) -> Group:
        """Return where a process is in a hierarchy."""
        return task.threads[0].groups[tree]

    def disk(self, name: str) -> str:
        """Return the numbers of a block device of a path or of these numbers.

        Raises:
            OSError: ``ENOENT``: there is no such path; ``ENXIO``: there is no such device.
        """
        if name.startswith("/"):
            kind, numbers = proc.read(self, f"{STATUS}{name}").split()[:2]
            return numbers if kind == "b" else refuse(ENOTBLK)
        return name if self.has_disk(name) else refuse(ENXIO)

    def has_disk(self, name: str) -> bool:
        """Tell whether there is a block device of these numbers."""
        return name in self.disks

    # --- processes --------------------------------------------------------------------------------------------------

    def spawn(self, group: object | None = None, *, pid: int | None = None) -> Task:
        """Start a process, of which nobody has to take care, in a group; or beside the caller.

        Args:
            group: a path of a group, or something with ``paths()`` such as a :class:`cgctl.Group`; in hierarchies in
                which it is not, the process is where the caller is.
            pid: its number; by default the next that is free.
        """
        with self.mutex:
            return self.processes.make(None, self._joined(_paths(group)), pid)

    @contextmanager
    def acting(self, task: Task) -> Iterator[None]:
        """Have a process, and whose it is, be the one that uses the machine, within a ``with`` block."""
        with self.mutex:
            before = self.caller, self.owners.user
            self.caller, self.owners.user = task, self.owners.of(task)
        try:
            yield
        finally:
            self.caller, self.owners.user = before

    def start(self, program: Program, paths: Iterable[str], streams: Streams) -> ProgramTask:
        """Start the process of a program, a child of the caller; it is for ``programs.start`` to let it begin.

        Args:
            program: what it runs.
            paths: the groups that it is born in; elsewhere it is where the caller is.
            streams: its input and output.

        Raises:
            OSError: ``EAGAIN`` at a limit of the pids controller; ``EBUSY``, ``EOPNOTSUPP``: no process may be there.
        """
        with self.mutex:
            groups = self._joined(paths)
            for tree, group in groups.items():
                namespaces.vet_move(self, self.caller.threads[0].groups[tree], group)
                # v1's are joined by who is born already.
                if tree.version != 1 and "pids" in tree.controllers:
                    pids.vet_fork(group)
            task = self.processes.make(self.caller, groups, kind=ProgramTask)
            task.load(program, streams)
            return task

    def _joined(self, paths: Iterable[str]) -> dict[Tree, Group]:
        """Return where a process is that is born beside the caller and joins groups, if it may."""
        groups = dict(self.caller.threads[0].groups)
        for path in paths:
            found = self.group_at(path)
            groups[found.tree] = found
        for tree, each in groups.items():
            self.processes.vet_attach(each, tree)
        return groups

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since the machine was started."""
        return self.clock.now / 1e9

    def advance(self, time: float | str) -> None:
        """Let time pass: what processes have to do is done, as fast as limits and the machine allow.

        Args:
            time: how long; a number is seconds, ``"50ms"`` what it says.

        Raises:
            SpecError: it is no time.
        """
        with self.mutex:
            self.clock.advance(time)
            self.notify()

    def advance_until(self, happened: Callable[[], bool], time: float | str | None = None) -> bool:
        """Let time pass until something has happened; false if it has not in time, or never would.

        Args:
            happened: tells whether it has.
            time: for how long at most; ``None``: as long as anything is to happen on the machine.

        Raises:
            SpecError: it is no time.
        """
        with self.mutex:
            try:
                return self.clock.advance_until(happened, time)
            finally:
                self.notify()

    def give(self, thread: Thread, work: Work) -> None:
        """Give a thread something more to do.

        Raises:
            OSError: ``ESRCH``: its process has ended.
        """
        with self.mutex:
            if not thread.task.alive:
                refuse(ESRCH)
            self.clock.give(thread, work)

    # --- faults -----------------------------------------------------------------------------------------------------

    def fail(
        self,
        path: str,
        errno: int,
        times: int | None = 1,
        *,
        on: Operation | Iterable[Operation] | None = None,
        after: int = 0,
    ) -> Fault:
        """Have the next calls on a file or group fail, as if the machine were out of memory or somebody were faster.

        Args:
            path: of the file or group, or a pattern in which ``*`` stands for any characters:
                ``"*/memory.max"``.
            errno: how they fail, such as ``errno.EIO``.
            times: how many of them; ``None``: all from now on.
            on: which of ``"read"``, ``"write"``, ``"mkdir"``, ``"rmdir"`` and ``"listdir"``; by default all.
            after: how many of them go well before.

        Returns:
            What was asked for; its ``hits`` tells how many calls have failed by it.

        Raises:
            SpecError: an argument is nonsense.
        """
        with self.mutex:
            return self.faults.add(path, errno, times, on, after=after)

    def vanish(self, group: object, *, on: str | None = None) -> None:
        """Remove a group as somebody else would: what runs in it is killed, and it goes with all below it.

        Args:
            group: a path of it, or something with ``paths()`` such as a :class:`cgctl.Group`.
            on: wait with that until somebody reads or writes this file of it, such as ``"memory.max"``: who has opened
                it finds the group gone, and is refused with ``ENODEV``.

        Raises:
            OSError: ``ENOENT``: it is not there; ``EBUSY``: the caller is in it, whom nobody kills.
            SpecError: it has no such file.
        """
        with self.mutex:
            self.faults.vanish(_paths(group), on)


def _speed(value: int | str) -> float:
    speed = parse_size(value, "speed of a disk")
    if speed < 1:
        msg = f"disks={value!r}: a disk has a speed; give 1 or more bytes a second, or leave it out"
        raise SpecError(msg)
    return float(speed)


def _paths(group: object | None) -> list[str]:
    if group is None:
        return []
    if isinstance(group, str):
        return [group]
    paths: dict[str, str] = group.paths()  # type: ignore[attr-defined] # anything that has them will do
    return list(paths.values())
