"""Running programs in groups: each process tree in a leaf of its own, whose statistics are the run's."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from errno import ETIMEDOUT
from signal import SIGKILL
from subprocess import PIPE
from typing import TYPE_CHECKING, Any, Unpack

import attrs

from cgctl.controllers import CONTROLLERS, ControllerKeywords, Stats
from cgctl.errors import (
    CgctlError,
    GroupExistsError,
    LaunchError,
    OutOfMemoryError,
    ProcessError,
    SpecError,
    TimeoutExpired,
    UnsupportedError,
)
from cgctl.group import Group
from cgctl.launch.arguments import Argument, Stream, encode_argv
from cgctl.launch.process import Process
from cgctl.launch.sandbox import Sandbox, SandboxKeywords
from cgctl.launch.terminal import relayed
from cgctl.leaf import Leaf, unlimited
from cgctl.system import System
from cgctl.units import parse_duration

if TYPE_CHECKING:
    from cgctl.fake import Program

__all__ = ["Completed", "popen", "popen_in", "run", "run_in"]

_numbers = itertools.count(1)
_START_TIMEOUT = 30.0
"""How long a start may take, in seconds: in a frozen group it takes for ever."""
_LEAST_START_TIMEOUT = 2.0
"""How long it may take at least, however short the run's own timeout: that is for the program, not for its start."""


@attrs.frozen(kw_only=True)
class Completed:
    """A program that has ended.

    Attributes:
        args: its argument list.
        returncode: its exit status, negative for a signal.
        stdout: what it wrote, if it was captured.
        stderr: the same.
        stats: the final statistics of its group.
        oom_killed: whether the kernel killed any of its processes at a memory limit.
        timed_out: whether it was killed because its time was over. In a frozen group that may be before it became the
            program: then *stats* is empty.
        wall_usec: how long it ran, microseconds.
    """

    args: Any
    returncode: int
    stdout: Any = None
    stderr: Any = None
    stats: Stats = attrs.field(factory=Stats)
    oom_killed: bool = False
    timed_out: bool = False
    wall_usec: int = 0

    def check_returncode(self) -> None:
        """Raise if the program failed.

        Raises:
            OutOfMemoryError: it was killed at its memory limit.
            ProcessError: its exit status is not 0.
        """
        if self.oom_killed and self.returncode != 0:
            raise OutOfMemoryError(self)
        if self.returncode != 0:
            raise ProcessError(self)


class LaunchKeywords(SandboxKeywords, total=False):
    """How to start a program; the names and meanings are those of :class:`subprocess.Popen` and :class:`Sandbox`."""

    sandbox: Sandbox | None

    stdin: Stream
    stdout: Stream
    stderr: Stream
    pass_fds: Iterable[int]
    cwd: Argument | None
    env: Mapping[Any, Any] | None
    text: bool | None
    encoding: str | None
    errors: str | None
    bufsize: int
    user: str | int | None
    group: str | int | None
    extra_groups: Iterable[str | int] | None
    umask: int
    start_new_session: bool
    process_group: int | None
    rlimits: Mapping[int | str, int | tuple[int, int]] | None


class RunKeywords(LaunchKeywords, total=False):
    """How to run a program to its end.

    Attributes:
        input: what to write to its standard input.
        capture_output: whether to keep what it writes.
        timeout: after how long to kill the whole tree: seconds, or a string such as ``"500ms"``.
        grace: how long it has to end by itself after SIGTERM, before it is killed at its timeout.
        check: whether to raise if it fails.
    """

    input: Any
    capture_output: bool
    timeout: float | str | None
    grace: float | str | None
    check: bool


class FreshKeywords(ControllerKeywords, total=False):
    """Which group to make for a program.

    Attributes:
        parent: the group to be below, instead of the base.
        system: the machine; by default this one.
    """

    parent: Group | None
    system: System | None


class PopenAll(LaunchKeywords, FreshKeywords, total=False):
    """All keywords of :func:`popen`."""


class RunAll(RunKeywords, FreshKeywords, total=False):
    """All keywords of :func:`run`."""


