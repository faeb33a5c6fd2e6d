"""Faults on purpose: whatever the kernel refuses, and whenever, cgctl leaves nothing behind."""

from __future__ import annotations

import errno
from typing import Any

import pytest

import cgctl
from cgctl.fake.faults import Operation
from cgctl.plan import Mkdir, Write
from cgctl.testing import FakeSystem

MACHINES: list[Any] = [
    pytest.param({"layout": layout, "kernel": kernel}, id=f"{layout}-{kernel}")
    for layout, kernel in (("v2", "6.12"), ("v1", "6.1"), ("hybrid", "6.12"), ("v2", "5.10"))
]
LIMITS: dict[str, Any] = {"memory": "100M", "cpu": 0.5, "pids": 64, "cpuset": "0-1", "io": {"8:0": "10M"}}


@pytest.fixture(autouse=True)
def _in_a_session(fake_system: FakeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is in a group of its own, as a user is, which on v2 must be emptied before it can give controllers."""
    monkeypatch.delenv("CGCTL_BASE", raising=False)
    kernel = fake_system.kernel
    for tree in kernel.trees:
        kernel.mkdir(f"{tree.mount_point}/session")
        if "cpuset" in tree.controllers and tree.version == 1:
            for name in ("cpuset.cpus", "cpuset.mems"):
                kernel.write(f"{tree.mount_point}/session/{name}", kernel.read(f"{tree.mount_point}/{name}"))
        kernel.write(f"{tree.mount_point}/session/cgroup.procs", b"0")
        if tree.version != 1:
            names = " ".join(f"+{name}" for name in tree.controllers).encode()
            kernel.write(f"{tree.mount_point}/cgroup.subtree_control", names)


def everything(system: FakeSystem) -> dict[str, Any]:
    """All groups of a machine, what each holds, and where the caller is."""
    kernel, found = system.kernel, {}
    for tree in kernel.trees:
        for group in tree.root.below():
            path = tree.mount_point + group.path.rstrip("/")
            found[path] = (sorted(group.control), dict(group.values), dict(group.xattrs), len(group.threads))
    return found | {"caller": kernel.read("/proc/self/cgroup")}


@pytest.mark.parametrize("fake_system", MACHINES, indirect=True)
class TestRollback:
    """A group of five controllers, three deep, beside processes that have to move out of the way."""

    def group(self, system: FakeSystem, **keywords: Any) -> cgctl.Group:
        """Describe it."""
        return cgctl.Group("jobs/of/today", system=system, **LIMITS, **keywords)

    @pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM, errno.EBUSY], ids=["EIO", "ENOMEM", "EBUSY"])
    def test_each_step_fails(self, fake_system: FakeSystem, number: int) -> None:
        """Whichever step fails, nothing is left, and without the fault all of it is there."""
        group = self.group(fake_system)
        before, steps = everything(fake_system), group.plan()
        assert len(steps) >= 12
        for step in steps:
            assert isinstance(step, Mkdir | Write)
            how: Operation = "mkdir" if isinstance(step, Mkdir) else "write"
            fault = fake_system.kernel.fail(step.path, number, times=None, on=how)
            with pytest.raises((cgctl.StepError, cgctl.UnsupportedError)):
                self.group(fake_system).create()
            assert fault.hits
            assert everything(fake_system) == before, step
            fault.left = 0

        assert group.create().limits().pids == cgctl.Pids(max=64)
        group.remove()
        assert everything(fake_system) == before

    def test_each_reading_fails(self, fake_system: FakeSystem) -> None:
        """Whichever reading fails once, either it did not matter or nothing is left."""
        with self.group(fake_system, join=False):
            pass
        before, failed = everything(fake_system), 0
        for nth in range(200):
            fault = fake_system.kernel.fail("*", errno.EIO, on="read", after=nth)
            try:
                group = self.group(fake_system).create()
            except (cgctl.CgctlError, OSError):
                failed += 1
            else:
                fault.left = 0
                group.remove()
            assert everything(fake_system) == before, nth
            if not fault.hits:
                break
        else:
            pytest.fail("there is no end of its readings")

        assert failed

    def test_vanishes_meanwhile(self, fake_system: FakeSystem) -> None:
        """What somebody else removes between two steps is made anew, or the caller is told; nothing is left."""
        before = everything(fake_system)
        for step in self.group(fake_system).plan():
            if not isinstance(step, Write) or not step.path.rpartition("/")[0].endswith("today"):
                continue
            fault = fake_system.kernel.fail(step.path, errno.ENODEV, on="write")
            self.group(fake_system).create().remove()
            assert fault.hits == 1
            assert everything(fake_system) == before, step


class TestFail:
    """``kernel.fail``."""

    def test_as_often_as_asked(self, fake_system: FakeSystem) -> None:
        """The next calls fail with the errno and the path, as the kernel's do, and those after go well."""
        group = cgctl.Group("p1", memory="1M", system=fake_system).create()
        path = f"{group.paths()['unified']}/memory.max"
        fault = fake_system.kernel.fail("*/p1/memory.*", errno.EIO, times=2, on="read")
        for _call in range(2):
            with pytest.raises(OSError, match="error") as caught:
                fake_system.kernel.read(path)
            assert (caught.value.errno, caught.value.filename) == (errno.EIO, path)

        assert fake_system.kernel.read(path) == b"1048576\n"
        assert fault.hits == 2

    def test_what_a_user_sees(self, fake_system: FakeSystem) -> None:
        """A write that fails is a StepError with that errno, and the limit is as before."""
        group = cgctl.Group("p1", memory="1M", system=fake_system).create()
        fake_system.kernel.fail("*/memory.max", errno.ENOMEM, on="write")
        with pytest.raises(cgctl.StepError, match="ENOMEM"):
            group.update(memory="2M")

        assert group.limits().memory == cgctl.Group("p1", system=fake_system).limits().memory
        assert getattr(group.limits().memory, "max", None) == 1 << 20

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ({"errno": 0}, "not an errno"),
            ({"errno": "EIO"}, "not an errno"),
            ({"errno": errno.EIO, "times": 0}, "times=0"),
            ({"errno": errno.EIO, "on": "open"}, "no such call"),
            ({"errno": errno.EIO, "after": -1}, "after=-1"),
        ],
    )
    def test_nonsense(self, fake_system: FakeSystem, arguments: dict[str, Any], named: str) -> None:
        """It is refused by name."""
        with pytest.raises(cgctl.SpecError, match=named):
            fake_system.kernel.fail("*", **arguments)


