"""The machine as cgctl sees it: its layout, where groups go, and which there are."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import cgctl
from cgctl.filesystem import read_all
from cgctl.filesystem.kernel import KernelFilesystem
from tests.kernel import lacks, scripts
from tests.kernel.conftest import Make
from tests.leaks import groups

pytestmark = pytest.mark.host


class TestLayout:
    """Which controller is where."""

    @pytest.mark.parametrize(
        "controller", ["memory", "cpu", "cpuset", "pids", "io", "blkio", "freezer", "cpuacct", "nonsense"]
    )
    def test_locate(self, controller: str) -> None:
        """A controller is located where the kernel has it mounted, in the version of that mount."""
        layout = cgctl.System.detect().layout
        home = layout.locate(controller) or layout.locate(lacks.V1_NAMES.get(controller, controller))
        version = lacks.version_of(controller)

        assert (home.version if home else 0) == version
        assert home is None or home.mount_point in lacks.hierarchies().values()

    def test_the_v2_hierarchy(self) -> None:
        """The v2 hierarchy is found exactly where one is mounted."""
        unified = cgctl.System.detect().layout.unified

        assert (unified.mount_point if unified else None) == lacks.hierarchies().get("v2")

    def test_everybody_is_somewhere(self) -> None:
        """The caller is in each hierarchy, in a directory that lists it."""
        system = cgctl.System.detect()
        directories = system.directories_of(os.getpid())

        assert set(directories) == {hierarchy.label for hierarchy in system.layout.hierarchies}
        for directory in directories.values():
            assert str(os.getpid()) in Path(directory, "cgroup.procs").read_text(encoding="utf-8").split()


class TestBase:
    """Where groups go."""

    def test_parent(self, make: Make) -> None:
        """Below a parent, wherever that is."""
        parent = make(pids=9)
        group = cgctl.Group("x", parent=parent, pids=5)

        assert group.address.base.origin == f"group {parent.address.name!r}"
        assert {label: f"{path}/x" for label, path in parent.paths().items()} == group.paths()

    def test_absolute(self, name: str) -> None:
        """Below the hierarchies' roots, for a name with a leading slash."""
        group = cgctl.Group(f"/{name}/x", pids=5)
        mount_points = set(lacks.hierarchies().values())

        assert group.address.base.origin == "an absolute name"
        assert {path.removesuffix(f"/{name}/x") for path in group.paths().values()} <= mount_points

    def test_variable(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Below ``CGCTL_BASE``, which is made where it is missing, and removed with the last group."""
        monkeypatch.setenv("CGCTL_BASE", f"/{name}/x/y")
        first, second = cgctl.Group("a", pids=5).create(), cgctl.Group("b", pids=5).create()
        assert first.address.base.origin == f"CGCTL_BASE=/{name}/x/y"
        assert all(path.endswith(f"/{name}/x/y/a") for path in first.paths().values())
        first.remove()
        assert second.exists()
        second.remove()

        assert groups(name) == []

    @pytest.mark.parametrize("base", ["/../x", "/a//b", "/a/memory.max"])
    def test_nonsense_variable(self, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A ``CGCTL_BASE`` that is no path of groups is named in the error."""
        monkeypatch.setenv("CGCTL_BASE", base)
        with pytest.raises(cgctl.SpecError, match=r"^CGCTL_BASE="):
            cgctl.Group("x", pids=5).create()

    def test_a_base_of_others_stays(self, name: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """A ``CGCTL_BASE`` that somebody else uses is not removed."""
        make(name=f"/{name}/others", pids=5)
        monkeypatch.setenv("CGCTL_BASE", f"/{name}")
        cgctl.Group("x", pids=5).create().remove()

        assert cgctl.Group(f"/{name}/others").exists()

    def test_joined(self, name: str) -> None:
        """Below the innermost group that the process has joined."""
        facts = scripts.run(
            """
            with cgctl.Group(sys.argv[1], pids=50) as group:
                other = cgctl.Group("x", pids=5)
                tell(origin=other.address.base.origin, name=other.address.name, outer=group.address.name)
            """,
            name,
        )

        assert facts["origin"] == f"group {facts['outer']!r}"
        assert facts["name"] == f"{facts['outer']}/x"

    def test_own_cgroup(self, name: str, make: Make) -> None:
        """Without all that, below the caller's own cgroup, in each hierarchy."""
        lacks.require("no systemd")
        top = make(name=f"/{name}")
        facts = scripts.run(
            """
            enter(*cgctl.Group(sys.argv[1]).paths().values())
            group = cgctl.Group("x")
            tell(origin=group.address.base.origin, paths=group.create().paths(), current=cgctl.current().paths())
            group.remove()
            """,
            f"/{name}",
            env={"CGCTL_BASE": ""},
        )

        assert facts["origin"] == "the caller's own cgroup"
        assert facts["paths"] == {label: f"{path}/x" for label, path in top.paths().items()}
        assert facts["current"].items() >= top.paths().items()

    def test_limits_on_the_caller_are_not_escaped(self, name: str, make: Make) -> None:
        """What a limited process makes and runs is below its own limits."""
        lacks.require("no systemd", "pids")
        make(name=f"/{name}", pids=12)
        facts = scripts.run(
            """
            enter(*cgctl.Group(sys.argv[1]).paths().values())
            done = cgctl.run(payloads.fork_bomb(100), pids=64, capture_output=True)
            tell(**json.loads(done.stdout), own=cgctl.current().stats("pids").pids.current)
            """,
            f"/{name}",
            env={"CGCTL_BASE": ""},
        )

        assert facts["forks"] < 12


class TestGroups:
    """Which groups there are."""

    def test_groups(self, make: Make) -> None:
        """``groups()`` are those directly below the base."""
        group = make(pids=5)
        make(name="child", parent=group, pids=3)
        found = cgctl.System.detect().groups()

        assert [each.name for each in found] == [group.address.name]
        assert found[0].limits() == group.limits()

    def test_no_groups(self) -> None:
        """There may be none, and the base need not be there."""
        assert cgctl.System.detect().groups() == []

    def test_current(self) -> None:
        """``current`` is the caller's own cgroup: it is listed there, and limits and statistics can be read."""
        group = cgctl.current()

        assert group.exists()
        assert os.getpid() in group.pids()
        assert set(group.paths()) == set(cgctl.System.detect().directories_of(os.getpid())) - {"name=systemd"}
        group.limits()
        group.stats()

    def test_current_has_groups_of_any_name(self, name: str) -> None:
        """Groups that others made may have names that cgctl would not take; they can be walked and asked."""
        mount_point = next(iter(lacks.hierarchies().values()))
        below = Path(mount_point, name, "supervisor")
        below.mkdir(parents=True)
        try:
            found = list(cgctl.Group(f"/{name}").walk())
            assert [group.name for group in found] == [f"{name}/supervisor"]
            assert found[0].pids() == []
        finally:
            below.rmdir()
            below.parent.rmdir()


class TestFilesTogether:
    """Files of one directory are read together as each is read alone."""

    def test_all_of_a_group(self, make: Make) -> None:
        """The content of each, or the errno with which it refuses; and no descriptor is left open."""
        group = make(pids=5)
        filesystem = KernelFilesystem()
        for directory in group.paths().values():
            names = [*(each.name for each in Path(directory).iterdir() if each.is_file()), "no_such_file", "@no_such"]
            assert filesystem.exists(directory)  # which opens the hierarchies' roots, for good
            before = len(os.listdir("/proc/self/fd"))

            together = filesystem.read_each(directory, names)

            assert len(os.listdir("/proc/self/fd")) == before
            alone = read_all(filesystem, [f"{directory}/{name}" for name in names])
            assert dict(zip(alone, together, strict=True)) == alone

    def test_of_no_group(self, name: str) -> None:
        """Where the directory is not there, none of them is; nor outside of all hierarchies."""
        mount_point = next(iter(lacks.hierarchies().values()))

        assert KernelFilesystem().read_each(f"{mount_point}/{name}", ["a", "b"]) == [errno.ENOENT, errno.ENOENT]
        assert KernelFilesystem().read_each("/etc", ["passwd"]) == [errno.EXDEV]
        assert KernelFilesystem().read_each(f"{mount_point}/..", ["a"]) == [errno.ELOOP]

    def test_mounted_over(self, make: Make) -> None:
        """A file on which another is mounted is not read, and the others are."""
        lacks.require("a machine of its own")
        directory = next(iter(make(pids=5).paths().values()))
        script = f"""
            import errno, subprocess
            from cgctl.filesystem.kernel import KernelFilesystem
            subprocess.run(["mount", "--bind", "/dev/null", "{directory}/cgroup.procs"], check=True)
            found = KernelFilesystem().read_each("{directory}", ["cgroup.procs", "cgroup.procs", "no_such"])
            assert found == [errno.EXDEV, errno.EXDEV, errno.ENOENT], found
            """
        argv = ["unshare", "-m", sys.executable, "-c", textwrap.dedent(script)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)

        assert (done.returncode, done.stderr) == (0, "")


def test_looking_again_opens_nothing_for_good() -> None:
    """Each look at the machine gives back the descriptors that it took."""
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(20):
        cgctl.System.detect().groups()

    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_after_all_descriptors_were_closed(name: str) -> None:
    """A program that becomes a daemon closes all it has; what is opened then is never taken for a hierarchy."""
    script = """
        import os, cgctl
        group = cgctl.Group({name!r}, pids=5).create()
        os.closerange(3, 256)
        others = [os.open("/tmp", os.O_RDONLY) for _ in range(30)]
        try:
            print(group.limits().pids.max, cgctl.Group({name!r} + "-2", pids=6).create().remove())
        finally:
            group.remove()
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script).format(name=name)], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("5 None\n", "")
    assert not Path("/tmp", name).exists()  # noqa: S108 - where it could have gone
