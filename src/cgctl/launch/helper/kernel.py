"""The system calls that Python has no names for."""

from __future__ import annotations

import ctypes
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

_SYS_CLONE = {"x86_64": 56, "aarch64": 220}.get(os.uname().machine)
_SYS_CLONE3 = 435
_SYS_CLOSE_RANGE = 436
_CLONE_PIDFD = 0x1000
_CLONE_PARENT = 0x8000
_CLONE_INTO_CGROUP = 0x2_0000_0000
_CLOSE_RANGE_CLOEXEC = 4
_CLONE_ARGS_SIZE_VER0 = 64
_CLONE_ARGS_SIZE_VER2 = 88

# PyDLL: the interpreter lock is kept, which a child made behind the interpreter's back could not take again.
_LIBC = ctypes.PyDLL(None, use_errno=True)
_MOST_ARGUMENTS = 6


def _prototype(count: int) -> ctypes._NamedFuncPointer:
    """Declare what is passed: void pointers take numbers, bytes, arrays and None alike, each a whole register."""
    function = _LIBC["syscall"]
    function.restype, function.argtypes = ctypes.c_long, [ctypes.c_long, *[ctypes.c_void_p] * count]
    return function


_BY_COUNT = [_prototype(count) for count in range(_MOST_ARGUMENTS + 1)]
# A type is made when it is first asked for, which shall not be in each child anew.
_CloneArgs = ctypes.c_uint64 * 11
_OpenHow = ctypes.c_uint64 * 3
_MountAttr = ctypes.c_uint64 * 4
_StatFs = ctypes.c_uint64 * 15
_SockFprog = ctypes.c_uint64 * 2  # a length of 16 bits and its padding, and an address
_CapHeader = ctypes.c_uint32 * 2
_CapData = ctypes.c_uint32 * 6


def _check(result: int, step: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), step)
    return result


def clone3(into: int | None, namespaces: int) -> tuple[int, int]:
    """Fork, as the caller's child, inside the v2 group *into* and new namespaces: pid (0 in the child) and pidfd."""
    pidfd = ctypes.c_int(-1)
    flags = namespaces | _CLONE_PIDFD | _CLONE_PARENT | (_CLONE_INTO_CGROUP if into is not None else 0)
    # flags, pidfd, child_tid, parent_tid, exit_signal (0: CLONE_PARENT takes our own), stack, stack_size, tls,
    # set_tid, set_tid_size, cgroup
    args = _CloneArgs(flags, ctypes.addressof(pidfd), 0, 0, 0, 0, 0, 0, 0, 0, into or 0)
    size = _CLONE_ARGS_SIZE_VER0 if into is None else _CLONE_ARGS_SIZE_VER2
    pid = _BY_COUNT[2](_SYS_CLONE3, args, size)
    return _check(pid, "clone3"), pidfd.value


def clone(namespaces: int) -> tuple[int, int]:
    """Fork, as the caller's child and in new namespaces, as kernels before clone3 do."""
    if _SYS_CLONE is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "clone")
    pidfd = ctypes.c_int(-1)
    # The pidfd is returned where parent_tid would be. tls and child_tid change places between the architectures;
    # both are unused.
    pid = _BY_COUNT[5](_SYS_CLONE, namespaces | _CLONE_PIDFD | _CLONE_PARENT, None, ctypes.byref(pidfd), None, None)
    return _check(pid, "clone"), pidfd.value


def close_on_exec() -> None:
    """Mark all descriptors above 2 to be closed by exec."""
    # Before 5.11 there is no such call; all that the helper has is close-on-exec anyhow.
    _BY_COUNT[3](_SYS_CLOSE_RANGE, 3, 0xFFFF_FFFF, _CLOSE_RANGE_CLOEXEC)


# --- what a sandbox takes -------------------------------------------------------------------------------------------

_NUMBERS = {
    "x86_64": {
        "capset": 126,
        "fstatfs": 138,
        "ioctl": 16,
        "mount": 165,
        "pivot_root": 155,
        "prctl": 157,
        "seccomp": 317,
        "setdomainname": 171,
        "sethostname": 170,
        "setns": 308,
        "umount2": 166,
        "unshare": 272,
    },
    "aarch64": {
        "capset": 91,
        "fstatfs": 44,
        "ioctl": 29,
        "mount": 40,
        "pivot_root": 41,
        "prctl": 167,
        "seccomp": 277,
        "setdomainname": 162,
        "sethostname": 161,
        "setns": 268,
        "umount2": 39,
        "unshare": 97,
    },
}.get(os.uname().machine, {})
# Those that are newer have one number everywhere.
_NUMBERS |= {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "openat2": 437,
    "mount_setattr": 442,
}

RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8  # of mount(2) and mount_setattr(2) alike
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x4_0000
_MS_RELATIME, _ST_RELATIME = 1 << 21, 1 << 12
_ST_NOATIME, _ST_NODIRATIME = 1 << 10, 1 << 11  # the same numbers in MS_
_MNT_DETACH = 2
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_IN_ROOT = 0x2, 0x4, 0x10
_AT_FDCWD = -100
_PROC_SUPER_MAGIC = 0x9FA0
_CAPABILITY_VERSION_3 = 0x2008_0522
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 4
_INSTRUCTION_SIZE = 8


