"""Signals: what is done with each, and when (``kernel/signal.c``).

One that is to end a process does so at once, also where v2 has frozen it; where v1 has, the first such one does when it
is thawed, and what comes after that is dropped. One that is caught, or would leave a core, waits for the thaw; on v1
so does all but ``SIGKILL`` that comes after it, and the lowest of them arrives first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from cgctl.errors import SpecError
from cgctl.fake.task import SIGKILL

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.task import Task

__all__ = ["Handler", "Signals"]

Handler: TypeAlias = "Callable[[int], object] | int | None"
"""What is called with a signal's number; or ``SIG_IGN``; or ``SIG_DFL``, as ``None``."""

# By Linux's numbers, whatever the system is that this runs on.
_SIGSTOP: Final = 19
_SIGCONT: Final = 18
_UNNOTICED: Final = frozenset({17, _SIGCONT, 23, 28})  # CHLD, CONT, URG, WINCH
_STOPPING: Final = frozenset({_SIGSTOP, 20, 21, 22})  # STOP, TSTP, TTIN, TTOU
_WITH_CORE: Final = frozenset({3, 4, 5, 6, 7, 8, 11, 24, 25, 31})
_HIGHEST: Final = 64
_DEFAULT, _IGNORED = 0, 1  # SIG_DFL and SIG_IGN


class Signals:
    """The signals of the processes of one kernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._handlers: dict[Task, dict[int, Callable[[int], object] | int]] = {}
        self._waiting: dict[Task, list[int]] = {}
        self._dying: dict[Task, int] = {}
        self._stopped: set[Task] = set()

    def handle(self, task: Task, number: int, handler: Handler) -> None:
        """Say what a process does with a signal.

        Raises:
            SpecError: there is no such signal, or nobody can catch it.
        """
        if not 0 < number <= _HIGHEST or number in {SIGKILL, _SIGSTOP}:
            msg = f"on_signal({number}): no signal that can be caught"
            raise SpecError(msg)
        with self._kernel.mutex:
            handlers = self._handlers.setdefault(task, {})
            if handler is None or handler == _DEFAULT:
                handlers.pop(number, None)
            else:
                handlers[number] = handler

    def inherited(self, parent: Task, child: Task) -> None:
        """Have a child ignore what its parent does; what that catches is not for it, as it does other things."""
        ignored: dict[int, Callable[[int], object] | int] = {
            n: each for n, each in self._handlers.get(parent, {}).items() if each == _IGNORED
        }
        if ignored:
            self._handlers[child] = ignored

    def forget(self, task: Task) -> None:
        """Forget a process that has ended."""
        for kept in (self._handlers, self._waiting, self._dying):
            kept.pop(task, None)
        self._stopped.discard(task)

    def is_stopped(self, task: Task) -> bool:
        """Tell whether a process was stopped, and not told to continue."""
        return task in self._stopped

    def send(self, task: Task, number: int) -> None:
        """Signal a process that has not ended."""
        if task in self._dying:
            return
        if number == _SIGCONT:
            self._stopped.discard(task)
        handler = None if number in {SIGKILL, _SIGSTOP} else self._handlers.get(task, {}).get(number)
        if handler is None and number in _STOPPING:
            self._stopped.add(task)
        elif number == SIGKILL or not (handler or number in _UNNOTICED | _WITH_CORE or self._waits_v1(task)):
            self._dying[task] = number
        elif handler != _IGNORED and (handler or number not in _UNNOTICED):
            waiting = self._waiting.setdefault(task, [])
            if number not in waiting:
                waiting.append(number)
        self.arrive()

    def _waits_v1(self, task: Task) -> bool:
        return task in self._waiting and self._kernel.processes.is_frozen_v1(task)

    def arrive(self) -> None:
        """Have signals arrive at those who are not held up any more."""
        processes = self._kernel.processes
        for task, number in list(self._dying.items()):
            if not processes.is_frozen_v1(task):
                processes.end(task, -number)
        for task in list(self._waiting):
            while task in self._waiting and not processes.is_halted(task.threads[0]):
                self._act(task)

    def _act(self, task: Task) -> None:
        waiting = self._waiting[task]
        number = min(waiting)
        waiting.remove(number)
        if not waiting:
            del self._waiting[task]
        handler = self._handlers.get(task, {}).get(number)
        if handler is None:
            self._kernel.processes.end(task, -number)
        elif not isinstance(handler, int):
            task.interrupt(handler, number)
