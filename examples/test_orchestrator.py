"""The orchestrator on a machine in memory and, unchanged, on this one (``pytest -k real``; ``-k fake``)."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from orchestrator import Job, work

import cgctl
from cgctl.testing import FakeSystem

M = 1 << 20


@pytest.fixture(params=["fake", "real"])
def system(request: pytest.FixtureRequest) -> cgctl.System:
    """Both kinds of machine."""
    return FakeSystem("v2") if request.param == "fake" else cgctl.System.detect()


def needs(mib: int, system: cgctl.System) -> Any:
    """Return a program that holds so many MiB for a moment: a function in memory, or one of this machine's."""

    def program(task: Any) -> Any:
        task.allocate(mib * M)
        yield 0.2

    return program if isinstance(system, FakeSystem) else [sys.executable, "-c", f"b'x' * ({mib} << 20)"]


def test_all_get_what_they_need(system: cgctl.System) -> None:
    """Who was killed for too little memory is done in the end; the sum is never above what there is."""
    jobs = [Job(needs(mib, system), memory=32 * M) for mib in (10, 50, 10, 10, 200)]
    with cgctl.Group("cgctl-jobs", memory=128 * M, join=False, system=system) as group:
        work(jobs, group, total=128 * M)
        memory = group.stats().memory

    assert [job.status for job in jobs] == [0, 0, 0, 0, -9]  # the last needs more than there is
    assert [job.tries for job in jobs] == [1, 2, 1, 1, 3]
    assert memory is not None
    assert memory.peak is None or memory.peak <= 128 * M
