"""The lock of a directory or file: ``flock(2)``, which the kernel gives up when its holder ends, however that happens.

The launch helper runs this room too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

__all__ = ["Lock", "take"]

_LONGEST_PAUSE_SEC = 0.02


class Lock:
    """A lock for the length of a ``with`` block, whose value is whether it was had in time.

    Whoever may read it may lock it, and a holder may be stopped: so nobody waits for one for ever.

    Args:
        fd: what is to be locked, open for reading; it is closed at the end.
        exclusive: whether nobody else may have it.
        timeout: for how long to wait, seconds.
    """

    def __init__(self, fd: int, *, exclusive: bool, timeout: float) -> None:
        self._fd = fd
        self._operation = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        self._timeout = timeout

    def __enter__(self) -> bool:
        try:
            return take(self._fd, self._operation, self._timeout)
        except BaseException:
            os.close(self._fd)
            raise

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def take(fd: int, operation: int, timeout: float) -> bool:
    """Lock what is open as *fd*, waiting up to *timeout* seconds; tell whether it was had. Closing it gives it up.

    Args:
        fd: what is to be locked, open for reading.
        operation: ``LOCK_SH`` or ``LOCK_EX``.
        timeout: for how long to wait, seconds.
    """
    operation |= fcntl.LOCK_NB
    deadline, pause = None, 0.001
    while True:
        try:
            fcntl.flock(fd, operation)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                raise
        else:
            return True
        now = time.monotonic()
        deadline = now + timeout if deadline is None else deadline
        if now >= deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SEC)
