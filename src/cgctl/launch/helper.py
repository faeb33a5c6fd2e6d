"""The helper: a small single-threaded process that makes the caller's children, and outlives the caller to clean up.

It is started as ``python -I -S`` with this file's code, and imports nothing of cgctl. Its messages are marshalled
tuples on a ``SOCK_SEQPACKET`` socket:

- ``("spawn", job, count, size)``: make a child. Of the `count` descriptors that come along the first is where the
  answer goes; a `job` that is too large for a message is ``None``, and in the last of them, `size` bytes long;
- ``("guard", token, directories, above)``: these groups go when the caller does, and then those above that are empty;
- ``("release", token)``: these no longer;
- ``("retire",)``: another helper serves from now on; end when nothing is guarded.

The child that it makes is the *caller's* (``CLONE_PARENT``), so the helper never waits for one. The child tells by a
pipe, which the caller reads, how far it came: ``R`` right before exec, ``E`` with errno, step and path, NUL between
them, when a step failed, nothing at all when it was killed before.
"""

from __future__ import annotations

# The C modules behind `signal` and `socket`: with these, half of the start-up time and a megabyte are saved.
import _signal  # type: ignore[import-not-found]
import _socket
import ctypes
import errno
import gc
import marshal
import os
import resource
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, NoReturn

_MAX_MESSAGE = 48 << 10
_MAX_FDS = 253  # SCM_MAX_FD

# Signals that are sent to the whole process group, by a terminal or by whoever stops a job: the helper has still to
# clean up after its caller, and ends by itself right after it.
_SHRUGGED_OFF = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM, _signal.SIGTSTP)

_SYS_CLONE = {"x86_64": 56, "aarch64": 220}.get(os.uname().machine)
_SYS_CLONE3 = 435
_SYS_CLOSE_RANGE = 436
_CLONE_PIDFD = 0x1000
_CLONE_PARENT = 0x8000
_CLONE_INTO_CGROUP = 0x2_0000_0000
_CLOSE_RANGE_CLOEXEC = 4
_CLONE_ARGS_SIZE_VER0 = 64
_CLONE_ARGS_SIZE_VER2 = 88

# A kernel without clone3 or without CLONE_INTO_CGROUP, or a seccomp filter that forbids it (docker's says ENOSYS).
_REFUSED = frozenset({errno.ENOSYS, errno.EPERM, errno.E2BIG, errno.EINVAL})

_PATIENCE_SEC = 5.0
_LONGEST_PAUSE_SEC = 0.5

# PyDLL: the interpreter lock is kept, which a child made behind the interpreter's back could not take again.
_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


# --- making a child -------------------------------------------------------------------------------------------------


def _check(result: int, step: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), step)
    return result


def _clone3(into: int | None) -> tuple[int, int]:
    """Fork, as the caller's child, inside the v2 group *into*: pid (0 in the child) and pidfd."""
    pidfd = ctypes.c_int(-1)
    flags = _CLONE_PIDFD | _CLONE_PARENT | (_CLONE_INTO_CGROUP if into is not None else 0)
    # flags, pidfd, child_tid, parent_tid, exit_signal (0: CLONE_PARENT takes our own), stack, stack_size, tls,
    # set_tid, set_tid_size, cgroup
    args = (ctypes.c_uint64 * 11)(flags, ctypes.addressof(pidfd), 0, 0, 0, 0, 0, 0, 0, 0, into or 0)
    size = _CLONE_ARGS_SIZE_VER0 if into is None else _CLONE_ARGS_SIZE_VER2
    pid = _syscall(ctypes.c_long(_SYS_CLONE3), ctypes.byref(args), ctypes.c_size_t(size))
    return _check(pid, "clone3"), pidfd.value


