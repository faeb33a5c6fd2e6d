"""The system calls of the caller's own that Python 3.11 has no names for."""

from __future__ import annotations

import ctypes
import os

__all__ = ["setns"]

_libc = ctypes.CDLL(None, use_errno=True)


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into a namespace.

    Raises:
        OSError: the kernel refused.
    """
    if _libc.setns(fd, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
