"""The system calls that Python has no names for."""

from __future__ import annotations

import ctypes
import errno
import os

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
_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


def _check(result: int, step: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), step)
    return result


def clone3(into: int | None) -> tuple[int, int]:
    """Fork, as the caller's child, inside the v2 group *into*: pid (0 in the child) and pidfd."""
    pidfd = ctypes.c_int(-1)
    flags = _CLONE_PIDFD | _CLONE_PARENT | (_CLONE_INTO_CGROUP if into is not None else 0)
    # flags, pidfd, child_tid, parent_tid, exit_signal (0: CLONE_PARENT takes our own), stack, stack_size, tls,
    # set_tid, set_tid_size, cgroup
    args = (ctypes.c_uint64 * 11)(flags, ctypes.addressof(pidfd), 0, 0, 0, 0, 0, 0, 0, 0, into or 0)
    size = _CLONE_ARGS_SIZE_VER0 if into is None else _CLONE_ARGS_SIZE_VER2
    pid = _syscall(ctypes.c_long(_SYS_CLONE3), ctypes.byref(args), ctypes.c_size_t(size))
    return _check(pid, "clone3"), pidfd.value


def clone() -> tuple[int, int]:
    """Fork, as the caller's child, as kernels before clone3 do."""
    if _SYS_CLONE is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "clone")
    pidfd = ctypes.c_int(-1)
    # The pidfd is returned where parent_tid would be. tls and child_tid change places between the architectures;
    # both are unused.
    flags, none = ctypes.c_ulong(_CLONE_PIDFD | _CLONE_PARENT), ctypes.c_void_p(None)
    pid = _syscall(ctypes.c_long(_SYS_CLONE), flags, none, ctypes.byref(pidfd), none, none)
    return _check(pid, "clone"), pidfd.value


def close_on_exec() -> None:
    """Mark all descriptors above 2 to be closed by exec."""
    # Before 5.11 there is no such call; all that the helper has is close-on-exec anyhow.
    first, last, flags = ctypes.c_uint(3), ctypes.c_uint(0xFFFF_FFFF), ctypes.c_uint(_CLOSE_RANGE_CLOEXEC)
    _syscall(ctypes.c_long(_SYS_CLOSE_RANGE), first, last, flags)