@pytest.mark.parametrize("fake_system", MACHINES, indirect=True)
class TestVanish:
    """``kernel.vanish``."""

    def test_at_once(self, fake_system: FakeSystem) -> None:
        """What ran in the group is killed, it is gone in every hierarchy, and whoever had it is told so."""
        group = cgctl.Group("p1", memory="1M", pids=5, system=fake_system).create()
        inner = group.group("a", pids=3).create()
        task, paths = fake_system.kernel.spawn(inner), list(group.paths().values())
        fake_system.kernel.vanish(group)

        assert (task.alive, task.status) == (False, -9)
        assert not group.exists()
        for verb in (group.limits, group.stats, group.pids, inner.limits, lambda: group.update(pids=3), group.remove):
            with pytest.raises(cgctl.GroupNotFoundError):
                verb()
        with pytest.raises(OSError, match="No such file") as caught:
            fake_system.kernel.vanish(paths[0])
        assert caught.value.errno == errno.ENOENT

    def test_under_an_open_file(self, fake_system: FakeSystem) -> None:
        """Who has opened a file of it is refused with ENODEV, which the user sees as the group's absence."""
        group = cgctl.Group("p1", pids=5, system=fake_system).create()
        fake_system.kernel.vanish(group, on="pids.max")
        with pytest.raises(cgctl.GroupNotFoundError, match="removed meanwhile"):
            group.limits()

        assert not group.exists()

    def test_under_open_statistics(self, fake_system: FakeSystem) -> None:
        """The same, of what it has used."""
        group = cgctl.Group("p1", pids=5, system=fake_system).create()
        fake_system.kernel.vanish(group, on="pids.current")
        with pytest.raises(cgctl.GroupNotFoundError, match="removed meanwhile"):
            group.stats()

    def test_in_the_middle_of_an_update(self, fake_system: FakeSystem) -> None:
        """A change that meets it says that the group has gone, and makes none anew."""
        group = cgctl.Group("p1", pids=5, system=fake_system).create()
        fake_system.kernel.vanish(group, on="pids.max")
        with pytest.raises(cgctl.GroupNotFoundError, match="p1"):
            group.update(pids=7)

        assert not group.exists()

    def test_not_with_the_caller_inside(self, fake_system: FakeSystem) -> None:
        """Nobody kills the caller, and so nobody can remove where it is."""
        with (
            cgctl.Group("p1", pids=5, system=fake_system) as group,
            pytest.raises(OSError, match="busy"),
        ):
            fake_system.kernel.vanish(group)

        assert not group.exists()

    def test_no_such_file(self, fake_system: FakeSystem) -> None:
        """It is refused by name."""
        group = cgctl.Group("p1", pids=5, system=fake_system).create()
        with pytest.raises(cgctl.SpecError, match=r"pids\.nonsense"):
            fake_system.kernel.vanish(group, on="pids.nonsense")
