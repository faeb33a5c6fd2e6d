"""Starting programs on a machine in memory: Python callables, by themselves or under a name."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from errno import EAGAIN, ENOENT
from subprocess import DEVNULL, PIPE, STDOUT
from typing import IO, Any, Final

import attrs

from cgctl.errors import LaunchError, SpecError, UnsupportedError
from cgctl.fake import FakeKernel, Program, ProgramTask
from cgctl.fake.program import Streams
from cgctl.launch.arguments import encode, encode_argv, encode_environment
from cgctl.launch.process import Process
from cgctl.launch.sandbox import Sandbox
from cgctl.launch.spawn import CLONE3_HINTS, hint
from cgctl.launch.start import check_modes
from cgctl.leaf import Leaf
from cgctl.testing.process import MemoryProcess, Pipe, Reader, Writer

__all__ = ["MemoryLauncher"]

_TAKEN: Final = frozenset(
    {"bufsize", "cwd", "encoding", "env", "errors", "sandbox", "stderr", "stdin", "stdout", "text", "timeout"}
)
_SANDBOX: Final = frozenset({"hostname"})


@attrs.frozen
class MemoryLauncher:
    """The launcher of a machine in memory.

    Attributes:
        kernel: its kernel.
        programs: name → what runs under it.
    """

    kernel: FakeKernel
    programs: Mapping[str, Program]

    def vet(self, program: Any, keywords: dict[str, Any]) -> None:
        """Refuse what a program in memory cannot have.

        Raises:
            UnsupportedError: it is one of the keywords for it.
        """
        del program
        for name, value in keywords.items():
            if name not in _TAKEN and not _asks_nothing(name, value):
                raise _not_in_memory(name)
        sandbox = keywords.get("sandbox") or Sandbox()
        for field in attrs.fields(Sandbox):
            if field.name not in _SANDBOX and getattr(sandbox, field.name) != getattr(Sandbox(), field.name):
                raise _not_in_memory(field.name)

    def start(self, program: Any, leaf: Leaf, keywords: dict[str, Any]) -> Process:
        """Start a program in its leaf; it begins at once, or when all that it reads from a pipe was written."""
        run, args = self._find(program)
        given = _Given(**{name: keywords[name] for name in attrs.fields_dict(_Given) if name in keywords})
        pipes = given.pipes()
        task = self._born(run, leaf, given.streams(pipes))
        task.args, task.cwd, task.env = args, given.directory(), given.environment()
        task.hostname = (keywords.get("sandbox") or Sandbox()).hostname
        process = MemoryProcess(program, task, leaf, leaf.group, pipes)
        process.stdin, process.stdout, process.stderr = given.ends(pipes, process)
        if pipes[0] is None:
            process.begin()
        return process

    def _find(self, program: Any) -> tuple[Program, tuple[str, ...]]:
        if callable(program):
            return program, (getattr(program, "__name__", None) or type(program).__name__,)
        args = tuple(os.fsdecode(word) for word in encode_argv(program))
        found = self.programs.get(args[0])
        if found is None:
            known = ", ".join(self.programs) or "none"
            why = f"{hint('exec', ENOENT, args[0])}; on a machine in memory, those in system.programs are ({known})"
            raise LaunchError("exec", ENOENT, filename=args[0], hint=why)
        return found, args

    def _born(self, run: Program, leaf: Leaf, streams: Streams) -> ProgramTask:
        """Make its process: where the caller is, but for where the leaf is, or the nearest group above it."""
        try:
            return self.kernel.start(run, leaf.place.address.nearest().values(), streams)
        except OSError as error:
            number = error.errno or EAGAIN
            raise LaunchError("clone3", number, filename=error.filename, hint=CLONE3_HINTS.get(number, "")) from error


@attrs.frozen(kw_only=True)
class _Given:
    """What was said of its streams and surroundings, as for :class:`subprocess.Popen`."""

    stdin: Any = None
    stdout: Any = None
    stderr: Any = None
    cwd: Any = None
    env: Mapping[Any, Any] | None = None
    text: bool | None = None
    encoding: str | None = None
    errors: str | None = None
    bufsize: int = -1

    def __attrs_post_init__(self) -> None:
        check_modes(self.bufsize, self.encoding, self.errors)
        if STDOUT in (self.stdin, self.stdout):
            raise SpecError("STDOUT is for stderr only")

    def directory(self) -> str:
        """Return where it is started; it need not be there, as a program in memory has no files."""
        return os.getcwd() if self.cwd is None else os.fsdecode(encode(self.cwd, "cwd"))

    def environment(self) -> dict[str, str]:
        """Return its environment."""
        return {os.fsdecode(name): os.fsdecode(value) for name, value in encode_environment(self.env)}

    def pipes(self) -> tuple[Pipe | None, ...]:
        """Make the pipes."""
        return tuple(Pipe() if wanted == PIPE else None for wanted in (self.stdin, self.stdout, self.stderr))

    def streams(self, pipes: Sequence[Pipe | None]) -> Streams:
        """Return what the program reads and writes."""
        out = _sink(self.stdout, pipes[1], lambda: sys.stdout)
        err = out if self.stderr == STDOUT else _sink(self.stderr, pipes[2], lambda: sys.stderr)
        return Streams(_source(self.stdin, pipes[0]), out, err)

    def ends(self, pipes: Sequence[Pipe | None], process: MemoryProcess) -> list[IO[Any] | None]:
        """Return our ends of the pipes, as files."""
        return [
            None if pipe is None else self._file(Writer(pipe, process) if number == 0 else Reader(pipe, process))
            for number, pipe in enumerate(pipes)
        ]

    def _file(self, raw: io.RawIOBase) -> IO[Any]:
        size = io.DEFAULT_BUFFER_SIZE if self.bufsize in {-1, 1} else self.bufsize
        file: Any = raw
        if size:
            file = io.BufferedWriter(raw, size) if raw.writable() else io.BufferedReader(raw, size)
        if not (self.text or self.encoding or self.errors):
            return file  # type: ignore[no-any-return]
        lines = raw.writable() and self.bufsize == 1
        return io.TextIOWrapper(
            file, encoding=self.encoding, errors=self.errors, line_buffering=lines, write_through=raw.writable()
        )


def _source(wanted: Any, pipe: Pipe | None) -> Callable[[], bytes]:
    if pipe is not None:
        return pipe.take
    return bytes if wanted == DEVNULL else lambda: _read(0 if wanted is None else wanted)


def _read(wanted: Any) -> bytes:
    if isinstance(wanted, int):
        chunks = []
        while data := os.read(wanted, io.DEFAULT_BUFFER_SIZE):
            chunks.append(data)
        return b"".join(chunks)
    text: Any = wanted.read()
    return text.encode() if isinstance(text, str) else bytes(text)


def _sink(wanted: Any, pipe: Pipe | None, own: Callable[[], IO[Any]]) -> Callable[[bytes], None]:
    """Return what takes the output: a pipe, nothing, a file, or (looked up at each time) the caller's own stream."""
    if pipe is not None:
        return pipe.held.extend
    if wanted == DEVNULL:
        return _drop
    if isinstance(wanted, int):
        return lambda data: _write_all(wanted, data)
    return lambda data: _write(own() if wanted is None else wanted, data)


def _drop(data: bytes) -> None:
    del data


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _write(file: Any, data: bytes) -> None:
    """Write to a file of bytes or of text, at once."""
    below = getattr(file, "buffer", None) if isinstance(file, io.TextIOBase) else file
    if below is None:
        file.write(data.decode(errors="replace"))
    else:
        file.flush()
        below.write(data)
    file.flush()


def _asks_nothing(name: str, value: Any) -> bool:
    """Tell whether a keyword has the value that it has when it is not given."""
    return value is None or value is False or value in {"umask": (-1,)}.get(name, ((), {}, []))


def _not_in_memory(name: str) -> UnsupportedError:
    reason = (
        "it is a Python function, and has no files, users, namespaces or descriptors of its own that this could"
        " change; leave it out on a machine in memory"
    )
    return UnsupportedError(f"{name}= of a program in memory", reason)