def _clone() -> tuple[int, int]:
    """Fork, as the caller's child, as kernels before clone3 do."""
    if _SYS_CLONE is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "clone")
    pidfd = ctypes.c_int(-1)
    # The pidfd is returned where parent_tid would be. tls and child_tid change places between the architectures;
    # both are unused.
    flags, none = ctypes.c_ulong(_CLONE_PIDFD | _CLONE_PARENT), ctypes.c_void_p(None)
    pid = _syscall(ctypes.c_long(_SYS_CLONE), flags, none, ctypes.byref(pidfd), none, none)
    return _check(pid, "clone"), pidfd.value


class Own:
    """What the helper has itself, and a child of it has until it is told otherwise."""

    def __init__(self) -> None:
        signals = range(1, _signal.NSIG)
        self.ignored = {number for number in signals if _signal.getsignal(number) == _signal.SIG_IGN}
        resources = {value for name, value in vars(resource).items() if name.startswith("RLIMIT_")}
        self.rlimits = {number: resource.getrlimit(number) for number in resources}


class Job:
    """One launch: the message, the descriptors that came with it, and what is to be changed in a copy of the helper.

    What can be found out beforehand is: each page that the child touches is one that has to be copied.
    """

    def __init__(self, message: dict[str, Any], fds: Sequence[int], own: Own) -> None:
        self.message = message
        self.fds = fds
        self.join = [fds[index] for index in message["join"]]
        self.report = -1
        self.path: bytes | str | None = None
        self.affinity = set(message["affinity"]) if set(message["affinity"]) != os.sched_getaffinity(0) else None
        self.rlimits = [
            (number, (soft, hard))
            for number, soft, hard in message["rlimits"]
            if own.rlimits.get(number) != (soft, hard)
        ]
        # As subprocess does with restore_signals: the two that Python ignores go back to their default.
        ignored = set(message["ignored"]) - {_signal.SIGPIPE, _signal.SIGXFSZ}
        self.signals = [(number, _signal.SIG_IGN) for number in ignored - own.ignored]
        self.signals += [(number, _signal.SIG_DFL) for number in own.ignored - ignored]

    def fd(self, name: str) -> int | None:
        """Find the descriptor that the message calls *name*."""
        index = self.message[name]
        return None if index is None else self.fds[index]

    def clone(self) -> tuple[int, int]:
        """Make the child: pid (0 in the child itself) and pidfd."""
        into, procs = self.fd("into"), self.fd("into_procs")
        if not self.message["self_join"]:
            try:
                return _clone3(into)
            except OSError as error:
                if error.errno not in _REFUSED or (into is not None and procs is None):
                    raise
        if procs is not None:
            self.join.insert(0, procs)
        return _clone()


# --- in the child: the steps, in order ------------------------------------------------------------------------------


def _affinity(job: Job) -> None:
    # Before the joins: a cpuset has the last word on it.
    if job.affinity is not None:
        try:
            os.sched_setaffinity(0, job.affinity)
        except OSError as error:
            if error.errno != errno.EINVAL:  # none of them is in the group's cpuset, which then prevails
                raise


def _scheduler(job: Job) -> None:
    policy, priority = job.message["scheduler"]
    if (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority) != (policy, priority):
        os.sched_setscheduler(0, policy, os.sched_param(priority))


def _nice(job: Job) -> None:
    if os.getpriority(os.PRIO_PROCESS, 0) != job.message["nice"]:
        os.setpriority(os.PRIO_PROCESS, 0, job.message["nice"])


def _join(job: Job) -> None:
    for fd in job.join:
        try:
            os.write(fd, b"0")
        except OSError:
            job.path = os.readlink(f"/proc/self/fd/{fd}")
            raise


def _signals(job: Job) -> None:
    for number, action in job.signals:
        _signal.signal(number, action)


def _chdir(job: Job) -> None:
    os.fchdir(job.fds[job.message["base"]])
    job.path = job.message["cwd"]
    if job.path is not None:
        os.chdir(job.path)


def _umask(job: Job) -> None:
    os.umask(job.message["umask"])


def _setsid(job: Job) -> None:
    if job.message["setsid"]:
        os.setsid()


