"""Programs in memory: Python callables that run as processes, and what they see.

A plain function takes no time: it runs at once, from its beginning to its end. One that takes time is a generator: what
it yields is what it waits for, on the virtual clock, and others go on meanwhile. Whoever is killed stops where it is.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from cgctl.fake.task import Task
from cgctl.units import parse_duration

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.tree import Group, Tree

__all__ = ["Program", "ProgramTask", "Programs", "Streams"]

Program: TypeAlias = "Callable[[ProgramTask], int | Iterator[Any] | None]"
"""What runs as a process: it is given the process, and returns its exit status; ``None`` is 0."""

_NSEC: Final = 1_000
_LEAST_USEC: Final = 1
_MOST_STATUS: Final = 255
_FAILED: Final = 1


class _EndedError(BaseException):
    """The process of a program has ended while it was doing something: it goes no further."""


@attrs.frozen
class Streams:
    """Where a program's input comes from, and where its output goes.

    Attributes:
        read: returns all that there is to read; called when the program first looks at its input.
        out: takes what it writes.
        err: the same, of its standard error.
    """

    read: Callable[[], bytes]
    out: Callable[[bytes], None]
    err: Callable[[bytes], None]


class ProgramTask(Task):
    """A process that runs a program, which is given it.

    Attributes:
        args: its argument list; of a callable, its name alone.
        env: its environment.
        cwd: where it was started.
        hostname: what it sees as the machine's name; ``None`` is the machine's own.
        stdout: where it writes text; bytes go to ``stdout.buffer``.
        stderr: the same.
    """

    __slots__ = (
        *("_program", "_stdin", "_steps", "_streams", "_thrown", "_waits"),
        *("args", "cwd", "env", "hostname", "stderr", "stdout"),
    )

    def __init__(
        self, kernel: FakeKernel, pid: int, parent: Task | None, groups: dict[Tree, Group], started: int
    ) -> None:
        super().__init__(kernel, pid, parent, groups, started)
        self.args: Sequence[str] = ()
        self.env: Mapping[str, str] = {}
        self.cwd = "/"
        self.hostname: str | None = None
        self._program: Program | None = None
        self._steps: Generator[Any, Any, int | None] | None = None
        self._waits: Any = None
        self._thrown: BaseException | None = None
        self._stdin: io.TextIOWrapper | None = None

    @property
    def stdin(self) -> io.TextIOWrapper:
        """What it is given to read, as text; as bytes it is ``stdin.buffer``."""
        if self._stdin is None:
            self._stdin = _text(io.BytesIO(self._streams.read()))
        return self._stdin

    def load(self, program: Program, streams: Streams) -> None:
        """Make it the process of a program, which is yet to begin."""
        self._program, self._streams = program, streams
        self.stdout, self.stderr = _text(_Out(self, streams.out)), _text(_Out(self, streams.err))

    # --- what a program does ----------------------------------------------------------------------------------------

    def print(self, *values: object, sep: str = " ", end: str = "\n") -> None:
        """Write to standard output, as :func:`print` does."""
        print(*values, sep=sep, end=end, file=self.stdout)

    def fork(self, program: Program | None = None) -> Task:
        """Start a child in the same groups.

        Args:
            program: what it runs; without, it does only what is done to it.

        Raises:
            OSError: ``EAGAIN`` at a limit of the pids controller.
        """
        self.go_on()
        if program is None:
            return super().fork()
        child = self.kernel.processes.fork(self, ProgramTask)
        child.args, child.env, child.cwd, child.hostname = self.args, self.env, self.cwd, self.hostname
        child.load(program, attrs.evolve(self._streams, read=bytes))
        self.kernel.programs.start(child)
        return child

    def exit(self, status: int = 0) -> None:
        """End here."""
        super().exit(status)
        self.go_on()

    def allocate(self, size: int | str) -> None:
        """Touch memory; where a limit does not allow it, the kernel kills: if it is this process, the program ends."""
        self.go_on()
        super().allocate(size)
        self.go_on()

    def cache(self, size: int | str) -> None:
        """Read so much of files; it may be killed for that as for what it allocates."""
        self.go_on()
        super().cache(size)
        self.go_on()

    def touch(self, size: int | str | None = None) -> None:
        """Use memory that was swapped out; it may be killed for that as for what it allocates."""
        self.go_on()
        super().touch(size)
        self.go_on()

    def go_on(self) -> None:
        """Stop the program here if its process has ended."""
        if not self.alive:
            raise _EndedError

    # --- how it goes on ---------------------------------------------------------------------------------------------

    @property
    def due(self) -> int | None:
        """When it goes on by itself, on the clock of the kernel; ``None`` if that depends on others."""
        return self._waits if isinstance(self._waits, int) and self.state == "running" else None

    @property
    def ready(self) -> bool:
        """Whether it can go on now."""
        if self.state != "running":
            return False
        if self._thrown or self.busy:
            return self._thrown is not None
        if isinstance(self._waits, int):
            return self.kernel.clock.now >= self._waits
        return not (isinstance(self._waits, Task) and self._waits.alive)

    def step(self) -> None:
        """Go on to where it waits the next time, or to its end."""
        try:
            status = self._go()
        except _EndedError:
            return
        except SystemExit as error:
            status = _status(error.code)
        except Exception as error:  # noqa: BLE001 - what Python does with a program that raises
            status = _FAILED
            if self.alive:
                self.stderr.write(_traceback(error))
        if status is not None:
            super().exit(status)

    def _go(self) -> int | None:
        """Run it; return its status if that was the end."""
        if self._program is not None:
            program, self._program = self._program, None
            result = program(self)
            self.go_on()
            # What a function has begun to do is done before its end.
            self._steps = result if isinstance(result, Generator) else _last(_status(result))
        assert self._steps is not None  # noqa: S101 - it has begun
        try:
            self._waits = self._until(self._next(self._steps))
        except StopIteration as end:
            self.go_on()
            return _status(end.value)
        self.go_on()
        return None

    def _next(self, steps: Generator[Any, Any, int | None]) -> object:
        thrown, self._thrown = self._thrown, None
        return next(steps) if thrown is None else steps.throw(thrown)

    def interrupt(self, handler: Callable[[int], object], number: int) -> None:
        """Call a handler; what it raises is raised where the program waits, and what it was at is left."""
        try:
            handler(number)
        except BaseException as error:
            if self._steps is None or inspect.getgeneratorstate(self._steps) == inspect.GEN_RUNNING:
                raise  # it is itself who has sent it
            if self.alive:
                self._thrown = error
                self.kernel.clock.forget(self.threads[0])
        self.kernel.programs.run()

    def _until(self, what: object) -> object:
        if isinstance(what, str | int | float) and not isinstance(what, bool):
            return self.kernel.clock.now + max(int(parse_duration(what, "yield")), _LEAST_USEC) * _NSEC
        return what

    def ended(self) -> None:
        """Leave the program where it is; if it is running just now, it stops when it does the next thing."""
        if self._steps is not None and inspect.getgeneratorstate(self._steps) != inspect.GEN_RUNNING:
            # Whatever it would do at its end, the dead do not.
            with contextlib.suppress(_EndedError, Exception):
                self._steps.close()


def _last(status: int) -> Generator[None, None, int]:
    yield
    return status


class Programs:
    """The programs of one kernel, in the order in which they were started."""

    def __init__(self) -> None:
        self._tasks: list[ProgramTask] = []
        self._running = False

    def start(self, task: ProgramTask) -> None:
        """Let a program begin."""
        with task.kernel.mutex:
            self._tasks.append(task)
            self.run()

    def due(self, end: int) -> int:
        """Return when the next one goes on by itself, at most *end*."""
        return min((due for task in self._tasks if (due := task.due) is not None), default=end)

    def run(self) -> bool:
        """Let all go on as far as they can without time passing; tell whether any could."""
        if self._running:  # by one of them, which has started another
            return False
        self._running, went_on = True, False
        try:
            while task := next((each for each in self._tasks if not each.alive or each.ready), None):
                went_on = True
                if task.alive:
                    task.step()
                if not task.alive:
                    self._tasks.remove(task)
        finally:
            self._running = False
        return went_on


def _traceback(error: Exception) -> str:
    """Say where in the program it was raised, as Python does; our own frames are not of it."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(error.with_traceback(frames)))


class _Out(io.RawIOBase):
    """Where a program writes."""

    def __init__(self, task: ProgramTask, sink: Callable[[bytes], None]) -> None:
        super().__init__()
        self._task = task
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._task.go_on()
        self._sink(bytes(data))
        return len(data)


def _text(raw: Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline="\n", write_through=True)


def _status(value: object) -> int:
    """Return an exit status of what a program returned, or gave to ``sys.exit``."""
    if value is None:
        return 0
    if isinstance(value, int) and 0 <= value <= _MOST_STATUS:
        return int(value)
    msg = f"a program in memory returned {value!r}, which is no exit status; return 0 to 255, or None for 0"
    raise ValueError(msg)
