"""What the calling thread is, and what a child has of it: the helper's own is stale."""

from __future__ import annotations

import os
import resource
import signal

from cgctl.launch.spawn import Inherited

__all__ = ["identity", "inherited"]

# What a child has of the thread that makes it and what no message could hand down: a helper that differs in any of
# these is the wrong one to make it.
_CREDENTIALS = frozenset({
    "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
    "NoNewPrivs", "Seccomp", "Seccomp_filters",
})  # fmt: skip
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts")

_RESOURCES = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})


def _status() -> dict[str, str]:
    with open("/proc/thread-self/status", encoding="ascii", errors="surrogateescape") as file:
        return dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)


def _namespace(name: str) -> str:
    try:
        return os.readlink(f"/proc/thread-self/ns/{name}")
    except FileNotFoundError:  # this kernel has no such namespaces
        return ""


def identity() -> tuple[object, ...]:
    """Return what a child has of the thread that makes it, and what no message could hand down."""
    status = _status()
    root = os.stat("/")
    return (
        {name: status[name] for name in _CREDENTIALS & status.keys()},
        [_namespace(name) for name in _NAMESPACES],
        (root.st_dev, root.st_ino),
        (os.getsid(0), os.getpgrp()),
    )


def inherited(cwd: int) -> Inherited:
    """Return what a child has of the calling thread, for the helper to hand down; *cwd* is a descriptor."""
    status = _status()
    ignored = int(status["SigIgn"], 16)
    return Inherited(
        cwd=cwd,
        umask=int(status["Umask"], 8),  # the one way to learn it that does not change it for other threads
        rlimits=tuple((number, *resource.getrlimit(number)) for number in _RESOURCES),
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        scheduler=(os.sched_getscheduler(0), os.sched_getparam(0).sched_priority),
        affinity=tuple(os.sched_getaffinity(0)),
        blocked=tuple(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
        ignored=tuple(number for number in map(int, signal.valid_signals()) if ignored >> (number - 1) & 1),
    )