def call(name: str, *arguments: int | bytes | ctypes.Array[Any] | None) -> int:
    """Make a system call."""
    number = _NUMBERS.get(name)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), name)
    return _check(_BY_COUNT[len(arguments)](number, *arguments), name)


def write_proc(path: bytes, data: bytes) -> None:
    """Write to a file of ``/proc``, and of nothing else that somebody may have put there.

    Raises:
        OSError: EXDEV if it is no file of procfs.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        status = _StatFs()
        call("fstatfs", fd, status)
        if status[0] != _PROC_SUPER_MAGIC:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        os.write(fd, data)
    finally:
        os.close(fd)


def make_private() -> None:
    """Keep what is mounted from now on in this mount namespace."""
    call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)


def open_beneath(root: int, path: bytes, *, links: bool) -> int:
    """Open a path as seen from a root, without leaving it; with *links* false, not even links within are followed."""
    resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS | (0 if links else _RESOLVE_NO_SYMLINKS)
    how = _OpenHow(os.O_PATH | os.O_CLOEXEC, 0, resolve)
    return call("openat2", root, path, how, ctypes.sizeof(how))


def clone_tree(fd: int, *, recursive: bool) -> int:
    """Make a mount of what a descriptor stands for, attached nowhere yet."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    return call("open_tree", fd, b"", flags)


def new_mount(kind: bytes, options: Sequence[tuple[bytes, bytes | None]], flags: int) -> int:
    """Make a mount of a new file system, attached nowhere yet."""
    context = call("fsopen", kind, 1)  # FSOPEN_CLOEXEC
    try:
        for key, value in options:
            call("fsconfig", context, _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING, key, value, 0)
        call("fsconfig", context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return call("fsmount", context, 1, flags)  # FSMOUNT_CLOEXEC
    finally:
        os.close(context)


def attach(mount: int, target: int) -> None:
    """Attach a mount to what a descriptor stands for."""
    call("move_mount", mount, b"", target, b"", _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH)


def restrict(mount: int, flags: int, *, recursive: bool) -> None:
    """Set flags of an attached mount, and of those below; those that it has stay."""
    attributes = _MountAttr(flags, 0, 0, 0)
    how = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    try:
        call("mount_setattr", mount, b"", how, attributes, ctypes.sizeof(attributes))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        _remount(mount, flags, recursive=recursive)


def _remount(mount: int, flags: int, *, recursive: bool) -> None:
    """Do the same on kernels before 5.12."""
    _remount_one(mount, flags)
    if not recursive:
        return
    top = os.readlink(b"/proc/self/fd/%d" % mount).rstrip(b"/") + b"/"
    with open("/proc/self/mountinfo", "rb") as lines:
        points = {line.split(b" ")[4].decode("unicode_escape").encode("latin-1") for line in lines}
    # By their path within: that from our own root leads to what was mounted there before.
    for point in sorted(points):
        if point.startswith(top) and point != top:
            try:
                below = open_beneath(mount, point.removeprefix(top), links=False)
            except OSError:  # hidden by another mount
                continue
            _remount_one(below, flags)
            os.close(below)


def _remount_one(mount: int, flags: int) -> None:
    path = b"/proc/self/fd/%d" % mount
    held = os.statvfs(path).f_flag
    kept = held & (RDONLY | NOSUID | NODEV | NOEXEC | _ST_NOATIME | _ST_NODIRATIME)
    kept |= _MS_RELATIME if held & _ST_RELATIME else 0
    call("mount", None, path, None, _MS_REMOUNT | _MS_BIND | kept | flags, None)


def pivot(root: int) -> None:
    """Make a mount the root, and let go of the old one."""
    old = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(root)
    call("pivot_root", b".", b".")
    # The old root is now mounted over the new one.
    os.fchdir(old)
    call("umount2", b".", _MNT_DETACH)
    os.close(old)
    os.chdir("/")


def set_capabilities(numbers: Iterable[int], *, inheritable: bool) -> None:
    """Have these capabilities, and no others."""
    mask = sum(1 << number for number in numbers)
    words = []
    for half in (mask & 0xFFFF_FFFF, mask >> 32):
        words += [half, half, half if inheritable else 0]
    call("capset", _CapHeader(_CAPABILITY_VERSION_3, 0), _CapData(*words))


class Filter:
    """A seccomp filter, laid out for the kernel before the child is made."""

    def __init__(self, code: bytes) -> None:
        self._code = bytearray(code)
        place = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        self._program = _SockFprog(0, place)
        # A number of 16 bits, whichever end of the first word that is.
        ctypes.c_uint16.from_buffer(self._program).value = len(code) // _INSTRUCTION_SIZE

    def install(self) -> None:
        """Have each system call of this process, and of all that it becomes and starts, looked at from now on."""
        # Without the flag, kernels before 5.16 slow the program's speculation down as well; runc has it, too.
        call("seccomp", _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW, self._program)
