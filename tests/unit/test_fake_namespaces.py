"""Cgroup namespaces in memory; what is seen and refused in them is compared with real ones in tests/differential."""

from __future__ import annotations

import pytest

import cgctl
from cgctl.fake import FakeKernel, Task
from cgctl.testing import FakeSystem

_ROOT = "/sys/fs/cgroup"


@pytest.fixture
def kernel() -> FakeKernel:
    """One with some groups, mounted with nsdelegate."""
    made = FakeKernel("v2", nsdelegate=True)
    made.write(f"{_ROOT}/cgroup.subtree_control", b"+pids")
    for name in ("a", "a/b", "a/b/c", "o"):
        made.mkdir(f"{_ROOT}/{name}")
    return made


def _inside(kernel: FakeKernel, group: str) -> Task:
    task = kernel.spawn(f"{_ROOT}/{group}")
    task.unshare()
    return task


def _where(kernel: FakeKernel, pid: int) -> str:
    return kernel.read(f"/proc/{pid}/cgroup").decode().strip().removeprefix("0::")


def test_where_others_are(kernel: FakeKernel) -> None:
    """Everybody sees groups from the root of his own namespace."""
    task, below, beside = _inside(kernel, "a/b"), kernel.spawn(f"{_ROOT}/a/b/c"), kernel.spawn(f"{_ROOT}/o")
    pids = [each.pid for each in (task, below, beside)]
    assert [_where(kernel, pid) for pid in pids] == ["/a/b", "/a/b/c", "/o"]
    with kernel.acting(task):
        assert [_where(kernel, pid) for pid in pids] == ["/", "/c", "/../../o"]
        assert _where(kernel, kernel.caller.pid) == "/"
        assert f" /../.. {_ROOT} " in kernel.read("/proc/self/mountinfo").decode()

    assert f" / {_ROOT} " in kernel.read("/proc/self/mountinfo").decode()


def test_where_he_has_gone(kernel: FakeKernel) -> None:
    """Somebody else may move him out of it; the root stays."""
    task = _inside(kernel, "a/b")
    kernel.write(f"{_ROOT}/a/cgroup.procs", str(task.pid).encode())
    with kernel.acting(task):
        assert _where(kernel, task.pid) == "/.."


def test_children_share_it(kernel: FakeKernel) -> None:
    """What is started in it is in it, until it has one of its own."""
    task = _inside(kernel, "a")
    child = task.fork()
    kernel.write(f"{_ROOT}/a/b/cgroup.procs", str(child.pid).encode())
    with kernel.acting(child):
        assert _where(kernel, child.pid) == "/b"
    child.unshare()
    with kernel.acting(child):
        assert (_where(kernel, child.pid), _where(kernel, task.pid)) == ("/", "/..")


def test_the_machine_itself_is_not_bound(kernel: FakeKernel) -> None:
    """Who is in the first namespace limits all groups, and so does everybody without nsdelegate."""
    task = _inside(kernel, "a")
    with kernel.acting(task), pytest.raises(PermissionError):
        kernel.write(f"{_ROOT}/a/pids.max", b"5")
    kernel.write(f"{_ROOT}/a/pids.max", b"5")
    kernel.nsdelegate = False
    with kernel.acting(task):
        kernel.write(f"{_ROOT}/a/pids.max", b"6")

    assert kernel.read(f"{_ROOT}/a/pids.max") == b"6\n"


def test_an_ordinary_user_has_none() -> None:
    """It takes CAP_SYS_ADMIN."""
    system = FakeSystem("v2", user=1000)

    with pytest.raises(PermissionError):
        system.kernel.spawn("/sys/fs/cgroup/user").unshare()


def test_one_that_has_ended(kernel: FakeKernel) -> None:
    """The dead do nothing."""
    task = kernel.spawn()
    task.exit()

    with pytest.raises(ProcessLookupError):
        task.unshare()


def test_the_library_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a namespace, groups that are its root's are limited, run programs in, and removed, and the root is not."""
    monkeypatch.delenv("CGCTL_BASE", raising=False)
    system = FakeSystem("v2", nsdelegate=True)
    home = cgctl.Group("home", system=system, pids=100).create()
    home.write("cgroup.subtree_control", "+pids")
    task = system.kernel.spawn(home.group("own").create())
    task.unshare()
    with system.kernel.acting(task):
        with pytest.raises(cgctl.CgctlError, match="EPERM"):
            home.group("own").update(pids=7)
        with pytest.raises(cgctl.CgctlError):
            home.group("beside").create().add(task.pid)
        with pytest.raises(cgctl.LaunchError, match="ENOENT"):
            home.group("beside").run(lambda task: task.print())
        below = home.group("own/below").create()
        below.add(task.pid)

        assert below.pids() == [task.pid]
