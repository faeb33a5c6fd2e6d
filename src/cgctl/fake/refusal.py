"""How the in-memory kernel refuses: one place that makes ``OSError`` of an errno."""

from __future__ import annotations

import errno as _errno
from typing import Final, NoReturn

from cgctl.errors import errno_name

__all__ = ["named", "refusal", "refuse"]

# What strerror(3) says, for those that the kernel's cgroup code gives.
_TEXTS: Final = {
    _errno.E2BIG: "Argument list too long",
    _errno.EACCES: "Permission denied",
    _errno.EAGAIN: "Resource temporarily unavailable",
    _errno.EBUSY: "Device or resource busy",
    _errno.EEXIST: "File exists",
    _errno.EINVAL: "Invalid argument",
    _errno.EINTR: "Interrupted system call",
    _errno.EIO: "Input/output error",
    _errno.EISDIR: "Is a directory",
    _errno.ENODEV: "No such device",
    _errno.ENOENT: "No such file or directory",
    _errno.ENOMEM: "Cannot allocate memory",
    _errno.ENOSPC: "No space left on device",
    _errno.ENOTBLK: "Block device required",
    _errno.ENOTDIR: "Not a directory",
    _errno.ENXIO: "No such device or address",
    _errno.EOPNOTSUPP: "Operation not supported",
    _errno.EOVERFLOW: "Value too large for defined data type",
    _errno.EPERM: "Operation not permitted",
    _errno.ERANGE: "Numerical result out of range",
    _errno.EROFS: "Read-only file system",
    _errno.ESRCH: "No such process",
}


def refusal(number: int, path: str | None = None) -> OSError:
    """Make the error that a system call with this errno gives."""
    return OSError(number, _TEXTS.get(number) or errno_name(number), path)


def refuse(number: int) -> NoReturn:
    """Refuse.

    Raises:
        OSError: with that errno.
    """
    raise refusal(number)


class named:  # noqa: N801 - used as a function
    """Give the path to an error that has none."""

    def __init__(self, path: str | None) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.filename is None and error.errno is not None:
            raise refusal(error.errno, self.path) from None
