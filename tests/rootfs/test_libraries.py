"""Where libraries are found, in trees made for the purpose."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import cgctl
from cgctl.rootfs.cache import parse_cache
from tests.rootfs.elves import AARCH64, I386, X86_64, cache, elf, link, put

LOADER = "/lib64/ld-linux-x86-64.so.2"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with a loader and one library."""
    root = tmp_path / "source"
    put(root, LOADER, elf())
    put(root, "/lib/x86_64-linux-gnu/libc.so.6", elf())
    return root


def built(tree: Path, *programs: str, extra: tuple[str, ...] = ()) -> set[str]:
    """Build a root directory of a tree, and return the files and links in it."""
    made = cgctl.Rootfs.build(tree.parent / "made", programs, extra=extra, source=tree)
    return {entry.path for entry in made.entries if entry.kind != "directory"}


class TestRules:
    """Those of ld.so(8), in its order."""

    def test_libraries_of_libraries(self, tree: Path) -> None:
        """What a library needs comes too, and a circle ends."""
        put(tree, "/bin/x", elf(interpreter=LOADER, needed=["liba.so", "libc.so.6"]))
        put(tree, "/usr/lib/liba.so", elf(needed=["libb.so"]))
        put(tree, "/usr/lib/libb.so", elf(needed=["liba.so"]))

        assert built(tree, "/bin/x") == {
            "/bin/x",
            LOADER,
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/usr/lib/liba.so",
            "/usr/lib/libb.so",
        }

    @pytest.mark.parametrize("origin", ["$ORIGIN", "${ORIGIN}"])
    def test_runpath_and_origin(self, tree: Path, origin: str) -> None:
        """RUNPATH goes before the default directories; $ORIGIN is where the program really is."""
        put(tree, "/opt/x/bin/x", elf(interpreter=LOADER, needed=["liba.so"], runpath=f"{origin}/../lib"))
        put(tree, "/opt/x/lib/liba.so", elf())
        put(tree, "/usr/lib/liba.so", elf())
        link(tree, "/bin/x", "../opt/x/bin/x")

        assert built(tree, "/bin/x") == {"/bin/x", "/opt/x/bin/x", LOADER, "/opt/x/lib/liba.so"}

    def test_rpath_is_inherited(self, tree: Path) -> None:
        """RPATH holds for the libraries' libraries as well."""
        put(tree, "/bin/x", elf(interpreter=LOADER, needed=["liba.so"], rpath="/opt/lib"))
        put(tree, "/opt/lib/liba.so", elf(needed=["libb.so"]))
        put(tree, "/opt/lib/libb.so", elf())

        assert {"/opt/lib/liba.so", "/opt/lib/libb.so"} < built(tree, "/bin/x")

    def test_runpath_is_not(self, tree: Path) -> None:
        """RUNPATH is the program's own matter."""
        put(tree, "/bin/x", elf(interpreter=LOADER, needed=["liba.so"], runpath="/opt/lib"))
        put(tree, "/opt/lib/liba.so", elf(needed=["libb.so"]))
        put(tree, "/opt/lib/libb.so", elf())

        with pytest.raises(
            cgctl.UnsupportedError, match=r"library libb.so .*/opt/lib/liba.so \(64-bit X86_64\) needs it"
        ):
            built(tree, "/bin/x")

    def test_runpath_makes_rpath_void(self, tree: Path) -> None:
        """An object with both has the second alone."""
        put(tree, "/bin/x", elf(interpreter=LOADER, needed=["liba.so"], rpath="/opt/a", runpath="/opt/b"))
        put(tree, "/opt/a/liba.so", elf())
        put(tree, "/opt/b/liba.so", elf())

        assert "/opt/b/liba.so" in built(tree, "/bin/x")

    def test_the_cache(self, tree: Path) -> None:
        """A library that only the cache knows is found, and the cache comes along, for the loader in there."""
        put(tree, "/bin/x", elf(interpreter=LOADER, needed=["liba.so"]))
        put(tree, "/opt/odd/liba.so", elf())
        put(
            tree,
            "/etc/ld.so.cache",
            cache([("liba.so", "/opt/odd/hwcaps/liba.so", 1 << 62), ("liba.so", "/opt/odd/liba.so", 0)]),
        )

        assert {"/opt/odd/liba.so", "/etc/ld.so.cache"} < built(tree, "/bin/x")

    def test_the_cache_stays_where_it_is_not_needed(self, tree: Path) -> None:
        """It is the machine's own, and says what is installed there."""
        put(tree, "/bin/x", elf(interpreter=LOADER, needed=["libc.so.6"]))
        put(tree, "/etc/ld.so.cache", cache([("libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6", 0)]))

        assert "/etc/ld.so.cache" not in built(tree, "/bin/x")

    def test_other_architectures_are_passed_over(self, tree: Path) -> None:
        """As the loader does: the first of the right kind counts."""
        put(tree, "/bin/x", elf(interpreter=LOADER, needed=["liba.so"], runpath="/opt/a:/opt/b:/opt/c"))
        put(tree, "/opt/a/liba.so", elf(kind=I386))
        put(tree, "/opt/b/liba.so", b"/* a linker script */")
        put(tree, "/opt/c/liba.so", elf())

        assert built(tree, "/bin/x") == {"/bin/x", LOADER, "/opt/c/liba.so"}

    @pytest.mark.parametrize(
        ("kind", "loader", "directory"),
        [
            (X86_64, LOADER, "/usr/lib64"),
            (I386, "/lib/ld-linux.so.2", "/lib/i386-linux-gnu"),
            (I386, "/lib/ld-linux.so.2", "/usr/lib32"),
            (AARCH64, "/lib/ld-linux-aarch64.so.1", "/usr/lib/aarch64-linux-gnu"),
        ],
    )
    def test_default_directories(self, tree: Path, kind: tuple[int, int], loader: str, directory: str) -> None:
        """Each architecture has its own."""
        put(tree, loader, elf(kind=kind))
        put(tree, "/bin/x", elf(kind=kind, interpreter=loader, needed=["liba.so"]))
        put(tree, f"{directory}/liba.so", elf(kind=kind))

        assert built(tree, "/bin/x") == {"/bin/x", loader, f"{directory}/liba.so"}