def run(argv: Sequence[Argument] | Program, **keywords: Unpack[RunAll]) -> Completed:
    """Run a program in a fresh group of its own, wait for it, and return how it went.

    Args:
        argv: the program and its arguments. On a machine in memory (``system=cgctl.testing.FakeSystem()``) it is a
            Python callable, or a list of which the first is the name of one in ``system.programs``; see
            :class:`cgctl.testing.ProgramTask`.
        **keywords: the controllers (``memory="512M"``, ``cpu=1``, ``pids=64``, …), *parent* and *system* as for
            :class:`cgctl.Group`; *stdin*, *stdout*, *stderr*, *cwd*, *env*, *user*, *text* and others as for
            :class:`subprocess.Popen`; *sandbox* and its fields (``root``, ``namespaces``, ``hostname`` and others) as
            for :class:`cgctl.Sandbox`; *input*, *capture_output*, *timeout* and *check* as for
            :func:`subprocess.run`, but a timeout kills the whole tree and returns with ``timed_out`` unless *check* is
            given; *grace*: how
            long it has to end by itself after SIGTERM, before it is killed.

    Raises:
        SpecError: an argument is nonsense.
        UnsupportedError: this layout cannot have the limits.
        LaunchError: the program could not be started.
        OutOfMemoryError: with *check*, it was killed at its memory limit.
        TimeoutExpired: with *check*, its time was over.
        ProcessError: with *check*, its exit status is not 0.
    """
    parent, system = keywords.get("parent"), keywords.get("system")
    machine = parent.system if system is None and isinstance(parent, Group) else system
    return _run(lambda rest, limit: _popen(argv, rest, limit), argv, dict(keywords), machine)


def run_in(within: Group, argv: Sequence[Argument] | Program, /, **keywords: Unpack[RunKeywords]) -> Completed:
    """Run a program in a leaf below a group; the keywords are those of :func:`run` without the controllers."""
    return _run(lambda rest, limit: _popen_in(within, argv, rest, limit), argv, dict(keywords), within.system)


def popen(argv: Sequence[Argument] | Program, **keywords: Unpack[PopenAll]) -> Process:
    """Start a program in a fresh group of its own; the keywords are those of :func:`run`, less the last five.

    Returns:
        The process; its ``group`` is the fresh one, which is gone once the process was waited for.

    Raises:
        SpecError: an argument is nonsense.
        UnsupportedError: this layout cannot have the limits.
        LaunchError: the program could not be started.
    """
    return _popen(argv, dict(keywords), _START_TIMEOUT)


def _popen(argv: Sequence[Argument] | Program, rest: dict[str, Any], limit: float) -> Process:
    parent, system = rest.pop("parent", None), rest.pop("system", None)
    controllers = {name: rest.pop(name) for name in CONTROLLERS if name in rest}
    _check(argv, rest)
    _fresh(parent, system, controllers).system.launcher.vet(argv, rest)
    return _start(argv, lambda: Leaf(_fresh(parent, system, controllers)), rest, limit, limited=True)


def popen_in(within: Group, argv: Sequence[Argument] | Program, /, **keywords: Unpack[LaunchKeywords]) -> Process:
    """Start a program in a leaf below a group.

    Raises:
        GroupNotFoundError: the group is not there.
        SpecError: an argument is nonsense.
        LaunchError: the program could not be started.
    """
    return _popen_in(within, argv, dict(keywords), _START_TIMEOUT)


def _popen_in(within: Group, argv: Sequence[Argument] | Program, rest: dict[str, Any], limit: float) -> Process:
    _check(argv, rest)
    within.system.launcher.vet(argv, rest)
    return _start(argv, lambda: _leaf_below(within), rest, limit)


def _check(argv: Any, keywords: dict[str, Any]) -> None:
    """Refuse nonsense before any group is made, and gather the sandbox."""
    if not callable(argv):
        encode_argv(argv)
    fields = {name: keywords.pop(name) for name in SandboxKeywords.__annotations__ if name in keywords}
    sandbox = keywords.pop("sandbox", None)
    if sandbox is not None and not isinstance(sandbox, Sandbox):
        msg = f"sandbox={sandbox!r} is not a cgctl.Sandbox"
        raise SpecError(msg)
    if sandbox is not None or fields:
        keywords["sandbox"] = sandbox = attrs.evolve(sandbox or Sandbox(), **fields)
        _fill_in(keywords, sandbox)
    allowed = LaunchKeywords.__annotations__
    for name in keywords:
        if name not in allowed:
            others = ", ".join((*allowed, *SandboxKeywords.__annotations__))
            known = f"controllers are {', '.join(CONTROLLERS)}, the others {others}"
            msg = f"{name}=: there is no such keyword; {known}"
            raise SpecError(msg)


def _fill_in(keywords: dict[str, Any], sandbox: Sandbox) -> None:
    """Take from the sandbox what no keyword says otherwise."""
    for name in ("user", "group", "extra_groups", "umask"):
        if (value := getattr(sandbox, name)) is not None:
            keywords.setdefault(name, value)
    if sandbox.rlimits:
        keywords["rlimits"] = dict(sandbox.rlimits) | dict(keywords.get("rlimits") or {})


