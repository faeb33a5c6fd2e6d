"""What it costs before anything is done: importing, and memory."""

from __future__ import annotations

import gc
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import cgctl

_TIMER = "import time; begun = time.process_time(); {code}; print(time.process_time() - begun)"

IMPORTS = {
    "import attrs": "import attrs",
    "import cgctl": "import cgctl",
    "import cgctl, and the first Group": "import cgctl; cgctl.Group('web', memory='64M', cpu=0.5, pids=64)",
}


def imports(rounds: int) -> dict[str, float]:
    """Return milliseconds of processor time by what is imported, in processes of their own, with compiled modules."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(rounds + 1):
        for name, code in IMPORTS.items():
            argv = [sys.executable, "-c", _TIMER.format(code=code)]
            environment = {"PYTHONPATH": ":".join(sys.path[1:]), "PYTHONPYCACHEPREFIX": str(_CACHE)}
            done = subprocess.run(argv, check=True, capture_output=True, text=True, env=environment)
            times[name].append(1e3 * float(done.stdout))
    return {name: round(statistics.median(each[1:]), 2) for name, each in times.items()}


_CACHE = Path(tempfile.gettempdir()) / "cgctl-bench-pycache"


def bytes_per_group(count: int = 2000) -> int:
    """Return the bytes that a Group object takes."""
    cgctl.Group("web", memory="64M", cpu=0.5, pids=64)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    groups = [cgctl.Group(f"web-{number}", memory="64M", cpu=0.5, pids=64) for number in range(count)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) // len(groups)


def helper_kib() -> dict[str, int]:
    """Return what the launch helper has in memory: resident, and its own share (proportional set size)."""
    cgctl.run(["true"], check=True)
    from cgctl.launch import client  # noqa: PLC0415 - the helper is there from now on

    (pid,) = client.helpers()
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return {name.lower(): int(re.findall(rf"^{name}: +(\d+) kB", text, re.MULTILINE)[0]) for name in ("Rss", "Pss")}


_COLUMNS = 5
_COUNTED = """
import os, cgctl
name = "cgctl-bench-" + str(os.getpid())
wish = dict(memory="64M", cpu=0.5, pids=64)
with cgctl.Group(name + "-beside", join=False, **wish):
    cgctl.Group(name, **wish).create().remove()
    for _ in range({turns}):
        cgctl.Group(name, **wish).create().remove()
"""


def system_calls() -> dict[str, float] | None:
    """Return the system calls of one create and remove with three limits, as ``strace -c`` counts; ``None`` without."""
    if shutil.which("strace") is None:
        return None
    counts = []
    for turns in (100, 200):
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as file:
            argv = ["strace", "-c", "-o", file.name, sys.executable, "-c", _COUNTED.format(turns=turns)]
            environment = {"PYTHONPATH": ":".join(sys.path[1:])}
            if subprocess.run(argv, check=False, env=environment).returncode != 0:
                return None
            rows = [line.split() for line in file.read().splitlines()]
        counts.append(
            {row[-1]: int(row[3]) for row in rows if len(row) >= _COLUMNS and row[3].isdigit() and row[-1] != "total"}
        )
    fewer, more = counts
    calls = {name: (count - fewer.get(name, 0)) / 100 for name, count in more.items()}
    return {name: each for name, each in sorted(calls.items(), key=lambda item: -item[1]) if each >= 0.1}  # noqa: PLR2004
