"""What others take for the same: a tool's commands, or another library in this process.

    python benchmarks/overhead/peers.py [ROUNDS]     # a table, with those that are not here, and why

Debian has the tools (``benchmarks/packages.txt``), PyPI the libraries (``pip install --group peers``). In every round
each of a comparison runs once, in an order of its own. Most are processes, whose processor time is not this one's, so
the time that passed is what counts.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import cgctl
from measuring import Case, Spread, interleaved, machine
from pairs import name_of

_NULL: Final = subprocess.DEVNULL
_V1: Final = ("memory.limit_in_bytes=67108864", "cpu.cfs_quota_us=50000", "pids.max=64")
_V2: Final = ("memory.max=67108864", "cpu.max=50000 100000", "pids.max=64")
_LIMITS: Final[dict[str, Any]] = {"memory": "64M", "cpu": 0.5, "pids": 64}
_ROOT: Final = "/sys/fs/cgroup"
_FEWEST, _MOST = 3, 20  # rounds

Made = contextlib.AbstractContextManager[Case]


class NotHereError(Exception):
    """This peer cannot be had on this machine; the text says why."""


def _is_v2() -> bool:
    return os.path.exists(f"{_ROOT}/cgroup.controllers")


def _run(*argv: str) -> None:
    done = subprocess.run(argv, check=False, stdin=_NULL, stdout=_NULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise NotHereError(f"{' '.join(argv[:2])}: {done.stderr.strip() or f'exit status {done.returncode}'}")


def _needs(program: str) -> None:
    if shutil.which(program) is None:
        msg = f"no {program} on PATH"
        raise NotHereError(msg)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotHereError(str(error)) from None


@contextlib.contextmanager
def _ours(**limits: Any) -> Iterator[Case]:
    yield lambda: cgctl.Group(name_of("ours"), **limits).create().remove()


@contextlib.contextmanager
def _libcgroup() -> Iterator[Case]:
    """Make, limit and remove by libcgroup's tools, on v1 or v2."""
    _needs("cgcreate")
    name, limits = name_of("libcgroup"), _V2 if _is_v2() else _V1

    def life() -> None:
        _run("cgcreate", "-g", f"memory,cpu,pids:{name}")
        try:
            _run("cgset", *(word for limit in limits for word in ("-r", limit)), name)
        finally:
            # Of several at once, 2.0 removes the first and says that all is well.
            for each in ("memory", "cpu", "pids"):
                _run("cgdelete", "-g", f"{each}:{name}")

    yield life


@contextlib.contextmanager
def _cgroupspy() -> Iterator[Case]:
    """Do it by cgroupspy's nodes: 0.2.3 has no class for v1's ``pids``, whose file is written by hand."""
    nodes = _module("cgroupspy.nodes")
    if _is_v2():
        msg = "cgroupspy 0.2.3 knows v1 alone"
        raise NotHereError(msg)
    name = name_of("cgroupspy")
    above = nodes.Node(_ROOT.encode())
    memory, cpu, pids = (nodes.Node(each, parent=above) for each in (b"memory", b"cpu", b"pids"))

    def life() -> None:
        made = memory.create_cgroup(name)
        made.controller.limit_in_bytes = 67108864
        made.controller.memsw_limit_in_bytes = 67108864
        cpu.create_cgroup(name).controller.cfs_quota_us = 50000
        pids.create_cgroup(name)
        Path(_ROOT, "pids", name, "pids.max").write_text("64", encoding="ascii")
        for each in (memory, cpu, pids):
            each.delete_cgroup(name)

    yield life


@contextlib.contextmanager
def _benchexec() -> Iterator[Case]:
    """Do it by BenchExec's own class, which limits memory."""
    cgroups = _module("benchexec.cgroups")
    own = cgroups.Cgroups.initialize()
    if own.MEMORY not in own:
        msg = "BenchExec finds no cgroup with memory that it may use"
        raise NotHereError(msg)

    def life() -> None:
        made = own.create_fresh_child_cgroup([own.MEMORY])
        made.write_memory_limit(64 << 20)
        made.remove()

    yield life


@contextlib.contextmanager
def _our_run() -> Iterator[Case]:
    yield lambda: cgctl.run(["/bin/true"], check=True, **_LIMITS)


