"""The programs that ``cgctl run`` has on a machine in memory, where those of this machine cannot run."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from typing import Any, Final

from cgctl.errors import CgctlError
from cgctl.fake import Program, ProgramTask
from cgctl.units import parse_size

__all__ = ["PROGRAMS"]

_MIB: Final = 1 << 20
_WRONG: Final = 2


def _hog(task: ProgramTask) -> int:
    """Take memory, 200 MiB or as much as is said, a MiB at a time."""
    for step in range(1, parse_size(_word(task, "200M")) // _MIB + 1):
        task.allocate(_MIB)
        if step % 5 == 0:
            task.print(step, end=" ")
    task.print()
    return 0


def _burn(task: ProgramTask) -> int:
    """Use processor time: 10 seconds, or as much as is said."""
    task.burn(_word(task, "10s"))
    return 0


def _sleep(task: ProgramTask) -> Generator[Any, None, int]:
    """Sleep: a second, or as long as is said."""
    yield _word(task, "1s")
    return 0


def _fork(task: ProgramTask) -> int:
    """Start children, 100 or as many as are said, which all stay."""
    for number in range(int(_word(task, "100"))):
        try:
            task.fork()
        except OSError as error:
            task.stderr.write(f"fork {number + 1}: {error.strerror}\n")
            return 1
    return 0


def _echo(task: ProgramTask) -> int:
    """Write its arguments."""
    task.print(*task.args[1:])
    return 0


def _cat(task: ProgramTask) -> int:
    """Write what it reads, or files that its kernel has: of groups, and of /proc."""
    if not task.args[1:]:
        task.print(task.stdin.read(), end="")
    for path in task.args[1:]:
        own = path.replace("/proc/self/", f"/proc/{task.pid}/", 1) if path.startswith("/proc/self/") else path
        try:
            task.print(os.fsdecode(task.kernel.read(own)), end="")
        except OSError as error:
            task.stderr.write(f"cat: {path}: {error.strerror}\n")
            return 1
    return 0


def _word(task: ProgramTask, default: str) -> str:
    return task.args[1] if task.args[1:] else default


def _sound(program: Program) -> Program:
    """Return a program that complains of a wrong argument in one line."""

    def run(task: ProgramTask) -> Any:
        try:
            return program(task)
        except (CgctlError, ValueError) as error:
            task.stderr.write(f"{task.args[0]}: {error}\n")
            return _WRONG

    return run


PROGRAMS: Final[Mapping[str, Program]] = {
    "burn": _sound(_burn),
    "cat": _sound(_cat),
    "echo": _echo,
    "false": lambda _task: 1,
    "fork": _sound(_fork),
    "hog": _sound(_hog),
    "sleep": _sleep,
    "true": lambda _task: 0,
}
"""Name → what runs under it."""
