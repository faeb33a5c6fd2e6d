"""The real kernel: the one module that opens, writes and removes anything of a cgroup filesystem.

Law of this module: a path is opened relative to a directory fd of its mount, only if that mount is a
cgroup filesystem, never through a symbolic link or ``..``; never with ``O_CREAT`` or ``O_TRUNC``; and
written with exactly one ``write(2)``.
"""

from __future__ import annotations

import os
import re
import select
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from errno import EINVAL, ELOOP, EMFILE, ENFILE, ENODATA, ENODEV, ENOENT, ENOTSUP, EXDEV
from fcntl import LOCK_SH
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from cgctl import bpf
from cgctl.filesystem.locking import Lock, take
from cgctl.filesystem.status import read_status
from cgctl.mounts import STATUS, Mount, parse_mountinfo

if TYPE_CHECKING:
    from cgctl.filesystem.notifying import Notifier

__all__ = ["KernelFilesystem"]

_CHUNK: Final = 65536
_SHORT: Final = 2048
"""Of a group's file, a read of less than this is all: the kernel gives it out a page at a time, or at once."""
_CGROUP: Final = frozenset({"cgroup", "cgroup2"})
_MANY: Final = 1000
_OUTSIDE: Final = ("/proc/", "/sys/dev/", "/sys/kernel/mm/")
"""Where files that describe the machine are read, with symbolic links and all."""
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY: Final = _READ | os.O_DIRECTORY
_UNFINISHED: Final = 0o755 | stat.S_ISVTX
_FINISHED: Final = 0o7777 & ~stat.S_ISVTX
_LOCK_SEC: Final = 1.0
_MOUNTED_OVER: Final = "another filesystem is mounted over this part of the hierarchy"
_NO_CGROUPS: Final = "not on a cgroup filesystem"
_TOO_MANY: Final = frozenset({EMFILE, ENFILE})
_UNMARKED: Final[Mapping[str, bytes]] = MappingProxyType({})
_Result = TypeVar("_Result")


