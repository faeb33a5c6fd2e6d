"""Scripts that run in a process of their own: those that join groups, fork, or are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import cgctl
from tests.kernel.pace import PATIENCE_SEC

_ROOT = Path(__file__).parents[2]
_SOURCE = Path(cgctl.__file__).parents[1]
PRELUDE = "from tests.kernel.inside import *\n"


def start(
    script: str,
    *arguments: object,
    env: dict[str, str] | None = None,
    unshare: bool = False,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[str]:
    """Start a script, with its output to be read; it is the caller's to end.

    Args:
        script: Python source.
        env: variables to set; empty ones are left out.
        unshare: whether to give it a mount namespace of its own, from which nothing gets out.
        stdin: its standard input, as for :class:`subprocess.Popen`.
    """
    environment = os.environ | {"PYTHONPATH": f"{_SOURCE}:{_ROOT}", "PYTHONDONTWRITEBYTECODE": "1"} | (env or {})
    return subprocess.Popen(
        [
            *(["unshare", "--mount", "--propagation", "private"] if unshare else []),
            *[sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(script), *map(str, arguments)],
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=stdin,
        text=True,
        env={name: value for name, value in environment.items() if value},
    )


def run(script: str, *arguments: object, env: dict[str, str] | None = None, unshare: bool = False) -> dict[str, Any]:
    """Run a script to its end, and return what it told; it has to end well and be silent otherwise.

    Args:
        script: Python source; it has what :mod:`tests.kernel.inside` has, and *arguments* in ``sys.argv[1:]``.
        env: variables to set; empty ones are left out.
        unshare: whether to give it a mount namespace of its own.
    """
    with start(script, *arguments, env=env, unshare=unshare) as process:
        return told(process)


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what a script tells until its end, which has to be good."""
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE_SEC)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert (process.returncode, stderr) == (0, ""), f"status {process.returncode}\n{stdout}\n{stderr}"
    facts: dict[str, Any] = {}
    for line in stdout.splitlines():
        facts |= json.loads(line)
    return facts
