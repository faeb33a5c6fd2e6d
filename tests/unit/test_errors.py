"""Whose doing it was, what happened, and what to do: the errors and their texts."""

from __future__ import annotations

import pickle
import subprocess
from errno import EAGAIN, EDEADLK, EINVAL, ENOENT, EOPNOTSUPP
from types import SimpleNamespace
from typing import Any

import pytest

from cgctl import errors
from cgctl.errors import (
    CgctlError,
    GroupExistsError,
    GroupNotFoundError,
    LaunchError,
    OutOfMemoryError,
    ProcessError,
    SpecError,
    StepError,
    SystemdError,
    TimeoutExpired,
    UnsupportedError,
    errno_name,
    shown,
)
from cgctl.plan import Write

STEP = Write(path="/sys/fs/cgroup/p1/memory.max", data=b"104857600")


def _completed(**more: Any) -> SimpleNamespace:
    values: dict[str, Any] = {"args": ["job", "-v"], "returncode": -9, "stdout": b"out", "stderr": b"err"}
    return SimpleNamespace(**(values | {"stats": SimpleNamespace(memory=None)} | more))


class TestErrnoName:
    """An errno's name, as the kernel's documentation has it."""

    @pytest.mark.parametrize(
        ("number", "name"),
        [
            (ENOENT, "ENOENT"),
            (EINVAL, "EINVAL"),
            (EAGAIN, "EAGAIN"),
            (EOPNOTSUPP, "EOPNOTSUPP"),
            (EDEADLK, "EDEADLK"),
            (0, "errno 0"),
            (9999, "errno 9999"),
        ],
    )
    def test_name(self, number: int, name: str) -> None:
        """Of two names for one number it is the usual one; a number without a name is shown as it is."""
        assert name == errno_name(number)


class TestShown:
    """A value, as a message shows it."""

    @pytest.mark.parametrize("value", [None, 1.5, "10Q", [1, 2], b"\0", "x" * 198])
    def test_usual_values_are_their_repr(self, value: object) -> None:
        """What is short is shown whole."""
        assert repr(value) == shown(value)

    def test_long_values_are_cut(self) -> None:
        """What is long is cut, and its length said."""
        assert f"'{'x' * 79}… (5002 characters)" == shown("x" * 5000)

    def test_ints_of_too_many_digits_for_python(self) -> None:
        """An int that Python itself refuses to print is shown by its size."""
        assert shown(10**5000) == "a number of 16610 bits"

    def test_containers_of_such_ints(self) -> None:
        """What holds such an int is shown by its type."""
        assert shown([10**5000]) == "a list"


class TestHierarchy:
    """Which builtin each error is, so that callers may catch what they know."""

    @pytest.mark.parametrize(
        ("error", "builtin"),
        [
            (SpecError, ValueError),
            (GroupExistsError, FileExistsError),
            (GroupNotFoundError, FileNotFoundError),
            (StepError, OSError),
            (LaunchError, OSError),
            (ProcessError, subprocess.CalledProcessError),
            (OutOfMemoryError, ProcessError),
            (TimeoutExpired, ProcessError),
            (TimeoutExpired, subprocess.TimeoutExpired),
        ],
    )
    def test_builtin(self, error: type[Exception], builtin: type[Exception]) -> None:
        """Each is a CgctlError, and the builtin of its kind."""
        assert issubclass(error, CgctlError)
        assert issubclass(error, builtin)

    def test_all_names_are_there(self) -> None:
        """``__all__`` is sorted and names what is there."""
        assert [name for name in errors.__all__ if hasattr(errors, name)] == errors.__all__


class TestUnsupportedError:
    """What this machine cannot have."""

    def test_text(self) -> None:
        """It says what was asked for, since when it exists, and why it cannot be had."""
        error = UnsupportedError("memory.peak", "this kernel has no memory.peak", "5.19")

        assert (error.feature, error.reason, error.since) == ("memory.peak", "this kernel has no memory.peak", "5.19")
        assert str(error) == "memory.peak is not supported here (since Linux 5.19): this kernel has no memory.peak"

    def test_without_a_release(self) -> None:
        """Where no release would have it, none is named."""
        assert str(UnsupportedError("memory.high", "not on v1")) == "memory.high is not supported here: not on v1"


