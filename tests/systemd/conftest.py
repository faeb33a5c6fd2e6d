"""Units to run scripts in: what the tests themselves are started in is delegated already."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.pace import GONE_SEC, eventually
from tests.kernel.scripts import told
from tests.leaks import PREFIX, groups
from tests.require import skip_unless

_ROOT = Path(__file__).parents[2]
_PRELUDE = "from tests.kernel.inside import *\n"
USER = 1000
IS_ROOT = os.geteuid() == 0
Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _on_systemd() -> None:
    """Skip where systemd does not run, or where it is not ours to be filled with units."""
    skip_unless("systemd", None if "CGCTL_VM_KERNEL" in os.environ else "this is no machine of the tests' own")
    skip_unless("systemd", None if Path("/run/systemd/system").is_dir() else "systemd is not running here")


@pytest.fixture(autouse=True)
def tidy(_on_systemd: None) -> Iterator[None]:
    """Fail a test that leaves a group, a scope of ours, our slice or a failed unit behind."""
    yield
    assert eventually(lambda: not left(), GONE_SEC), f"left behind: {left()}"


def left() -> list[str]:
    """Find what is left of groups and units."""
    units = [line.split()[0] for line in systemctl("list-units", "--all", "--plain", "--no-legend").splitlines()]
    ours = [unit for unit in units if unit.endswith((".scope", ".slice")) and "cgctl" in unit]
    return [*groups(PREFIX), *ours, *systemctl("--failed", "--plain", "--no-legend").splitlines()]


def systemctl(*words: str) -> str:
    """Ask the systemd of whoever runs the tests."""
    whose = [] if IS_ROOT else ["--user"]
    return subprocess.run(["systemctl", *whose, *words], capture_output=True, text=True, check=False).stdout


def start(
    script: str,
    *arguments: object,
    properties: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    user: bool = False,
) -> subprocess.Popen[str]:
    """Start a script in a plain unit, which is not delegated.

    Args:
        script: Python source; it has what :mod:`tests.kernel.inside` has, and *arguments* in ``sys.argv[1:]``.
        properties: more of the unit's.
        env: variables to set.
        user: whether, from root's tests, as the ordinary user, outside of that user's own systemd as in a session.
    """
    whose = [] if IS_ROOT else ["--user"]
    variables = {"PYTHONPATH": f"{_ROOT / 'src'}:{_ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    if user:
        whose = [f"--uid={USER}"]
        variables["XDG_RUNTIME_DIR"] = f"/run/user/{USER}"
    return subprocess.Popen(
        [
            *("systemd-run", *whose, "--quiet", "--wait", "--pipe", "--collect", f"--working-directory={_ROOT}"),
            *(f"--property={each}" for each in properties),
            *(f"--setenv={name}={value}" for name, value in (variables | (env or {})).items()),
            *(sys.executable, "-W", "error", "-c", (_PRELUDE + textwrap.dedent(script)).replace("$", "$$")),
            *map(str, arguments),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def run(name: str) -> Run:
    """Run scripts to their end, which has to be good, and return what they told; they are given the test's name."""

    def inner(script: str, *arguments: object, **keywords: Any) -> dict[str, Any]:
        with start(script, name, *arguments, **keywords) as process:
            return told(process)

    return inner
