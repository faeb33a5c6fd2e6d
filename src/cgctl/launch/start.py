"""Starting a program in its groups: pipes, request, child."""

from __future__ import annotations

import codecs
import io
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any

from cgctl.errors import SpecError
from cgctl.launch import arguments, client
from cgctl.launch.arguments import Argument, Stream
from cgctl.launch.children import launch_step
from cgctl.launch.client import Helper
from cgctl.launch.process import Leaf, Process
from cgctl.launch.sandbox import Sandbox
from cgctl.launch.spawn import TERMINAL, Spawn
from cgctl.launch.terminal import Terminal, window

__all__ = ["check_modes", "popen"]


def popen(
    argv: Sequence[Argument],
    *,
    leaf: Leaf,
    group: Any = None,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    pass_fds: Iterable[int] = (),
    cwd: Argument | None = None,
    env: Mapping[Any, Any] | None = None,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    bufsize: int = -1,
    user: str | int | None = None,
    group_id: str | int | None = None,
    extra_groups: Iterable[str | int] | None = None,
    umask: int = -1,
    rlimits: Mapping[int | str, int | tuple[int, int]] | None = None,
    start_new_session: bool = False,
    process_group: int | None = None,
    sandbox: Sandbox | None = None,
    into: int | None = None,
    into_procs: int | None = None,
    join: Iterable[int] = (),
    self_join: bool = False,
    helper: Helper | None = None,
    timeout: float | None = 30.0,
) -> Process:
    """Start a program in its groups, with the arguments of :class:`subprocess.Popen`.

    Args:
        argv: the program and its arguments.
        leaf: the group that the program has to itself; it is told when the program ends.
        group: what :attr:`Process.group` will be.
        stdin: as subprocess has it: a descriptor, a file, ``PIPE``, ``DEVNULL`` or the caller's own.
        stdout: the same.
        stderr: the same, or ``STDOUT``.
        pass_fds: descriptors that the program gets under their own number.
        cwd: where it runs.
        env: its whole environment; ``None`` is the caller's.
        text: whether pipes carry text.
        encoding: of the pipes; makes them text.
        errors: of the pipes; makes them text.
        bufsize: of the pipes.
        user: the name or id to become.
        group_id: the name or id of the group to become.
        extra_groups: the names or ids of the supplementary groups.
        umask: the file mode mask; -1 is the caller's.
        rlimits: by number or name (``"nofile"``): the limit, or the soft and the hard one.
        start_new_session: call ``setsid``.
        process_group: call ``setpgid`` with it.
        sandbox: what the program sees and may do.
        into: a descriptor of the v2 group to be born in.
        into_procs: one, open for writing, of that group's ``cgroup.procs``, for where `into` is refused.
        join: ones, open for writing, of the ``cgroup.procs`` of v1 groups.
        self_join: use `into_procs` in any case.
        helper: what makes the child; by default the helper that is at work.
        timeout: how long the start may take, in seconds.

    Returns:
        The process. If :attr:`Process.born` is false, it was killed before it became the program.

    Raises:
        SpecError: an argument is nonsense.
        LaunchError: the program could not be started. The leaf's `finish` is not called then.
    """
    encoded = arguments.encode_argv(argv)
    environment = arguments.encode_environment(env)
    root = None if sandbox is None else sandbox.root
    codec = (encoding, errors) if text or encoding or errors else None
    check_modes(bufsize, encoding, errors)
    with ExitStack() as ours, ExitStack() as theirs:
        with launch_step("open the pipes"):
            fds, ends = _streams(_given(sandbox, stdin, stdout, stderr), ours, theirs)
        pipes = [
            None if fd is None else _pipe(fd, mode, bufsize, codec)
            for fd, mode in zip(ends, ("wb", "rb", "rb"), strict=True)
        ]
        ours.pop_all()  # the descriptors are the files' now
        for pipe in pipes:
            if pipe is not None:
                ours.callback(pipe.close)
        request = Spawn(
            argv=encoded,
            executables=arguments.find_executables(encoded[0], dict(environment)),
            env=environment,
            cwd=None if cwd is None else arguments.encode(cwd, "cwd"),
            stdin=fds[0],
            stdout=fds[1],
            stderr=fds[2],
            pass_fds=arguments.parse_fds(pass_fds),
            into=into,
            into_procs=into_procs,
            join=tuple(join),
            self_join=self_join,
            umask=None if umask < 0 else umask,
            rlimits=arguments.parse_rlimits(rlimits or {}),
            start_new_session=start_new_session or (sandbox is not None and sandbox.has_own_session),
            process_group=process_group,
            user=arguments.parse_user(user, root),
            group=arguments.parse_group(group_id, root),
            extra_groups=_groups(arguments.parse_groups(extra_groups, root), sandbox),
            sandbox=sandbox,
            namespaces=tuple(_opened(sandbox, theirs)),
            window=window(0, 1, 2) if sandbox is not None and sandbox.tty else b"",
        )
        process = Process(argv, (helper or client.helper()).spawn(request, timeout=timeout), leaf, group)
        process.stdin, process.stdout, process.stderr = pipes
        _talk(process, stdin, stdout, bufsize, codec)
        ours.pop_all()
    return process