class TestStepError:
    """What the kernel refused."""

    def test_text(self) -> None:
        """Step, errno name and text, then the hint."""
        error = StepError(STEP, ENOENT, hint="it is not enabled; enable it")

        assert str(error) == (
            "write b'104857600' to /sys/fs/cgroup/p1/memory.max: ENOENT No such file or directory;"
            " it is not enabled; enable it"
        )

    def test_without_a_hint(self) -> None:
        """Nothing is made up where nothing is known."""
        assert str(StepError(STEP, EINVAL)).endswith("EINVAL Invalid argument")

    def test_attributes(self) -> None:
        """It is an OSError like any other, with the step and what was done before."""
        error = StepError(STEP, EINVAL, done=(STEP,), hint="why", filename="/f")

        assert (error.errno, error.strerror, error.filename) == (EINVAL, "Invalid argument", "/f")
        assert (error.step, error.done, error.hint) == (STEP, (STEP,), "why")


class TestLaunchError:
    """A program that could not be started."""

    def test_text(self) -> None:
        """The errno is named in the text."""
        assert (
            str(LaunchError("exec 'nosuch'", ENOENT, hint="is it installed?"))
            == "exec 'nosuch': ENOENT No such file or directory; is it installed?"
        )


class TestOutOfMemoryError:
    """A program that was killed at its limit."""

    def test_names_the_peak(self) -> None:
        """The peak says how much was there when it was killed."""
        stats = SimpleNamespace(memory=SimpleNamespace(peak=4096))

        assert "limit (peak 4096 bytes); raise memory=" in str(OutOfMemoryError(_completed(stats=stats)))

    @pytest.mark.parametrize("memory", [None, SimpleNamespace(peak=None)])
    def test_without_a_peak(self, memory: object) -> None:
        """Where the kernel keeps no peak, none is claimed."""
        text = str(OutOfMemoryError(_completed(stats=SimpleNamespace(memory=memory))))

        assert "command ['job', '-v'] was killed by the kernel at its memory limit; raise memory=" in text


class TestTimeoutExpired:
    """A program, or a group, that took too long."""

    def test_is_that_of_subprocess(self) -> None:
        """It has the attributes of both ancestors."""
        error = TimeoutExpired(["job"], 1.5, b"out", b"err", completed=_completed())

        assert (
            error.cmd,
            error.timeout,
            error.output,
            error.stderr,
            error.returncode,
        ) == (["job"], 1.5, b"out", b"err", -9)
        assert str(error) == "['job'] timed out after 1.5 s"

    def test_without_a_process(self) -> None:
        """Waiting for a group leaves nothing completed."""
        assert TimeoutExpired("group 'a'", 1.0).completed is None


class TestPickling:
    """Errors cross process borders whole (multiprocessing, pytest-xdist)."""

    @pytest.mark.parametrize(
        "error",
        [
            SpecError("nonsense"),
            UnsupportedError("memory.high", "not on v1", "4.0"),
            SystemdError("a scope", "no answer", call="GetUnit", name="org.freedesktop.DBus.Error.NoReply"),
            GroupExistsError("there"),
            StepError(STEP, ENOENT, done=(STEP,), hint="why", filename="/f"),
            LaunchError("exec", ENOENT, hint="why", filename="job"),
            ProcessError(_completed()),
            OutOfMemoryError(_completed()),
            TimeoutExpired(["job"], 1.5, b"out", b"err", completed=_completed()),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_round_trip(self, error: CgctlError) -> None:
        """Class, text and attributes survive."""
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

        assert type(error) is type(copy)
        assert str(error) == str(copy)
        assert {name: value for name, value in vars(error).items() if name != "__notes__"} == vars(copy)
