"""A running program: what :class:`subprocess.Popen` is, for a process tree that has a group of its own."""

from __future__ import annotations

import errno
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import IO, Any, Protocol, Self, cast

from cgctl.errors import TimeoutExpired
from cgctl.launch.arguments import Argument
from cgctl.launch.children import Deadline, abandon, reap
from cgctl.launch.exchange import Exchange
from cgctl.launch.spawn import Spawned
from cgctl.launch.terminal import Terminal

__all__ = ["Leaf", "Process"]

_INTERRUPTED_SEC = 0.25


class Leaf(Protocol):
    """The group that one process tree has to itself.

    Attributes:
        stats: the final statistics, once it has finished.
        oom_killed: whether the kernel killed any of its processes at a memory limit.
    """

    stats: Any
    oom_killed: bool

    def kill(self) -> None:
        """Send SIGKILL to the whole tree; it may be that :meth:`finish` is under way in another thread."""

    def finish(self) -> None:
        """Kill what the payload left behind, read the final statistics, and remove the group.

        Called exactly once, right after the payload was reaped and before :meth:`Process.wait` returns.
        """


class Process:
    """A program that runs in a group; :func:`popen` makes these.

    Attributes:
        args: the arguments, as they were given.
        pid: the process id of the payload.
        group: the group that it runs in.
        born: false if it was killed before it became the program.
        terminal: the other end of the terminal of its own, if it has one: what it writes there, and is typed there.
        stdin: the end of its input pipe, if there is one.
        stdout: the end of its output pipe, if there is one.
        stderr: the end of its error pipe, if there is one.
        returncode: its exit status, negative for a signal; ``None`` while it is not known.
    """

    def __init__(self, args: Sequence[Argument], spawned: Spawned, leaf: Leaf, group: Any) -> None:
        self.args = args
        self.pid = spawned.pid
        self.group = group
        self.born = spawned.born
        self.terminal: Terminal | None = None
        if spawned.terminal is not None:
            self.terminal = Terminal(spawned.terminal, "r+b")
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self.returncode: int | None = None
        self._owner = os.getpid()
        self._tree = leaf
        self._leaf: Leaf | None = leaf
        self._pidfd = spawned.pidfd
        self._status = spawned.status
        self._pidfd_lock = threading.Lock()
        self._settling = threading.Lock()
        self._exchange: Exchange | None = None
        if not self.born:
            self._reap(block=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: pid: {self.pid} returncode: {self.returncode} args: {self.args!r}>"

    def fileno(self) -> int:
        """Give the pidfd: it is readable once the payload has ended. It is closed when the exit status was read.

        Raises:
            ValueError: it is closed.
        """
        if not self._open:
            message = "the pidfd is closed: the process has been waited for"
            raise ValueError(message)
        return self._pidfd

    @property
    def stats(self) -> Any:
        """The final statistics of its group, a :class:`cgctl.Stats`; empty until it was waited for."""
        return self._tree.stats

    @property
    def oom_killed(self) -> bool:
        """Whether the kernel killed any of its processes at a memory limit; false until it was waited for."""
        return self._tree.oom_killed

    def poll(self) -> int | None:
        """Look whether the payload has ended, and if so give its exit status."""
        if self._open and self._is_ours() and self._settling.acquire(blocking=False):
            try:
                self._settle(block=False)
            finally:
                self._settling.release()
        return None if self._open else self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the payload's end, and for what it left behind to be gone.

        Args:
            timeout: how many seconds to wait; ``None`` is for ever.

        Returns:
            The exit status, negative for a signal.

        Raises:
            TimeoutExpired: it still runs.
            ChildProcessError: this is a forked process, and not the one that started the program.
        """
        if self._open and not self._is_ours():
            raise ChildProcessError(errno.ECHILD, f"process {self.pid} was started by another process, {self._owner}")
        deadline = Deadline(timeout)
        with self.watched() as pidfd:
            ended = pidfd is None or deadline.wait(pidfd)
        left = deadline.left()
        if not ended or not self._settling.acquire(timeout=-1 if left is None else min(left, threading.TIMEOUT_MAX)):
            raise TimeoutExpired(self.args, timeout or 0.0)
        try:
            self._settle(block=True)
        finally:
            self._settling.release()
        return cast("int", self.returncode)

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Send `input`, read what the program writes, and wait for it, as subprocess does.

        What it leaves behind is killed when the payload ends, so a background process that holds a pipe open does not
        keep this waiting.

        Args:
            input: bytes, or a string in text mode.
            timeout: how many seconds to wait; what was read until then is given by the next call.

        Returns:
            What it wrote to its two pipes; ``None`` where there is no pipe.

        Raises:
            TimeoutExpired: it still runs.
            ValueError: `input` was given again.
        """
        if self._exchange is None:
            self._exchange = Exchange(self, input)
        elif input:
            message = "cannot send input after starting communication"
            raise ValueError(message)
        deadline = Deadline(timeout)
        try:
            self._exchange.run(deadline)
            self.wait(deadline.left())
        except TimeoutExpired:
            raise TimeoutExpired(self.args, timeout or 0.0, *self._exchange.so_far()) from None
        return self._exchange.result()

    def send_signal(self, sig: int) -> None:
        """Send a signal to the payload alone; to one that has ended, nothing."""
        with self.watched() as pidfd, suppress(ProcessLookupError):
            if pidfd is not None:
                signal.pidfd_send_signal(pidfd, sig)

    def terminate(self) -> None:
        """Send SIGTERM to the payload."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the whole process tree."""
        leaf = self._leaf
        if leaf is None or not self._is_ours():
            return
        try:
            leaf.kill()
        finally:
            self.send_signal(signal.SIGKILL)

    def discard(self) -> None:
        """Forget a payload that was killed before it was born, and leave its group as it is for another try."""
        self._leaf = None
        self._close_pipes()
        self._close_pidfd()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._close_pipes()
        finally:
            if self._is_ours():
                if kind is not None and issubclass(kind, KeyboardInterrupt):
                    # The payload has had the ^C too, and a moment to end by itself.
                    with suppress(TimeoutExpired):
                        self.wait(_INTERRUPTED_SEC)
                    self.kill()
                self.wait()

    def __del__(self, warn: Any = warnings.warn) -> None:
        if getattr(self, "_pidfd", -1) < 0:
            return
        if self._is_ours() and self.returncode is None and reap(self._pidfd, block=False) is None:
            warn(f"process {self.pid} is still running", ResourceWarning, source=self)
            abandon(self._pidfd, kill=False)
        else:
            os.close(self._pidfd)

    def _is_ours(self) -> bool:
        return self._owner == os.getpid()

    @property
    def _open(self) -> bool:
        return self._pidfd >= 0

    @contextmanager
    def watched(self) -> Iterator[int | None]:
        """Lend a pidfd that no other thread closes; ``None`` if there is no process any more."""
        with self._pidfd_lock:
            pidfd = os.dup(self._pidfd) if self._open else None
        try:
            yield pidfd
        finally:
            if pidfd is not None:
                os.close(pidfd)

    def _settle(self, *, block: bool) -> None:
        """Reap the payload, then let the leaf finish: once, whichever thread comes first."""
        if not self._open:
            return
        if self.returncode is None:
            self._reap(block=block)
        if self.returncode is None:
            return
        leaf, self._leaf = self._leaf, None
        try:
            if leaf is not None:
                leaf.finish()
        finally:
            self._close_pidfd()

    def _reap(self, *, block: bool) -> None:
        """Collect the exit status: with an init, the one that it told of the program, if it lived long enough."""
        status = reap(self._pidfd, block=block)
        if status is None:
            return
        if self._status is not None:
            told = os.read(self._status, 16)
            os.close(self._status)
            self._status = None
            status = int(told) if told else status
        self.returncode = status

    def _close_pidfd(self) -> None:
        with self._pidfd_lock:
            if self._open:
                os.close(self._pidfd)
                self._pidfd = -1

    def _close_pipes(self) -> None:
        for pipe in (self.terminal, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()
        if self.stdin is not None:
            with suppress(BrokenPipeError):
                self.stdin.close()
