"""The command line as a user has it: a process of its own, on this machine's kernel, below a base of the test's own."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import cgctl
from tests.leaks import PREFIX
from tests.require import skip_unless

_numbers = itertools.count(1)

EAT = (sys.executable, "-c", "x = bytearray(200 << 20)")
"""A command that needs 200 MiB."""


def state(pid: int) -> str:
    """A process's state as ps has it: R, S, T, …; a zombie, which its parent has yet to wait for, has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "ended"
    letter = stat.rpartition(")")[2].split()[0]
    return "ended" if letter in "ZX" else letter


class CommandLine:
    """Runs ``cgctl`` commands below a base.

    Attributes:
        base: the base's name, below the hierarchies' root.
        env: the environment of the commands.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self.env = os.environ | {"CGCTL_BASE": f"/{base}", "PYTHONWARNINGS": "error"}

    def __call__(self, *arguments: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
        """Run one to its end."""
        how: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60, "env": self.env} | keywords
        return subprocess.run(self.argv(*arguments), check=False, **how)

    def start(self, *arguments: str, **keywords: Any) -> subprocess.Popen[str]:
        """Start one, in a session of its own: without a terminal."""
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": self.env}
        return subprocess.Popen(self.argv(*arguments), start_new_session=True, **(how | keywords))

    @staticmethod
    def argv(*arguments: str) -> list[str]:
        """The command as an argument list."""
        return [sys.executable, "-m", "cgctl.cli", *arguments]

    def group(self, name: str) -> cgctl.Group:
        """The group that a command calls *name*."""
        return cgctl.Group(f"/{self.base}/{name}")

    def left(self) -> list[str]:
        """What is there below the base, and the base itself."""
        # It may go while it is looked at: when a command is killed, its helper removes the base too.
        try:
            return [self.base, *(group.name for group in cgctl.Group(f"/{self.base}").walk())]
        except cgctl.GroupNotFoundError:
            return []


@pytest.fixture
def command() -> Iterator[CommandLine]:
    """The command line, with a base that is removed afterwards."""
    found = CommandLine(f"{PREFIX}t-{next(_numbers)}")
    top = cgctl.Group(f"/{found.base}")
    try:
        top.create().remove()
    except cgctl.UnsupportedError as error:
        skip_unless("host", str(error))
    try:
        yield found
    finally:
        with suppress(cgctl.GroupNotFoundError):
            top.kill()
            top.remove()
