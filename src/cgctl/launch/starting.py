"""Starting the helper: another Python, which reads its program from a descriptor."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from cgctl.errors import LaunchError
from cgctl.launch.program import BOOT, NAME, pack
from cgctl.launch.wire import memfd

__all__ = ["START", "start_helper"]

START: Final = "start the launch helper"

_PROGRAM = pack()


def start_helper(home: Sequence[int]) -> tuple[int, int, socket.socket]:
    """Start the helper: its pid, its pidfd, and the socket to it. Closes *home*."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise LaunchError(START, errno.ENOENT, hint="sys.executable names no Python interpreter")
    temporary = [*home]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs:
            program = memfd(_PROGRAM)
            temporary.append(program)
            caller = os.pidfd_open(os.getpid())
            temporary.append(caller)
            fds = (program, theirs.fileno(), caller, *home)
            # Without preexec_fn threads are no danger; in our session it leaves the payload our terminal.
            with _all_blocked():
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", BOOT, NAME, *map(str, fds)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=fds,
                )
            process.returncode = 0  # we wait for it ourselves; without this, Popen would complain that nobody did
            return process.pid, os.pidfd_open(process.pid), ours
    except BaseException:
        ours.close()
        raise
    finally:
        for fd in temporary:
            os.close(fd)


@contextmanager
def _all_blocked() -> Iterator[None]:
    """Let a process be started that no ^C can end before it has come to ignore it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
