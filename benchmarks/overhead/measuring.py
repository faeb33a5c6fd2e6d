"""Measuring pairs: what cgctl takes beside the system calls by hand, in the same round of the same process."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

Case = Callable[[], object]


@dataclass(frozen=True)
class Spread:
    """Microseconds of one case.

    Attributes:
        median: of all rounds, of processor time.
        low: the 5th percentile.
        high: the 95th percentile.
        wall: the median of the time that passed.
    """

    median: float
    low: float
    high: float
    wall: float


@dataclass(frozen=True)
class Result:
    """One case, its floor, and others.

    Attributes:
        name: the case.
        ours: what cgctl takes.
        floor: what the same system calls take, written by hand in Python.
        peers: what others take for the same.
        note: what is to be known of it.
    """

    name: str
    ours: Spread
    floor: Spread
    peers: Mapping[str, Spread]
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times the floor cgctl takes, at the medians of processor time."""
        return self.ours.median / self.floor.median

    def as_json(self) -> dict[str, object]:
        """Return it as what JSON has."""
        return {**asdict(self), "ratio": round(self.ratio, 3)}


def spread(samples: list[tuple[float, float]]) -> Spread:
    """Make a spread of (processor, wall) seconds."""
    used = sorted(1e6 * processor for processor, _ in samples)
    edge = len(used) // 20
    return Spread(
        median=round(statistics.median(used), 2),
        low=round(used[edge], 2),
        high=round(used[-1 - edge], 2),
        wall=round(1e6 * statistics.median(wall for _, wall in samples), 2),
    )


def interleaved(cases: Mapping[str, Case], rounds: int, warm: int = 5) -> dict[str, Spread]:
    """Run each case once in every round, in an order of its own, so that whatever else happens falls on all alike."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    names = [*cases]
    for turn in range(rounds + warm):
        random.shuffle(names)
        for name in names:
            wall, processor = time.perf_counter(), time.process_time()
            cases[name]()
            taken = time.process_time() - processor, time.perf_counter() - wall
            if turn >= warm:
                samples[name].append(taken)
    return {name: spread(each) for name, each in samples.items()}


def pair(
    name: str, ours: Case, floor: Case, rounds: int, *, peers: Mapping[str, Case] | None = None, note: str = ""
) -> Result:
    """Measure a case beside its floor."""
    found = interleaved({"ours": ours, "floor": floor, **(peers or {})}, rounds)
    return Result(name, found.pop("ours"), found.pop("floor"), found, note)


def machine() -> dict[str, object]:
    """Describe the machine."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "")
    memory = next(line.split()[1] for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    kinds = {line.partition(" - ")[2].split()[0] for line in mounts}
    versions = {"cgroup": "v1", "cgroup2": "v2"}
    found = [version for kind, version in versions.items() if kind in kinds]
    return {
        "kernel": os.uname().release,
        "processors": os.cpu_count(),
        "model": model,
        "memory_mib": int(memory) // 1024,
        "layout": found[0] if len(found) == 1 else "hybrid",
        "python": ".".join(map(str, __import__("sys").version_info[:3])),
        "load": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
