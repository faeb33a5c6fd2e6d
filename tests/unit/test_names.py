"""Names of groups."""

from __future__ import annotations

import pytest

from cgctl.errors import SpecError, shown
from cgctl.names import parse_file, parse_name
from tests.unit.refusals import says


class TestParseName:
    """What may be a name."""

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("web", (False, ("web",))),
            ("a/b", (False, ("a", "b"))),
            ("/a/b", (True, ("a", "b"))),
            ("with blank", (False, ("with blank",))),
            ("Ünïcode", (False, ("Ünïcode",))),
            ("a.b", (False, ("a.b",))),
            ("memory", (False, ("memory",))),
            (".hidden", (False, (".hidden",))),
            ("...", (False, ("...",))),
            ("task", (False, ("task",))),
            ("cpus", (False, ("cpus",))),
            ("system.slice", (False, ("system.slice",))),
            ("x" * 255, (False, ("x" * 255,))),
            ("\udc80", (False, ("\udc80",))),
        ],
    )
    def test_names(self, name: str, expected: tuple[bool, tuple[str, ...]]) -> None:
        """One or more components; a leading slash makes them absolute."""
        assert expected == parse_name(name)

    @pytest.mark.parametrize("name", ["", "/", "a/", "a//b", "//a", "/a/"])
    def test_empty_components(self, name: str) -> None:
        """A double or trailing slash is nonsense, and so is nothing."""
        with says(SpecError, f"group name {name!r}: has an empty component", "without double or trailing '/'"):
            parse_name(name)

    @pytest.mark.parametrize("name", ["..", "../x", "a/..", "a/../b", ".", "./a", "/.."])
    def test_dots(self, name: str) -> None:
        """Nobody climbs out of the base by a name."""
        with says(SpecError, f"group name {name!r}", "is not a name", "below the base only", "parent="):
            parse_name(name)

    @pytest.mark.parametrize("name", ["a\0b", "a\nb", "a\n", "\n"])
    def test_nul_and_newline(self, name: str) -> None:
        """The kernel refuses both."""
        with says(SpecError, f"group name {name!r}", "NUL or a newline", "leave it out"):
            parse_name(name)

    @pytest.mark.parametrize("name", ["x" * 300, "a/" + "x" * 256, "ü" * 128])
    def test_too_long(self, name: str) -> None:
        """255 bytes is the most, however few characters they are."""
        with says(SpecError, "group name ", "longer than 255 bytes", "shorten it"):
            parse_name(name)

    @pytest.mark.parametrize(
        "name",
        [
            "memory.max",
            "cgroup.procs",
            "tasks",
            "notify_on_release",
            "release_agent",
            "a/cpu.x",
            "hugetlb.2MB.max",
            "cgroup.",
            "net_cls.classid",
            "blkio.weight",
            "irq.pressure",
            "dmem.max",
        ],
    )
    def test_interface_files(self, name: str) -> None:
        """A group of an interface file's name would hide it, or be refused by a later kernel."""
        with says(SpecError, f"group name {name!r}", "name of an interface file", "without that prefix"):
            parse_name(name)

    def test_supervisor(self) -> None:
        """The leaf that cgctl itself makes is nobody else's name."""
        with says(SpecError, "'a/supervisor'", "the leaf that cgctl itself makes", "choose another name"):
            parse_name("a/supervisor")

    def test_half_a_surrogate_pair(self) -> None:
        """A string that no file name can hold is refused as nonsense, not as a codec's error."""
        with says(SpecError, r"group name '\ud800'", "surrogate"):
            parse_name("\ud800")

    @pytest.mark.parametrize("name", [None, 3, b"a", ["a"], True])
    def test_other_types(self, name: object) -> None:
        """Only strings are names."""
        with says(SpecError, f"group name {name!r}: not a string", "'jobs/17'"):
            parse_name(name)

    def test_long_names_are_cut_in_messages(self) -> None:
        """A name of a million characters does not make such a message."""
        with pytest.raises(SpecError) as caught:
            parse_name("x" * 1_000_000)

        assert len(str(caught.value)) < 300


class TestParseFile:
    """What may be an interface file's name."""

    @pytest.mark.parametrize(
        ("name", "controller"),
        [
            ("memory.max", "memory"),
            ("hugetlb.2MB.rsvd.max", "hugetlb"),
            ("cgroup.procs", "cgroup"),
            ("net_cls.classid", "net_cls"),
            ("memory.what-is-to-come", "memory"),
            ("tasks", ""),
            ("notify_on_release", ""),
            ("@device", ""),
        ],
    )
    def test_controllers(self, name: str, controller: str) -> None:
        """It begins with its controller's; some of v1's have none."""
        assert controller == parse_file(name)

    @pytest.mark.parametrize(
        "name",
        [
            *("", "memory", "memory.", ".max", "max", "/memory.max", "../memory.max", "memory.max/", "memory./../x"),
            *(
                "memory..x",
                "memory.max\n",
                "memory.max\0",
                "memory max",
                "tasks/x",
                "nosuch.max",
                "memory." + "x" * 300,
            ),
            *("memory.\ud800", None, 1, True, b"memory.max"),
        ],
        ids=shown,
    )
    def test_others(self, name: str) -> None:
        """All else is refused, paths above all."""
        with says(SpecError, "interface file ", "without a directory"):
            parse_file(name)
