"""Looking at the namespaces of a process: which they are, whose, and who else is there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct

import attrs

from cgctl.errors import SpecError
from cgctl.launch.sandbox import NAMESPACES

__all__ = ["Namespace", "namespaces"]

_NS_GET_USERNS = 0xB701
_NS_GET_OWNER_UID = 0xB704


@attrs.frozen(kw_only=True)
class Namespace:
    """A namespace that a process is in.

    Attributes:
        kind: ``"pid"``, ``"mnt"`` and so on.
        inode: its number, the one in ``pid:[4026531836]``; two processes with the same are in the same.
        user_namespace: the number of the user namespace that it belongs to; ``None`` where that is out of reach.
        owner: the id of the user who made that one, as seen from here.
        members: the processes in it that can be seen from here.
        shared: whether this process is in it too.
    """

    kind: str
    inode: int
    user_namespace: int | None
    owner: int | None
    members: tuple[int, ...]
    shared: bool


def namespaces(pid: int | None = None) -> tuple[Namespace, ...]:
    """Look at the namespaces of a process, as ``ls -l /proc/PID/ns`` does, and at who else is in them.

    Args:
        pid: the process; by default this one.

    Raises:
        SpecError: it is no number of a process, or there is none of this number.
        PermissionError: it is another user's.
    """
    if pid is not None and (type(pid) is not int or pid < 1):
        msg = f"pid={pid!r}: not the number of a process"
        raise SpecError(msg)
    process = os.getpid() if pid is None else pid
    own, members = _inodes(os.getpid()), _members()
    found = []
    try:
        inodes = _inodes(process)
        for kind in NAMESPACES:
            if kind in inodes:
                belongs, owner = _owner(process, kind)
                found.append(
                    Namespace(
                        kind=kind,
                        inode=inodes[kind],
                        user_namespace=belongs,
                        owner=owner,
                        members=tuple(members.get((kind, inodes[kind]), ())),
                        shared=own.get(kind) == inodes[kind],
                    )
                )
    except FileNotFoundError:
        msg = f"pid={process}: there is no such process"
        raise SpecError(msg) from None
    return tuple(found)


def _inodes(pid: int) -> dict[str, int]:
    """Read the numbers of a process's namespaces; a kernel may be without a kind."""
    directory = os.open(f"/proc/{pid}/ns", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = {}
        for kind in NAMESPACES:
            with contextlib.suppress(FileNotFoundError):
                found[kind] = int(os.readlink(kind, dir_fd=directory).partition("[")[2].rstrip("]"))
        return found
    finally:
        os.close(directory)


def _members() -> dict[tuple[str, int], list[int]]:
    members: dict[tuple[str, int], list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # gone, or another user's
                for item in _inodes(int(name)).items():
                    members.setdefault(item, []).append(int(name))
    return members


def _owner(pid: int, kind: str) -> tuple[int | None, int | None]:
    """Ask the kernel which user namespace one belongs to, and whose that is."""
    fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        user = fcntl.ioctl(fd, _NS_GET_USERNS)
    except OSError as error:
        if error.errno != errno.EPERM:  # it is above our own
            raise
        return None, None
    finally:
        os.close(fd)
    try:
        return os.fstat(user).st_ino, struct.unpack("I", fcntl.ioctl(user, _NS_GET_OWNER_UID, bytes(4)))[0]
    finally:
        os.close(user)
