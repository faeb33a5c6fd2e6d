"""The in-memory kernel: it answers as :class:`cgctl.filesystem.Filesystem` does, and has processes to play with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from errno import E2BIG, EINVAL, EISDIR, ENODATA, ENOENT, ENOTBLK, ENOTDIR, ENXIO, ESRCH
from types import MappingProxyType
from typing import Final
from weakref import WeakSet

from cgctl.errors import SpecError
from cgctl.fake import layouts, proc, watching
from cgctl.fake.faults import Fault, Faults, Operation
from cgctl.fake.layouts import ROOT, Layout, Mounted
from cgctl.fake.memory import holding
from cgctl.fake.notifying import Notifier
from cgctl.fake.owners import Owners
from cgctl.fake.parse import written
from cgctl.fake.processes import Processes
from cgctl.fake.profile import Profile, profile
from cgctl.fake.program import Program, Programs, ProgramTask, Streams
from cgctl.fake.refusal import refusal, refuse
from cgctl.fake.rules import INHERITED, READ, WRITE, cpuset, devices, pids
from cgctl.fake.task import Task, Thread
from cgctl.fake.time.clock import Clock
from cgctl.fake.time.work import Work
from cgctl.fake.tree import Group, Tree
from cgctl.fake.watching import OpenFile
from cgctl.filesystem import Lock
from cgctl.marks import CONTROL
from cgctl.mounts import STATUS
from cgctl.units import parse_size

__all__ = ["FakeKernel"]

_PAGE: Final = 4096
# cftype.max_write_len, where it is not a page.
_MOST_WRITTEN: Final = {
    "cpuset.cpus": 100 + 6 * 8192,
    "cpuset.cpus.exclusive": 100 + 6 * 8192,
    "cpuset.mems": 100 + 6 * 1024,
    "release_agent": 4095,
}
_READABLE, _WRITABLE = 0o444, 0o222


class FakeKernel:
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
        caller: the pid of the process that stands for the one that uses it.

    Attributes:
        profile: what this kernel series has.
        trees: the mounted hierarchies.
        tasks: pid → process.
        caller: the process that stands for the one that uses it.
        processes: what is done with them.
        clock: the time, which passes only in :meth:`advance` and :meth:`advance_until`, and while somebody waits.
        programs: those that run.
        owners: whose groups, files and processes are.
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
        self.programs = Programs()
        self.watchers: dict[tuple[Group, str], list[OpenFile]] = {}
        self._faults = Faults(self)
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

    # --- the filesystem ---------------------------------------------------------------------------------------------

    def read(self, path: str) -> bytes:
        """Return a file's whole content."""
        with self.mutex, _named(path):
            self._faults.meet("read", path)
            if not path.startswith(f"{ROOT}/"):
                return proc.read(self, path).encode()
            group, name, mode = self._file(path)
            self.owners.vet_file(group, name, mode, writing=False)
            if not mode & _READABLE:
                refuse(EINVAL)
            return self.content(group, name)

    @staticmethod
    def content(group: Group, name: str) -> bytes:
        """Return what is in an interface file, whoever reads it."""
        reader = READ[group.tree.version].get(name)
        return (reader(group) if reader else group.get(name)).encode()

    def write(self, path: str, data: bytes) -> None:
        """Write *data* with one ``write(2)``."""
        with self.mutex, _named(path):
            self._faults.meet("write", path)
            if not path.startswith(f"{ROOT}/"):
                proc.read(self, path)
                refuse(EINVAL)
            group, name, mode = self._file(path)
            self.owners.vet_file(group, name, mode, writing=True)
            if not data:
                return
            if len(data) > _MOST_WRITTEN.get(name, _PAGE):
                refuse(E2BIG)
            writer = WRITE[group.tree.version].get(name)
            if writer is None or not mode & _WRITABLE:
                refuse(EINVAL)
            before = group.control
            held = writer(group, written(data))
            if group.control is not before:
                self.owners.enabled(group, group.control - before)
            if held is not None:
                group.values[name] = held
            self.notify()

    def mkdir(self, path: str, marks: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Make a group, with extended attributes."""
        with self.mutex, _named(path):
            self._faults.meet("mkdir", path)
            above, _, name = path.rpartition("/")
            parent = self.group_at(above)
            if not self._has(parent, name):
                self.owners.vet_directory(parent)
            child = parent.mkdir(name)
            self.owners.made(child)
            child.xattrs.update(marks)
            if child.tree.version == 1:
                self._inherit(child)

    def _inherit(self, child: Group) -> None:
        parent = child.parent
        assert parent is not None  # noqa: S101 - a new group has one
        for name in INHERITED:
            if name in parent.values and name in child.tree.below:
                child.values[name] = parent.values[name]
        if "cpuset" in child.tree.controllers:
            cpuset.new_v1(child)
        if "devices" in child.tree.controllers:
            devices.new(child)

    def rmdir(self, path: str) -> None:
        """Remove an empty group."""
        with self.mutex, _named(path):
            self._faults.meet("rmdir", path)
            above, _, name = path.rpartition("/")
            parent = self.group_at(above) if above.startswith(ROOT) else None
            if parent and self._has(parent, name):
                self.owners.vet_directory(parent)
            if parent and name not in parent.children and parent.interface(name):
                refuse(ENOTDIR)
            self.remove(self.group_at(path))

    @staticmethod
    def _has(parent: Group, name: str) -> bool:
        """Tell whether a directory has something of this name: that is seen before whose it is."""
        return name in parent.children or parent.interface(name) is not None

    def remove(self, group: Group) -> None:
        """Remove a group, if it is empty, with all that is kept of it."""
        group.rmdir()
        holding.reparent(group)
        self.owners.forget(group)
        self.device_states.pop(group, None)
        self.known_disks.pop(group, None)

    def listdir(self, path: str) -> list[str]:
        """Return the names of the groups directly below a group, or those of another directory that the kernel has."""
        with self.mutex, _named(path):
            self._faults.meet("listdir", path)
            if not path.startswith(ROOT):
                return proc.listdir(path)
            return sorted(self.group_at(path).children)

    def signal(self, pid: int, number: int) -> None:
        """Signal a process."""
        with self.mutex, _named(None):
            task = self.tasks.get(pid)
            if task is None:
                refuse(ESRCH)
            self.owners.vet_signal(task)
            if number:
                self.processes.kill(task, number)

    def wait(self, path: str, seen: bytes, timeout: float) -> None:
        """Let time pass until an ``*.events`` file reads something else than *seen*, or for *timeout* seconds."""
        self.advance_until(lambda: self.read(path) != seen, max(0.0, timeout))

    def watch(self, path: str) -> OpenFile:
        """Open a file that answers each who has it open for himself, to be waited for with :meth:`poll`.

        What is written to a file of pressure, such as ``b"some 150000 1000000"``, is its trigger.
        """
        with self.mutex, _named(path):
            self._faults.meet("read", path)
            group, name, mode = self._file(path)
            self.owners.vet_file(group, name, mode, writing=bool(mode & _WRITABLE))
            return OpenFile(self, path, group, name)

    def poll(self, watches: Iterable[OpenFile], timeout: float | None) -> list[OpenFile]:
        """Let time pass until open files have something to say (:attr:`.OpenFile.ready`), and return those.

        A trigger that is returned has been told of: it says something again when it has fired another time.

        Args:
            watches: from :meth:`watch`.
            timeout: for how long, in seconds of the virtual time; ``None``: as long as anything is to happen.

        Raises:
            RuntimeError: there is no timeout, and nothing is to happen by which one of them would change.
        """
        files = list(watches)
        with self.mutex:
            if not self.advance_until(lambda: any(file.ready for file in files), timeout) and timeout is None:
                msg = "files would be watched for ever: nothing is to happen on the machine in memory; give a timeout"
                raise RuntimeError(msg)
            return watching.poll(files)

    def notifier(self) -> Notifier:
        """Make something that waits for what happens to groups."""
        return Notifier(self)

    def monotonic(self) -> float:
        """Return the seconds since the machine was started."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.advance(seconds)

    def exists(self, path: str) -> bool:
        """Tell whether a group is there."""
        try:
            self.listdir(path)
        except OSError:
            return False
        return True

    def count(self, path: str) -> int:
        """Return how many groups are directly below a group."""
        return len(self.listdir(path))

    def getxattr(self, path: str, name: str) -> bytes | None:
        """Return an extended attribute of a group; ``None`` where there is none."""
        with self.mutex, _named(path):
            return self.group_at(path).xattrs.get(name)

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        """Set an extended attribute of a group."""
        with self.mutex, _named(path):
            group = self.group_at(path)
            self.owners.vet_directory(group)
            group.xattrs[name] = value

    def removexattr(self, path: str, name: str) -> None:
        """Take an extended attribute off a group."""
        with self.mutex, _named(path):
            self.owners.vet_directory(self.group_at(path))
            if self.group_at(path).xattrs.pop(name, None) is None:
                refuse(ENODATA)

    def unfinished(self, path: str) -> bool:
        """Tell whether the maker of a group has not come to mark it: here nobody is killed in between."""
        with self.mutex, _named(path):
            self.group_at(path)
            return False

    def lock(self, path: str, *, exclusive: bool, timeout: float = 1.0) -> Lock:
        """Lock a group's directory or file: its users are threads of this process, which do not die in the middle."""
        del exclusive, timeout
        self.read(path) if path.endswith(f"/{CONTROL}") else self.listdir(path)
        return _Had()

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Give a group's directory or one of its files to a user; groups of users are nothing here."""
        del gid
        with self.mutex, _named(path):
            above, _, name = path.rpartition("/")
            if name in self.group_at(above).children:
                self.owners.give(self.group_at(path), "", uid)
            else:
                self.owners.give(*self._file(path)[:2], uid)

    def writable(self, path: str) -> bool:
        """Tell whether groups may be made below a group."""
        try:
            return self.owners.owns(self.group_at(path))
        except OSError:
            return False

    # --- finding ----------------------------------------------------------------------------------------------------

    def _tree(self, path: str) -> Tree:
        found = [tree for tree in self.trees if path == tree.mount_point or path.startswith(f"{tree.mount_point}/")]
        if not found:
            refuse(ENOENT)
        return max(found, key=lambda tree: len(tree.mount_point))

    def group_at(self, path: str) -> Group:
        """Return the group of a path."""
        tree = self._tree(path)
        group = tree.root
        for name in filter(None, path[len(tree.mount_point) :].split("/")):
            child = group.children.get(name)
            if child is None:
                refuse(ENOTDIR if group.interface(name) else ENOENT)
            group = child
        return group

    def _file(self, path: str) -> tuple[Group, str, int]:
        """Return the group, the name and the mode of an interface file, or of an attached program."""
        above, _, name = path.rpartition("/")
        group = self.group_at(above)
        if name in group.children:
            refuse(EISDIR)
        if name.startswith("@") and name in READ[group.tree.version]:
            return group, name, _READABLE | _WRITABLE
        interface = group.interface(name)
        if interface is None:
            refuse(ENOENT)
        return group, name, interface.mode

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

    def files(self, path: str) -> list[str]:
        """Return the names of a group's interface files."""
        with self.mutex, _named(path):
            return sorted(self.group_at(path).files())

    def writes(self, path: str) -> bool:
        """Tell whether something is done with what is written to an interface file."""
        with self.mutex, _named(path):
            group, name, _ = self._file(path)
            return name in WRITE[group.tree.version]

    def spawn(self, group: object | None = None, *, pid: int | None = None) -> Task:
        """Start a process, of which nobody has to take care, in a group; or beside the caller.

        Args:
            group: a path of a group, or something with ``paths()`` such as a :class:`cgctl.Group`; in hierarchies in
                which it is not, the process is where the caller is.
            pid: its number; by default the next that is free.
        """
        with self.mutex:
            return self.processes.make(None, self._joined(_paths(group)), pid)

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
            return self._faults.add(path, errno, times, on, after=after)

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
            self._faults.vanish(_paths(group), on)

    # --- waiting ----------------------------------------------------------------------------------------------------

    def notify(self) -> None:
        """Tell those who watch files that something may have changed."""
        for file in self.opened:
            file.look()


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


class _Had:
    """A lock that was had."""

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *error: object) -> None:
        pass


class _named:  # noqa: N801 - used as a function
    """Give the path to an error that has none."""

    def __init__(self, path: str | None) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.filename is None and error.errno is not None:
            raise refusal(error.errno, self.path) from None
