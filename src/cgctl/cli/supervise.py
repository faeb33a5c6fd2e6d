"""Waiting for a command: its time, and the signals that are sent to cgctl meanwhile."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from cgctl.launch.process import Process
from cgctl.launch.terminal import copy_window, relayed

__all__ = ["Signals", "supervise"]

_TO_FORWARD: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_CAUGHT: Final = (*_TO_FORWARD, signal.SIGWINCH)
_FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT)
_LONGEST_POLL_MSEC: Final = 1 << 30


class Signals:
    """The signals that were sent to cgctl since :func:`catch`, to be read from a pipe.

    Nothing is done in a signal handler: the one who waits reads them where nothing is half done.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def fileno(self) -> int:
        """Give the descriptor that is readable when there are any."""
        return self._pipe

    def read(self) -> list[int]:
        """Take those that have come."""
        with suppress(BlockingIOError):
            return [number for number in os.read(self._pipe, 256) if number in _CAUGHT]
        return []

    @classmethod
    @contextmanager
    def caught(cls) -> Iterator[Signals]:
        """Catch them in this block, those that are ignored excepted."""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        before = {number: signal.getsignal(number) for number in _CAUGHT}
        wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            for number, handler in before.items():
                if handler is not signal.SIG_IGN:
                    signal.signal(number, _noted)
            yield cls(reading)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            os.close(reading)
            os.close(writing)


def _noted(number: int, frame: Any) -> None:
    """Do nothing: the number is in the pipe by now."""


def supervise(
    process: Process, signals: Signals, timeout: float | None, grace: float, *, on_terminal: bool = True
) -> bool:
    """Wait for a command's end, forward signals to it, and end it when its time is over.

    If it has a terminal of its own, cgctl's is handed through to it, and so is each new size of the window.

    Args:
        process: the command.
        signals: those that are sent to cgctl.
        timeout: its time, in seconds.
        grace: how long it has to end after SIGTERM, before it and all that it started is killed.
        on_terminal: whether the command gets by itself what is typed on cgctl's terminal.

    Returns:
        Whether its time was over.
    """
    if process.terminal is not None:
        with relayed(process.terminal.fileno()):
            return _supervise(process, signals, timeout, grace, on_terminal=False)
    return _supervise(process, signals, timeout, grace, on_terminal=on_terminal)


def _supervise(process: Process, signals: Signals, timeout: float | None, grace: float, *, on_terminal: bool) -> bool:
    timed_out = False
    deadline = None if timeout is None else time.monotonic() + timeout
    last: float | None = None
    while process.poll() is None:
        ends = [moment for moment in (deadline, last) if moment is not None]
        _wait(process, signals, min(ends) if ends else None)
        for number in signals.read():
            if number == signal.SIGWINCH:
                if process.terminal is not None:
                    copy_window(0, process.terminal.fileno())
                continue
            if number not in _FROM_TERMINAL or not on_terminal or not _in_foreground():
                process.send_signal(number)
            if number == signal.SIGTERM and last is None:
                last = time.monotonic() + grace
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            deadline, timed_out = None, process.poll() is None
            if timed_out and grace:
                process.terminate()
            last = now + grace if last is None else last
        if last is not None and now >= last:
            process.kill()
            process.wait()
    return timed_out


def _wait(process: Process, signals: Signals, moment: float | None) -> None:
    poll = select.poll()
    poll.register(process.fileno(), select.POLLIN)
    poll.register(signals.fileno(), select.POLLIN)
    left = None if moment is None else max(0.0, moment - time.monotonic())
    # In whole milliseconds: to round down would be to wake too early, and to spin.
    poll.poll(None if left is None else min(int(left * 1000) + 1, _LONGEST_POLL_MSEC))


def _in_foreground() -> bool:
    """Tell whether ^C on the terminal goes to cgctl, and so to the command too, which is in the same process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
