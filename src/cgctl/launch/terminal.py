"""The caller's side of a program's own terminal: what is typed goes there, and what it writes comes here."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import select
import struct
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Terminal", "copy_window", "read", "relayed", "window"]

_CHUNK = 1 << 15
_END_OF_INPUT = b"\x04"  # ^D, as a terminal has it


class Terminal(io.FileIO):
    """The caller's end of a program's terminal, as a file; at its end when nobody has the other one open any more."""

    def readinto(self, buffer: Any) -> int | None:
        """Read into a buffer; 0 at the end."""
        try:
            return super().readinto(buffer)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read what there is, at most so many bytes; or all until the end."""
        return self.readall() if size is None or size < 0 else read(self.fileno(), size)

    def readall(self) -> bytes:
        """Read until the end."""
        return b"".join(iter(lambda: read(self.fileno()), b""))


def window(*fds: int) -> bytes:
    """Return the size of the first of these that is a terminal, as the kernel has it; nothing if none is."""
    for fd in fds:
        with suppress(OSError):
            return fcntl.ioctl(fd, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    return b""


def copy_window(source: int, target: int) -> None:
    """Give a terminal the size that another has; nothing happens where one of them is none."""
    size = window(source)
    if size:
        with suppress(OSError):
            fcntl.ioctl(target, termios.TIOCSWINSZ, size)


@contextmanager
def relayed(terminal: int, source: int | None = 0, target: int = 1) -> Iterator[None]:
    """Copy between a program's terminal and two descriptors of the caller's, until the block is left.

    The caller's terminal is raw meanwhile, so that ^C is the program's to get; it is as it was afterwards. Where it
    belongs to others, as the caller is in the background, nothing is read. What the program has written when it ends is
    still copied: the block is to be left when it has ended.

    Args:
        terminal: the caller's end of the program's terminal.
        source: where input comes from, if it is to come; at its end the program is told so by ^D.
        target: where output goes.
    """
    if source is not None and not _may_read(source):
        source = None
    stopped, stop = os.pipe()
    copying = threading.Thread(target=_copy, args=(terminal, source, target, stopped), daemon=True)
    with _raw(source):
        copying.start()
        try:
            yield
        finally:
            os.close(stop)
            copying.join()
            os.close(stopped)


def _may_read(fd: int) -> bool:
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError as error:
        return error.errno == errno.ENOTTY


@contextmanager
def _raw(fd: int | None) -> Iterator[None]:
    if fd is None or not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)  # what was typed already stays
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _copy(terminal: int, source: int | None, target: int, stopped: int) -> None:
    """Copy until the terminal is at its end, or has no more to say when we are told to stop."""
    poll = select.poll()
    for fd in (terminal, source, stopped):
        if fd is not None:
            poll.register(fd, select.POLLIN)
    ending = False
    while True:
        ready = dict(poll.poll(0 if ending else None))
        if terminal in ready:
            data = read(terminal)
            if not data:
                return
            _write(target, data)
        elif ending:
            return
        if source is not None and source in ready and not _forward(source, terminal):
            poll.unregister(source)
        if stopped in ready:
            poll.unregister(stopped)
            ending = True


def _forward(source: int, terminal: int) -> bool:
    """Forward what was typed; false when no more will be."""
    try:
        data = os.read(source, _CHUNK)
    except OSError:
        data = b""
    _write(terminal, data or _END_OF_INPUT)
    return bool(data)


def read(terminal: int, size: int = _CHUNK) -> bytes:
    """Read what a program wrote to a pipe or its terminal: nothing is the end, when nobody has it open any more."""
    try:
        return os.read(terminal, size)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def _write(fd: int, data: bytes) -> None:
    with suppress(OSError):  # nobody is there to read it: what there is more is not wanted either
        while data:
            data = data[os.write(fd, data) :]
