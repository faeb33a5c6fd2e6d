"""What an ordinary user may do in groups that were given to him, and what not: in memory as really."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from cgctl.errors import errno_name
from cgctl.fake import FakeKernel
from cgctl.filesystem import Filesystem, remove_tree
from cgctl.filesystem.kernel import KernelFilesystem
from tests.differential.ground import Ground, grounds
from tests.kernel import lacks
from tests.leaks import PREFIX

pytestmark = pytest.mark.host

_USER = 65534
_CONTROLS = ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks")
Action = tuple[str, str, str]
# Given to the user are the group "a" and what of its files one gives; "a/r" in it, and "o" beside it, are root's.
# MINE is a process of the user's, in a; ROOTS one of root's, there too; OUTSIDE one of the user's, in o.
ACTIONS: tuple[Action, ...] = (
    *(("mkdir", name, "") for name in ("o/x", "b", "a", "a/x", "a/x", "a/r", "a/x/y", "a/r/x", "a/cgroup.procs")),
    *(("rmdir", name, "") for name in ("o", "b", "a", "a/nosuch", "a/cgroup.procs", "cgroup.procs", "a/x", "a/x/y")),
    *(("write", path, "5") for path in ("a/cgroup.max.depth", "a/x/cgroup.max.depth", "a/r/cgroup.max.depth")),
    *(("write", path, "") for path in ("a/cgroup.max.depth", "a/x/cgroup.max.depth", "cgroup.procs")),
    *(("write", f"{path}/cgroup.controllers", "1") for path in ("a", "a/x")),
    *(("write", f"{path}/notify_on_release", "1") for path in ("a", "a/x", "a/r")),
    *(("read", f"{path}/cgroup.kill", "") for path in ("a", "a/x")),
    *(("read", f"{path}/cgroup.max.depth", "") for path in ("o", "a", "a/x")),
    *(("write", "a/x/cgroup.procs", text) for text in ("abc", "4194305", "MINE", "MINE", "OUTSIDE", "ROOTS")),
    *(("write", f"{path}cgroup.procs", "MINE") for path in ("o/", "a/r/", "", "a/", "a/x/")),
    *(("write", f"{path}tasks", "MINE") for path in ("o/", "a/r/", "", "a/", "a/x/")),
    *(("write", f"{path}cgroup.threads", "MINE") for path in ("o/", "a/r/", "", "a/", "a/x/")),
    *(("write", f"{path}/cgroup.subtree_control", "+pids") for path in ("o", "a/x", "a")),
    *(("write", f"{path}/pids.max", "9") for path in ("a", "a/x", "a/r")),
    *(("write", f"{path}/cgroup.freeze", text) for path in ("a", "a/x") for text in ("1", "0")),
    *(("signal", who, "0") for who in ("MINE", "ROOTS", "OUTSIDE")),
    *(("chown", path, uid) for path in ("a/x", "a/x/cgroup.procs", "a", "o") for uid in (f"{_USER}", "0", "-1")),
    *(("setxattr", path, "user.cgctl.x") for path in ("o", "a", "a/r", "a/x")),
    *(("rmdir", name, "") for name in ("a/x", "a/r", "o")),
)


def _done(kernel: Filesystem, action: Action, top: str, pids: dict[str, int]) -> str:
    verb, path, data = action
    at = f"{top}/{path}"
    try:
        if verb == "write":
            kernel.write(at, str(pids.get(data, data)).encode())
        elif verb == "signal":
            kernel.signal(pids[path], int(data))
        elif verb == "chown":
            kernel.chown(at, int(data), -1)
        elif verb == "setxattr":
            kernel.setxattr(at, data, b"1")
        else:
            getattr(kernel, verb)(at)
    except OSError as error:
        return errno_name(error.errno or 0)
    return "done"


def _as_user(what: Callable[[], str]) -> str:
    """Do it in a child that is the user."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(_USER, _USER, _USER)
            os.setresuid(_USER, _USER, _USER)
            os.write(writer, what().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


@pytest.fixture
def processes() -> Iterator[dict[str, int]]:
    """Two processes of the user's, and one of root's."""
    started = {
        name: subprocess.Popen(["sleep", "100"], user=None if name == "ROOTS" else _USER)
        for name in ("MINE", "ROOTS", "OUTSIDE")
    }
    yield {name: process.pid for name, process in started.items()}
    for process in started.values():
        process.send_signal(signal.SIGKILL)
        process.wait()


def _prepare(kernel: Filesystem, top: str, pids: dict[str, int]) -> None:
    for name in ("a", "a/r", "o"):
        kernel.mkdir(f"{top}/{name}")
    for name in ("cpuset.cpus", "cpuset.mems"):  # v1: without them nobody can be in there
        for group in ("", "/a", "/a/r", "/o"):
            try:
                kernel.write(f"{top}{group}/{name}", b"0")
            except OSError:
                break
    for name, group in (("MINE", "a"), ("ROOTS", "a"), ("OUTSIDE", "o")):
        kernel.write(f"{top}/{group}/cgroup.procs", str(pids[name]).encode())
    for name in _CONTROLS:
        try:
            kernel.chown(f"{top}/a/{name}", _USER, -1)
        except FileNotFoundError:
            continue
    kernel.chown(f"{top}/a", _USER, -1)


def _fake(ground: Ground, top: str, pids: dict[str, int]) -> FakeKernel:
    kernel = ground.fake()
    kernel.mkdir(top)
    for name, pid in pids.items():
        kernel.owners.user = 0 if name == "ROOTS" else _USER
        kernel.spawn(pid=pid)
    kernel.owners.user = 0
    _prepare(kernel, top, pids)
    kernel.owners.user = _USER
    return kernel


@pytest.mark.parametrize("ground", [pytest.param(each, id=each.label) for each in grounds()])
def test_a_user_may_do_the_same(ground: Ground, processes: dict[str, int]) -> None:
    """Each thing that a user tries is allowed or refused as it is really."""
    lacks.require("host")
    if os.geteuid():
        pytest.skip("host: only root can be somebody else")
    with ground.entered(f"{PREFIX}look") as there:
        top = f"{there.root}/{PREFIX}p"
        fake, real = _fake(there, top, processes), KernelFilesystem()
        real.mkdir(top)
        try:
            _prepare(real, top, processes)
            in_memory, really = {}, {}
            for number, action in enumerate(ACTIONS):
                key = f"{number}: {' '.join(action)}"
                in_memory[key] = _done(fake, action, top, processes)
                really[key] = _as_user(lambda action=action: _done(real, action, top, processes))  # type: ignore[misc]
        finally:
            for pid in processes.values():
                real.write(f"{there.root}/cgroup.procs", str(pid).encode())
            remove_tree(real, top, timeout=10)

    assert {key: (in_memory[key], told) for key, told in really.items() if in_memory[key] != told} == {}
    assert {"done", "EACCES"} < set(really.values())
