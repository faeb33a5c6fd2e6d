"""A CI runner: the steps of a job, one after the other, in one group whose limits are the job's."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import cgctl


def work(name: str, steps: Mapping[str, Sequence[str]], timeout: float | str = "10m") -> bool:
    """Run a job's steps until one fails; whatever a step leaves running is gone before the next begins."""
    with cgctl.Group(name, memory="256M", cpu=2, pids=128, join=False) as job:
        for step, argv in steps.items():
            done = job.run(argv, timeout=timeout, grace="2s", capture_output=True, text=True)
            if done.oom_killed:
                became = "out of memory"
            elif done.timed_out:
                became = "timed out"
            else:
                became = f"exit status {done.returncode}"
            print(f"{step}: {became}")
            print("".join(f"    {line}\n" for line in done.stdout.splitlines()), end="")
            if done.returncode != 0:
                return False
    return True


if __name__ == "__main__":
    good = work(
        f"cgctl-job-{os.getpid()}",
        {
            "build": ["sh", "-c", "echo compiling; sleep 600 & echo left a server running"],
            "test": [sys.executable, "-c", "print('all passed', flush=True); x = bytearray(1 << 30)"],
            "deploy": ["echo", "never reached"],
        },
    )
    print("good" if good else "bad")
