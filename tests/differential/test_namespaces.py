"""What a process in a cgroup namespace sees and may do, with ``nsdelegate`` and without: in memory as really."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgctl.errors import errno_name
from cgctl.filesystem import Filesystem, remove_tree
from cgctl.filesystem.kernel import KernelFilesystem
from tests.differential.ground import IN_GUEST, Ground, grounds
from tests.kernel import lacks
from tests.leaks import PREFIX
from tests.require import skip_unless

pytestmark = pytest.mark.host

Action = tuple[str, str, str]
# "n" is the namespace's root, in which MINE, who does all of it, is; "n/a" is below, with BELOW; "o" is beside it, with
# OUTSIDE. A path that begins with "../" is the hierarchy's root.
ACTIONS: tuple[Action, ...] = (
    *(("where", who, "") for who in ("MINE", "BELOW", "OUTSIDE", "ATOP")),
    *(
        ("write", f"n/{name}", text)
        for name in ("cgroup.max.depth", "pids.max")
        for text in ("5", "", "abc", "9" * 5000)
    ),
    *(("write", f"{path}{name}", "max") for path in ("n/a/", "o/") for name in ("cgroup.max.depth", "pids.max")),
    *(("write", f"n/{name}", "0") for name in ("cgroup.freeze", "cgroup.kill", "memory.oom.group", "cgroup.events")),
    *(("write", "n/nosuch", text) for text in ("0", "")),
    *(("write", "n/cgroup.type", "threaded"), ("write", "n/memory.max", "max"), ("write", "n/memory.reclaim", "x")),
    *(("write", "n/cpu.pressure", "some 150000 2000000"), ("write", "n/cgroup.controllers", "")),
    *(("write", f"{path}cgroup.subtree_control", "+bogus") for path in ("n/", "n/a/", "o/")),
    *(("mkdir", path, "") for path in ("n/b", "o/b", "n/b/c")),
    *(("write", f"{path}cgroup.procs", "MINE") for path in ("n/b/", "n/b/c/", "o/", "../", "n/nosuch/", "n/")),
    *(("write", f"{path}cgroup.procs", "OUTSIDE") for path in ("n/", "n/a/", "o/", "o/b/", "../")),
    *(("write", f"{path}cgroup.procs", "BELOW") for path in ("o/", "../", "n/b/", "n/", "n/a/")),
    *(("write", f"{path}cgroup.threads", "BELOW") for path in ("o/", "n/b/", "n/")),
    *(
        ("write", f"{path}{name}", text)
        for path in ("n/", "o/")
        for name in ("cgroup.procs",)
        for text in ("abc", "4194305")
    ),
    *(("write", f"{path}tasks", who) for path in ("o/", "n/", "n/a/") for who in ("BELOW", "OUTSIDE")),
    *(("where", who, "") for who in ("MINE", "BELOW", "OUTSIDE", "ATOP")),
    *(("rmdir", path, "") for path in ("n/b/c", "n/b", "o/b")),
    ("mounted", "", ""),
)


def done(kernel: Filesystem, ground: Ground, action: Action, top: str, pids: dict[str, int]) -> str:
    """Do something, and return what came of it."""
    verb, path, data = action
    at = f"{ground.root}/{path[3:]}" if path.startswith("../") else f"{top}/{path}"
    try:
        if verb == "write":
            kernel.write(at, str(pids.get(data, data)).encode())
        elif verb == "where":
            return _line(kernel.read(f"/proc/{pids[path]}/cgroup").decode(), ground).rpartition(":")[2]
        elif verb == "mounted":
            lines = kernel.read("/proc/self/mountinfo").decode().splitlines()
            line = next(each.split() for each in lines if each.split()[4] == ground.root)
            return f"{line[3]} {'nsdelegate' if 'nsdelegate' in line[-1].split(',') else ''}"
        else:
            getattr(kernel, verb)(at)
    except OSError as error:
        return errno_name(error.errno or 0)
    return "done"


def _line(text: str, ground: Ground) -> str:
    label = "0::" if ground.hierarchy.version != 1 else f":{ground.label}:"
    return next(line for line in text.splitlines() if label in line)


# Does all of it in a namespace of its own, and says what came of it.
_INSIDE = """
import ast, ctypes, os, sys
from cgctl.filesystem.kernel import KernelFilesystem
from tests.differential.ground import grounds
from tests.differential.test_namespaces import ACTIONS, done
label, top, pids = sys.argv[1], sys.argv[2], ast.literal_eval(sys.argv[3])
kernel = KernelFilesystem()
ground = next(each for each in grounds() if each.label == label)
pids["MINE"] = os.getpid()
kernel.write(f"{top}/n/cgroup.procs", b"0")
if ctypes.CDLL(None, use_errno=True).unshare(0x02000000):
    sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
