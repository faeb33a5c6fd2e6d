"""A terminal that the program has to itself: a pseudo terminal, whose other end the caller is given."""

from __future__ import annotations

import _socket
import ctypes
import os
import sys

from cgctl.launch.helper.kernel import call

_TIOCSPTLCK, _TIOCGPTPEER, _TIOCSCTTY, _TIOCSWINSZ = 0x4004_5431, 0x5441, 0x540E, 0x5414
_FLAGS = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
_UNLOCKED = ctypes.c_int(0)
_Window = ctypes.c_char * 8


def open_terminal() -> tuple[int, int]:
    """Open one of the file system at ``/dev/pts``: the end that is to be given away, and the program's."""
    master = os.open("/dev/ptmx", _FLAGS)
    call("ioctl", master, _TIOCSPTLCK, ctypes.addressof(_UNLOCKED))
    # Not by its name, which somebody could have put there.
    return master, call("ioctl", master, _TIOCGPTPEER, _FLAGS)


def give(console: int, master: int) -> None:
    """Give an end to the caller."""
    socket = _socket.socket(fileno=console)
    rights = master.to_bytes(4, sys.byteorder)
    socket.sendmsg([b"t"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)], _socket.MSG_NOSIGNAL)
    socket.close()


def control(terminal: int, window: bytes, user: int | None) -> None:
    """Make it the terminal of this session, of a window's size, and of the user that the program will be."""
    call("ioctl", terminal, _TIOCSCTTY, 0)
    if window:
        call("ioctl", terminal, _TIOCSWINSZ, _Window.from_buffer_copy(window))
    if user is not None:
        os.fchown(terminal, user, -1)