@contextlib.contextmanager
def _oci(runtime: str) -> Iterator[Case]:
    """Run a bundle that has no namespaces, and this machine's ``/usr``."""
    _needs(runtime)
    with tempfile.TemporaryDirectory(prefix="cgctl-bench-") as directory:
        _bundle(Path(directory), runtime)
        name = name_of(runtime)
        yield lambda: _run(runtime, "run", "--bundle", directory, name)


def _bundle(place: Path, runtime: str) -> None:
    subprocess.run([runtime, "spec"], cwd=place, check=True, stdin=_NULL)
    root, config = place / "rootfs", place / "config.json"
    for name in ("usr", "proc", "dev", "sys"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    spec = json.loads(config.read_text(encoding="utf-8"))
    spec["process"] |= {"terminal": False, "args": ["/bin/true"]}
    spec["root"] = {"path": "rootfs", "readonly": True}
    mounts = [each for each in spec["mounts"] if each["destination"] != _ROOT]
    usr = {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["bind", "ro"]}
    spec["mounts"] = [*mounts, usr]
    spec["linux"] |= {
        "resources": {
            "memory": {"limit": 64 << 20, "swap": 64 << 20},
            "cpu": {"quota": 50_000, "period": 100_000},
            "pids": {"limit": 64},
        },
        "cgroupsPath": f"/{name_of(runtime)}",
    }
    config.write_text(json.dumps(spec), encoding="utf-8")


@contextlib.contextmanager
def _systemd_run() -> Iterator[Case]:
    _needs("systemd-run")
    if not os.path.isdir("/run/systemd/system"):
        msg = "systemd is not PID 1 here"
        raise NotHereError(msg)
    limits = ("MemoryMax=64M", "MemorySwapMax=0", "CPUQuota=50%", "TasksMax=64")
    properties = [word for limit in limits for word in ("-p", limit)]
    yield lambda: _run("systemd-run", "--quiet", "--wait", "--collect", *properties, "/bin/true")


PEERS: Final[dict[str, dict[str, Callable[[], Made]]]] = {
    "a group with three limits, made and removed": {
        "cgctl": lambda: _ours(**_LIMITS),
        "cgroupspy": _cgroupspy,
        "libcgroup's cgcreate, cgset, cgdelete": _libcgroup,
    },
    "a group with a limit on memory, made and removed": {
        "cgctl": lambda: _ours(memory="64M"),
        "BenchExec's Cgroups": _benchexec,
    },
    "/bin/true within three limits": {
        "cgctl.run": _our_run,
        "runc run, with its namespaces and root": lambda: _oci("runc"),
        "crun run, with its namespaces and root": lambda: _oci("crun"),
        "systemd-run --wait": _systemd_run,
    },
}
"""What is done → who does it → how."""


def measured(rounds: int) -> tuple[dict[str, Spread], dict[str, str]]:
    """Measure those that are there, ours beside them; return also why the others were left out."""
    found: dict[str, Spread] = {}
    left_out: dict[str, str] = {}
    for what, peers in PEERS.items():
        with contextlib.ExitStack() as stack:
            cases: dict[str, Case] = {}
            for name, make in peers.items():
                try:
                    case = stack.enter_context(make())
                    case()
                except (NotHereError, OSError, subprocess.CalledProcessError, cgctl.CgctlError) as error:
                    left_out[f"{name}: {what}"] = str(error)
                else:
                    cases[name] = case
            for name, each in interleaved(cases, max(_FEWEST, min(rounds, _MOST)), 1).items():
                found[f"{name}: {what}"] = each
    return found, left_out


def main() -> None:
    """Print a table."""
    print(", ".join(f"{name} {value}" for name, value in machine().items()), end="\n\n")
    found, left_out = measured(int(sys.argv[1]) if sys.argv[1:] else _MOST)
    for what, peers in PEERS.items():
        here = {name: found[f"{name}: {what}"].wall for name in peers if f"{name}: {what}" in found}
        first = next(iter(here.values()), 1)
        print(f"| {what} | milliseconds | times cgctl's |\n|---|---|---|")
        for name, wall in here.items():
            print(f"| {name} | {wall / 1000:.2f} | {wall / first:.1f} |")
        print()
    for name, reason in left_out.items():
        print(f"absent: {name}: {reason}")


if __name__ == "__main__":
    main()