def _setpgid(job: Job) -> None:
    if job.message["setpgid"] is not None:
        os.setpgid(0, job.message["setpgid"])


def _descriptors(job: Job) -> None:
    """Put each descriptor where it belongs, and mark all others to be closed by exec."""
    wanted = [*enumerate(job.message["stdio"]), *((target, index) for index, target in job.message["pass_fds"])]
    targets = {target for target, _ in wanted}
    _make_room(max(targets), job.message["rlimits"])
    # First out of the way of all targets, so that no dup2 overwrites the source of another.
    placed = [(target, None if index is None else _away(job.fds[index], targets)) for target, index in wanted]
    job.report = _away(job.report, targets)
    _syscall(
        ctypes.c_long(_SYS_CLOSE_RANGE),
        ctypes.c_uint(3),
        ctypes.c_uint(0xFFFF_FFFF),
        ctypes.c_uint(_CLOSE_RANGE_CLOEXEC),
    )  # before 5.11 there is no such call; all that the helper has is close-on-exec anyhow
    for target, source in placed:
        if source is not None:
            os.dup2(source, target)
        else:
            os.close(target)


def _away(fd: int, targets: set[int]) -> int:
    while fd in targets:
        fd = os.dup(fd)
    return fd


def _make_room(highest: int, rlimits: Sequence[tuple[int, int, int]]) -> None:
    """Allow descriptors up to *highest*: the caller may have raised its limit after the helper started."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if highest >= soft:
        hard = max([hard, *(limit[2] for limit in rlimits if limit[0] == resource.RLIMIT_NOFILE)])
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _setrlimit(job: Job) -> None:
    for number, limits in job.rlimits:
        resource.setrlimit(number, limits)


def _setgroups(job: Job) -> None:
    if job.message["extra_groups"] is not None:
        os.setgroups(job.message["extra_groups"])


def _setgid(job: Job) -> None:
    group = job.message["group"]
    if group is not None:
        os.setresgid(group, group, group)


def _setuid(job: Job) -> None:
    user = job.message["user"]
    if user is not None:
        os.setresuid(user, user, user)


def _exec(job: Job) -> NoReturn:
    message = job.message
    job.path = message["argv"][0]
    argv, env = message["argv"], message["env"]
    # Blocked signals stay blocked until here: there is no handler of Python's that may run.
    _signal.pthread_sigmask(_signal.SIG_SETMASK, message["blocked"])
    os.write(job.report, b"R")
    found: OSError | None = None
    for path in message["executables"]:
        try:
            os.execve(path, argv, env)  # noqa: S606 - the purpose of it all
        except OSError as error:
            # As execvp does: a program that is there but cannot be run is worth more than one that is not there.
            if found is None or (
                found.errno in (errno.ENOENT, errno.ENOTDIR) and error.errno not in (errno.ENOENT, errno.ENOTDIR)
            ):
                found = error
    raise found or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


_STEPS = (
    ("sched_setaffinity", _affinity),
    ("sched_setscheduler", _scheduler),
    ("setpriority", _nice),
    ("join", _join),
    ("signal", _signals),
    ("chdir", _chdir),
    ("umask", _umask),
    ("setsid", _setsid),
    ("setpgid", _setpgid),
    ("dup2", _descriptors),
    ("setrlimit", _setrlimit),
    ("setgroups", _setgroups),
    ("setgid", _setgid),
    ("setuid", _setuid),
    ("exec", _exec),
)


def _become(job: Job) -> NoReturn:
    """Turn this process, a copy of the helper, into the program; on failure, say which step it was and end."""
    step = ""
    try:
        for step, act in _STEPS:  # noqa: B007 - the last one is told
            job.path = None
            act(job)
    except OSError as error:
        _tell(job.report, error.errno or errno.EIO, step, job.path)
    except BaseException as error:  # noqa: BLE001 - above is but a copy of the helper's stack
        _tell(job.report, errno.EINVAL, step, repr(error))
    finally:
        os._exit(127)


def _tell(report: int, number: int, step: str, path: bytes | str | None) -> None:
    text = b"E%d\0%s\0%s" % (number, step.encode(), os.fsencode(path or b""))
    os.write(report, text[: select.PIPE_BUF])


# --- serving --------------------------------------------------------------------------------------------------------


def _launch(reply: _socket.socket, job: Job) -> None:
    """Make the child, and hand it to the caller: its pid, its pidfd, and the pipe on which it reports."""
    if _given_up(reply):
        return
    reading, job.report = os.pipe()
    pidfd = None
    try:
        try:
            pid, pidfd = job.clone()
            if pid == 0:
                _become(job)
        finally:
            os.close(job.report)
        if not _send(reply, ("made", pid), (pidfd, reading)):
            _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)  # nobody is there any more to look after it
    finally:
        os.close(reading)
        if pidfd is not None:
            os.close(pidfd)


def _given_up(reply: _socket.socket) -> bool:
    """Tell whether the one who asked has shut its end, while we were stopped or busy."""
    try:
        reply.recv(1, _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True  # it never sends anything: this is the end


def _send(reply: _socket.socket, message: tuple[Any, ...], fds: Sequence[int] = ()) -> bool:
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
    try:
        reply.sendmsg([marshal.dumps(message)], ancillary, _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


class Server:
    """The helper's state: what it guards, and from whom it hears."""

    def __init__(self, channel: int, caller: int) -> None:
        self.channel: _socket.socket | None = _socket.socket(fileno=channel)
        self.caller = caller
        self.own = Own()
        self.guarded: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self.launching = True
        self.retired = False

    def serve(self) -> None:
        """Serve until the caller ends, or has no use for this helper any more."""
        poll = select.poll()
        poll.register(self.caller, select.POLLIN)
        if self.channel is not None:
            poll.register(self.channel.fileno(), select.POLLIN)
        while self.guarded or not (self.retired or self.channel is None):
            ready = [fd for fd, _ in poll.poll()]
            if self.caller in ready:
                self.launching = False
                while self._hear(_socket.MSG_DONTWAIT):  # groups it may have made just before it died
                    pass
                return
            if not self._hear(0) and self.channel is not None:
                # The caller has become another program by exec: nothing more will come from it but its end.
                poll.unregister(self.channel.fileno())
                self.channel.close()
                self.channel = None

    def _hear(self, flags: int) -> bool:
        """Handle one message; false if there is, or will be, none."""
        if self.channel is None:
            return False
        try:
            data, ancillary, _, _ = self.channel.recvmsg(
                _MAX_MESSAGE, _socket.CMSG_SPACE(4 * _MAX_FDS), flags | _socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return False
        fds = [fd for _, _, rights in ancillary for fd in memoryview(rights[: len(rights) & ~3]).cast("i")]
        try:
            if data:
                self._handle(marshal.loads(data), fds)  # noqa: S302 - from the caller itself
            return bool(data)
        except Exception:  # noqa: BLE001 - no message may end the helper; the client sees its reply socket closed
            return True
        finally:
            for fd in fds:
                os.close(fd)

    def _handle(self, message: tuple[Any, ...], fds: list[int]) -> None:
        kind, *rest = message
        if kind == "guard":
            self.guarded[rest[0]] = rest[1], rest[2]
        elif kind == "release":
            self.guarded.pop(rest[0], None)
        elif kind == "spawn" and self.launching:
            _spawn(fds, self.own, *rest)
        elif kind == "retire":
            self.retired = True


def _spawn(fds: list[int], own: Own, body: dict[str, Any] | None, count: int, size: int) -> None:
    reply = _socket.socket(fileno=fds[0])
    try:
        if len(fds) != count:  # the kernel drops what it cannot install
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "recvmsg")
        if body is None:
            body = marshal.loads(os.pread(fds[-1], size, 0))  # noqa: S302 - from the caller itself
        _launch(reply, Job(body, fds[1:], own))
    except OSError as error:
        _send(reply, ("failed", error.errno or errno.EIO, str(error.filename or "")))
    finally:
        reply.detach()  # its descriptor is one of `fds`, which are all closed together


