"""What others take for a group with the same three limits: a tool's commands, or another library in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

from measuring import Spread, interleaved
from pairs import name_of

_NULL = subprocess.DEVNULL
_V1 = ("memory.limit_in_bytes=67108864", "cpu.cfs_quota_us=50000", "pids.max=64")
_V2 = ("memory.max=67108864", "cpu.max=50000 100000", "pids.max=64")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=_NULL, stdout=_NULL, stderr=_NULL)


def _libcgroup() -> None:
    """Make, limit and remove by libcgroup's tools, on v1 or v2."""
    name, v2 = name_of("libcgroup"), os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    limits = _V2 if v2 else _V1
    _run("cgcreate", "-g", f"memory,cpu,pids:{name}")
    try:
        _run("cgset", *(word for limit in limits for word in ("-r", limit)), name)
    finally:
        # Of several at once, 2.0 removes the first and says that all is well.
        for each in ("memory", "cpu", "pids"):
            _run("cgdelete", "-g", f"{each}:{name}")


PEERS: dict[str, tuple[str, Callable[[], None]]] = {
    "libcgroup's cgcreate, cgset, cgdelete": ("cgcreate", _libcgroup),
}
"""Name → the program that has to be there, and what is done."""


def measured(rounds: int) -> tuple[dict[str, Spread], dict[str, str]]:
    """Measure those that are there; return also why the others were left out."""
    found, left_out = {}, {}
    for name, (program, case) in PEERS.items():
        if shutil.which(program) is None:
            left_out[name] = f"no {program} on PATH"
            continue
        try:
            case()
        except (OSError, subprocess.CalledProcessError) as error:
            left_out[name] = str(error)
        else:
            found[name] = case
    # They are processes: their processor time is not this one's, so the time that passed is what counts.
    return interleaved(found, max(3, min(rounds, 20)), 1) if found else {}, left_out
