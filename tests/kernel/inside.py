"""What scripts import that join groups: they run in a process of their own, which the tests' process never does.

A script prints its findings with :func:`tell`, and :func:`tests.kernel.scripts.run` gives them to the test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cgctl
from tests.kernel import payloads

__all__ = [
    "cgctl",
    "enter",
    "failure",
    "json",
    "os",
    "payloads",
    "read",
    "signal",
    "start",
    "subprocess",
    "sys",
    "tell",
    "time",
    "where",
]


def tell(**facts: Any) -> None:
    """Give findings to the test."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def where(pid: int | str = "self") -> dict[str, str]:
    """Return where a process is: the hierarchy's controllers → path."""
    text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in text.splitlines()}


def read(path: str) -> str:
    """Read a file."""
    return Path(path).read_text(encoding="utf-8")


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and that nobody has waited for yet does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


def enter(*directories: str) -> None:
    """Move this process into groups, without cgctl."""
    for directory in directories:
        fd = os.open(f"{directory}/cgroup.procs", os.O_WRONLY)
        os.write(fd, b"0")
        os.close(fd)


def start(argv: list[str]) -> subprocess.Popen[bytes]:
    """Start a payload that stays, and wait until it says that it is ready."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def failure(error: BaseException) -> list[str]:
    """Describe an error: its class and its text."""
    return [type(error).__name__, str(error)]
