"""How fast and how large the kernel in memory is: ``python benchmarks/fake.py [--groups 100000]``."""

from __future__ import annotations

import argparse
import gc
import math
import resource
import statistics
import time
from collections.abc import Callable

import cgctl
from cgctl.fake import FakeKernel
from cgctl.testing import FakeSystem

ROOT = "/sys/fs/cgroup"


def timed(what: Callable[[], object], times: int) -> list[float]:
    """Return how many microseconds of processor time each call took."""
    found = []
    for _ in range(times):
        began = time.process_time_ns()
        what()
        found.append((time.process_time_ns() - began) / 1000)
    return found


def say(name: str, found: list[float]) -> None:
    """Print the median and the best."""
    print(f"{name:58} {statistics.median(found):9.1f} µs (best {min(found):.1f})")


def cycles(times: int) -> None:
    """Measure the life of one group."""
    for layout in ("v2", "v1"):
        system = FakeSystem(layout, kernel="6.1")
        kernel = system.kernel
        place = ROOT if layout == "v2" else f"{ROOT}/memory"
        limit = "memory.max" if layout == "v2" else "memory.limit_in_bytes"
        if layout == "v2":
            kernel.write(f"{ROOT}/cgroup.subtree_control", b"+memory")

        def bare(kernel: FakeKernel = kernel, place: str = place, limit: str = limit) -> None:
            kernel.mkdir(f"{place}/b")
            kernel.write(f"{place}/b/{limit}", b"104857600")
            kernel.rmdir(f"{place}/b")

        def group(system: FakeSystem = system) -> None:
            cgctl.Group("g", system=system, memory="100M").create().remove()

        say(f"{layout}: mkdir, write the memory limit, rmdir", timed(bare, times))
        say(f"{layout}: Group(memory=).create().remove()", timed(group, times))


def forest(groups: int) -> tuple[FakeSystem, float]:
    """Make so many groups, 100 in each, with a process in each; return the seconds that it took."""
    system = FakeSystem("v2")
    kernel = system.kernel
    kernel.write(f"{ROOT}/cgroup.subtree_control", b"+memory +pids")
    kernel.mkdir(f"{ROOT}/top")
    kernel.write(f"{ROOT}/top/cgroup.subtree_control", b"+memory +pids")
    began = time.process_time()
    for number in range(groups):
        if number % 100 == 0:
            above = f"{ROOT}/top/{number}"
            kernel.mkdir(above)
            kernel.write(f"{above}/cgroup.subtree_control", b"+memory +pids")
        path = f"{above}/{number}"
        kernel.mkdir(path)
        kernel.write(f"{path}/memory.max", b"104857600")
        kernel.spawn(path)
    return system, time.process_time() - began


def walk(system: FakeSystem) -> tuple[float, float]:
    """Return the seconds that a tree of all groups takes, and the statistics of all."""
    top = cgctl.Group("top", system=system)
    began = time.process_time()
    _all(top)
    tree = time.process_time() - began
    began = time.process_time()
    for each in _all(top):
        each.stats("memory", "pids")
    return tree, time.process_time() - began


def _all(top: cgctl.Group) -> list[cgctl.Group]:
    found, stack = [], [top]
    while stack:
        group = stack.pop()
        found.append(group)
        stack.extend(group.children())
    return found


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--cycles", type=int, default=2000)
    options = parser.parse_args()
    cycles(options.cycles)
    points = []
    for share in (8, 4, 2, 1):
        gc.collect()
        size = options.groups // share
        system, made = forest(size)
        tree, stats = walk(system)
        points.append((size, made, tree, stats))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        spent = f"made {made:6.2f} s, tree {tree:6.2f} s, stats {stats:6.2f} s"
        print(f"{size:7} groups with a process each: {spent}, {peak:.0f} MiB")
        del system
    for index, name in ((1, "making"), (2, "tree"), (3, "stats")):
        first, last = points[0], points[-1]
        exponent = math.log(last[index] / first[index]) / math.log(last[0] / first[0])
        print(f"{name}: grows with the number of groups to the power of {exponent:.2f}")


if __name__ == "__main__":
    main()
