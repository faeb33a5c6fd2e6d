"""What can go wrong, and whose doing it was.

The class says who is to blame, the attributes say what happened, and the text says what to do:
*step: errno name and text; probable cause; what to do*, in lower case.
"""

from __future__ import annotations

import errno as _errno
from subprocess import CalledProcessError  # noqa: TID251 - the class alone; nothing is started
from subprocess import TimeoutExpired as _TimeoutExpired  # noqa: TID251 - the same
from typing import Any, Final

__all__ = [
    "CgctlError",
    "GroupExistsError",
    "GroupNotFoundError",
    "LaunchError",
    "OutOfMemoryError",
    "ProcessError",
    "SpecError",
    "StepError",
    "SystemdError",
    "TimeoutExpired",
    "UnsupportedError",
    "errno_name",
    "shown",
]

# Where Python's table has the other of two names, the one that the kernel's documentation uses.
_NAMES: Final = {_errno.EOPNOTSUPP: "EOPNOTSUPP", _errno.EDEADLK: "EDEADLK"}
_LONGEST_SHOWN: Final = 200


def errno_name(number: int) -> str:
    """Name an errno as the kernel's headers do: ``2`` is ``"ENOENT"``.

    Args:
        number: an errno value; unknown ones are shown as ``errno N``.
    """
    return _NAMES.get(number) or _errno.errorcode.get(number, f"errno {number}")


def shown(value: object) -> str:
    """Return a value's ``repr`` for a message; the end of a very long one is left out.

    Args:
        value: anything that was given for an argument, be it an ``int`` of a million digits.
    """
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than sys.get_int_max_str_digits()
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:80]}… ({len(text)} characters)"


class CgctlError(Exception):
    """Something that was asked of cgctl did not happen."""


class SpecError(CgctlError, ValueError):
    """Nonsense was asked for: no kernel could do it, so nothing was tried."""


class UnsupportedError(CgctlError):
    """This machine's layout, kernel or privileges cannot have what was asked.

    Attributes:
        feature: what was asked for, such as ``"memory.high"``.
        reason: why it cannot be had here, and what would change that.
        since: the kernel release that first has it, or ``None``.
    """

    def __init__(self, feature: str, reason: str, since: str | None = None) -> None:
        self.feature = feature
        self.reason = reason
        self.since = since
        release = f" (since Linux {since})" if since else ""
        super().__init__(f"{feature} is not supported here{release}: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.feature, self.reason, self.since)


class SystemdError(UnsupportedError):
    """systemd was asked, and refused or did not answer in time.

    Attributes:
        call: what it was asked, such as ``"StartTransientUnit"``.
        name: the D-Bus name of its error; empty if there was no answer.
    """

    def __init__(self, feature: str, reason: str, *, call: str = "", name: str = "") -> None:
        super().__init__(feature, reason)
        self.call = call
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.feature, self.reason), {"call": self.call, "name": self.name}


class GroupExistsError(CgctlError, FileExistsError):
    """A group of this name is there already."""


class GroupNotFoundError(CgctlError, FileNotFoundError):
    """There is no group of this name, or it has gone meanwhile."""


class _KernelRefusal(CgctlError, OSError):
    """The common shape of errors that carry an errno and the step that met it."""

    errno: int

    def __init__(self, step: object, errno: int, *, filename: str | None = None, hint: str = "") -> None:
        text = f"{errno_name(errno)} {_strerror(errno)}"
        OSError.__init__(self, errno, _strerror(errno))
        self.errno = errno
        self.step = step
        self.hint = hint
        self.filename = filename
        self._text = f"{step}: {text}" + (f"; {hint}" if hint else "")

    def __str__(self) -> str:
        return self._text


class StepError(_KernelRefusal):
    """The kernel refused one step of a plan.

    Attributes:
        step: the step that was refused, an element of a :class:`cgctl.Plan`.
        errno: the kernel's errno.
        done: the steps that were carried out before it and are still in effect.
        hint: the probable cause and the remedy.
    """

    def __init__(
        self,
        step: object,
        errno: int,
        *,
        done: tuple[object, ...] = (),
        hint: str = "",
        filename: str | None = None,
    ) -> None:
        super().__init__(step, errno, filename=filename, hint=hint)
        self.done = done

    def __reduce__(self) -> tuple[Any, ...]:
        keywords = {"done": self.done, "hint": self.hint, "filename": self.filename}
        return _rebuild, (type(self), self.step, self.errno, keywords)


class LaunchError(_KernelRefusal):
    """A program could not be started.

    Attributes:
        step: what was being done, such as ``"exec"`` or ``"chdir"``.
        errno: the kernel's errno; ``ENOENT`` for a program that is not found.
        hint: the probable cause and the remedy.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.step, self.errno, {"hint": self.hint, "filename": self.filename})


class ProcessError(CgctlError, CalledProcessError):
    """A program that was run with ``check=True`` failed.

    Attributes:
        returncode: its exit status, negative for a signal.
        cmd: its argument list.
        completed: the whole :class:`cgctl.Completed`, with output and statistics.
    """

    def __init__(self, completed: Any) -> None:
        CalledProcessError.__init__(self, completed.returncode, completed.args, completed.stdout, completed.stderr)
        self.completed = completed

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.completed,)


class OutOfMemoryError(ProcessError):
    """A program that was run with ``check=True`` was killed at its memory limit."""

    def __str__(self) -> str:
        memory = getattr(self.completed.stats, "memory", None)
        held = getattr(memory, "peak", None)
        peak = "" if held is None else f" (peak {held} bytes)"
        return (
            f"command {self.cmd!r} was killed by the kernel at its memory limit{peak};"
            " raise memory= or make it need less"
        )


class TimeoutExpired(ProcessError, _TimeoutExpired):
    """A program, or a group, took longer than the given timeout.

    Also a :class:`subprocess.TimeoutExpired`, with its attributes.
    """

    def __init__(
        self,
        cmd: Any,
        timeout: float,
        output: Any = None,
        stderr: Any = None,
        *,
        completed: Any = None,
    ) -> None:
        _TimeoutExpired.__init__(self, cmd, timeout, output, stderr)
        self.completed = completed
        self.returncode = completed.returncode if completed is not None else None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"completed": self.completed, "returncode": self.returncode}
        return type(self), (self.cmd, self.timeout, self.output, self.stderr), state

    def __str__(self) -> str:
        return f"{self.cmd!r} timed out after {self.timeout} s"


def _rebuild(cls: type[_KernelRefusal], step: object, errno: int, keywords: dict[str, Any]) -> _KernelRefusal:
    return cls(step, errno, **keywords)


def _strerror(number: int) -> str:
    # OSError's own formatting is the one way to this text that needs no import of os.
    return _TEXT.get(number) or _learn(number)


_TEXT: dict[int, str] = {}


def _learn(number: int) -> str:
    from os import strerror  # noqa: PLC0415, TID251 - a constant table of the C library; no I/O

    _TEXT[number] = strerror(number)
    return _TEXT[number]
