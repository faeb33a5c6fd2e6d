"""What the calling thread is, and what a child has of it: the helper's own is stale."""

from __future__ import annotations

import os
import re
import resource

from cgctl.launch.spawn import Inherited

__all__ = ["identity", "inherited"]

# What a child has of the thread that makes it and what no message could hand down: a helper that differs in any of
# these is the wrong one to make it.
_CREDENTIALS = re.compile(rb"^(?:Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp|Seccomp_filters):.*$", re.MULTILINE)
_INHERITED = re.compile(rb"^(Umask|SigBlk|SigIgn):\t(.*)$", re.MULTILINE)
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts")

_CHUNK = 1 << 14

_RESOURCES = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})


def _status() -> bytes:
    fd = os.open("/proc/thread-self/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: os.read(fd, _CHUNK), b""))
    finally:
        os.close(fd)


def _namespace(name: str) -> str:
    try:
        return os.readlink(f"/proc/thread-self/ns/{name}")
    except FileNotFoundError:  # this kernel has no such namespaces
        return ""


def identity() -> tuple[object, ...]:
    """Return what a child has of the thread that makes it, and what no message could hand down."""
    root = os.stat("/")
    return (
        _CREDENTIALS.findall(_status()),
        [_namespace(name) for name in _NAMESPACES],
        (root.st_dev, root.st_ino),
        (os.getsid(0), os.getpgrp()),
    )


def inherited(cwd: int) -> Inherited:
    """Return what a child has of the calling thread, for the helper to hand down; *cwd* is a descriptor."""
    status = dict(_INHERITED.findall(_status()))
    return Inherited(
        cwd=cwd,
        umask=int(status[b"Umask"], 8),  # the one way to learn it that does not change it for other threads
        rlimits=tuple((number, *resource.getrlimit(number)) for number in _RESOURCES),
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        scheduler=(os.sched_getscheduler(0), os.sched_getparam(0).sched_priority),
        affinity=tuple(os.sched_getaffinity(0)),
        blocked=_signals(status[b"SigBlk"]),
        ignored=_signals(status[b"SigIgn"]),
    )


def _signals(mask: bytes) -> tuple[int, ...]:
    bits = int(mask, 16)
    return tuple(number for number in range(1, bits.bit_length() + 1) if bits >> number - 1 & 1)
