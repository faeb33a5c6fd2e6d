"""Groups of the test's own, and the check that none of them is left."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cgctl
from tests.kernel import lacks
from tests.kernel.pace import GONE_SEC, PATIENCE_SEC, eventually
from tests.leaks import PREFIX, groups

Make = Callable[..., cgctl.Group]
Start = Callable[[list[str]], "subprocess.Popen[bytes]"]


@pytest.fixture(autouse=True)
def _on_cgroups() -> None:
    """Skip where there are no cgroups to be had."""
    lacks.require("host")


@pytest.fixture(autouse=True)
def tidy(_on_cgroups: None) -> Iterator[None]:
    """Fail a test that leaves a group behind, and remove it, so that the next one does not."""
    yield
    if not eventually(lambda: not groups(PREFIX), GONE_SEC):
        left = groups(PREFIX)
        sweep(left)
        pytest.fail("left behind:\n" + "\n".join(left))


@pytest.fixture
def swept(tidy: None) -> Iterator[None]:  # noqa: ARG001 - to end before it
    """Remove all groups after the test, for one that is expected to leave some."""
    yield
    sweep(groups(PREFIX))


@pytest.fixture
def start(tidy: None) -> Iterator[Start]:  # noqa: ARG001 - the same
    """Start payloads that stay, outside of any group, and end them after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(argv: list[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate(timeout=PATIENCE_SEC)


@pytest.fixture
def make(tidy: None, name: str) -> Iterator[Make]:  # noqa: ARG001 - the same
    """Create groups with these controllers; they are emptied and removed after the test."""
    made: list[cgctl.Group] = []
    numbers = itertools.count(1)

    def create(**keywords: Any) -> cgctl.Group:
        group = cgctl.Group(keywords.pop("name", f"{name}-{next(numbers)}"), **keywords)
        made.append(group)
        return group.create()

    yield create
    for group in reversed(made):
        with contextlib.suppress(cgctl.GroupNotFoundError):
            group.kill(timeout=PATIENCE_SEC)
            group.remove()


@contextlib.contextmanager
def ready(process: cgctl.Process) -> Iterator[cgctl.Process]:
    """Wait until a payload with a pipe says that it is ready, and kill it at the end, also when the test fails."""
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def sweep(directories: list[str]) -> None:
    """Kill what is in these groups and below, all of them this run's own, and remove them."""
    below = {path for directory in directories for path, _, _ in os.walk(directory)}
    for path in sorted(below, key=len, reverse=True):
        eventually(lambda path=path: _is_removed(path))  # type: ignore[misc]


def _is_removed(directory: str) -> bool:
    with contextlib.suppress(OSError):
        Path(directory, "freezer.state").write_text("THAWED", encoding="utf-8")
    with contextlib.suppress(OSError):
        for word in Path(directory, "cgroup.procs").read_text(encoding="utf-8").split():
            with contextlib.suppress(OSError):
                os.kill(int(word), signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.rmdir(directory)
    return not os.path.isdir(directory)


@pytest.fixture
def nodes(_on_cgroups: None) -> Iterator[dict[tuple[str, int, int], str]]:
    """Make device nodes: (type, major, minor) → path."""
    from tests.kernel.devices import made_nodes  # noqa: PLC0415 - it needs what only tests of devices do

    with made_nodes() as made:
        yield made