print([done(kernel, ground, action, top, pids) for action in ACTIONS])
"""


@pytest.fixture
def processes() -> Iterator[dict[str, int]]:
    """Processes that sleep."""
    started = {name: subprocess.Popen(["sleep", "1000"]) for name in ("BELOW", "OUTSIDE", "ATOP")}
    yield {name: process.pid for name, process in started.items()}
    for process in started.values():
        process.send_signal(signal.SIGKILL)
        process.wait()


def _prepare(kernel: Filesystem, ground: Ground, top: str, pids: dict[str, int]) -> None:
    for name in ("n", "n/a", "o"):
        kernel.mkdir(f"{top}/{name}")
    for name in ("cpuset.cpus", "cpuset.mems"):  # v1: without them nobody can be in there
        for group in ("", "/n", "/n/a", "/o"):
            with contextlib.suppress(OSError):
                kernel.write(f"{top}{group}/{name}", b"0")
    for name, where in (("BELOW", f"{top}/n/a"), ("OUTSIDE", f"{top}/o"), ("ATOP", ground.root)):
        kernel.write(f"{where}/cgroup.procs", str(pids[name]).encode())


def _in_memory(ground: Ground, top: str, pids: dict[str, int], *, nsdelegate: bool) -> list[str]:
    kernel = ground.fake(nsdelegate=nsdelegate)
    kernel.mkdir(top)
    for pid in pids.values():
        kernel.spawn(pid=pid)
    _prepare(kernel, ground, top, pids)
    mine = kernel.spawn(f"{top}/n")
    mine.unshare()
    with kernel.acting(mine):
        return [done(kernel, ground, action, top, {**pids, "MINE": mine.pid}) for action in ACTIONS]


def _really(ground: Ground, top: str, pids: dict[str, int]) -> list[str]:
    line = [sys.executable, "-c", _INSIDE, ground.label, top, repr(pids)]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    if run.stderr.startswith("unshare"):
        skip_unless("namespaces", run.stderr.strip())
    assert run.returncode == 0, run.stderr
    found: list[str] = ast.literal_eval(run.stdout)
    return found


def _options(ground: Ground) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return next(line.split()[-1] for line in lines if line.split()[4] == ground.root).split(",")


@contextlib.contextmanager
def _mounted(ground: Ground, *, nsdelegate: bool) -> Iterator[None]:
    """Have it mounted so; another machine than ours is taken as it is."""
    before = _options(ground)
    if ("nsdelegate" in before) is nsdelegate:
        yield
        return
    if not IN_GUEST or os.geteuid():
        skip_unless(
            "nsdelegate", f"{ground.root} is mounted {'without' if nsdelegate else 'with'} it, which only root changes"
        )
    wanted = [*before, "nsdelegate"] if nsdelegate else [each for each in before if each != "nsdelegate"]
    for options in (wanted, before):
        subprocess.run(["mount", "-o", f"remount,{','.join(options)}", "cgroup2", ground.root], check=True)
        if options is wanted:
            yield


_CASES = [
    pytest.param(each, nsdelegate, id=f"{each.label}-{'nsdelegate' if nsdelegate else 'plain'}")
    for each in grounds()
    for nsdelegate in ([False] if each.hierarchy.version == 1 else [False, True])
]


@pytest.mark.parametrize(("ground", "nsdelegate"), _CASES)
def test_in_a_namespace(ground: Ground, processes: dict[str, int], nsdelegate: bool) -> None:  # noqa: FBT001
    """Each thing is seen, done or refused as it is really."""
    lacks.require("host")
    with contextlib.ExitStack() as stack:
        if ground.hierarchy.version != 1:
            stack.enter_context(_mounted(ground, nsdelegate=nsdelegate))
        there = stack.enter_context(ground.entered(f"{PREFIX}look"))
        top, real = f"{there.root}/{PREFIX}n", KernelFilesystem()
        real.mkdir(top)
        stack.callback(remove_tree, real, top, timeout=30)
        for pid in processes.values():
            stack.callback(real.write, f"{there.root}/cgroup.procs", str(pid).encode())
        _prepare(real, there, top, processes)
        really = _really(there, top, processes)
        in_memory = _in_memory(there, top, processes, nsdelegate=nsdelegate)

    told = {
        f"{number}: {' '.join(action)[:60]}": pair
        for number, (action, *pair) in enumerate(zip(ACTIONS, in_memory, really, strict=True))
    }
    assert {key: pair for key, pair in told.items() if pair[0] != pair[1]} == {}
    assert {"done", "/", "/../o", "ENOENT"} < set(really)
    assert ("EPERM" in really) is nsdelegate
