"""``CGCTL_FAKE=v2``: the commands, on a machine in memory instead of this one; one Python process is one machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import cgctl
from cgctl.cli.checks import Bench, Finding
from cgctl.system import standing_in

if TYPE_CHECKING:
    from cgctl.testing import FakeSystem

__all__ = ["VARIABLE", "chosen", "look", "machine", "require_possible", "supervise", "versions"]

VARIABLE: Final = "CGCTL_FAKE"
_ONLY_HERE: Final = {
    "enter": "it starts a program of this machine in a group",
    "ns": "it shows the namespaces of processes of this machine",
    "rootfs": "it copies files of this machine",
}
"""The commands that have nothing to do on a machine in memory, and why."""

_machines: Final[dict[str, FakeSystem]] = {}


def machine() -> FakeSystem | None:
    """Return the machine that ``CGCTL_FAKE`` asks for: the same for all commands of this process.

    Raises:
        SpecError: it is no such machine.
    """
    word = os.environ.get(VARIABLE, "")
    if word and word not in _machines:
        from cgctl.cli.demos import PROGRAMS  # noqa: PLC0415 - few need it
        from cgctl.testing import FakeSystem  # noqa: PLC0415 - the same

        layout, colon, kernel = word.partition(":")
        given: dict[str, Any] = {"kernel": kernel} if colon else {}
        try:
            found = FakeSystem(layout, **given)  # type: ignore[arg-type] # it is checked there
        except cgctl.SpecError as error:
            msg = f"{VARIABLE}={word}: {error} (LAYOUT or LAYOUT:KERNEL: v2, v2:6.18, hybrid, v1:6.1)"
            raise cgctl.SpecError(msg) from None
        found.programs.update(PROGRAMS)
        _machines[word] = found
    return _machines.get(word)


def look() -> cgctl.System:
    """Look at the machine that the commands are for."""
    return machine() or cgctl.System.detect()


@contextmanager
def chosen() -> Iterator[None]:
    """Have the commands in a block act on the machine in memory, if one is asked for, and say so.

    Raises:
        SpecError: it is no such machine.
    """
    system = machine()
    if system is None:
        yield
        return
    word, kernel = os.environ[VARIABLE], system.kernel.profile.kernel
    sys.stderr.write(f"cgctl: {VARIABLE}={word}: on a machine in memory, as Linux {kernel} is, and not on this one\n")
    with standing_in(system):
        yield


def require_possible(command: str) -> None:
    """Refuse a command that is for real machines alone.

    Raises:
        UnsupportedError: it is, and this is none.
    """
    if machine() is not None and command in _ONLY_HERE:
        raise cgctl.UnsupportedError(f"cgctl {command} in memory", f"{_ONLY_HERE[command]}; unset {VARIABLE}")


def supervise(process: cgctl.Process, timeout: float | None, grace: float) -> bool:
    """Wait for a program in memory, end it when its time is over, and tell whether that was so."""
    with suppress(cgctl.TimeoutExpired):
        process.wait(timeout)
        return False
    if grace:
        process.terminate()
        with suppress(cgctl.TimeoutExpired):
            process.wait(grace)
    process.kill()
    return True


def versions(bench: Bench) -> Iterator[Finding]:
    """Tell what the machine in memory is like."""
    del bench
    system = machine()
    assert system is not None  # noqa: S101 - else the checks of this machine are made
    kernel = system.kernel
    yield Finding(
        name="machine", ok=True, found=f"in memory: as Linux {kernel.profile.kernel}, {kernel.cpus} processors"
    )
    yield Finding(name="cgctl", ok=True, found=cgctl.__version__)
