"""Many processes that make, change, read and remove groups in one base at the same time.

``python -m tests.kernel.crowd --processes 64 --groups 50`` prints how long each verb took, and what went wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import cgctl
from tests.kernel.lacks import hierarchies, v2_controllers

VERBS = ("create", "update", "stats", "remove", "again")
"""In turns: nobody begins one before all have ended the one before; ``again`` makes and removes, group by group."""


class Crowd:
    """One run.

    Args:
        base: where all groups are to be, below the hierarchies' root.
        processes: how many.
        groups: how many each makes.
    """

    def __init__(self, base: str, processes: int, groups: int) -> None:
        self.base = base
        self.processes = processes
        self.groups = groups
        memory = "memory" in v2_controllers() or "v1:memory" in hierarchies()
        self.specs: dict[str, Any] = {"pids": 7} | ({"memory": "64M"} if memory else {})

    def run(self) -> dict[str, Any]:
        """Let it happen; return milliseconds by verb, what went wrong, and how many groups there were after each."""
        there: dict[str, int] = {}
        starts = [os.pipe() for _ in range(self.processes)]
        reading, writing = os.pipe()
        reports = [os.pipe() for _ in range(self.processes)]
        pids = [self._fork(number, starts[number][0], writing, reports[number][1]) for number in range(self.processes)]
        for _, end in reports:
            os.close(end)
        base = cgctl.Group(self.base)
        for verb in VERBS:
            for _, start in starts:
                os.write(start, b"!")
            done = 0
            while done < self.processes:
                done += len(os.read(reading, self.processes))
            there[verb] = len(base.children()) if base.exists() else 0
        told = [self._report(report) for report, _ in reports]
        for pid in pids:
            os.waitpid(pid, 0)
        for fd in (reading, writing, *(end for pair in starts for end in pair)):
            os.close(fd)
        took = {verb: sorted(ms for each in told for ms in each["took"][verb]) for verb in VERBS}
        cpu = {verb: sorted(ms for each in told for ms in each["cpu"][verb]) for verb in VERBS}
        return {"took": took, "cpu": cpu, "wrong": [text for each in told for text in each["wrong"]], "there": there}

    def _fork(self, number: int, start: int, done: int, report: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        took: dict[str, list[float]] = {verb: [] for verb in VERBS}
        cpu: dict[str, list[float]] = {verb: [] for verb in VERBS}
        wrong: list[str] = []
        try:
            groups = [self._group(f"{number}-{each}") for each in range(self.groups)]
            for verb in VERBS:
                os.read(start, 1)
                for group in groups:
                    self._time(took[verb], cpu[verb], wrong, partial(getattr(self, f"_{verb}"), group))
                os.write(done, b".")
            os.write(report, json.dumps({"took": took, "cpu": cpu, "wrong": wrong}).encode())
        finally:
            os._exit(0)

    @staticmethod
    def _time(took: list[float], cpu: list[float], wrong: list[str], act: Callable[[], object]) -> None:
        began, used = time.perf_counter_ns(), time.thread_time_ns()
        try:
            act()
        except Exception:  # noqa: BLE001 - all is told
            wrong.append(traceback.format_exc())
        took.append((time.perf_counter_ns() - began) / 1e6)
        cpu.append((time.thread_time_ns() - used) / 1e6)

    @staticmethod
    def _report(report: int) -> Any:
        with os.fdopen(report, "rb") as file:
            return json.loads(file.read())

    def _group(self, name: str) -> cgctl.Group:
        return cgctl.Group(f"{self.base}/{name}", **self.specs)

    @staticmethod
    def _create(group: cgctl.Group) -> None:
        group.create()

    def _update(self, group: cgctl.Group) -> None:
        limits = group.update(pids=9)
        assert limits.pids is not None
        assert limits.pids.max == 9

    @staticmethod
    def _stats(group: cgctl.Group) -> None:
        stats = group.stats()
        assert stats.pids is not None
        assert stats.pids.current == 0

    @staticmethod
    def _remove(group: cgctl.Group) -> None:
        group.remove()

    def _again(self, group: cgctl.Group) -> None:
        group.create()
        limits = group.limits()
        assert limits.pids is not None
        assert limits.pids.max == 7
        group.remove()


def figure(took: list[float], part: float) -> float:
    """Return the value that so large a part of sorted figures does not exceed."""
    return round(took[min(len(took) - 1, int(len(took) * part))], 2)


def main() -> None:
    """Run it, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--groups", type=int, default=50)
    options = parser.parse_args()
    began = time.monotonic()
    found = Crowd(f"/cgctl-{secrets.token_hex(3)}-crowd", options.processes, options.groups).run()
    sys.stdout.write(f"{os.uname().release}, {cgctl.System.detect().layout}, {os.cpu_count()} processors: ")
    sys.stdout.write(f"{options.processes} processes, {options.groups} groups each, {time.monotonic() - began:.0f} s\n")
    for verb, took in found["took"].items():
        sys.stdout.write(
            f"{verb:7} p50 {figure(took, 0.5):8.2f} ms  p99 {figure(took, 0.99):8.2f} ms  longest {took[-1]:8.2f} ms;"
            f" of a processor p50 {figure(found['cpu'][verb], 0.5):6.2f} ms;"
            f" {len(took)} times, then {found['there'][verb]} groups\n"
        )
    sys.stdout.write(f"wrong: {len(found['wrong'])}\n{''.join(found['wrong'][:3])}")


if __name__ == "__main__":
    main()