class KernelFilesystem:
    """The cgroup filesystems of this machine, as this process sees them."""

    def __init__(self) -> None:
        self._know({})

    def __del__(self) -> None:
        roots, *_ = self._known
        for fd, device in roots.values():
            if _is_root(fd, device):
                os.close(fd)

    def __repr__(self) -> str:
        return "KernelFilesystem()"

    def read(self, path: str) -> bytes:
        """Return a file's whole content; after ``stat:``, what the path names."""
        if path.startswith(STATUS):
            return read_status(path.removeprefix(STATUS))
        if bpf.is_attached(path):
            return self._in_group(path, bpf.read)
        fd = self._open(path, os.O_RDONLY)
        try:
            data = os.read(fd, _CHUNK)
            return data if len(data) < _SHORT and not path.startswith(_OUTSIDE) else data + _rest(fd)
        finally:
            os.close(fd)

    def read_each(self, directory: str, names: Sequence[str]) -> list[bytes | int]:
        """Return of each of a group's files the content, or the errno; the directory is opened once for all of them."""
        try:
            fd = self._open(directory, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            return [error.errno or EINVAL] * len(names)
        try:
            device = os.fstat(fd).st_dev
            return [
                _read_below(fd, name, device) if name[:1] != "@" else self._read_attached(f"{directory}/{name}")
                for name in names
            ]
        finally:
            os.close(fd)

    def _read_attached(self, path: str) -> bytes | int:
        try:
            return self.read(path)
        except OSError as error:
            return error.errno or EINVAL

    def write(self, path: str, data: bytes) -> None:
        """Write *data* with one ``write(2)``."""
        if bpf.is_attached(path):
            self._in_group(path, lambda group, name: bpf.write(group, name, data))
            return
        fd = self._open(path, os.O_WRONLY)
        try:
            written = os.write(fd, data)
            if written != len(data):
                raise OSError(EINVAL, f"short write of {written} of {len(data)} bytes", path)
        except OSError as error:
            raise _named(error, path) from None
        finally:
            os.close(fd)

    def mkdir(self, path: str, marks: Mapping[str, bytes] = _UNMARKED) -> None:
        """Make a group, and mark it.

        Until the marks are on it, it has the sticky bit and the directory above is locked; see :mod:`cgctl.owner`.
        """
        if not marks:
            root, relative = self._locate(path)
            try:
                os.mkdir(relative, 0o755, dir_fd=root)
            except OSError as error:
                raise _named(error, path) from None
            return
        above, _, name = path.rpartition("/")
        try:
            parent = self._open(above, _DIRECTORY)
            try:
                take(parent, LOCK_SH, _LOCK_SEC)
                os.mkdir(name, _UNFINISHED, dir_fd=parent)
                try:
                    _mark(name, parent, marks)
                except BaseException:
                    os.rmdir(name, dir_fd=parent)
                    raise
            finally:
                os.close(parent)
        except OSError as error:
            raise _named(error, path) from None

    def rmdir(self, path: str) -> None:
        """Remove an empty group."""
        root, relative = self._locate(path)
        try:
            os.rmdir(relative, dir_fd=root)
        except OSError as error:
            raise _named(error, path) from None

    def listdir(self, path: str) -> list[str]:
        """Return the names of the groups directly below a group."""
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        finally:
            os.close(fd)

    def count(self, path: str) -> int:
        """Return how many groups are directly below a group: its links, but for the two that each directory has."""
        return self._status(path).st_nlink - 2

    def exists(self, path: str) -> bool:
        """Tell whether a group is there."""
        root, device, relative = self._find(path)
        if os.access(relative, os.F_OK, dir_fd=root):
            return True
        if _is_root(root, device):
            return False
        root, relative = self._locate(path)
        return os.access(relative, os.F_OK, dir_fd=root)

    def signal(self, pid: int, number: int) -> None:
        """Signal a process."""
        os.kill(pid, number)

    def wait(self, path: str, seen: bytes, timeout: float) -> None:
        """Return when an ``*.events`` file reads something else than *seen*, or after *timeout* seconds."""
        fd = self._open(path, os.O_RDONLY)
        try:
            # It tells of changes after this reading only, so one before it is seen by comparing.
            if os.read(fd, _CHUNK) == seen:
                poll = select.poll()
                poll.register(fd, select.POLLPRI)
                poll.poll(max(0.0, timeout) * 1000)
        finally:
            os.close(fd)

    def monotonic(self) -> float:
        """Return the time of the clock that nobody sets."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def idle(self) -> bool:
        """Tell that something may always happen."""
        return False

    def getxattr(self, path: str, name: str) -> bytes | None:
        """Return an extended attribute of a group; ``None`` where there is none."""
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return os.getxattr(fd, name)
        except OSError as error:
            if error.errno in {ENODATA, ENOTSUP}:
                return None
            raise _named(error, path) from None
        finally:
            os.close(fd)

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        """Set an extended attribute of a group."""
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            raise _named(error, path) from None
        finally:
            os.close(fd)

    def removexattr(self, path: str, name: str) -> None:
        """Take an extended attribute off a group."""
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.removexattr(fd, name)
        except OSError as error:
            raise _named(error, path) from None
        finally:
            os.close(fd)

    def unfinished(self, path: str) -> bool:
        """Tell whether a group is yet to be marked."""
        return bool(self._status(path).st_mode & stat.S_ISVTX)

    def lock(self, path: str, *, exclusive: bool, timeout: float = _LOCK_SEC) -> Lock:
        """Lock a group's directory or file for a ``with`` block; its value is whether that was had in time."""
        return Lock(self._open(path, os.O_RDONLY), exclusive=exclusive, timeout=timeout)

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Give a group's directory or one of its files to a user and a group of users; -1 leaves one of them."""
        root, relative = self._locate(path)
        try:
            os.chown(relative, uid, gid, dir_fd=root, follow_symlinks=False)
        except OSError as error:
            raise _named(error, path) from None

    def writable(self, path: str) -> bool:
        """Tell whether groups may be made below a group, as far as ``access(2)`` knows."""
        try:
            root, relative = self._locate(path)
            return os.access(relative, os.W_OK | os.X_OK, dir_fd=root)
        except OSError:
            return False

    def open_directory(self, path: str) -> int:
        """Return an ``O_PATH`` fd of a group, for a child to be born in; the caller closes it."""
        return self._open(path, os.O_PATH | os.O_DIRECTORY)

    def watch(self, path: str) -> OpenFile:
        """Open a file that answers each descriptor for itself."""
        return OpenFile(self._open(path, os.O_RDWR))

    def series(self, directory: str, names: Sequence[str]) -> OpenFiles:
        """Open files of a group, to be read together again and again."""
        return OpenFiles(self, directory, names)

    def open_for_reading(self, path: str) -> int:
        """Return an fd of a file for reading; the caller closes it."""
        return self._open(path, os.O_RDONLY)

    def notifier(self) -> Notifier:
        """Make something that waits for what the kernel tells of groups."""
        from cgctl.filesystem.notifying import Notifier  # noqa: PLC0415 - with ctypes, for the few who wait

        return Notifier(self._open)

    def open_for_join(self, path: str) -> int:
        """Return an fd of a ``cgroup.procs`` file for writing; the caller closes it."""
        return self._open(path, os.O_WRONLY)

    def _in_group(self, path: str, action: Callable[[int, str], _Result]) -> _Result:
        """Do something with a file's name and a descriptor of its directory."""
        directory, _, name = path.rpartition("/")
        fd = self._open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return action(fd, name)
        except OSError as error:
            raise _named(error, path) from None
        finally:
            os.close(fd)

    def _status(self, path: str) -> os.stat_result:
        for _attempt in range(2):
            root, device, relative = self._find(path)
            try:
                status = os.stat(relative, dir_fd=root, follow_symlinks=False)
            except OSError as error:
                if not self._forgotten(root, device):
                    raise _named(error, path) from None
                continue
            if status.st_dev == device:
                return status
            if not self._forgotten(root, device):
                raise OSError(EXDEV, _MOUNTED_OVER, path)
        raise OSError(EXDEV, _NO_CGROUPS, path)

    def _open(self, path: str, flags: int) -> int:
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW
        if path.startswith(_OUTSIDE) and not flags & os.O_WRONLY:
            return os.open(path, flags)
        for _attempt in range(2):
            root, device, relative = self._find(path)
            try:
                fd = os.open(relative, flags, dir_fd=root)
            except OSError as error:
                if not self._forgotten(root, device):
                    raise _named(error, path) from None
                continue
            if os.fstat(fd).st_dev == device:
                return fd
            os.close(fd)
            if not self._forgotten(root, device):
                raise OSError(EXDEV, _MOUNTED_OVER, path)
        raise OSError(EXDEV, _NO_CGROUPS, path)

    def _locate(self, path: str) -> tuple[int, str]:
        """Return a path as its mount's directory fd, which was checked to be that still, and the way from there."""
        for _attempt in range(2):
            root, device, relative = self._find(path)
            if not self._forgotten(root, device):
                return root, relative
        raise OSError(EXDEV, _NO_CGROUPS, path)

    def _find(self, path: str) -> tuple[int, int, str]:
        """Return a path as its mount's directory fd, the device that this should be, and the way from there."""
        roots, parts, ways = self._known
        above, _, name = path.rpartition("/")
        way = ways.get(above)
        if way is not None and name != ".." and path not in roots:
            root, device, relative = way
            return root, device, relative + name or "."
        if "/.." in path and ".." in path.split("/"):
            raise OSError(ELOOP, "paths with '..' are not followed", path)
        for _attempt in range(2):
            if found := parts.fullmatch(path):
                mount_point, relative = found.groups()
                root, device = roots[mount_point]
                if relative:
                    if len(ways) > _MANY:
                        ways.clear()
                    ways[above] = root, device, relative[: len(relative) - len(name)]
                return root, device, relative or "."
            self._learn()
            roots, parts, ways = self._known
        raise OSError(EXDEV, _NO_CGROUPS, path)

    def _forgotten(self, root: int, device: int) -> bool:
        """Forget a descriptor that is not a hierarchy's any more, and tell whether that was so.

        A program that becomes a daemon closes all it has, and by now it is another file's.
        """
        if _is_root(root, device):
            return False
        self._know({point: known for point, known in self._known[0].items() if known[0] != root})
        return True

    def _learn(self) -> None:
        """Open the root of each mounted hierarchy that is not open yet."""
        with open("/proc/self/mountinfo", "rb") as file:
            mounts = parse_mountinfo(os.fsdecode(file.read()))
        found = dict(self._known[0])
        for mount in mounts:
            if mount.filesystem in _CGROUP and mount.mount_point not in found:
                opened = _open_root(mount)
                if opened:
                    found[mount.mount_point] = opened
        self._know(found)

    def _know(self, roots: dict[str, tuple[int, int]]) -> None:
        """Keep the roots, mount point → (fd, device), what parts a path by them, and how directories were parted."""
        # Other threads may be looking something up, so it is replaced and not changed. The longest first, so that a
        # mount inside another's tree is found before it.
        longest_first = sorted(roots, key=len, reverse=True)
        pattern = f"({'|'.join(map(re.escape, longest_first))})(?:/(.*))?" if roots else "(?!)"
        ways: dict[str, tuple[int, int, str]] = {}
        self._known = roots, re.compile(pattern, re.DOTALL), ways


def _read_below(directory: int, name: str, device: int) -> bytes | int:
    """Return the content of a directory's file, or the errno."""
    try:
        fd = os.open(name, _READ, dir_fd=directory)
        try:
            if os.fstat(fd).st_dev != device:  # it is mounted over
                return EXDEV
            data = os.read(fd, _CHUNK)
            return data if len(data) < _SHORT else data + _rest(fd)
        finally:
            os.close(fd)
    except OSError as error:
        return error.errno or EINVAL


def _rest(fd: int) -> bytes:
    """Read on: long files come in pieces, of any length, and only an empty one is the end."""
    chunks = []
    while data := os.read(fd, _CHUNK):
        chunks.append(data)
    return b"".join(chunks)


def _mark(name: str, parent: int, marks: Mapping[str, bytes]) -> None:
    """Mark a group that was just made, and take off the sign that it was not."""
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        for attribute, value in marks.items():
            os.setxattr(fd, attribute, value)
        os.fchmod(fd, os.fstat(fd).st_mode & _FINISHED)
    except OSError as error:
        if error.errno != ENOTSUP:  # before 5.7 it stays as it is, which is a mark too
            raise
    finally:
        os.close(fd)


class OpenFile:
    """A descriptor of an interface file, which is read anew each time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self) -> bytes:
        """Return its content now."""
        return os.pread(self._fd, _CHUNK, 0)

    def write(self, data: bytes) -> None:
        """Write *data* with one ``write(2)``."""
        os.write(self._fd, data)

    def close(self) -> None:
        """Close it; again is fine."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class OpenFiles:
    """Descriptors of a group's files, which are read anew each time.

    Attributes:
        lost: whether one that was there is gone.
    """

    def __init__(self, filesystem: KernelFilesystem, directory: str, names: Sequence[str]) -> None:
        self.lost = False
        self._filesystem = filesystem
        self._open: list[tuple[int, int]] = []
        # What is attached to a group is no file of the kernel's.
        self._attached: list[tuple[int, str]] = []
        self._answers: list[bytes | int] = [ENOENT] * len(names)
        for number, path in enumerate(f"{directory}/{name}" for name in names):
            if bpf.is_attached(path):
                self._attached.append((number, path))
                continue
            try:
                self._open.append((number, filesystem.open_for_reading(path)))
            except OSError as error:
                if error.errno in _TOO_MANY:
                    raise
                self._answers[number] = error.errno or EINVAL

    def read(self) -> list[bytes | int]:
        """Return of each file the content now, or the errno."""
        found, pread = self._answers.copy(), os.pread
        for number, fd in self._open:
            try:
                data = pread(fd, _CHUNK, 0)
                found[number] = data if len(data) < _SHORT else data + _rest_of(fd, len(data))
            except OSError as error:
                found[number] = error.errno or EINVAL
                self.lost = self.lost or error.errno == ENODEV
        for number, path in self._attached:
            try:
                found[number] = self._filesystem.read(path)
            except OSError as error:
                found[number] = error.errno or EINVAL
        return found

    def close(self) -> None:
        """Close them; again is fine."""
        opened, self._open = self._open, []
        for _, fd in opened:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def _rest_of(fd: int, offset: int) -> bytes:
    """Read on: long files come in pieces, of any length, and only an empty one is the end."""
    chunks = []
    while data := os.pread(fd, _CHUNK, offset):
        chunks.append(data)
        offset += len(data)
    return b"".join(chunks)


def _open_root(mount: Mount) -> tuple[int, int] | None:
    """Open a mount point, if what is to be seen there is really the cgroup filesystem that mountinfo names."""
    try:
        fd = os.open(mount.mount_point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    status = os.fstat(fd)
    # mountinfo says that this device is a cgroup filesystem: the same fact as statfs's magic number. Something
    # else may be mounted on top, and then has another device.
    major, minor = mount.device.split(":")
    if status.st_dev != os.makedev(int(major), int(minor)) or not stat.S_ISDIR(status.st_mode):
        os.close(fd)
        return None
    return fd, status.st_dev


def _is_root(fd: int, device: int) -> bool:
    try:
        return os.fstat(fd).st_dev == device
    except OSError:
        return False


def _named(error: OSError, path: str) -> OSError:
    return OSError(error.errno, error.strerror, path)
