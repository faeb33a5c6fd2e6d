"""A thousand runs leave nothing: no descriptor, no zombie, no group."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psutil
import pytest

import cgctl
from tests.kernel import lacks
from tests.kernel.pace import EMULATED, eventually
from tests.leaks import PREFIX, groups

pytestmark = [pytest.mark.host, pytest.mark.slow]

_RUNS = 100 if EMULATED else 1000
_THREADS = 8


@pytest.fixture(autouse=True)
def _limits() -> None:
    """Skip where the limits cannot be had."""
    lacks.require("memory", "pids")


def _descriptors() -> dict[str, str]:
    """Return what each descriptor of this process is."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[entry.name] = os.readlink(entry)
        except FileNotFoundError:  # the one that this loop reads
            continue
    return found


def _zombies() -> list[int]:
    return [child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]


def _run(times: int, failed: list[object]) -> None:
    for _ in range(times):
        try:
            done = cgctl.run(["true"], memory="64M", pids=8)
            if (done.returncode, done.oom_killed) != (0, False):
                failed.append(done)
        except BaseException as error:  # noqa: BLE001 - the test's thread shows it
            failed.append(error)
            return


def test_in_a_row() -> None:
    """One after the other."""
    failed: list[object] = []
    _run(1, failed)
    before = _descriptors()
    _run(_RUNS, failed)

    assert failed == []
    assert len(_descriptors()) == len(before), (before, _descriptors())
    assert _zombies() == []
    assert groups(PREFIX) == []


def test_at_once() -> None:
    """From eight threads at once."""
    failed: list[object] = []
    _run(1, failed)
    before = _descriptors()
    threads = [threading.Thread(target=_run, args=(_RUNS // 10, failed)) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert len(_descriptors()) == len(before), (before, _descriptors())
    assert eventually(lambda: not _zombies())
    assert groups(PREFIX) == []
