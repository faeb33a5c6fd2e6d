"""Which controller lives where: what kernels really say of mounts and memberships."""

from __future__ import annotations

import pytest

from cgctl.controllers import CONTROLLERS, CORE, Row
from cgctl.formats import FormatError
from cgctl.layout import UNIFIED, Hierarchy, Layout, Membership, parse_membership
from cgctl.mounts import parse_mountinfo
from tests.unit.refusals import says

# Each v1 controller alone, and a v2 tree without controllers.
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""

V2 = "30 24 0:27 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"

# systemd's: co-mounted controllers, a named hierarchy, optional fields.
SYSTEMD = """\
25 30 0:22 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
26 25 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
27 25 0:24 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
33 25 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:17 master:3 - cgroup cgroup rw,seclabel,cpu,cpuacct
34 25 0:31 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid shared:18 - cgroup cgroup rw,net_cls,net_prio
35 25 0:32 / /sys/fs/cgroup/memory rw,nosuid shared:19 - cgroup cgroup rw,memory,release_agent=/sbin/agent
"""

# A container without a cgroup namespace: its own group is what is mounted, and read-only.
DOCKER = """\
1500 1490 0:29 /docker/4af /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:15 - cgroup cgroup rw,memory
1501 1490 0:30 /docker/4af /sys/fs/cgroup/pids ro,nosuid,nodev,noexec,relatime master:16 - cgroup cgroup rw,pids
"""


def _layout(text: str, controllers: str = "", at: str = "/sys/fs/cgroup") -> Layout:
    return Layout.parse(parse_mountinfo(text), {at: controllers})


def _hierarchy(root: str = "/", mount_point: str = "/sys/fs/cgroup/memory") -> Hierarchy:
    return Hierarchy(version=1, controllers=("memory",), mount_point=mount_point, root=root)


def _row(name: str, attribute: str) -> Row:
    rows = (*CONTROLLERS[name].settings, *CONTROLLERS[name].readings)
    return next(row for row in rows if row.attribute == attribute)


class TestParseMountinfo:
    """``/proc/PID/mountinfo``."""

    def test_fields(self) -> None:
        """Optional fields, any number of them, end with a hyphen."""
        mount = parse_mountinfo(SYSTEMD)[3]

        assert (mount.device, mount.root, mount.mount_point, mount.filesystem) == (
            "0:30",
            "/",
            "/sys/fs/cgroup/cpu,cpuacct",
            "cgroup",
        )
        assert mount.options == {"rw", "nosuid"}
        assert mount.super_options == ("rw", "seclabel", "cpu", "cpuacct")

    @pytest.mark.parametrize(
        ("escaped", "path"), [(r"/a\040b", "/a b"), (r"/a\011b", "/a\tb"), (r"/a\134b", r"/a\b"), (r"/a\043", "/a#")]
    )
    def test_octal_escapes(self, escaped: str, path: str) -> None:
        """Blanks, tabs, backslashes and number signs are escaped."""
        (mount,) = parse_mountinfo(f"30 24 0:27 {escaped} {escaped} rw - cgroup2 none rw\n")

        assert (mount.root, mount.mount_point) == (path, path)

    def test_without_super_options(self) -> None:
        """Some filesystems say nothing after their source, nor a source."""
        (mount,) = parse_mountinfo("30 24 0:27 / /mnt rw - cgroup2 none\n")

        assert mount.super_options == ("",)

    @pytest.mark.parametrize(("options", "expected"), [("ro - cgroup2 x rw", True), ("rw - cgroup2 x ro", True)])
    def test_read_only(self, options: str, expected: bool) -> None:  # noqa: FBT001 - the value is the argument
        """The mount or the filesystem may be read-only."""
        (mount,) = parse_mountinfo(f"30 24 0:27 / /sys/fs/cgroup {options}\n")

        assert mount.read_only is expected

    @pytest.mark.parametrize("line", ["", "30 24 0:27 / /x rw", "30 24 0:27 / /x - cgroup2 x rw", "30 - cgroup2 x rw"])
    def test_other_lines(self, line: str) -> None:
        """What is no line of mountinfo is refused by name."""
        with says(FormatError, "not a line of mountinfo", repr(line)):
            parse_mountinfo(line + "\n")


