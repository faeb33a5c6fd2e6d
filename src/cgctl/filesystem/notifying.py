"""Being told by the kernel: files of groups that are open, and one wait for all of them.

v2's ``*.events`` files, and v1's of pids until 6.10, tell whoever polls them that they have changed since he read them;
a trigger of pressure tells the descriptor that it was written to; v1's memory tells an eventfd, which is introduced to
it by ``cgroup.event_control``. That a group is removed, the kernels before 7.3 tell only of the directory above it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
from collections.abc import Callable
from typing import Final

__all__ = ["Notifier"]

_CHUNK: Final = 65536
_IN_DELETE: Final = 0x200
_IN_ONLYDIR: Final = 0x0100_0000
_CLOCK_MONOTONIC: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Notifier:
    """An epoll instance, and what is registered there."""

    def __init__(self, opened: Callable[[str, int], int]) -> None:
        """Begin with nothing.

        Args:
            opened: opens a file or directory of a group, with these flags.
        """
        self._opened = opened
        self._epoll = select.epoll()
        self._fds: list[int] = []
        self._listeners: set[int] = set()
        self._removals = self._timer = -1

    def look(self, path: str) -> int:
        """Open a file that tells when it is not any more what was read last; it is to be read at once."""
        return self._register(self._keep(self._opened(path, os.O_RDONLY)), select.EPOLLPRI)

    def trigger(self, path: str, data: bytes) -> int:
        """Open a file, and write to it what it is to tell of."""
        fd = self._keep(self._opened(path, os.O_RDWR))
        os.write(fd, data)
        return self._register(fd, select.EPOLLPRI)

    def listen(self, path: str, argument: bytes) -> int:
        """Have v1 tell of a file, by way of its group's ``cgroup.event_control``."""
        event = self._keep(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        file = self._opened(path, os.O_RDONLY)
        try:
            control = self._opened(f"{path.rpartition('/')[0]}/cgroup.event_control", os.O_WRONLY)
            try:
                os.write(control, b"%d %d %s" % (event, file, argument))
            finally:
                os.close(control)
        finally:
            os.close(file)  # the kernel keeps what it needs of it
        self._listeners.add(event)
        return self._register(event, select.EPOLLIN)

    def removals(self, directory: str) -> bool:
        """Wake whoever waits when a group directly below is removed; false if inotify is not to be had."""
        inotify = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if inotify < 0:
            return False
        self._keep(inotify)
        fd = self._opened(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if _libc.inotify_add_watch(inotify, b"/proc/self/fd/%d" % fd, _IN_DELETE | _IN_ONLYDIR) < 0:
                return False
        finally:
            os.close(fd)
        self._removals = self._register(inotify, select.EPOLLIN)
        return True

    def alarm(self, seconds: float) -> None:
        """Wake whoever waits after so many seconds."""
        if self._timer < 0:
            timer = _checked(_libc.timerfd_create(_CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK))
            self._timer = self._register(self._keep(timer), select.EPOLLIN)
        whole, part = divmod(max(int(seconds * 1e9), 1), 1_000_000_000)
        _checked(_libc.timerfd_settime(self._timer, 0, struct.pack("@qqqq", 0, 0, whole, part), None))

    def read(self, key: int) -> bytes:
        """Return the content of a file that is open."""
        return os.pread(key, _CHUNK, 0)

    def wait(self, timeout: float | None) -> frozenset[int]:
        """Wait until something tells, and return which; of those that :meth:`listen`, it is forgotten then."""
        told = set()
        for fd, _ in self._epoll.poll(timeout):
            if fd in (self._removals, self._timer):
                with contextlib.suppress(BlockingIOError):
                    os.read(fd, _CHUNK)
                continue
            if fd in self._listeners:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(fd)
            told.add(fd)
        return frozenset(told)

    def fileno(self) -> int:
        """Return a descriptor that can be read from as long as :meth:`wait` would return at once."""
        return self._epoll.fileno()

    def quiet(self) -> None:
        """Tell nothing any more: what is gone would tell so for ever."""
        for fd in self._fds:
            with contextlib.suppress(FileNotFoundError):  # it could not be registered
                self._epoll.unregister(fd)

    def close(self) -> None:
        """Close all; again is fine."""
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)
        self._epoll.close()

    def __del__(self) -> None:
        self.close()

    def _keep(self, fd: int) -> int:
        self._fds.append(fd)
        return fd

    def _register(self, fd: int, mask: int) -> int:
        self._epoll.register(fd, mask)
        return fd


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
