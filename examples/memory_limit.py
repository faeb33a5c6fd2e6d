"""A program that wants 200 MiB of memory, in a group that may have 100: the kernel stops it.

The exit status is 0 when that happened, and 1 when it did not.
"""

from __future__ import annotations

import sys

import cgctl

LIMIT = "100M"
MIB = 2**20

HOG = """
held = []
for step in range(1, 201):
    held.append(bytearray(b"x") * 2**20)  # every byte is written, so that the memory is really used
    if step % 5 == 0:
        print(step, end=" ", flush=True)
"""


def main() -> int:
    """Run the program, and say what became of it."""
    print(f"asking for 200 MiB in a group with memory={LIMIT!r}; MiB held so far:", flush=True)
    try:
        hierarchy = cgctl.System.detect().layout.locate("memory")
        result = cgctl.run([sys.executable, "-c", HOG], memory=LIMIT)
    except cgctl.CgctlError as error:
        print(f"\nno limit could be set here: {error}", file=sys.stderr)
        return 1
    memory = result.stats.memory
    if hierarchy is None or memory is None or memory.events is None:
        print("the kernel told nothing of the memory that was used", file=sys.stderr)
        return 1
    peak = f"{memory.peak / MIB:.1f} MiB" if memory.peak is not None else "not told by this kernel (since Linux 5.19)"
    print()
    print()
    print(f"limit       {LIMIT}")
    print(f"peak        {peak}")
    print(f"OOM kills   {memory.events.oom_kill}")
    print(f"hierarchy   cgroup v{hierarchy.version} at {hierarchy.mount_point}")
    print(f"exit status {result.returncode}")
    if not result.oom_killed:
        print("the program was NOT stopped by the kernel")
        return 1
    print("the program was stopped by the kernel, at its limit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
