"""README's first command: it shows a limit or, where none can be set, says why not, and shows one in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel import lacks
from tests.require import skip_unless

EXAMPLE = Path(__file__).parents[2] / "examples" / "memory_limit.py"
# In a mount namespace of its own, so that nobody else sees it.
READ_ONLY = """
while read -r _ point kind _; do
    case $kind in cgroup|cgroup2) mount -o remount,bind,ro "$point" || exit 99;; esac
done < /proc/self/mounts
exec "$@"
"""
ENDED = "the program was stopped by the kernel"


def _read_only(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command where no cgroup can be made."""
    namespaces = ["--mount", "--propagation", "private", *(["--map-root-user"] if os.geteuid() else [])]
    return subprocess.run(
        ["unshare", *namespaces, "sh", "-c", READ_ONLY, "sh", *argv], check=False, capture_output=True, text=True
    )


@pytest.fixture
def _namespaces() -> None:
    try:
        tried = _read_only("true")
    except FileNotFoundError:
        skip_unless("unshare", "there is no unshare(1)")
    else:
        skip_unless("unshare", tried.stderr or "mounts cannot be changed" if tried.returncode else None)


@pytest.mark.usefixtures("_namespaces")
def test_where_no_cgroup_may_be_written() -> None:
    """The refusal with its remedy comes first; what follows is said to be in memory, and the status is a failure's."""
    done = _read_only(sys.executable, str(EXAMPLE))
    refusal, lines = done.stderr.strip(), done.stdout.splitlines()
    label = next(number for number, line in enumerate(lines) if "IN MEMORY, NOT ON THIS MACHINE" in line)

    assert refusal.startswith("no limit could be set on this machine: ")
    assert "read-only" in refusal
    assert "remount it read-write" in refusal
    assert lines[1:label] == ["none"]
    assert "5 10 15" in lines[label + 2]
    assert [line for line in lines if line.startswith(ENDED)] == [f"{ENDED} in memory, at its limit"]
    assert lines.index("OOM kills   1") > label
    assert done.returncode == 1


@pytest.mark.host
def test_where_one_may() -> None:
    """The kernel stops it, and nothing is said of a machine in memory."""
    lacks.require("host", "memory")
    done = subprocess.run([sys.executable, str(EXAMPLE)], check=False, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"{ENDED}, at its limit"
    assert "IN MEMORY" not in done.stdout
