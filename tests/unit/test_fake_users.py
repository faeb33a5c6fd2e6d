"""A machine in memory that an ordinary user uses."""

from __future__ import annotations

import pytest

import cgctl
from cgctl.testing import FakeSystem

_ROOT = "/sys/fs/cgroup"


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> FakeSystem:
    """One that uid 1000 uses, in a group of his own."""
    monkeypatch.delenv("CGCTL_BASE", raising=False)
    return FakeSystem("v2", kernel="6.12", user=1000)


def test_his_groups_are_limited(system: FakeSystem) -> None:
    """He makes, limits and changes groups below his own, and removes them."""
    group = cgctl.Group("p1", system=system, memory="64M", pids=10).create()
    held = group.update(memory="32M").memory
    assert (held and held.max) == 32 << 20
    group.remove()

    assert not group.exists()


def test_his_own_group_is_not_his_to_change(system: FakeSystem) -> None:
    """The limits on the group that was given to him are root's."""
    with pytest.raises(PermissionError):
        system.kernel.write(f"{_ROOT}/user/memory.max", b"max")
    with pytest.raises(PermissionError):
        system.kernel.mkdir(f"{_ROOT}/other")


def test_nobody_is_moved_out(system: FakeSystem) -> None:
    """A process is moved only where what is above both places is his."""
    kernel = system.kernel
    group = cgctl.Group("p1", system=system).create()
    task = kernel.spawn(group)
    kernel.owners.user = 0
    kernel.mkdir(f"{_ROOT}/other")
    kernel.chown(f"{_ROOT}/other/cgroup.procs", 1000, -1)
    kernel.owners.user = 1000
    with pytest.raises(PermissionError):
        kernel.write(f"{_ROOT}/other/cgroup.procs", b"%d" % task.pid)


def test_v1_gives_him_nothing() -> None:
    """There no group may be made, and that is said."""
    with pytest.raises(cgctl.CgctlError):
        cgctl.Group("p1", system=FakeSystem("v1", kernel="6.1", user=1000), memory="64M").create()
