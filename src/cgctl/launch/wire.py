"""Messages to the helper and from it; :mod:`cgctl.launch.helper.server` says what they are."""

from __future__ import annotations

import errno
import marshal
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from cgctl.errors import LaunchError
from cgctl.launch.children import Deadline

__all__ = ["ASK", "INLINE", "HelperLostError", "end_child", "memfd", "receive", "send"]

ASK: Final = "ask the launch helper"
INLINE: Final = 32 << 10
"""How many bytes a job may have in a message; larger ones travel in a memfd."""

_MAX_FDS = 253  # that one message can carry
_FEWEST_MADE_FDS = 2
_MADE_FDS = 5  # at most, that come with the news of a child


class HelperLostError(Exception):
    """The helper ended before it answered."""


def send(channel: socket.socket, message: tuple[Any, ...], fds: Sequence[int], deadline: Deadline) -> None:
    """Send a message and what comes along.

    Raises:
        HelperLostError: nobody is there to read it.
        TimeoutError: nobody reads.
        LaunchError: it cannot be sent.
    """
    if len(fds) > _MAX_FDS:
        too_many = f"{len(fds)} descriptors, and one request can carry {_MAX_FDS}"
        raise LaunchError(ASK, errno.EMFILE, hint=too_many)
    data = marshal.dumps(message)
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else []
    while True:
        try:
            channel.sendmsg([data], ancillary, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            if not deadline.wait(channel.fileno(), events=select.POLLOUT):
                raise TimeoutError from None
        except OSError as error:
            # Closed at its end; or at ours, in a process that was forked meanwhile.
            if isinstance(error, ConnectionError) or channel.fileno() < 0:
                raise HelperLostError from error
            why = "a descriptor that the program is to have is closed" if error.errno == errno.EBADF else ""
            raise LaunchError(ASK, error.errno or errno.EIO, hint=why) from error
        else:
            return


def memfd(data: bytes) -> int:
    """Put bytes into a file in memory, to be read from its beginning."""
    fd = os.memfd_create("cgctl", os.MFD_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def receive(reply: socket.socket) -> tuple[Any, list[int]] | None:
    """Read the helper's answer and the descriptors that came along; ``None`` if there will be none.

    Raises:
        BlockingIOError: there is none yet.
        LaunchError: the descriptors did not fit into this process.
    """
    flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
    data, ancillary, _, _ = reply.recvmsg(4096, socket.CMSG_SPACE(4 * _MADE_FDS), flags)
    fds = [fd for _, _, rights in ancillary for fd in memoryview(rights).cast("i")]
    if not data:
        return None
    answer = marshal.loads(data)  # noqa: S302 - from the helper, not from what runs in a group
    if answer[0] == "made" and len(fds) < _FEWEST_MADE_FDS:
        end_child(answer[1], fds)
    return answer, fds


def end_child(pid: int, fds: Sequence[int]) -> NoReturn:
    """End a child whose descriptors did not all fit into this process."""
    for fd in fds:
        os.close(fd)
    os.kill(pid, signal.SIGKILL)  # our own child, not waited for: the number is no other's
    os.waitpid(pid, 0)
    raise LaunchError(ASK, errno.EMFILE, hint="raise RLIMIT_NOFILE, or close descriptors")
