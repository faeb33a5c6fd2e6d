"""A program that wants 200 MiB of memory, in a group that may have 100: the kernel stops it.

Where no group can be made, it says why, and shows the same on a machine in memory, which is not this one.

The exit status is 0 when the kernel of this machine has stopped it, and 1 when it has not.
"""

from __future__ import annotations

import sys
from typing import Any

import cgctl
from cgctl.testing import FakeSystem, ProgramTask

LIMIT = "100M"
MIB = 2**20

HOG = """
held = []
for step in range(1, 201):
    held.append(bytearray(b"x") * 2**20)  # every byte is written, so that the memory is really used
    if step % 5 == 0:
        print(step, end=" ", flush=True)
"""


def hog(task: ProgramTask) -> None:
    """Do in memory what HOG does."""
    for step in range(1, 201):
        task.allocate("1M")
        if step % 5 == 0:
            task.print(step, end=" ")


def main() -> int:
    """Run the program, and say what became of it."""
    print(f"asking for 200 MiB in a group with memory={LIMIT!r}; MiB held so far:", flush=True)
    try:
        return 0 if show(cgctl.System.detect(), [sys.executable, "-c", HOG]) else 1
    except cgctl.CgctlError as error:
        print("none", flush=True)
        print(f"\nno limit could be set on this machine: {error}\n", file=sys.stderr, flush=True)
    system = FakeSystem("v2")
    print("This is how it goes IN MEMORY, NOT ON THIS MACHINE: nothing is limited here, and no memory is really used.")
    print(
        f"A kernel in memory ({system.kernel}) runs the same program as a Python function; MiB held so far:", flush=True
    )
    show(system, hog)
    return 1


def show(system: cgctl.System, program: Any) -> bool:
    """Run the program on a machine, say what became of it, and tell whether the kernel has stopped it at its limit."""
    hierarchy = system.layout.locate("memory")
    result = cgctl.run(program, memory=LIMIT, system=system)
    memory = result.stats.memory
    if hierarchy is None or memory is None or memory.events is None:
        print("the kernel told nothing of the memory that was used", file=sys.stderr)
        return False
    peak = f"{memory.peak / MIB:.1f} MiB" if memory.peak is not None else "not told by this kernel (since Linux 5.19)"
    where = " in memory" if isinstance(system, FakeSystem) else ""
    print()
    print()
    print(f"limit       {LIMIT}")
    print(f"peak        {peak}")
    print(f"OOM kills   {memory.events.oom_kill}")
    print(f"hierarchy   cgroup v{hierarchy.version} at {hierarchy.mount_point}{where}")
    print(f"exit status {result.returncode}")
    if not result.oom_killed:
        print(f"the program was NOT stopped by the kernel{where}")
        return False
    print(f"the program was stopped by the kernel{where}, at its limit")
    return True


if __name__ == "__main__":
    sys.exit(main())
