"""The mark that a group carries: an extended attribute, on its directory in every hierarchy.

It reads ``LIFETIME PID START NAMESPACE NUMBER``: what is to become of the group, the process that made it, when that
process started (in clock ticks since boot, so that a later process of the same number is not taken for it), the inode
of its pid namespace, and a number that no other group of that process has: directories with the same mark are one
group.

``user.*`` attributes can be had on v1 and v2 alike since Linux 5.7, by root and by whomever a directory belongs to.
Nothing of them outlives a boot, and neither do groups.
"""

from __future__ import annotations

import errno
import os
import select
import time

__all__ = ["EPHEMERAL", "LASTING", "WAY", "Mark", "has_ended", "own"]

EPHEMERAL = b"ephemeral"
"""Gone with its owner, and all that runs in it."""

LASTING = b"lasting"
"""Outlives its owner, and is an orphan only when no process is in it any more."""

WAY = b"way"
"""Made on the way to another group: gone with the last group below it."""

_LIFETIMES = (EPHEMERAL, LASTING, WAY)
_STARTTIME = 19  # in /proc/PID/stat, counted from the state, which comes after the name
_NAMESPACE = "/proc/self/ns/pid"
_NO_PROCESS = (errno.ESRCH, errno.EINVAL, errno.ENOENT)  # the last two where the number is a thread's by now


class Mark:
    """A mark that was read.

    Attributes:
        lifetime: one of those above.
        pid: the owner's process id, in its own namespace.
        start: when it started.
        namespace: its pid namespace.
    """

    __slots__ = ("lifetime", "namespace", "pid", "start")

    def __init__(self, lifetime: bytes, pid: int, start: int, namespace: int) -> None:
        self.lifetime = lifetime
        self.pid = pid
        self.start = start
        self.namespace = namespace

    @classmethod
    def parse(cls, text: bytes | None) -> Mark | None:
        """Read a mark; ``None`` if there is none, or one of another kind."""
        try:
            lifetime, *numbers = (text or b"").split()
            pid, start, namespace, _ = map(int, numbers)
        except ValueError:
            return None
        return cls(lifetime, pid, start, namespace) if lifetime in _LIFETIMES else None


_own: dict[int, bytes] = {}


def own(lifetime: bytes) -> bytes:
    """Make a mark of the calling process's; each call makes another.

    Raises:
        OSError: there is no /proc of this pid namespace.
    """
    pid = os.getpid()
    if pid not in _own:  # a forked process is another owner
        _own.clear()
        _own[pid] = b"%d %d %d" % (pid, _start(pid), _namespace())
    return b"%s %s %d" % (lifetime, _own[pid], time.monotonic_ns())


def has_ended(mark: Mark) -> bool | None:
    """Tell whether a mark's owner has ended; ``None`` where that cannot be told from here."""
    try:
        if mark.namespace != _namespace() or os.readlink("/proc/self") != str(os.getpid()):
            return None
    except OSError:
        return None
    try:
        pidfd = os.pidfd_open(mark.pid)
    except OSError as error:
        return True if error.errno in _NO_PROCESS else None
    try:
        # One that is not waited for yet has ended all the same; one of whose threads only the first has ended has not.
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        try:
            if abs(_start(mark.pid) - mark.start) > 1:
                return True
        except OSError:  # it has gone just now, or /proc hides it (hidepid)
            return True if poll.poll(0) else None
        return bool(poll.poll(0))
    finally:
        os.close(pidfd)


def _namespace() -> int:
    return os.stat(_NAMESPACE).st_ino


def _start(pid: int) -> int:
    """Read when a process started, in clock ticks since boot, whatever the time namespace that we are in."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        start = int(file.read().rpartition(b")")[2].split()[_STARTTIME])
    return start - _offset()


def _offset() -> int:
    try:
        with open("/proc/self/timens_offsets", "rb") as file:
            for line in file:
                clock, seconds, nanoseconds = line.split()
                if clock == b"boottime":
                    hertz = os.sysconf("SC_CLK_TCK")
                    return int(seconds) * hertz + int(nanoseconds) * hertz // 1_000_000_000
    except (OSError, ValueError):
        pass  # before 5.6, or without CONFIG_TIME_NS
    return 0
