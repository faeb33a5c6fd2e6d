"""The child: what it is told, and the steps by which a copy of the helper turns into the program."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import errno
import os
import resource
import select

from cgctl.launch.helper.kernel import Filter, clone, clone3, close_on_exec
from cgctl.launch.helper.sandbox import View, bounding, drop, drop_bounding, enter, no_new_privs, reap, visit
from cgctl.launch.helper.terminal import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

# A kernel without clone3 or without CLONE_INTO_CGROUP, or a seccomp filter that forbids it (docker's says ENOSYS).
_REFUSED = frozenset({errno.ENOSYS, errno.EPERM, errno.E2BIG, errno.EINVAL})


_MOST_FDS = 1 << 12  # more than any job brings; they are the lowest that are free


class Own:
    """What the helper has itself, and a child of it has until it is told otherwise."""

    def __init__(self) -> None:
        signals = range(1, _signal.NSIG)
        self.ignored = {number for number in signals if _signal.getsignal(number) == _signal.SIG_IGN}
        resources = {value for name, value in vars(resource).items() if name.startswith("RLIMIT_")}
        self.rlimits = {number: resource.getrlimit(number) for number in resources}
        self.bounding = bounding()


class Job:
    """One launch: the message, the descriptors that came with it, and what is to be changed in a copy of the helper.

    What can be found out beforehand is: each page that the child touches is one that has to be copied.
    """

    def __init__(self, message: dict[str, Any], fds: Sequence[int], own: Own) -> None:
        self.message = message
        self.fds = fds
        self.join = [fds[index] for index in message["join"]]
        self.report = self.status = self.go = self.console = self.terminal = -1
        self.path: bytes | str | None = None
        self.step: str | None = None
        self.sandbox: dict[str, Any] | None = message["sandbox"]
        # In a mount namespace that is joined, there is no such directory.
        elsewhere = self.sandbox is None or self.sandbox["elsewhere"]
        self.base = b"/" if elsewhere else os.readlink(b"/proc/self/fd/%d" % fds[message["base"]])
        affinity, scheduler = set(message["affinity"]), tuple(message["scheduler"])
        self.affinity = affinity if affinity != os.sched_getaffinity(0) else None
        ours = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
        self.scheduler = scheduler if scheduler != ours else None
        self.nice = message["nice"] if message["nice"] != os.getpriority(os.PRIO_PROCESS, 0) else None
        self.rlimits = [
            (number, (soft, hard))
            for number, soft, hard in message["rlimits"]
            if own.rlimits.get(number) != (soft, hard)
        ]
        # As subprocess does with restore_signals: the two that Python ignores go back to their default.
        ignored = set(message["ignored"]) - {_signal.SIGPIPE, _signal.SIGXFSZ}
        self.signals = [(number, _signal.SIG_IGN) for number in ignored - own.ignored]
        self.signals += [(number, _signal.SIG_DFL) for number in own.ignored - ignored]
        self.bounding = own.bounding
        code = self.sandbox["seccomp"] if self.sandbox else None
        self.filter = None if code is None else Filter(code)

    def fd(self, name: str) -> int | None:
        """Find the descriptor that the message calls *name*."""
        index = self.message[name]
        return None if index is None else self.fds[index]

    def source(self, index: int) -> int:
        """Find a descriptor by its index; below 0 is the terminal of the program's own."""
        return self.fds[index] if index >= 0 else self.terminal

    def clone(self) -> tuple[int, int]:
        """Make the child: pid (0 in the child itself) and pidfd."""
        into, procs = self.fd("into"), self.fd("into_procs")
        namespaces = self.sandbox["namespaces"] if self.sandbox else 0
        with_pids = self.fd("setns_pid")
        if with_pids is not None:
            return visit(with_pids, lambda: self._clone(into, procs, namespaces))
        return self._clone(into, procs, namespaces)

    def _clone(self, into: int | None, procs: int | None, namespaces: int) -> tuple[int, int]:
        if not self.message["self_join"]:
            try:
                return clone3(into, namespaces)
            except OSError as error:
                if error.errno not in _REFUSED or (into is not None and procs is None):
                    raise
        if procs is not None:
            self.join.insert(0, procs)
        return clone(namespaces)


def _prepared(job: Job) -> None:
    """Wait until the caller has done its part: the maps of a user namespace."""
    if job.go >= 0 and not os.read(job.go, 1):
        os._exit(127)  # it gave up, and looks after the rest


def _affinity(job: Job) -> None:
    # Before the joins: a cpuset has the last word on it.
    if job.affinity is not None:
        try:
            os.sched_setaffinity(0, job.affinity)
        except OSError as error:
            if error.errno != errno.EINVAL:  # none of them is in the group's cpuset, which then prevails
                raise


def _scheduler(job: Job) -> None:
    if job.scheduler is not None:
        policy, priority = job.scheduler
        os.sched_setscheduler(0, policy, os.sched_param(priority))


def _nice(job: Job) -> None:
    if job.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, job.nice)