def _opened(sandbox: Sandbox | None, theirs: ExitStack) -> Iterator[tuple[str, int]]:
    """Open the namespaces that are to be joined."""
    for kind, what in () if sandbox is None else sandbox.join:
        if hasattr(what, "fileno"):
            yield kind, what.fileno()
            continue
        path = f"/proc/{what}/ns/{kind}" if isinstance(what, int) else what
        with launch_step(f"join the {kind} namespace"):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        theirs.callback(os.close, fd)
        yield kind, fd


def _groups(given: tuple[int, ...] | None, sandbox: Sandbox | None) -> tuple[int, ...] | None:
    """Leave the caller's supplementary groups behind, where it is not forbidden to leave groups."""
    if given is None and sandbox is not None and sandbox.confined and os.geteuid() == 0:
        return ()
    return given


def _given(sandbox: Sandbox | None, *streams: Stream) -> list[Stream]:
    """Have the program's own terminal, if it has one, for those streams that are no file."""
    own = sandbox is not None and sandbox.tty
    return [TERMINAL if own and (each is None or each == subprocess.PIPE) else each for each in streams]


def _talk(process: Process, stdin: Stream, stdout: Stream, bufsize: int, text: Any) -> None:
    """Open the caller's end of the program's terminal once more for each stream that is to be talked to."""
    if process.terminal is None:
        return
    fd = process.terminal.fileno()
    if stdin == subprocess.PIPE:
        raw = Terminal(os.dup(fd), "wb")
        process.stdin = _as_text(raw if bufsize == 0 else io.BufferedWriter(raw), "wb", bufsize, text)
    if stdout == subprocess.PIPE:
        raw = Terminal(os.dup(fd), "rb")
        process.stdout = _as_text(raw if bufsize == 0 else io.BufferedReader(raw), "rb", bufsize, text)


def _streams(
    streams: Iterable[Stream], ours: ExitStack, theirs: ExitStack
) -> tuple[list[int | None], list[int | None]]:
    """Find the descriptors that become the child's 0, 1 and 2, and open the other ends of the pipes among them."""
    fds: list[int | None] = []
    ends: list[int | None] = [None, None, None]
    for number, wanted in enumerate(streams):
        if wanted == TERMINAL:
            fds.append(TERMINAL)
        elif wanted is None:
            fds.append(number if _is_open(number) else None)
        elif wanted == subprocess.PIPE:
            reading, writing = os.pipe()
            fd, end = (reading, writing) if number == 0 else (writing, reading)
            theirs.callback(os.close, fd)
            ours.callback(os.close, end)
            fds.append(fd)
            ends[number] = end
        elif wanted == subprocess.DEVNULL:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            theirs.callback(os.close, null)
            fds.append(null)
        elif wanted == subprocess.STDOUT:
            if number < len(ends) - 1:
                message = "STDOUT is for stderr only"
                raise SpecError(message)
            fds.append(fds[1])
        else:
            fds.append(wanted if isinstance(wanted, int) else wanted.fileno())
    return fds, ends


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def check_modes(bufsize: int, encoding: str | None, errors: str | None) -> None:
    """Refuse what could not be made into a file once the pipes are open."""
    if bufsize < -1:
        message = f"bufsize is {bufsize}; it is a number of bytes, 0, 1 for lines, or -1"
        raise SpecError(message)
    try:
        codecs.lookup(encoding or "utf-8")
        codecs.lookup_error(errors or "strict")
    except LookupError as error:
        raise SpecError(str(error)) from None


def _pipe(fd: int, mode: str, bufsize: int, text: tuple[str | None, str | None] | None) -> IO[Any]:
    """Make a file of our end of a pipe; `text` is its encoding and its way with errors."""
    # Line buffering is a matter of text: the bytes below are buffered as usual.
    pipe: IO[Any] = open(fd, mode, -1 if bufsize == 1 else bufsize)  # noqa: SIM115 - Process closes it
    return _as_text(pipe, mode, bufsize, text)


def _as_text(pipe: IO[Any], mode: str, bufsize: int, text: tuple[str | None, str | None] | None) -> IO[Any]:
    if text is None:
        return pipe
    encoding, errors = text
    writes = mode == "wb"
    return io.TextIOWrapper(
        pipe, encoding=encoding, errors=errors, line_buffering=writes and bufsize == 1, write_through=writes
    )
