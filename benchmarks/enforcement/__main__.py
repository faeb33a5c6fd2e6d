"""Sweep every limit on this machine: what was asked, and what was got.

    python -m benchmarks.enforcement                        # a table; the exit status is 1 where a limit is not held
    python -m benchmarks.enforcement --out DIR              # and DIR/KERNEL-LAYOUT.csv, which the report is made of
    python -m benchmarks.enforcement --only cpu,memory --repeats 5
    python -m benchmarks.enforcement.report DIR OUT         # figures and one HTML page
    python -m benchmarks.enforcement.page                   # docs/enforcement.md, of docs/data/enforcement

It takes root, and some minutes in which the machine does nothing else.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime as dt
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import cgctl
from benchmarks.enforcement import cpu, memory, others
from benchmarks.enforcement.points import AbsentError, Point, table

Sweep = Callable[[int], Iterator[Point]]
SWEEPS: Final[dict[str, tuple[Sweep, ...]]] = {
    "memory": (memory.limits, memory.throttled, memory.swapped),
    "cpu": (cpu.quotas, cpu.bursts, cpu.weights, cpu.idle),
    "cpuset": (cpu.places,),
    "pids": (others.tasks,),
    "io": (others.rates, others.buffered),
    "net": (others.traffic,),
    "devices": (others.nodes,),
}


def machine() -> dict[str, str]:
    """Describe this machine, and the load on its processors: in an emulated one, on those of the machine outside."""
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    versions = {hierarchy.version for hierarchy in cgctl.System.detect().layout.hierarchies}
    return {
        "kernel": platform.release(),
        "layout": f"v{versions.pop()}" if len(versions) == 1 else "hybrid",
        "processors": str(len(os.sched_getaffinity(0))),
        "memory_mib": str(size),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "load": os.environ.get("CGCTL_HOST_LOAD") or f"{os.getloadavg()[0]:.1f}",
        "emulated": str(int("CGCTL_VM_KERNEL" in os.environ)),
    }


def save(out: str, facts: dict[str, str], points: list[Point], absent: list[str]) -> None:
    """Write what was found as CSV, with the machine in each line: to a file in a directory, or to stdout (``-``)."""
    fields = [field.name for field in dataclasses.fields(Point)]
    name = f"{facts['kernel']}-{facts['layout']}.csv"
    target = sys.stdout if out == "-" else (Path(out) / name).open("w", encoding="utf-8", newline="")
    writer = csv.DictWriter(target, [*facts, *fields])
    writer.writeheader()
    for each in points:
        row = dataclasses.asdict(each) | {"all_got": " ".join(f"{got:.6g}" for got in each.all_got)}
        writer.writerow(facts | row)
    for text in absent:
        limit, _, reason = text.partition(": ")
        writer.writerow(facts | {"limit": limit, "note": f"absent: {reason}"})
    if target is not sys.stdout:
        target.close()


def main() -> int:
    """Run the sweeps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SWEEPS), help="which, by comma (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of each value (%(default)s)")
    parser.add_argument("--out", help="a directory for the CSV file, or - for stdout")
    options = parser.parse_args()
    facts = machine()  # before anything is done here, which is a load too
    points: list[Point] = []
    absent: list[str] = []
    for name in options.only.split(","):
        for sweep in SWEEPS[name]:
            begun = time.monotonic()
            try:
                points += sweep(options.repeats)
            except (AbsentError, cgctl.UnsupportedError) as error:
                absent.append(f"{name}.{sweep.__name__}: {error}")
            print(f"{name}.{sweep.__name__}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    print(", ".join(f"{key}: {value}" for key, value in facts.items()), file=sys.stderr)
    print(table(points), *(f"absent  {text}" for text in absent), sep="\n", file=sys.stderr)
    if options.out:
        save(options.out, facts, points, absent)
    lost = [f"{each.limit} {each.case}" for each in points if not each.is_held]
    print(f"{len(points)} points, not held: {', '.join(lost) or 'none'}", file=sys.stderr)
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