# --- when the caller is gone ----------------------------------------------------------------------------------------


def _below(directory: str) -> Iterator[str]:
    """Yield the groups below *directory* and itself, children first."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for name in names:
        yield from _below(f"{directory}/{name}")
    yield directory


def _is_group(directory: str) -> bool:
    """Tell a group from what must never be emptied, the root of a hierarchy or a directory elsewhere."""
    return os.path.exists(f"{directory}/cgroup.procs") and not os.path.ismount(directory)


def _write(path: str, data: bytes) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, data)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _members(groups: Sequence[str]) -> set[int]:
    """Read the processes in *groups*; 0 is one that our pid namespace does not have."""
    pids: set[int] = set()
    for group in groups:
        try:
            fd = os.open(f"{group}/cgroup.procs", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            while data := os.read(fd, 1 << 20):
                pids.update(map(int, data.split()))
        except (OSError, ValueError):
            pass
        finally:
            os.close(fd)
    return pids - {0, os.getpid()}


def _kill(groups: Sequence[str]) -> None:
    """Send SIGKILL to all that is in *groups*, once."""
    frozen = [group for group in groups if _write(f"{group}/freezer.state", b"FROZEN")]
    for group in groups:
        _write(f"{group}/cgroup.kill", b"1")
    pidfds = {}
    for pid in _members(groups):
        try:
            pidfds[pid] = os.pidfd_open(pid)
        except OSError:
            continue
    # Those that are in the groups still are the processes that the pidfds were opened for, and not later ones of the
    # same number.
    still = _members(groups)
    for pid, pidfd in pidfds.items():
        try:
            if pid in still:
                _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
        except OSError:
            pass
        finally:
            os.close(pidfd)
    for group in frozen:  # on v1, a frozen task does not die
        _write(f"{group}/freezer.state", b"THAWED")


def _remove(directory: str) -> bool:
    for group in _below(directory):
        try:
            os.rmdir(group)
        except OSError:
            continue
    return not os.path.isdir(directory)


def clean(directories: Sequence[str]) -> None:
    """Kill what is in the groups, and remove them; what has never been there, or has gone, is fine."""
    left = [directory for directory in dict.fromkeys(directories) if _is_group(directory)]
    deadline, pause = time.monotonic() + _PATIENCE_SEC, 0.001
    while left:
        _kill([group for directory in left for group in _below(directory)])
        left = [directory for directory in left if not _remove(directory)]
        if not left or time.monotonic() > deadline:
            return
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SEC)


# --- starting -------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Run the helper: descriptors of its channel and its caller, then of the ``cgroup.procs`` to go to."""
    channel, caller, *home = map(int, arguments)
    for number in _SHRUGGED_OFF:
        _signal.signal(number, _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    for fd in home:
        try:  # noqa: SIM105 - contextlib is not worth its memory
            os.write(fd, b"0")
        except OSError:  # the caller can see where we are
            pass
        os.close(fd)
    for fd in (channel, caller):
        os.set_inheritable(fd, False)  # noqa: FBT003 - it has no keyword
    os.chdir("/")  # keep no file system busy
    gc.disable()
    gc.freeze()  # a collection in a child would copy every page
    server = Server(channel, caller)
    server.serve()
    if server.channel is not None:
        server.channel.close()
    clean([directory for directories, _ in server.guarded.values() for directory in directories])
    for _, above in server.guarded.values():
        for directory in above:
            if _is_group(directory):
                try:  # noqa: SIM105 - contextlib is not worth its memory
                    os.rmdir(directory)
                except OSError:  # somebody else uses it
                    pass


if __name__ == "__main__":
    main(sys.argv[3:])
