"""A queue of jobs: one is admitted when what it asks for is free, and asks for twice as much if that was too little."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import attrs

import cgctl


@attrs.define
class Job:
    """A program, and the bytes of memory that it is thought to need."""

    program: Any
    memory: int
    tries: int = 0
    status: int | None = None


def work(jobs: Iterable[Job], group: cgctl.Group, total: int) -> None:
    """Run all jobs below a group, as many at once as fit in *total* bytes, each with a limit of its own."""
    waiting, running = deque(jobs), dict[cgctl.Process, Job]()
    while waiting or running:
        while waiting and sum(job.memory for job in running.values()) + waiting[0].memory <= total:
            job = waiting.popleft()
            job.tries += 1
            running[cgctl.popen(job.program, parent=group, memory=job.memory)] = job
        with suppress(cgctl.TimeoutExpired):
            next(iter(running)).wait(0.05)
        for process in [each for each in running if each.poll() is not None]:
            job = running.pop(process)
            job.status = process.returncode
            if process.oom_killed and 2 * job.memory <= total:
                job.memory *= 2
                waiting.append(job)
