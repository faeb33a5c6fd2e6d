"""The in-memory kernel: it answers as :class:`cgctl.filesystem.Filesystem` does, and has processes to play with."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from errno import E2BIG, EINVAL, EISDIR, ENODATA, ENOENT, ENOTDIR, ESRCH
from types import MappingProxyType
from typing import Final, Literal

from cgctl.errors import SpecError
from cgctl.fake import charging, proc
from cgctl.fake.parse import INT_MAX, kstrto, stripped
from cgctl.fake.profile import Profile, profile
from cgctl.fake.refusal import refusal, refuse
from cgctl.fake.rules import INHERITED, READ, WRITE, core2, cpuset, devices, others, pids
from cgctl.fake.task import SIGKILL, Task, Thread
from cgctl.fake.tree import Group, Tree
from cgctl.filesystem import Lock
from cgctl.layout import UNIFIED
from cgctl.marks import CONTROL
from cgctl.units import parse_size

__all__ = ["FakeKernel"]

Layout = Literal["v1", "v2", "hybrid"]
Mounted = tuple[int, tuple[str, ...], str]
"""A hierarchy: its version, its controllers, and where it is mounted."""
_ROOT: Final = "/sys/fs/cgroup"
_PAGE: Final = 4096
_MOST_WRITTEN: Final = 4096
_READABLE, _WRITABLE = 0o444, 0o222
# Mounted together, as distributions do.
_TOGETHER: Final = (("cpu", "cpuacct"), ("net_cls", "net_prio"))


class FakeKernel:
    """A kernel in memory: its cgroup filesystems, and the processes in them.

    Args:
        layout: ``"v2"``; ``"v1"``: all controllers as v1, those together that distributions mount so; ``"hybrid"``:
            the same, and a v2 hierarchy beside them with the controllers that this kernel cannot have as v1. Or the
            hierarchies one by one: ``(version, controllers, mount point)``.
        kernel: the series that it behaves like: ``"5.10"``, ``"6.1"``, ``"6.12"``, ``"6.18"`` or ``"7.3"``.
        cpus: processors.
        nodes: memory nodes.
        disks: block devices that are there, as ``"8:0"``.
        named: v1 hierarchies without controllers, such as ``"systemd"``.
        without: interface files and v2 controllers that this kernel was built without.
        caller: the pid of the process that stands for the one that uses it.

    Attributes:
        profile: what this kernel series has.
        trees: the mounted hierarchies.
        tasks: pid → process.
        caller: the process that stands for the one that uses it.

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
        disks: Iterable[str] = ("8:0",),
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
        self.disks = tuple(disks)
        self.interfaces = ("lo",)
        self.without = frozenset(without)
        self.device_states: dict[Group, devices.State] = {}
        self.known_disks: dict[Group, list[str]] = {}
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        mounted = _layout(layout, self.profile) if isinstance(layout, str) else tuple(layout)
        mounted += tuple((1, (f"name={name}",), f"{_ROOT}/{name}") for name in named)
        self.trees = tuple(self._tree_of(number, *each) for number, each in enumerate(mounted, 1))
        self.tasks: dict[int, Task] = {}
        self._next_pid = 2
        self._pending: dict[Task, int] = {}
        self.ticks = 0
        self.caller = self._make(None, {tree: tree.root for tree in self.trees}, pid=caller)

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
        with self._lock, _named(path):
            if not path.startswith(f"{_ROOT}/"):
                return proc.read(self, path).encode()
            group, name, mode = self._file(path)
            if not mode & _READABLE:
                refuse(EINVAL)
            reader = READ[group.tree.version].get(name)
            return (reader(group) if reader else group.get(name)).encode()

    def write(self, path: str, data: bytes) -> None:
        """Write *data* with one ``write(2)``."""
        with self._lock, _named(path):
            if not path.startswith(f"{_ROOT}/"):
                proc.read(self, path)
                refuse(EINVAL)
            group, name, mode = self._file(path)
            if not data:
                return
            if len(data) > _MOST_WRITTEN:
                refuse(E2BIG)
            writer = WRITE[group.tree.version].get(name)
            if writer is None or not mode & _WRITABLE:
                refuse(EINVAL)
            text = data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            held = writer(group, text)
            if held is not None:
                group.values[name] = held
            self._changed.notify_all()

    def mkdir(self, path: str, marks: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Make a group, with extended attributes."""
        with self._lock, _named(path):
            above, _, name = path.rpartition("/")
            parent = self._group(above)
            child = parent.mkdir(name)
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
        with self._lock, _named(path):
            above, _, name = path.rpartition("/")
            parent = self._group(above) if above.startswith(_ROOT) else None
            if parent and name not in parent.children and parent.interface(name):
                refuse(ENOTDIR)
            group = self._group(path)
            group.rmdir()
            self.device_states.pop(group, None)
            self.known_disks.pop(group, None)

    def listdir(self, path: str) -> list[str]:
        """Return the names of the groups directly below a group, or those of another directory that the kernel has."""
        with self._lock, _named(path):
            if not path.startswith(_ROOT):
                return proc.listdir(path)
            return sorted(self._group(path).children)

    def signal(self, pid: int, number: int) -> None:
        """Signal a process."""
        with self._lock, _named(None):
            task = self.tasks.get(pid)
            if task is None:
                refuse(ESRCH)
            if number:
                self.kill(task, number)

    def wait(self, path: str, seen: bytes, timeout: float) -> None:
        """Return when an ``*.events`` file reads something else than *seen*, or after *timeout* seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.read(path) != seen, max(0.0, timeout))

    def count(self, path: str) -> int:
        """Return how many groups are directly below a group."""
        return len(self.listdir(path))

    def getxattr(self, path: str, name: str) -> bytes | None:
        """Return an extended attribute of a group; ``None`` where there is none."""
        with self._lock, _named(path):
            return self._group(path).xattrs.get(name)

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        """Set an extended attribute of a group."""
        with self._lock, _named(path):
            self._group(path).xattrs[name] = value

    def removexattr(self, path: str, name: str) -> None:
        """Take an extended attribute off a group."""
        with self._lock, _named(path):
            if self._group(path).xattrs.pop(name, None) is None:
                refuse(ENODATA)

    def unfinished(self, path: str) -> bool:
        """Tell whether the maker of a group has not come to mark it: here nobody is killed in between."""
        with self._lock, _named(path):
            self._group(path)
            return False

    def lock(self, path: str, *, exclusive: bool, timeout: float = 1.0) -> Lock:
        """Lock a group's directory or file: its users are threads of this process, which do not die in the middle."""
        del exclusive, timeout
        self.read(path) if path.endswith(f"/{CONTROL}") else self.listdir(path)
        return _Had()

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Give a group's directory or one of its files to a user: all are root here, so it only has to be there."""
        del uid, gid
        with self._lock, _named(path):
            above = path.rpartition("/")[0]
            if path.rpartition("/")[2] in self._group(above).children:
                return
            self._file(path)

    def writable(self, path: str) -> bool:
        """Tell whether groups may be made below a group."""
        try:
            self._group(path)
        except OSError:
            return False
        return True

    # --- finding ----------------------------------------------------------------------------------------------------

    def _tree(self, path: str) -> Tree:
        found = [tree for tree in self.trees if path == tree.mount_point or path.startswith(f"{tree.mount_point}/")]
        if not found:
            refuse(ENOENT)
        return max(found, key=lambda tree: len(tree.mount_point))

    def _group(self, path: str) -> Group:
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
        group = self._group(above)
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

    def has_disk(self, name: str) -> bool:
        """Tell whether there is a block device of these numbers."""
        return name in self.disks

    # --- processes --------------------------------------------------------------------------------------------------

    def files(self, path: str) -> list[str]:
        """Return the names of a group's interface files."""
        with self._lock, _named(path):
            return sorted(self._group(path).files())

    def writes(self, path: str) -> bool:
        """Tell whether something is done with what is written to an interface file."""
        with self._lock, _named(path):
            group, name, _ = self._file(path)
            return name in WRITE[group.tree.version]

    def spawn(self, group: object | None = None, *, pid: int | None = None) -> Task:
        """Start a process, of which nobody has to take care, in a group; or beside the caller.

        Args:
            group: a path of a group, or something with ``paths()`` such as a :class:`cgctl.Group`; in hierarchies in
                which it is not, the process is where the caller is.
            pid: its number; by default the next that is free.
        """
        with self._lock:
            groups = dict(self.caller.threads[0].groups)
            for path in _paths(group):
                found = self._group(path)
                groups[found.tree] = found
            for tree, each in groups.items():
                self._vet_attach(each, tree)
            return self._make(None, groups, pid)

    def _make(self, parent: Task | None, groups: dict[Tree, Group], pid: int | None = None) -> Task:
        if pid is None:
            while self._next_pid in self.tasks:
                self._next_pid += 1
            pid = self._next_pid
            self._next_pid += 1
        self.ticks += 1
        task = Task(self, pid, parent, groups, self.ticks)
        self.tasks[pid] = task
        if parent:
            parent.children.append(task)
        self._enter(task.threads[0])
        return task

    def _enter(self, thread: Thread) -> None:
        for tree, group in thread.groups.items():
            group.enter(thread)
            if "pids" in tree.controllers:
                pids.charge(group, 1)

    def fork(self, parent: Task) -> Task:
        """Start a child of a process.

        Raises:
            OSError: ``EAGAIN`` at a limit of the pids controller, ``ESRCH`` for a process that has ended.
        """
        with self._lock:
            self._vet_fork(parent)
            return self._make(parent, dict(parent.threads[0].groups))

    def start_thread(self, task: Task) -> Thread:
        """Start a thread of a process.

        Raises:
            OSError: ``EAGAIN`` at a limit of the pids controller, ``ESRCH`` for a process that has ended.
        """
        with self._lock:
            self._vet_fork(task)
            thread = Thread(self._next_pid, task, dict(task.threads[0].groups))
            self._next_pid += 1
            task.threads.append(thread)
            self._enter(thread)
            return thread

    def _vet_fork(self, task: Task) -> None:
        if not task.alive:
            refuse(ESRCH)
        for tree, group in task.threads[0].groups.items():
            if "pids" in tree.controllers:
                pids.vet_fork(group)

    def is_frozen(self, thread: Thread) -> bool:
        """Tell whether a thread is frozen, in any hierarchy."""
        return any(
            core2.is_frozen(group) if tree.version != 1 else others.is_frozen_v1(group)
            for tree, group in thread.groups.items()
            if tree.version != 1 or "freezer" in tree.controllers
        )

    def kill(self, task: Task, number: int) -> None:
        """Signal a process; each signal but 0 ends it. One that v1 has frozen ends when it is thawed."""
        with self._lock:
            if not task.alive:
                return
            frozen = any(
                others.is_frozen_v1(group)
                for tree, group in task.threads[0].groups.items()
                if "freezer" in tree.controllers and tree.version == 1
            )
            if frozen or (number != SIGKILL and self.is_frozen(task.threads[0])):
                self._pending[task] = number
                return
            self.end(task, -number)

    def kill_all(self, group: Group) -> None:
        """Kill what is in one group."""
        for task in {thread.task for thread in group.threads}:
            self.kill(task, SIGKILL)

    def deliver(self, group: Group) -> None:
        """Let signals that waited for the thaw arrive."""
        for task in {thread.task for thread in group.threads}:
            if task in self._pending:
                self.kill(task, self._pending.pop(task))

    def end(self, task: Task, status: int) -> None:
        """End a process: what it holds is given back, and its parent may wait for it."""
        with self._lock:
            if not task.alive:
                return
            self.free(task)
            task.status = status
            for thread in task.threads:
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
            if task.parent is not None and task.parent.alive:
                task.zombie = True
            else:
                self._bury(task)
            self._changed.notify_all()

    def reap(self, parent: Task) -> tuple[int, int] | None:
        """Wait for a child that has ended."""
        with self._lock:
            for child in parent.children:
                if child.status is not None:
                    parent.children.remove(child)
                    self._bury(child)
                    return child.pid, child.status
            return None

    def _bury(self, task: Task) -> None:
        task.zombie = False
        self._forget(task.threads[0])
        self.tasks.pop(task.pid, None)

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
        thread = self.caller.threads[0] if number == 0 else self._thread(number)
        if thread is None:
            refuse(ESRCH)
        task = thread.task
        self._vet_attach(group, group.tree, thread, whole=whole)
        if not task.alive:
            return
        for each in list(task.threads) if whole else [thread]:
            self._move(each, group)

    def _thread(self, number: int) -> Thread | None:
        task = self.tasks.get(number)
        if task is not None:
            return task.threads[0]
        return next((thread for each in self.tasks.values() for thread in each.threads if thread.tid == number), None)

    def _vet_attach(self, group: Group, tree: Tree, thread: Thread | None = None, *, whole: bool = True) -> None:
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
        if "pids" in group.tree.controllers:
            # In this order, so that a group above both counts one more for a moment, and has it in its peak.
            pids.charge(group, 1)
            pids.charge(source, -1)
        if "freezer" in group.tree.controllers and group.tree.version == 1 and not others.is_frozen_v1(group):
            self.deliver(group)

    # --- memory -----------------------------------------------------------------------------------------------------

    def allocate(self, task: Task, size: int | str) -> None:
        """Let a process touch memory; where a limit does not allow it, the kernel kills."""
        with self._lock:
            wanted = -(-parse_size(size) // _PAGE) * _PAGE
            where = self._charged(task)
            if not task.alive:
                refuse(ESRCH)
            if where is None or charging.charge(task, where, wanted, "anon"):
                task.anon += wanted

    def free(self, task: Task, size: int | str | None = None) -> None:
        """Let a process give memory back; all of it, if *size* is not given."""
        with self._lock:
            given = task.anon if size is None else min(-(-parse_size(size) // _PAGE) * _PAGE, task.anon)
            task.anon -= given
            where = self._charged(task)
            if where is not None:
                charging.uncharge(where, given, "anon")

    def _charged(self, task: Task) -> Group | None:
        return next((group for tree, group in task.threads[0].groups.items() if "memory" in tree.controllers), None)

    def changed(self, group: Group) -> None:
        """Wake those who wait for an event of a group."""
        del group
        self._changed.notify_all()


def _layout(layout: Layout, known: Profile) -> tuple[Mounted, ...]:
    """Return the hierarchies of a layout."""
    if layout not in {"v1", "v2", "hybrid"}:
        msg = f"layout={layout!r}: there is no such layout; give 'v1', 'v2' or 'hybrid'"
        raise SpecError(msg)
    if layout == "v2":
        return ((2, known.v2, _ROOT),)
    together = [pair for pair in _TOGETHER if set(pair) <= set(known.v1)]
    first = {name: next((pair for pair in together if name in pair), (name,)) for name in known.v1}
    mounted = tuple((1, names, f"{_ROOT}/{','.join(names)}") for names in dict.fromkeys(first.values()))
    if layout == "v1":
        return mounted
    rest = tuple(name for name in known.v2 if name not in known.v1 and not (name == "io" and "blkio" in known.v1))
    return (*mounted, (2, rest, f"{_ROOT}/{UNIFIED}"))


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