def _join(job: Job) -> None:
    for fd in job.join:
        try:
            os.write(fd, b"0")
        except OSError:
            job.path = os.readlink(f"/proc/self/fd/{fd}")
            raise


def _setns(job: Job) -> None:
    for kind, index in job.message["setns"]:
        enter(job.fds[index], kind)


def _signals(job: Job) -> None:
    for number, action in job.signals:
        _signal.signal(number, action)


def _sandbox(job: Job) -> None:
    if job.sandbox is None:
        return
    view = View(job.base, job.console)
    try:
        for number, (verb, *arguments) in enumerate(job.sandbox["steps"]):
            job.step = f"sandbox {number}"
            view.path = None
            getattr(view, verb)(*arguments)
    finally:
        job.path = view.path
    job.terminal = view.terminal
    view.close()
    job.step = None


def _init(job: Job) -> None:
    if job.status < 0:
        return
    _signal.pthread_sigmask(_signal.SIG_BLOCK, range(1, _signal.NSIG))  # or news of a quick end could be lost
    program = os.fork()
    if program:
        try:
            os.dup2(job.status, 3)
            os.closerange(4, _MOST_FDS)  # those of the caller, and what came with the job
            reap(program, 3)
        finally:
            os._exit(0)


def _chdir(job: Job) -> None:
    if job.sandbox and job.sandbox["own_files"]:
        # A descriptor would be one of the caller's root, which has been left.
        os.chdir(job.base if job.sandbox["inherits_cwd"] else b"/")
    else:
        os.fchdir(job.fds[job.message["base"]])
    job.path = job.message["cwd"]
    if job.path is not None:
        os.chdir(job.path)
        if job.sandbox:
            os.getcwd()  # ENOENT where that is nowhere below the root


def _umask(job: Job) -> None:
    os.umask(job.message["umask"])


def _setsid(job: Job) -> None:
    if job.message["setsid"]:
        os.setsid()


def _tty(job: Job) -> None:
    if job.terminal >= 0:
        control(job.terminal, job.message["window"], job.message["user"])


def _setpgid(job: Job) -> None:
    if job.message["setpgid"] is not None:
        os.setpgid(0, job.message["setpgid"])


def _descriptors(job: Job) -> None:
    """Put each descriptor where it belongs, and mark all others to be closed by exec."""
    wanted = [*enumerate(job.message["stdio"]), *((target, index) for index, target in job.message["pass_fds"])]
    targets = {target for target, _ in wanted}
    _make_room(max(targets), job.message["rlimits"])
    # First out of the way of all targets, so that no dup2 overwrites the source of another.
    placed = [(target, None if index is None else _away(job.source(index), targets)) for target, index in wanted]
    job.report = _away(job.report, targets)
    close_on_exec()
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


def _capbset(job: Job) -> None:
    if job.sandbox and job.sandbox["keep"] is not None:
        # Whoever enters a user namespace has them all, there.
        held = bounding() if job.sandbox["other_user"] else job.bounding
        drop_bounding(job.sandbox["keep"], held)


def _capset(job: Job) -> None:
    if job.sandbox and job.sandbox["keep"] is not None:
        drop(job.sandbox["keep"])


def _no_new_privs(job: Job) -> None:
    if job.sandbox and job.sandbox["no_new_privs"]:
        no_new_privs()


def _seccomp(job: Job) -> None:
    if job.filter is not None:
        job.filter.install()


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
    ("prepare", _prepared),
    ("sched_setaffinity", _affinity),
    ("sched_setscheduler", _scheduler),
    ("setpriority", _nice),
    ("join", _join),
    ("setns", _setns),
    ("signal", _signals),
    ("sandbox", _sandbox),
    ("init", _init),
    ("chdir", _chdir),
    ("umask", _umask),
    ("setsid", _setsid),
    ("tty", _tty),
    ("setpgid", _setpgid),
    ("dup2", _descriptors),
    ("setrlimit", _setrlimit),
    ("capbset", _capbset),
    ("setgroups", _setgroups),
    ("setgid", _setgid),
    ("setuid", _setuid),
    ("capset", _capset),
    ("no_new_privs", _no_new_privs),
    ("seccomp", _seccomp),
    ("exec", _exec),
)


def become(job: Job) -> NoReturn:
    """Turn this process, a copy of the helper, into the program; on failure, say which step it was and end."""
    step = ""
    try:
        for step, act in _STEPS:  # noqa: B007 - the last one is told
            job.path = None
            act(job)
    except OSError as error:
        _tell(job.report, error.errno or errno.EIO, job.step or step, job.path)
    except BaseException as error:  # noqa: BLE001 - above is but a copy of the helper's stack
        _tell(job.report, errno.EINVAL, job.step or step, repr(error))
    finally:
        os._exit(127)


def _tell(report: int, number: int, step: str, path: bytes | str | None) -> None:
    text = b"E%d\0%s\0%s" % (number, step.encode(), os.fsencode(path or b""))
    os.write(report, text[: select.PIPE_BUF - 1])  # besides the R, in a pipe that nobody reads before its end
