"""Waiting for the caller's own children, by pidfd: no signal handler, no busy loop."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cgctl.errors import LaunchError
from cgctl.launch.spawn import hint

__all__ = ["LATE_TIMEOUT_SEC", "Deadline", "abandon", "abandoned", "collect", "forget", "launch_step", "reap"]

LATE_TIMEOUT_SEC = 0.2
_LONGEST_POLL_MSEC = 1 << 30

_abandoned: list[int] = []
"""pidfds of children that nobody waits for: they were killed, and it may be that they cannot die yet."""


class Deadline:
    """A moment in the future, or never.

    Args:
        timeout: seconds from now; ``None`` is never.
    """

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        """Give the seconds until then, at least 0."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def wait(self, *fds: int, events: int = select.POLLIN) -> list[int]:
        """Wait until one of the descriptors is ready, and say which are: none when the time is over."""
        poll = select.poll()
        for fd in fds:
            poll.register(fd, events)
        while True:
            left = self.left()
            # In whole milliseconds; to round down would be to wake too early, and to spin.
            ready = poll.poll(None if left is None else min(-int(-left * 1000 // 1), _LONGEST_POLL_MSEC))
            if ready or self.left() == 0.0:
                return [fd for fd, _ in ready]


@contextmanager
def launch_step(step: str) -> Iterator[None]:
    """Turn the OSErrors of a block into a LaunchError."""
    try:
        yield
    except LaunchError:
        raise
    except OSError as error:
        filename = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
        raise LaunchError(step, error.errno or errno.EIO, filename=filename, hint=hint(step, 0, filename)) from error


def reap(pidfd: int, *, block: bool) -> int | None:
    """Collect a child's exit status, as :mod:`subprocess` counts it; ``None`` if it still runs."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | (0 if block else os.WNOHANG))
    except ChildProcessError:
        return 0  # somebody else has collected it, or SIGCHLD is ignored: as subprocess, for want of better
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def abandon(pidfd: int, *, kill: bool = True) -> None:
    """See that a child that nobody waits for is dead, and leaves no zombie; closes *pidfd*."""
    if kill:
        with suppress(OSError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        Deadline(LATE_TIMEOUT_SEC).wait(pidfd)
    _abandoned.append(pidfd)
    collect()


def collect() -> None:
    """Reap those that nobody waits for, as far as they have ended."""
    for pidfd in tuple(_abandoned):
        if reap(pidfd, block=False) is not None:
            with suppress(ValueError):  # another thread was faster
                _abandoned.remove(pidfd)
                os.close(pidfd)


def abandoned() -> bool:
    """Tell whether there are children that nobody waits for."""
    return bool(_abandoned)


def forget() -> None:
    """Close what a forked process inherited of its parent's."""
    for pidfd in _abandoned:
        with suppress(OSError):
            os.close(pidfd)
    _abandoned.clear()
