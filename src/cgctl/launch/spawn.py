"""What a launch is, as data: what was asked for, what the caller hands down, and how both travel to the helper.

Nothing here touches the system: file descriptors are just numbers of the caller's.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from cgctl.launch.becoming import Profile
from cgctl.launch.plan import KINDS, plan
from cgctl.launch.sandbox import Sandbox

__all__ = ["CLONE3_HINTS", "TERMINAL", "Inherited", "Spawn", "Spawned", "encode", "hint"]

TERMINAL: Final = -4  # beside PIPE, STDOUT and DEVNULL
"""In the place of a descriptor: the terminal of the program's own."""


@attrs.frozen(kw_only=True)
class Spawn:
    """One program to start: what :mod:`subprocess` knows, and the cgroups to start it in.

    Attributes:
        argv: the program's arguments, its own name first.
        executables: the paths to try in order, found by the *child's* ``PATH``.
        env: the whole environment.
        cwd: where to run, relative to the caller's directory; ``None`` is that directory itself.
        stdin: the caller's descriptor that becomes 0, or :data:`TERMINAL`; ``None`` leaves 0 closed.
        stdout: the same for 1.
        stderr: the same for 2.
        pass_fds: the caller's descriptors that keep their number in the child.
        into: a descriptor of the v2 group to be born in.
        into_procs: a descriptor, open for writing, of that group's ``cgroup.procs``, for kernels that refuse `into`.
        join: descriptors, open for writing, of ``cgroup.procs`` files that the child joins in this order before exec.
        self_join: join the v2 group by `into_procs` even where the kernel could do better.
        umask: the file mode mask; ``None`` is the caller's.
        rlimits: ``(resource, soft, hard)``, over the caller's own.
        start_new_session: call ``setsid``.
        process_group: the argument of ``setpgid``, if any.
        user: the user id to become.
        group: the group id to become.
        extra_groups: the supplementary group ids; ``None`` leaves them.
        sandbox: what it sees and may do; ``None`` is what the caller does.
        namespaces: descriptors of the namespaces that it joins, in their order, with their kinds.
        window: the size of the terminal of its own, as the kernel has it.
    """

    argv: tuple[bytes, ...]
    executables: tuple[bytes, ...]
    env: tuple[tuple[bytes, bytes], ...]
    cwd: bytes | None = None
    stdin: int | None = 0
    stdout: int | None = 1
    stderr: int | None = 2
    pass_fds: tuple[int, ...] = ()
    into: int | None = None
    into_procs: int | None = None
    join: tuple[int, ...] = ()
    self_join: bool = False
    umask: int | None = None
    rlimits: tuple[tuple[int, int, int], ...] = ()
    start_new_session: bool = False
    process_group: int | None = None
    user: int | None = None
    group: int | None = None
    extra_groups: tuple[int, ...] | None = None
    sandbox: Sandbox | None = None
    namespaces: tuple[tuple[str, int], ...] = ()
    window: bytes = b""


@attrs.frozen(kw_only=True)
class Inherited:
    """What a forked child would have of its parent, and the helper, being older, may not.

    Attributes:
        cwd: a descriptor of the caller's directory.
        umask: its file mode mask.
        rlimits: ``(resource, soft, hard)`` for each resource there is.
        nice: its niceness.
        scheduler: its scheduling policy and priority.
        affinity: the CPUs it may use.
        blocked: the signals that the calling thread blocks.
        ignored: the signals that the caller ignores.
    """

    cwd: int
    umask: int
    rlimits: tuple[tuple[int, int, int], ...]
    nice: int
    scheduler: tuple[int, int]
    affinity: tuple[int, ...]
    blocked: tuple[int, ...]
    ignored: tuple[int, ...]


@attrs.frozen(kw_only=True)
class Spawned:
    """A child of the caller's.

    Attributes:
        pid: its process id.
        pidfd: a descriptor that stands for it; whoever has this object closes it.
        status: with an init, a pipe on which that tells how the program ended; whoever has this object closes it.
        terminal: the other end of its terminal, if it has one of its own; whoever has this object closes it.
        born: whether it got as far as exec. If not, it was killed before: by the OOM killer, by ``cgroup.kill``, or
            by a kernel that kills whoever is born into a group that was killed once.
    """

    pid: int
    pidfd: int
    born: bool
    status: int | None = None
    terminal: int | None = None


def encode(spawn: Spawn, inherited: Inherited) -> tuple[dict[str, object], tuple[int, ...]]:
    """Lay a launch out for the wire: plain builtins, and the descriptors to be sent beside them.

    Each descriptor in the first part is an index into the second.
    """
    fds: list[int] = []

    def send(fd: int | None) -> int | None:
        if fd is None or fd == TERMINAL:
            return fd
        fds.append(fd)
        return len(fds) - 1

    limits = {resource: (resource, soft, hard) for resource, soft, hard in inherited.rlimits}
    limits |= {limit[0]: limit for limit in spawn.rlimits}
    message: dict[str, object] = {
        "argv": list(spawn.argv),
        "executables": list(spawn.executables),
        "env": dict(spawn.env),
        "base": send(inherited.cwd),
        "cwd": spawn.cwd,
        "stdio": [send(spawn.stdin), send(spawn.stdout), send(spawn.stderr)],
        "pass_fds": [(send(fd), fd) for fd in spawn.pass_fds],
        "into": send(spawn.into),
        "into_procs": send(spawn.into_procs),
        "join": [send(fd) for fd in spawn.join],
        "self_join": spawn.self_join,
        "umask": inherited.umask if spawn.umask is None else spawn.umask,
        "rlimits": list(limits.values()),
        "nice": inherited.nice,
        "scheduler": inherited.scheduler,
        "affinity": list(inherited.affinity),
        "blocked": list(inherited.blocked),
        "ignored": list(inherited.ignored),
        "setsid": spawn.start_new_session,
        "setpgid": spawn.process_group,
        "window": spawn.window,
        "user": spawn.user,
        "group": spawn.group,
        "extra_groups": None if spawn.extra_groups is None else list(spawn.extra_groups),
    }
    message["sandbox"] = None if spawn.sandbox is None else _encoded(spawn.sandbox)
    message["setns"] = [(KINDS[kind], send(fd)) for kind, fd in spawn.namespaces if kind != "pid"]
    message["setns_pid"] = next((send(fd) for kind, fd in spawn.namespaces if kind == "pid"), None)
    return message, tuple(fds)