def _fresh(parent: Group | None, system: Any, controllers: Mapping[str, Any]) -> Group:
    return Group(f"cgctl-{os.getpid()}-{next(_numbers)}", parent=parent, system=system, **controllers)


def _leaf_below(group: Group) -> Leaf:
    """Make a leaf with the controllers of the group, or with none where others' processes are in the way."""
    group.address.require()
    try:
        return Leaf(_fresh(group, None, unlimited(group)))
    except UnsupportedError:
        return Leaf(_fresh(group, None, {}))


def _start(
    argv: Any, make: Callable[[], Leaf], keywords: dict[str, Any], limit: float, *, limited: bool = False
) -> Process:
    keywords["timeout"] = limit
    while True:
        try:
            leaf = make()
        except GroupExistsError:
            continue  # a process of another pid namespace has our pid, and took this name: the next has another number
        break
    if "group" in keywords:
        keywords["group_id"] = keywords.pop("group")
    sandbox = keywords.get("sandbox")
    try:
        if limited and sandbox is not None and "cgroup" in sandbox.kinds:
            leaf.nest()
        return leaf.group.system.launcher.start(argv, leaf, keywords)
    except BaseException:
        # What cannot be killed cannot be removed either; why the program did not start is what matters.
        with contextlib.suppress(CgctlError):
            leaf.finish()
        raise


def _run(
    start: Callable[[dict[str, Any], float], Process],
    argv: Sequence[Argument] | Program,
    keywords: dict[str, Any],
    machine: System | None,
) -> Completed:
    given = keywords.pop("input", None)
    check, capture = keywords.pop("check", False), keywords.pop("capture_output", False)
    timeout, grace = keywords.pop("timeout", None), keywords.pop("grace", None)
    limit = None if timeout is None else parse_duration(timeout, "timeout") / 1e6
    patience = None if grace is None else parse_duration(grace, "grace") / 1e6
    if capture:
        if keywords.get("stdout") is not None or keywords.get("stderr") is not None:
            msg = "capture_output=True with stdout or stderr: both say where output goes; leave one of them out"
            raise SpecError(msg)
        keywords |= {"stdout": PIPE, "stderr": PIPE}
    if given is not None:
        if keywords.get("stdin") is not None:
            msg = "input with stdin: both say what the program reads; leave one of them out"
            raise SpecError(msg)
        keywords["stdin"] = PIPE
    clock = time.monotonic if machine is None else machine.filesystem.monotonic
    began = clock()
    starting = _START_TIMEOUT if limit is None else min(max(limit, _LEAST_START_TIMEOUT), _START_TIMEOUT)
    try:
        process = start(keywords, starting)
    except LaunchError as error:
        if limit is None or limit > starting or error.errno != ETIMEDOUT:
            raise
        return _finished(
            Completed(args=argv, returncode=-SIGKILL, timed_out=True, wall_usec=_usec(clock() - began)),
            limit,
            check=check,
        )
    try:
        with _relayed(process):
            stdout, stderr, timed_out = _communicate(process, given, limit, patience)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        for pipe in (process.terminal, process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
    completed = Completed(
        args=argv,
        returncode=process.wait(),
        stdout=stdout,
        stderr=stderr,
        stats=process.stats,
        oom_killed=process.oom_killed,
        timed_out=timed_out,
        wall_usec=_usec(clock() - began),
    )
    return _finished(completed, limit, check=check)


@contextlib.contextmanager
def _relayed(process: Process) -> Iterator[None]:
    """Show what a program writes to its own terminal, and type there what is typed here, unless that is captured."""
    if process.terminal is None or process.stdout is not None:
        yield
        return
    with relayed(process.terminal.fileno(), 0 if process.stdin is None else None):
        yield


def _finished(completed: Completed, limit: float | None, *, check: bool) -> Completed:
    """Return how a run went, or raise if it is to be checked and did not go well."""
    if check and completed.timed_out:
        raise TimeoutExpired(completed.args, limit or 0.0, completed.stdout, completed.stderr, completed=completed)
    if check:
        completed.check_returncode()
    return completed


def _usec(seconds: float) -> int:
    return round(seconds * 1e6)


def _communicate(process: Process, given: Any, limit: float | None, patience: float | None) -> tuple[Any, Any, bool]:
    try:
        return (*process.communicate(given, limit), False)
    except TimeoutExpired:
        pass
    if patience is not None:
        process.terminate()
        with contextlib.suppress(TimeoutExpired):
            return (*process.communicate(timeout=patience), True)
    process.kill()
    return (*process.communicate(), True)
