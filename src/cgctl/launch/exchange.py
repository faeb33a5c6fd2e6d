"""Talking to a program over its pipes until they end, across timeouts."""

from __future__ import annotations

import io
import os
import select
import selectors
from contextlib import AbstractContextManager, suppress
from typing import IO, Any, Protocol

from cgctl.errors import TimeoutExpired
from cgctl.launch.children import Deadline
from cgctl.launch.terminal import read

__all__ = ["Exchange"]


class Talker(Protocol):
    """What is asked of a program to talk with it."""

    args: Any
    stdin: IO[Any] | None
    stdout: IO[Any] | None
    stderr: IO[Any] | None

    def watched(self) -> AbstractContextManager[int | None]:
        """Lend a pidfd that no other thread closes; ``None`` if there is no process any more."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""


class Exchange:
    """What :meth:`Process.communicate` has sent and read; it outlives a timeout."""

    def __init__(self, process: Talker, input: Any) -> None:
        self._process = process
        self._input = memoryview(_as_bytes(process.stdin, input))
        self._read: dict[IO[Any], list[bytes]] = {
            pipe: [] for pipe in (process.stdout, process.stderr) if pipe is not None
        }
        if process.stdin is not None and not process.stdin.closed:
            with suppress(BrokenPipeError):
                process.stdin.flush()
            if not self._input:
                self._close_input()

    def run(self, deadline: Deadline) -> None:
        """Exchange until the pipes are at their end.

        Raises:
            TimeoutExpired: the time is over before.
        """
        pipes: set[Any] = {pipe for pipe in (self._process.stdin, *self._read) if pipe and not pipe.closed}
        if not pipes:
            return
        with selectors.DefaultSelector() as selector, self._process.watched() as pidfd:
            for pipe in pipes:
                selector.register(pipe, selectors.EVENT_WRITE if pipe is self._process.stdin else selectors.EVENT_READ)
            if pidfd is not None:
                selector.register(pidfd, selectors.EVENT_READ)
            while pipes:
                ready = [key.fileobj for key, _ in selector.select(deadline.left())]
                if not ready and deadline.left() == 0.0:
                    raise TimeoutExpired(self._process.args, 0.0)
                for each in ready:
                    if each in pipes and self._step(each):
                        continue
                    selector.unregister(each)
                    if each in pipes:
                        pipes.remove(each)
                        each.close()  # type: ignore[union-attr]
                    else:
                        # What it left behind may hold the pipes open: that goes now.
                        self._process.wait()

    def _step(self, pipe: Any) -> bool:
        """Write or read once; false if that was the last time."""
        fd = pipe.fileno()
        if pipe is self._process.stdin:
            try:
                # So much can be written without blocking when a pipe says that it is ready.
                sent = os.write(fd, self._input[: select.PIPE_BUF])
            except BrokenPipeError:
                return False
            self._input = self._input[sent:]
            return bool(self._input)
        data = read(fd)
        self._read[pipe].append(data)
        return bool(data)

    def _close_input(self) -> None:
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def so_far(self) -> tuple[bytes | None, bytes | None]:
        """Give the bytes read until now."""
        return self._joined(self._process.stdout), self._joined(self._process.stderr)

    def result(self) -> tuple[Any, Any]:
        """Give all that was read, as text in text mode."""
        return self._decoded(self._process.stdout), self._decoded(self._process.stderr)

    def _joined(self, pipe: IO[Any] | None) -> bytes | None:
        return None if pipe is None else b"".join(self._read[pipe])

    def _decoded(self, pipe: IO[Any] | None) -> Any:
        data = self._joined(pipe)
        if data is None or not isinstance(pipe, io.TextIOWrapper):
            return data
        return data.decode(pipe.encoding, pipe.errors or "strict").replace("\r\n", "\n").replace("\r", "\n")


def _as_bytes(pipe: IO[Any] | None, input: Any) -> bytes | memoryview:
    if not input:
        return b""
    if pipe is None:
        message = "there is no pipe to send the input to: pass stdin=PIPE"
        raise ValueError(message)
    if isinstance(pipe, io.TextIOWrapper):
        return bytes(input.encode(pipe.encoding, pipe.errors or "strict"))
    return memoryview(input).cast("B")


# --- starting one ---------------------------------------------------------------------------------------------------
