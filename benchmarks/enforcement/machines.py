"""Sweep every limit in the machines under QEMU, one after the other: a CSV file for each.

./scripts/setup vm
python -m benchmarks.enforcement.machines DIR [KERNEL:LAYOUT …]
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.vm.__main__ import NO_MACHINE

# A kernel under software emulation sometimes dies of that ("Oops: int3").
_TRIES: Final = 3
MACHINES: Final = ("6.12:v2", "7.3:v2", "5.10:v2", "6.1:v1", "5.10:v1-separate", "6.12:hybrid")


def main() -> int:
    """Run the sweeps; return 1 where a limit was not held."""
    out, *chosen = sys.argv[1:]
    lost = 0
    for name in chosen or MACHINES:
        kernel, layout = name.split(":")
        load = f"CGCTL_HOST_LOAD={os.getloadavg()[0]:.1f}"
        machine = ("-m", "tests.vm", "--kernel", kernel, "--cgroup", layout, "--swap", "256M", "--env", load)
        sweep = ("python3", "-m", "benchmarks.enforcement", "--out", "-")
        print(f"{name}:", file=sys.stderr, flush=True)
        for _ in range(_TRIES):
            with Path(out, f"{kernel}-{layout}.csv").open("wb") as file:
                status = subprocess.run([sys.executable, *machine, "--", *sweep], stdout=file, check=False).returncode
            if status != NO_MACHINE:
                break
        lost |= status
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