def _encoded(sandbox: Sandbox) -> dict[str, object]:
    # What stands for a namespace may be any object, and need not be hashable.
    return _encode_sandbox(sandbox) if sandbox.join else _encode_again(sandbox)


@functools.lru_cache(maxsize=32)
def _encode_again(sandbox: Sandbox) -> dict[str, object]:
    """Do it once for those that are launched again and again."""
    return _encode_sandbox(sandbox)


def _encode_sandbox(sandbox: Sandbox) -> dict[str, object]:
    steps = plan(sandbox)
    elsewhere = "mnt" in dict(sandbox.join)
    by_verb = {step.verb: step for step in steps}
    return {
        "namespaces": by_verb["born"].arguments[0] if "born" in by_verb else 0,
        "steps": [(step.verb, *map(_bytes, step.arguments)) for step in steps.inside()],
        "waits": sandbox.waits,
        "init": sandbox.init,
        "tty": sandbox.tty,
        "own_files": "mnt" in sandbox.kinds or elsewhere or sandbox.root is not None,
        "elsewhere": elsewhere,
        "other_user": "user" in {*sandbox.kinds, *dict(sandbox.join)},
        "inherits_cwd": sandbox.root is None and not elsewhere,
        "keep": by_verb["capbset"].arguments[0] if "capbset" in by_verb else None,
        "no_new_privs": "no_new_privs" in by_verb,
        "seccomp": _filter(*by_verb["seccomp"].arguments) if "seccomp" in by_verb else None,
    }


def _filter(profile: Profile, keep: tuple[str, ...]) -> bytes | None:
    from cgctl.launch.seccomp import compile_filter  # noqa: PLC0415 - it is for sandboxes alone

    return compile_filter(profile, keep)


def _bytes(value: Any) -> object:
    """Turn names and paths into the kernel's bytes."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return tuple(map(_bytes, value)) if isinstance(value, tuple) else int(value)


CLONE3_HINTS: Mapping[int, str] = MappingProxyType(
    {
        errno.EACCES: "the caller may not move processes into this group; delegate the group to its user",
        errno.EAGAIN: "a process limit is reached: pids.max of the group or of one above it, or RLIMIT_NPROC",
        errno.EBADF: "this is not a group of the v2 hierarchy",
        errno.EBUSY: "the group enables domain controllers for groups below it, so it can hold no process itself; "
        "use a group below it",
        errno.ENODEV: "the group was removed meanwhile",
        errno.ENOENT: "the group was removed meanwhile",
        errno.EOPNOTSUPP: "the group is threaded, or below a threaded one, and can hold no whole process; "
        "see its cgroup.type",
    }
)
"""What is probably wrong when the kernel lets no child be born in a group."""

_JOIN_HINTS = {
    errno.EACCES: CLONE3_HINTS[errno.EACCES],
    errno.EBUSY: CLONE3_HINTS[errno.EBUSY],
    errno.ENODEV: CLONE3_HINTS[errno.ENODEV],
    errno.ENOSPC: "the group's cpuset has no CPUs or no memory nodes; set cpuset.cpus and cpuset.mems",
    errno.EOPNOTSUPP: CLONE3_HINTS[errno.EOPNOTSUPP],
}

_EXEC_HINTS = {
    errno.EACCES: "{name} is not executable, or a directory on the way to it may not be searched",
    errno.ENOENT: "program {name} was not found, or the interpreter that it names was not",
    errno.ENOEXEC: "{name} is neither a program of this machine nor a script with a #! line",
}

_NO_ID = "the user namespace has no such id; give uid_map and gid_map that have it"
_NO_FILTERS = "this kernel has no filters of system calls (CONFIG_SECCOMP_FILTER); seccomp='unconfined' takes none"

_CAUSES = {
    ("seccomp", errno.EINVAL): _NO_FILTERS,
    ("seccomp", errno.ENOSYS): _NO_FILTERS,
    ("setgid", errno.EINVAL): _NO_ID,
    ("setgid", errno.EPERM): "only root may become another group",
    ("setgroups", errno.EINVAL): _NO_ID,
    ("setgroups", errno.EPERM): "only root may change its supplementary groups",
    ("setpriority", errno.EPERM): "the helper was started with a higher niceness than the caller has now",
    ("setrlimit", errno.EPERM): "only root may raise a hard limit",
    ("setuid", errno.EINVAL): _NO_ID,
    ("setuid", errno.EPERM): "only root may become another user",
}


def hint(step: str, number: int, filename: str | None) -> str:
    """Give the probable cause of a launch's failure, or what it was about."""
    if step == "exec":
        return _EXEC_HINTS.get(number, "{name}").format(name=repr(filename))
    if step == "join":
        return f"{filename}" + (f": {_JOIN_HINTS[number]}" if number in _JOIN_HINTS else "")
    if step.startswith("clone"):
        return CLONE3_HINTS.get(number, "")
    return repr(filename) if filename else _CAUSES.get((step, number), "")
