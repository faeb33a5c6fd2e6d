"""Drive the kernel in memory and this machine's side by side: ``python -m tests.differential --steps N --seed S``."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path

from cgctl.fake import FakeKernel
from cgctl.fake.profile import KERNELS, profile
from cgctl.layout import Hierarchy, Layout
from cgctl.mounts import parse_mountinfo
from cgctl.testing.case import release
from tests.differential.pair import Mismatch, Pair

EPISODE = 100
"""Steps from an empty group on."""


def layout() -> Layout:
    """Return this machine's hierarchies."""
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    controllers = {
        mount.mount_point: Path(mount.mount_point, "cgroup.controllers").read_text(encoding="utf-8")
        for mount in mounts
        if mount.filesystem == "cgroup2"
    }
    return Layout.parse(mounts, controllers)


def series() -> str:
    """Return the measured series that this kernel is of, or the last before it."""
    running = release(".".join(os.uname().release.split(".")[:2]))
    return [kernel for kernel in KERNELS if release(kernel) <= running][-1]


def _count(pattern: str) -> int:
    return len(list(Path("/sys/devices/system").glob(pattern)))


def fake_of(hierarchy: Hierarchy, kernel: str, without: frozenset[str] = frozenset()) -> FakeKernel:
    """Return an in-memory kernel that has this one hierarchy, on this machine."""
    disks = tuple(
        device
        for path in sorted(Path("/sys/block").glob("*/dev"))
        if (device := path.read_text(encoding="utf-8").strip()) and not path.parent.name.startswith(("loop", "ram"))
    )
    return FakeKernel(
        [(hierarchy.version, hierarchy.controllers, hierarchy.mount_point)],
        kernel,
        cpus=_count("cpu/cpu[0-9]*"),
        nodes=_count("node/node[0-9]*"),
        disks=disks,
        without=without,
    )


def comparable(kernel: str) -> list[Hierarchy]:
    """Return the hierarchies whose files were measured on a kernel of this series."""
    known = profile(kernel)
    return [
        hierarchy
        for hierarchy in layout().hierarchies
        if hierarchy.version != 1 or set(hierarchy.controllers) <= set(known.v1)
    ]


def episode(hierarchy: Hierarchy, kernel: str, seed: int, steps: int, prefix: str) -> int:
    """Do some steps in a fresh group; return how many were compared.

    Raises:
        Mismatch: both did not agree.
    """
    pair = Pair(lambda without: fake_of(hierarchy, kernel, without), f"{prefix}{seed}", seed)
    with pair.made():
        try:
            for _ in range(steps):
                pair.step()
        except Mismatch:
            sys.stderr.write("".join(f"    {line}\n" for line in pair.log[-30:]))
            raise
    return pair.steps


def tell(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run episodes until enough steps were compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--hierarchy", action="append", default=[])
    parser.add_argument("--keep-going", action="store_true")
    options = parser.parse_args()
    kernel = series()
    failed = 0
    for hierarchy in comparable(kernel):
        if options.hierarchy and hierarchy.label not in options.hierarchy:
            continue
        began, done, seed = time.monotonic(), 0, options.seed
        while done < options.steps:
            try:
                done += episode(hierarchy, kernel, seed, min(EPISODE, options.steps - done), "cgctl-d-")
            except Mismatch as error:
                failed += 1
                done += EPISODE
                tell(f"{kernel} {hierarchy.label} seed {seed}: {error}")
                if not options.keep_going:
                    break
            seed += 1
        spent = time.monotonic() - began
        tell(f"{kernel} {hierarchy.label}: {done} steps from seed {options.seed}, {spent:.0f} s")
    tell(f"{failed} mismatches")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
