"""How the kernel in memory is read and written: as :class:`cgctl.filesystem.Filesystem` is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from errno import E2BIG, EINVAL, EISDIR, ENODATA, ENOENT, ENOTDIR, ESRCH
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cgctl.fake import namespaces, proc, watching
from cgctl.fake.layouts import ROOT
from cgctl.fake.memory import holding
from cgctl.fake.notifying import Notifier
from cgctl.fake.parse import written
from cgctl.fake.refusal import named, refuse
from cgctl.fake.rules import INHERITED, READ, WRITE, cpuset, devices
from cgctl.fake.tree import Group, Tree
from cgctl.fake.watching import OpenFile, OpenFiles
from cgctl.filesystem import Lock
from cgctl.marks import CONTROL

if TYPE_CHECKING:
    import threading
    from weakref import WeakSet

    from cgctl.fake.faults import Faults
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.owners import Owners
    from cgctl.fake.processes import Processes
    from cgctl.fake.task import Task

__all__ = ["MemoryFilesystem"]

_PAGE: Final = 4096
# cftype.max_write_len, where it is not a page.
_MOST_WRITTEN: Final = {
    "cpuset.cpus": 100 + 6 * 8192,
    "cpuset.cpus.exclusive": 100 + 6 * 8192,
    "cpuset.mems": 100 + 6 * 1024,
    "release_agent": 4095,
}
_READABLE, _WRITABLE = 0o444, 0o222


class MemoryFilesystem:
    """The filesystem of one kernel in memory, which has what is declared here."""

    trees: tuple[Tree, ...]
    mutex: threading.RLock
    faults: Faults
    owners: Owners
    tasks: dict[int, Task]
    processes: Processes
    opened: WeakSet[OpenFile]
    device_states: dict[Group, devices.State]
    known_disks: dict[Group, list[str]]
    _kernel: FakeKernel

    def read(self, path: str) -> bytes:
        """Return a file's whole content."""
        with self.mutex, named(path):
            self.faults.meet("read", path)
            if not path.startswith(f"{ROOT}/"):
                return proc.read(self._kernel, path).encode()
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
        with self.mutex, named(path):
            self.faults.meet("write", path)
            if not path.startswith(f"{ROOT}/"):
                proc.read(self._kernel, path)
                refuse(EINVAL)
            group, name, mode = self._file(path)
            self.owners.vet_file(group, name, mode, writing=True)
            if not data:
                return
            if len(data) > _MOST_WRITTEN.get(name, _PAGE):
                refuse(E2BIG)
            namespaces.vet_write(self._kernel, group, name)
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
        with self.mutex, named(path):
            self.faults.meet("mkdir", path)
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
        with self.mutex, named(path):
            self.faults.meet("rmdir", path)
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
        with self.mutex, named(path):
            self.faults.meet("listdir", path)
            if not path.startswith(ROOT):
                return proc.listdir(path)
            return sorted(self.group_at(path).children)

    def signal(self, pid: int, number: int) -> None:
        """Signal a process."""
        with self.mutex, named(None):
            task = self.tasks.get(pid)
            if task is None:
                refuse(ESRCH)
            self.owners.vet_signal(task)
            self.processes.kill(task, number)

    def wait(self, path: str, seen: bytes, timeout: float) -> None:
        """Let time pass until an ``*.events`` file reads something else than *seen*, or for *timeout* seconds."""
        self._kernel.advance_until(lambda: self.read(path) != seen, max(0.0, timeout))

    def watch(self, path: str) -> OpenFile:
        """Open a file that answers each who has it open for himself, to be waited for with :meth:`poll`.

        What is written to a file of pressure, such as ``b"some 150000 1000000"``, is its trigger.
        """
        with self.mutex, named(path):
            self.faults.meet("read", path)
            group, name, mode = self._file(path)
            self.owners.vet_file(group, name, mode, writing=bool(mode & _WRITABLE))
            return OpenFile(self._kernel, path, group, name)

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
            if not self._kernel.advance_until(lambda: any(file.ready for file in files), timeout) and timeout is None:
                msg = "files would be watched for ever: nothing is to happen on the machine in memory; give a timeout"
                raise RuntimeError(msg)
            return watching.poll(files)

    def series(self, directory: str, names: Sequence[str]) -> OpenFiles:
        """Open files of a group, to be read together again and again."""
        with self._kernel.mutex, named(directory):
            return OpenFiles(self._kernel, directory, names)

    def notifier(self) -> Notifier:
        """Make something that waits for what happens to groups."""
        return Notifier(self._kernel)

    def monotonic(self) -> float:
        """Return the seconds since the machine was started."""
        return self._kernel.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._kernel.advance(seconds)

    def idle(self) -> bool:
        """Tell whether nothing is to happen in memory any more, unless somebody does something."""
        with self.mutex:
            return self._kernel.clock.is_idle()

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
        with self.mutex, named(path):
            return self.group_at(path).xattrs.get(name)

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        """Set an extended attribute of a group."""
        with self.mutex, named(path):
            group = self.group_at(path)
            self.owners.vet_directory(group)
            group.xattrs[name] = value

    def removexattr(self, path: str, name: str) -> None:
        """Take an extended attribute off a group."""
        with self.mutex, named(path):
            self.owners.vet_directory(self.group_at(path))
            if self.group_at(path).xattrs.pop(name, None) is None:
                refuse(ENODATA)

    def unfinished(self, path: str) -> bool:
        """Tell whether the maker of a group has not come to mark it: here nobody is killed in between."""
        with self.mutex, named(path):
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
        with self.mutex, named(path):
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

    def files(self, path: str) -> list[str]:
        """Return the names of a group's interface files."""
        with self.mutex, named(path):
            return sorted(self.group_at(path).files())

    def notify(self) -> None:
        """Tell those who watch files that something may have changed."""
        for file in self.opened:
            file.look()

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


class _Had:
    """A lock that was had."""

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *error: object) -> None:
        pass