class TestLayout:
    """Hierarchies, of mounts."""

    def test_this_host(self) -> None:
        """A hybrid machine: v1 for all controllers, a v2 tree beside."""
        layout = _layout(HYBRID)

        labels = ["cpu", "cpuacct", "cpuset", "memory", "freezer", "pids", "name=systemd", "unified"]
        assert labels == [hierarchy.label for hierarchy in layout.hierarchies]
        assert layout.unified is layout.hierarchies[-1]
        assert [layout.locate(name).version for name in ("memory", CORE)] == [1, 2]  # type: ignore[union-attr]
        assert layout.locate("io") is None

    def test_pure_v2(self) -> None:
        """One tree for all."""
        layout = _layout(V2, "cpuset cpu io memory pids\n")

        assert len(layout.hierarchies) == 1
        assert layout.locate("memory") is layout.unified is layout.locate(CORE)
        assert layout.locate("freezer") is None

    def test_systemd_hybrid(self) -> None:
        """Co-mounted controllers share a tree; other options are no controllers."""
        layout = _layout(SYSTEMD)

        together = layout.locate("cpu")
        assert together is layout.locate("cpuacct")
        assert together is not None
        assert together.controllers == ("cpu", "cpuacct")
        assert layout.hierarchy("memory") is layout.locate("memory")
        named = layout.hierarchy("name=systemd")
        assert named is not None
        assert (named.name, named.controllers) == ("systemd", ())

    def test_controllers_in_another_order(self) -> None:
        """``/proc/PID/cgroup`` may list co-mounted controllers in another order."""
        layout = _layout(SYSTEMD)

        assert layout.hierarchy("cpuacct,cpu") is layout.locate("cpu")
        assert layout.hierarchy("cpu") is None

    def test_docker(self) -> None:
        """In a container the mount's root is the container's group."""
        memory = _layout(DOCKER).locate("memory")

        assert memory is not None
        assert (memory.root, memory.read_only) == ("/docker/4af", True)
        assert memory.directory("/docker/4af/a") == "/sys/fs/cgroup/memory/a"

    @pytest.mark.parametrize(
        ("first", "second", "best"),
        [
            ("/ /first rw", "/ /second rw", "/first"),
            ("/ /first ro", "/ /second rw", "/second"),
            ("/docker/4af /first rw", "/ /second rw", "/second"),
            ("/ /first ro", "/docker/4af /second rw", "/second"),
        ],
    )
    def test_duplicates(self, first: str, second: str, best: str) -> None:
        """Of several mounts of one hierarchy it is the one that may be written, then the one that shows more."""
        text = "".join(f"30 24 0:27 {mount} - cgroup cgroup rw,memory\n" for mount in (first, second))

        (hierarchy,) = _layout(text).hierarchies
        assert hierarchy.mount_point == best

    def test_stacked(self) -> None:
        """What is mounted later at the same place hides what was there, also if it allows less."""
        line = "1 0 0:30 / /sys/fs/cgroup/memory {} - cgroup cgroup rw,memory"
        text = "\n".join(line.format(options) for options in ("rw", "ro"))

        layout = Layout.parse(parse_mountinfo(text), {})

        (hierarchy,) = layout.hierarchies
        assert hierarchy.read_only

    def test_noprefix(self) -> None:
        """Files of a ``noprefix`` mount lack the controller's name; core files have no other."""
        (hierarchy,) = _layout("30 24 0:27 / /dev/cpuset rw - cgroup none rw,cpuset,noprefix\n").hierarchies

        assert hierarchy.controllers == ("cpuset",)
        assert hierarchy.file("/dev/cpuset/a", "cpuset.cpus") == "/dev/cpuset/a/cpus"
        assert hierarchy.file("/dev/cpuset/a", "cgroup.procs") == "/dev/cpuset/a/cgroup.procs"

    def test_no_cgroups(self) -> None:
        """A machine without any is a layout too, and says so."""
        layout = _layout("21 24 0:19 / /proc rw - proc proc rw\n")

        assert layout.hierarchies == ()
        assert layout.unified is None
        assert str(layout) == "none"

    def test_sizes_of_huge_pages(self) -> None:
        """Smallest first, as the files of hugetlb spell them; the rows of that controller are those sizes'."""
        names = ("hugepages-1048576kB", "hugepages-2048kB", "hugepages-64kB", "hugepages-16777216kB")
        layout = Layout.parse((), {}, 4096, names)

        assert layout.huge_pages == ("64KB", "2MB", "1GB", "16GB")
        assert layout.controller("hugetlb").settings[1].attribute == "max.2MB"
        assert layout.controller("pids") is CONTROLLERS["pids"]

    @pytest.mark.parametrize("name", ["hugepages", "hugepages-2MB", "hugepages--1kB", "", "x"])
    def test_other_names(self, name: str) -> None:
        """A name that is no size is not guessed at."""
        with pytest.raises(FormatError, match="not a size of huge pages"):
            Layout.parse((), {}, 4096, (name,))

    def test_perf_event(self) -> None:
        """Every v2 group has it, unless v1 has it."""
        v1 = "30 24 0:27 / /v1/perf_event rw - cgroup cgroup rw,perf_event\n"
        both, unified = _layout(v1 + V2), _layout(V2)

        assert unified.locate("perf_event") is unified.unified
        assert both.locate("perf_event") is both.hierarchies[0]
        assert _layout(DOCKER).locate("perf_event") is None

    def test_as_text(self) -> None:
        """Messages say what is mounted."""
        assert str(_layout(DOCKER + V2)) == "memory (v1: memory), pids (v1: pids), unified (v2: none)"


