"""How fast this machine is: waits and CPU bands are here, and nowhere else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

EMULATED = "CGCTL_VM_KERNEL" in os.environ or "QEMU" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
"""Whether the processors are emulated: Python is ten times slower then."""

SLOWNESS = 8 if EMULATED else 1
PATIENCE_SEC = 15.0 * SLOWNESS
"""How long anything may take that is to happen at all."""

GONE_SEC = 2.0 * SLOWNESS
"""How long a group may outlive an owner that was killed."""

DEAD_SEC = 1.0 * SLOWNESS
"""How long a process may outlive a caller that was killed."""

CPU_BAND = 0.4 if EMULATED else 0.03
"""By how much a CPU limit may be missed. An emulated clock and an emulated processor do not agree well."""


def eventually(fact: Callable[[], object], timeout: float = PATIENCE_SEC) -> bool:
    """Wait until a fact holds, or for *timeout* seconds; tell whether it does."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return True