class TestMusl:
    """musl's loader has rules of its own."""

    LOADER = "/lib/ld-musl-x86_64.so.1"

    def test_the_library_is_the_loader(self, tree: Path) -> None:
        """What is part of musl is found in its loader, under whichever of its names."""
        put(
            tree, "/bin/x", elf(interpreter=self.LOADER, needed=["libc.musl-x86_64.so.1", "libpthread.so", "libz.so.1"])
        )
        put(tree, "/usr/local/lib/libz.so.1", elf(needed=["libc.so"]))
        put(tree, "/lib/libc-musl-real.so", elf())
        link(tree, self.LOADER, "libc-musl-real.so")

        assert built(tree, "/bin/x") == {"/bin/x", self.LOADER, "/lib/libc-musl-real.so", "/usr/local/lib/libz.so.1"}

    def test_its_own_path_file(self, tree: Path) -> None:
        """/etc/ld-musl-ARCH.path replaces the default directories, and comes along; glibc's cache means nothing."""
        put(tree, self.LOADER, elf())
        put(tree, "/etc/ld-musl-x86_64.path", b"/opt/a:/opt/b\n/opt/c\n")
        put(tree, "/bin/x", elf(interpreter=self.LOADER, needed=["liba.so"]))
        put(tree, "/opt/c/liba.so", elf())
        put(tree, "/usr/lib/liba.so", elf())

        assert built(tree, "/bin/x") == {"/bin/x", self.LOADER, "/etc/ld-musl-x86_64.path", "/opt/c/liba.so"}

    def test_its_path_file_stays_where_it_is_not_needed(self, tree: Path) -> None:
        """What is found where musl looks anyhow, or where the program says, is found without."""
        put(tree, self.LOADER, elf())
        put(tree, "/etc/ld-musl-x86_64.path", b"/lib\n/opt/c\n")
        put(tree, "/bin/x", elf(interpreter=self.LOADER, needed=["liba.so", "libb.so", "libc.so"], runpath="/opt/c"))
        put(tree, "/opt/c/liba.so", elf())
        put(tree, "/lib/libb.so", elf())

        assert built(tree, "/bin/x") == {"/bin/x", self.LOADER, "/opt/c/liba.so", "/lib/libb.so"}

    def test_without_its_loader(self, tree: Path) -> None:
        """A program of another C library says what is missing."""
        put(tree, "/bin/x", elf(interpreter=self.LOADER))

        with pytest.raises(
            cgctl.UnsupportedError, match=r"/lib/ld-musl-x86_64.so.1 .*install the C library of that kind"
        ):
            built(tree, "/bin/x")


class TestMissing:
    """What is not there is said, and nothing is made."""

    def test_a_library(self, tree: Path) -> None:
        """Who needs it, of which kind, and where it was looked for."""
        put(tree, "/bin/x", elf(kind=I386, interpreter="/lib/ld-linux.so.2", needed=["libc.so.6"]))
        put(tree, "/lib/ld-linux.so.2", elf(kind=I386))

        with pytest.raises(cgctl.UnsupportedError) as caught:
            built(tree, "/bin/x")
        assert caught.value.feature == "library libc.so.6"
        assert "/bin/x (32-bit 386) needs it" in caught.value.reason
        assert "/lib/i386-linux-gnu/libc.so.6" in caught.value.reason
        assert not (tree.parent / "made").exists()

    def test_damaged(self, tree: Path) -> None:
        """A file that only begins as ELF is named."""
        put(tree, "/bin/x", elf(interpreter=LOADER)[:70])

        with pytest.raises(cgctl.SpecError, match="/bin/x is not an ELF file that can be read"):
            built(tree, "/bin/x")


class TestCache:
    """ld.so.cache, as bytes."""

    def test_both_formats(self) -> None:
        """The new one alone, and behind the old one."""
        new = cache([("liba.so", "/a/liba.so", 0), ("liba.so", "/b/liba.so", 0)])
        old = struct.pack("=12sI", b"ld.so-1.7.0", 1) + bytes(12)
        old += bytes(-len(old) % 8)

        assert parse_cache(new) == parse_cache(old + new) == {"liba.so": ["/a/liba.so", "/b/liba.so"]}

    def test_nonsense(self) -> None:
        """What is cut off, or something else, has no libraries."""
        whole = cache([("liba.so", "/a/liba.so", 0)])

        assert [parse_cache(whole[:length]) for length in range(len(whole))] == [{}] * len(whole)
        assert parse_cache(b"x" * 100) == {}

    def test_this_machines(self) -> None:
        """The real one has the C library."""
        path = Path("/etc/ld.so.cache")
        if path.exists():
            assert any(Path(found).exists() for found in parse_cache(path.read_bytes())["libc.so.6"])