class TestDirectory:
    """From a membership to a directory."""

    @pytest.mark.parametrize(
        ("root", "path", "directory"),
        [
            ("/", "/", "/m"),
            ("/", "/a/b", "/m/a/b"),
            ("/docker/4af", "/docker/4af", "/m"),
            ("/docker/4af", "/docker/4af/a", "/m/a"),
            ("/docker/4af", "/docker/4afe", None),
            ("/docker/4af", "/docker", None),
            ("/docker/4af", "/", None),
            ("/", "/..", None),
            ("/", "/../other", None),
            ("/..", "/", None),
            ("/", "/..a", "/m/..a"),
        ],
    )
    def test_directory(self, root: str, path: str, directory: str | None) -> None:
        """It is below the mount point exactly if the group is below the mount's root."""
        assert _hierarchy(root, "/m").directory(path) == directory


class TestSelect:
    """Where a row's file is."""

    def test_v1(self) -> None:
        """On a hybrid machine a controller's settings are where the controller is."""
        layout = _layout(HYBRID)

        found = layout.select(_row("memory", "max"))

        assert found is not None
        assert (found[0].label, found[1].file) == ("memory", "memory.limit_in_bytes")

    def test_core_files_tell_first(self) -> None:
        """``cpu.stat`` is a core file of v2: it tells the usage on hybrid machines too."""
        found = _layout(HYBRID).select(_row("cpu", "usage_usec"))

        assert found is not None
        assert (found[0].label, found[1].file) == (UNIFIED, "cpu.stat")

    def test_another_controller_of_v1(self) -> None:
        """Without a v2 tree it is cpuacct that tells."""
        found = _layout("".join(HYBRID.splitlines(keepends=True)[:-1])).select(_row("cpu", "usage_usec"))

        assert found is not None
        assert (found[0].label, found[1].file) == ("cpuacct", "cpuacct.usage")

    @pytest.mark.parametrize(
        ("text", "name", "attribute"),
        [
            (HYBRID, "memory", "high"),
            (V2, "cpu", "rt_runtime_usec"),
            (V2, "memory", "max"),
            (DOCKER, "core", "max_depth"),
        ],
    )
    def test_nowhere(self, text: str, name: str, attribute: str) -> None:
        """What this version has not, or no tree, is nowhere."""
        assert _layout(text, "cpu").select(_row(name, attribute)) is None


class TestParseMembership:
    """``/proc/PID/cgroup``."""

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("0::/", Membership(controllers=(), path="/")),
            ("0::/user.slice/a b", Membership(controllers=(), path="/user.slice/a b")),
            ("4:memory:/a:b::c", Membership(controllers=("memory",), path="/a:b::c")),
            ("3:cpu,cpuacct:/", Membership(controllers=("cpu", "cpuacct"), path="/")),
            ("1:name=systemd:/init.scope", Membership(controllers=("name=systemd",), path="/init.scope")),
            ("0::/a (deleted)", Membership(controllers=(), path="/a", deleted=True)),
            ("4:memory:/a (deleted)", Membership(controllers=("memory",), path="/a (deleted)")),
            ("0::/../other", Membership(controllers=(), path="/../other")),
        ],
    )
    def test_lines(self, line: str, expected: Membership) -> None:
        """At most two colons separate; only v2 marks what was removed."""
        assert parse_membership(line + "\n") == (expected,)

    @pytest.mark.parametrize(
        ("line", "label"), [("0::/", UNIFIED), ("3:cpu,cpuacct:/", "cpu,cpuacct"), ("1:name=systemd:/", "name=systemd")]
    )
    def test_labels(self, line: str, label: str) -> None:
        """A membership has the label of its hierarchy."""
        assert parse_membership(line)[0].label == label

    @pytest.mark.parametrize("line", ["", "0", "0:/"])
    def test_other_lines(self, line: str) -> None:
        """What is no such line is refused by name."""
        with says(FormatError, "not a line of /proc/PID/cgroup", repr(line)):
            parse_membership(f"0::/\n{line}\n")
