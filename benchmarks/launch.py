"""How long a launch takes, side by side with the tools that C and Go programmers have for it.

    ./scripts/setup bench
    .venv/bin/python benchmarks/launch.py [--rounds 100] [--resident 0,2048]

Every round runs each case once, in an order of its own, so that whatever else the machine does falls on all alike. A
case is a whole launch of ``/bin/true``: from the call to the exit status, with the group made and removed where there
is one. Medians are of all rounds; p5 and p95 beside them say how quiet the machine was.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cgctl

SIX = ["pid", "mnt", "ipc", "uts", "net", "cgroup"]
FLAGS = 0x2000_0000 | 0x0002_0000 | 0x0800_0000 | 0x0400_0000 | 0x4000_0000 | 0x0200_0000
NULL = subprocess.DEVNULL

Case = Callable[[], None]


def command(*argv: str) -> Case:
    """Run a tool's own command line."""

    def run() -> None:
        subprocess.run(argv, check=True, stdin=NULL, stdout=NULL, stderr=NULL)

    return run


def preexec() -> None:
    """Do by Python what unshare does, in a forked copy of the caller."""
    if ctypes.CDLL(None, use_errno=True).unshare(FLAGS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def forked() -> None:
    """Run the program with subprocess alone."""
    subprocess.run(["/bin/true"], check=True, preexec_fn=preexec)


def sandboxed(root: str) -> Case:
    """Run it with cgctl: group, six namespaces, and the root changed."""

    def run() -> None:
        cgctl.run(["/bin/true"], namespaces=SIX, root=root, check=True)

    return run


def in_a_group(group: cgctl.Group, root: str) -> Case:
    """Do the same in a leaf of a group that is there."""

    def run() -> None:
        group.run(["/bin/true"], namespaces=SIX, root=root, check=True)

    return run


def grouped() -> None:
    """Run it in a group, with nothing else."""
    cgctl.run(["/bin/true"], check=True)


def bundle(root: str, place: Path) -> Path:
    """Make what runc runs: the same root, the same namespaces."""
    subprocess.run([shutil.which("runc") or "runc", "spec"], cwd=place, check=True)
    config = place / "config.json"
    spec = json.loads(config.read_text())
    spec["root"] = {"path": root, "readonly": False}
    spec["process"] |= {"args": ["/bin/true"], "terminal": False}
    config.write_text(json.dumps(spec))
    return place


def runc(place: Path) -> Case:
    """Run it with runc."""

    def run() -> None:
        argv = ["runc", "run", "--bundle", str(place), f"cgctl-bench-{random.getrandbits(40):x}"]
        subprocess.run(argv, check=True, stdin=NULL, stdout=NULL, stderr=NULL)

    return run


@contextlib.contextmanager
def cases() -> Iterator[dict[str, Case]]:
    """Give the cases that this machine can have."""
    with tempfile.TemporaryDirectory(prefix="cgctl-bench-") as directory:
        place = Path(directory)
        root = cgctl.Rootfs.build(place / "root", ["true"]).path
        binds = ["--bind", root, "/", "--proc", "/proc", "--dev", "/dev"]
        unshare = ["unshare", "--pid", "--fork", "--mount", "--ipc", "--uts", "--net", "--cgroup"]
        with cgctl.Group(f"cgctl-bench-{os.getpid()}", join=False) as group:
            found: dict[str, Case] = {
                "cgctl: group, namespaces, root": sandboxed(root),
                "cgctl: namespaces, root, in a group": in_a_group(group, root),
                "cgctl: group": grouped,
                "unshare: namespaces": command(*unshare, "/bin/true"),
                "unshare: namespaces, root": command(*unshare, f"--root={root}", "--mount-proc", "/bin/true"),
                "subprocess, preexec_fn: namespaces": forked,
            }
            if shutil.which("bwrap"):
                found["bwrap: namespaces, root"] = command("bwrap", "--unshare-all", *binds, "/bin/true")
            if shutil.which("runc"):
                (place / "bundle").mkdir()
                found["runc: group, namespaces, root"] = runc(bundle(root, place / "bundle"))
            yield {name: case for name, case in found.items() if works(name, case)}


def works(name: str, case: Case) -> bool:
    """Try a case once, and say why it is left out."""
    try:
        case()
    except (OSError, subprocess.CalledProcessError, cgctl.CgctlError) as error:
        print(f"left out: {name}: {error}")
        return False
    return True


def measure(found: dict[str, Case], rounds: int, pause: float) -> dict[str, list[float]]:
    """Return milliseconds by case."""
    times: dict[str, list[float]] = {name: [] for name in found}
    names = [*found]
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            time.sleep(pause)
            begun = time.perf_counter()
            found[name]()
            times[name].append((time.perf_counter() - begun) * 1000)
    return times


def show(title: str, times: dict[str, list[float]]) -> None:
    """Print a table."""
    print(f"\n{title}, milliseconds\n{'':42}{'median':>9}{'p5':>9}{'p95':>9}")
    for name, each in sorted(times.items(), key=lambda item: statistics.median(item[1])):
        ordered = sorted(each)
        low, high = ordered[len(ordered) // 20], ordered[-1 - len(ordered) // 20]
        print(f"{name:42}{statistics.median(each):9.2f}{low:9.2f}{high:9.2f}")


def main() -> None:
    """Measure as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--resident", default="0", help="MiB that the caller holds besides, comma-separated")
    parser.add_argument("--pause", default="0,0.02", help="seconds between launches, comma-separated")
    arguments = parser.parse_args()
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with cases() as found:
        for resident in map(int, arguments.resident.split(",")):
            held = bytearray(os.urandom(1 << 20) * resident)
            for pause in map(float, arguments.pause.split(",")):
                how = "back to back" if not pause else f"{pause * 1000:g} ms apart"
                show(f"{how}, caller {resident} MiB larger", measure(found, arguments.rounds, pause))
            del held


if __name__ == "__main__":
    main()
