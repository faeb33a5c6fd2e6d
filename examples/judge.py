"""A judge: each submission is run on each case, within limits, and gets a verdict."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import attrs

import cgctl


@attrs.frozen
class Case:
    """What a program is given, and what it has to print."""

    given: str
    wanted: str


def verdict(argv: Sequence[str], case: Case, memory: str = "64M", seconds: float = 1.0) -> str:
    """Run a submission on a case. Its time is processor time; the wall clock only ends who sleeps."""
    done = cgctl.run(
        argv,
        input=case.given,
        capture_output=True,
        text=True,
        memory=memory,
        cpu=1,
        pids=16,
        network="none",
        timeout=3 * seconds,
    )
    cpu = done.stats.cpu
    if done.oom_killed:
        return "memory limit exceeded"
    if done.timed_out or (cpu is not None and cpu.usage_usec is not None and cpu.usage_usec > seconds * 1e6):
        return "time limit exceeded"
    if done.returncode != 0:
        return "runtime error"
    return "accepted" if done.stdout.split() == case.wanted.split() else "wrong answer"


SUBMISSIONS = {
    "doubles": "print(2 * int(input()))",
    "adds two": "print(2 + int(input()))",
    "fails": "print(2 * int(input()) / 0)",
    "hoards": "x = bytearray(1 << 30)",
    "spins": "while True: pass",
    "sleeps": "import time; time.sleep(60)",
}

if __name__ == "__main__":
    for name, program in SUBMISSIONS.items():
        verdicts = (verdict([sys.executable, "-c", program], case) for case in (Case("2", "4"), Case("21", "42")))
        print(f"{name}: {next((bad for bad in verdicts if bad != 'accepted'), 'accepted')}")
