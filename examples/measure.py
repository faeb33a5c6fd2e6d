"""Measure a command: the same processor, memory and company each time, and what the kernel counted, not the shell."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence

import cgctl


def measure(argv: Sequence[str], runs: int = 5) -> None:
    """Run a command some times on one processor, and print medians and the widest difference from them."""
    cpu, peak, wall = list[float](), list[float](), list[float]()
    for _ in range(runs):
        done = cgctl.run(argv, cpuset="0", memory="1G", pids=64, check=True, stdout=sys.stderr)
        used, held = done.stats.cpu, done.stats.memory
        if used is None or used.usage_usec is None or held is None or held.peak is None:
            raise SystemExit("this kernel does not count it")
        cpu.append(used.usage_usec / 1e3)
        peak.append(held.peak / (1 << 20))
        wall.append(done.wall_usec / 1e3)
    for name, unit, values in (("processor time", "ms", cpu), ("wall clock", "ms", wall), ("peak memory", "MiB", peak)):
        middle = statistics.median(values)
        print(f"{name}: {middle:.1f} {unit} (within {max(abs(value - middle) for value in values):.1f})")


if __name__ == "__main__":
    measure(sys.argv[1:] or [sys.executable, "-c", "sum(range(10**6)); x = bytearray(50 << 20)"])
