"""A program in memory, as who started it sees it: :class:`cgctl.Process`, on the virtual clock."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import IO, Any

from cgctl.errors import TimeoutExpired, UnsupportedError
from cgctl.fake import ProgramTask
from cgctl.launch.process import Leaf, Process

__all__ = ["MemoryProcess", "Pipe"]

_NSEC = 1_000_000_000


class Pipe:
    """Bytes on their way; there is room for all.

    Attributes:
        held: what was written and not read yet.
        closed: whether no more will be written.
    """

    def __init__(self) -> None:
        self.held = bytearray()
        self.closed = False

    def take(self, most: int = -1) -> bytes:
        """Read what is there."""
        size = len(self.held) if most < 0 else most
        data = bytes(self.held[:size])
        del self.held[:size]
        return data


class Reader(io.RawIOBase):
    """Our end of an output pipe: reading it lets time pass until something was written, or its writer has ended."""

    def __init__(self, pipe: Pipe, process: MemoryProcess) -> None:
        super().__init__()
        self._pipe = pipe
        self._process = process

    def readable(self) -> bool:
        """Tell that it is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, at least a byte; 0 is the end."""
        if not self._pipe.held:
            self._process.advance_until(lambda: bool(self._pipe.held), None)
        data = self._pipe.take(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Writer(io.RawIOBase):
    """Our end of the input pipe: the program begins when all is written."""

    def __init__(self, pipe: Pipe, process: MemoryProcess) -> None:
        super().__init__()
        self._pipe = pipe
        self._process = process

    def writable(self) -> bool:
        """Tell that it is for writing."""
        return True

    def write(self, data: Any) -> int:
        """Write.

        Raises:
            BrokenPipeError: the program has begun, and what it was given to read was all.
        """
        if self._pipe.closed:
            raise BrokenPipeError
        self._pipe.held += data
        return len(data)

    def close(self) -> None:
        """Say that this was all, and let the program begin."""
        if not self.closed:
            super().close()
            self._process.begin()


class MemoryProcess(Process):
    """A program that runs in memory."""

    def __init__(self, args: Any, task: ProgramTask, leaf: Leaf, group: Any, pipes: tuple[Pipe | None, ...]) -> None:
        # Nothing of the kernel's stands for it, so what the class above does with that is all done here.
        self.args = args
        self.pid = task.pid
        self.group = group
        self.born = True
        self.terminal = None
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self.returncode: int | None = None
        self._tree = leaf
        self._leaf: Leaf | None = leaf
        self._task = task
        self._kernel = task.kernel
        self._pipes = pipes
        self._begun = self._sent = False

    def fileno(self) -> int:
        """Refuse: there is no pidfd.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("the pidfd of a program in memory", "it is no process of this machine; use wait()")

    def begin(self) -> None:
        """Let the program begin, if it has not: all that it reads was written."""
        if self._begun:
            return
        self._begun = True
        if (pipe := self._pipes[0]) is not None:
            pipe.closed = True
        self._kernel.programs.start(self._task)

    def advance_until(self, happened: Any, timeout: float | None) -> bool:
        """Let time pass until something has happened or the program has ended; false if that was not in time."""
        self.begin()
        return self._kernel.advance_until(lambda: happened() or not self._task.alive, timeout)

    def poll(self) -> int | None:
        """Look whether it has ended; no time passes by that."""
        self.begin()
        if self._task.alive:
            return None
        self._settle_once()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Let time pass until it has ended, and what it left behind is gone.

        Raises:
            TimeoutExpired: it still runs after that much of the virtual time.
            RuntimeError: it would run for ever, as nothing is to happen in memory by which it could go on.
        """
        if not self.advance_until(lambda: False, timeout):
            if timeout is None:
                msg = (
                    f"{self!r} would be waited for for ever: it is {self._task.state}, and nothing that is to happen on"
                    " the machine in memory lets it go on; thaw or kill it first, or give a timeout"
                )
                raise RuntimeError(msg)
            raise TimeoutExpired(self.args, timeout)
        self._settle_once()
        assert self.returncode is not None  # noqa: S101 - it has ended
        return self.returncode

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Send `input`, let time pass until it has ended, and read what it wrote.

        Raises:
            TimeoutExpired: it still runs after that much of the virtual time.
            ValueError: `input` was given again, or there is no pipe for it.
        """
        if input and self._sent:
            msg = "cannot send input after starting communication"
            raise ValueError(msg)
        self._sent = True
        if input:
            if self.stdin is None:
                msg = "there is no pipe to send the input to: pass stdin=PIPE"
                raise ValueError(msg)
            with suppress(BrokenPipeError):
                self.stdin.write(input)
        if self.stdin is not None:
            with suppress(BrokenPipeError):
                self.stdin.close()
        try:
            self.wait(timeout)
        except TimeoutExpired:
            held = [None if pipe is None else bytes(pipe.held) for pipe in self._pipes[1:]]
            raise TimeoutExpired(self.args, timeout or 0.0, *held) from None
        return self._rest(self.stdout), self._rest(self.stderr)

    @staticmethod
    def _rest(pipe: IO[Any] | None) -> Any:
        if pipe is None:
            return None
        data = pipe.read()
        pipe.close()
        return data

    def send_signal(self, sig: int) -> None:
        """Send a signal to it alone; to one that has ended, nothing."""
        with suppress(ProcessLookupError):
            self._kernel.signal(self.pid, sig)

    def kill(self) -> None:
        """Kill the whole process tree."""
        leaf = self._leaf
        if leaf is not None:
            try:
                leaf.kill()
            finally:
                self.send_signal(signal.SIGKILL)

    @contextmanager
    def watched(self) -> Iterator[int | None]:
        """Lend nothing: there is no pidfd."""
        yield None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for pipe in (self.stdout, self.stderr, self.stdin):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.kill()
        self.wait()

    def __del__(self, warn: Any = None) -> None:
        """Leave it: it is gone with its machine."""

    def _settle_once(self) -> None:
        """Take the exit status, then let the leaf finish: once, whichever thread comes first."""
        with self._kernel.mutex:
            leaf, self._leaf = self._leaf, None
            if leaf is None:
                return
            self.returncode = self._task.status
            self._kernel.processes.reap(self._kernel.caller, self._task)
        leaf.finish()
