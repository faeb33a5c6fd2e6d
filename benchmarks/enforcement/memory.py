"""Memory: programs that want more than they may have."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import cgctl
from benchmarks.enforcement import loads
from benchmarks.enforcement.groups import made
from benchmarks.enforcement.points import AbsentError, Point, point

_MIB = 1 << 20
_PATIENCE_SEC = 3


def limits(repeats: int) -> Iterator[Point]:
    """Sweep ``memory.max``: the peak of a program that wants twice as much, and how soon it is killed."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for size in (8, 16, 32, 64, 128, 256, 512, 1024):
        if size * _MIB > available // 2:
            break
        done = [cgctl.run(loads.eater(2 * size * _MIB), memory=f"{size}M") for _ in range(repeats)]
        peaks = [_peak(each) for each in done]
        killed = [each.wall_usec / 1000 for each in done]
        held = all(each.oom_killed for each in done)
        note = f"killed after {min(killed):.0f}-{max(killed):.0f} ms" if held else "not killed"
        yield point("memory.max", f"{size} MiB", size, peaks, "MiB", (0.95, 1.0) if held else (2, 3), note)


def throttled(repeats: int) -> Iterator[Point]:
    """Sweep ``memory.high``: who wants twice as much is not killed, and has not got it after some seconds."""
    for size in (16, 32, 64, 128):
        try:
            got, alive = zip(*(_held_back(size) for _ in range(repeats)), strict=True)
        except cgctl.UnsupportedError as error:
            raise AbsentError(str(error)) from None
        note = f"after {_PATIENCE_SEC} s" + ("" if all(alive) else "; KILLED")
        yield point("memory.high", f"{size} MiB", size, got, "MiB", (0.9, 1.5) if all(alive) else (2, 3), note)


def _held_back(size: int) -> tuple[float, bool]:
    """Return what a program has that wants twice as much, and whether it lives."""
    with made(memory=cgctl.Memory(high=f"{size}M", swap_max=0)) as group:
        process = group.popen(loads.eater(2 * size * _MIB), stdout=subprocess.DEVNULL)
        time.sleep(_PATIENCE_SEC)
        memory = group.stats("memory").memory
        alive = process.poll() is None
        process.kill()
        process.wait()
        return ((memory and memory.current) or 0) / _MIB, alive


def swapped(repeats: int) -> Iterator[Point]:
    """Sweep ``memory.swap.max``: the swap that a program has used when it is killed."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(int(line.split()[1]) >> 10 for line in lines if line.startswith("SwapFree:"))
    for size in (16, 32, 64):
        if free < size:
            raise AbsentError(f"swap: {free} MiB of swap are free; swapon some more")
        spec = cgctl.Memory(max="16M", swap_max=f"{size}M")
        done = [cgctl.run(loads.eater((32 + 2 * size) * _MIB), memory=spec) for _ in range(repeats)]
        # The sum shows it on every kernel: the peak of swap itself is told since 6.5 alone.
        held = all(each.oom_killed for each in done)
        swap = [_swap(each) for each in done]
        if not any(swap):
            raise AbsentError("swap: this kernel does not tell its peak (memory.swap.peak: Linux 6.5)")
        yield point("memory.swap_max", f"{size} MiB", size, swap, "MiB", (0.9, 1.0) if held else (2, 3))


def _peak(done: cgctl.Completed) -> float:
    memory = done.stats.memory
    if memory is None or memory.peak is None:
        raise AbsentError("memory.peak: this kernel does not tell it (v2 before Linux 5.19)")
    return memory.peak / _MIB


def _swap(done: cgctl.Completed) -> float:
    memory = done.stats.memory
    return ((memory and memory.swap_peak) or 0) / _MIB
