"""Root directories, made of this machine's own programs and of trees made for the purpose."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cgctl
from cgctl.rootfs import Entry
from tests.require import skip_unless
from tests.rootfs.elves import elf, link, put


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with one static program."""
    put(tmp_path / "source", "/bin/x", elf())
    return tmp_path / "source"


def chroot(root: Path, *argv: str) -> str:
    """Run a program with a root directory, and return what it writes."""
    skip_unless("host", None if os.geteuid() == 0 else "only root may change the root directory")
    done = subprocess.run(
        [shutil.which("chroot") or "/usr/sbin/chroot", root, *argv],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/bin:/usr/bin"},
    )
    assert done.stderr == ""
    return done.stdout


class TestPrograms:
    """Programs of this machine."""

    def test_they_run(self, tmp_path: Path) -> None:
        """A shell and ls run with nothing but what was built around them."""
        made = cgctl.Rootfs.build(tmp_path / "app", ["/bin/sh", "ls"])

        assert chroot(tmp_path / "app", "/bin/sh", "-c", "cd ..; ls -d proc").split() == ["proc"]
        assert made.path == str(tmp_path / "app")

    def test_names(self, tmp_path: Path) -> None:
        """With nss, names of users are known in there; passwords are not."""
        cgctl.Rootfs.build(tmp_path / "app", ["id"], extra=["nss"])

        assert chroot(tmp_path / "app", "id", "-un") == "root\n"
        assert not (tmp_path / "app/etc/shadow").exists()

    def test_scripts_bring_their_interpreter(self, tmp_path: Path) -> None:
        """And what ``env`` looks for; the script is where it was."""
        script = tmp_path / "script"
        script.write_text("#!/usr/bin/env -S sh -e\necho here\n")
        script.chmod(0o755)
        cgctl.Rootfs.build(tmp_path / "app", [script])

        assert chroot(tmp_path / "app", str(script)) == "here\n"

    def test_nothing_is_run(self, tmp_path: Path, source: Path) -> None:
        """The dynamic loader of a program, which ldd would start, is only copied."""
        put(source, "/lib/evil", f"#!/bin/sh\ntouch {tmp_path}/ran\n".encode())
        put(source, "/bin/y", elf(interpreter="/lib/evil"))
        cgctl.Rootfs.build(tmp_path / "app", ["/bin/y"], source=source)

        assert (tmp_path / "app/lib/evil").exists()
        assert not (tmp_path / "ran").exists()


class TestFiles:
    """How things are copied."""

    def test_setuid_and_others_are_dropped(self, tmp_path: Path, source: Path) -> None:
        """Setuid, setgid, sticky bits and extended attributes stay behind; permissions and times come along."""
        program = source / "bin/x"
        os.utime(program, ns=(1, 1_000_000_007))
        program.chmod(0o7751)
        if os.geteuid() == 0:
            os.setxattr(program, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
        cgctl.Rootfs.build(tmp_path / "app", ["/bin/x"], source=source)
        made = os.lstat(tmp_path / "app/bin/x")

        assert stat.S_IMODE(made.st_mode) == 0o751
        assert made.st_mtime_ns == 1_000_000_007
        assert "security.capability" not in os.listxattr(tmp_path / "app/bin/x")

    def test_links_are_kept(self, tmp_path: Path, source: Path) -> None:
        """Each link on the way, relative and absolute, and links of directories."""
        put(source, "/opt/real/tool", elf())
        link(source, "/usr/tools", "/opt/real")
        link(source, "/bin/tool", "../usr/tools/tool")
        made = cgctl.Rootfs.build(tmp_path / "app", ["/bin/tool"], source=source)
        links = {entry.path: entry.target for entry in made.entries if entry.kind == "link"}

        assert links == {"/bin/tool": "../usr/tools/tool", "/usr/tools": "/opt/real"}
        assert os.readlink(tmp_path / "app/usr/tools") == "/opt/real"

    def test_merged_directories(self, tmp_path: Path, source: Path) -> None:
        """Where /sbin is a link to a directory that is brought, it is so in there, whichever name was asked for."""
        link(source, "/sbin", "bin")
        link(source, "/lib", "usr/lib")
        (source / "usr/lib").mkdir(parents=True)
        made = cgctl.Rootfs.build(tmp_path / "app", ["/bin/x"], source=source)

        assert [entry.path for entry in made.entries if entry.kind == "link"] == ["/sbin"]

    def test_links_lead_nowhere_else(self, tmp_path: Path, source: Path) -> None:
        """A link of the source is followed inside of it: no file of the machine can be had by one."""
        link(source, "/etc/up", "../../../../../../../../etc/passwd")
        put(source, "/etc/passwd", b"of the source")
        cgctl.Rootfs.build(tmp_path / "app", ["/bin/x"], extra=["/etc/up"], source=source)

        assert (tmp_path / "app/etc/passwd").read_bytes() == b"of the source"

    def test_directories(self, tmp_path: Path, source: Path) -> None:
        """A directory comes with all that is in it: links with what they lead to, those to nowhere as they are."""
        put(source, "/data/one", b"1", 0o640)
        put(source, "/data/sub/two", b"22")
        put(source, "/elsewhere", b"333")
        link(source, "/data/sub/there", "../../elsewhere")
        link(source, "/data/nowhere", "/no/such")
        os.mkfifo(source / "data/fifo")
        made = cgctl.Rootfs.build(tmp_path / "app", [], extra=["/data"], source=source)
        files = {entry.path: entry.size for entry in made.entries if entry.kind == "file"}

        assert files == {"/data/one": 1, "/data/sub/two": 2, "/elsewhere": 3}
        assert os.readlink(tmp_path / "app/data/nowhere") == "/no/such"
        assert made.size == 6

    def test_mount_points(self, tmp_path: Path) -> None:
        """They are there, and /tmp is everybody's."""
        cgctl.Rootfs.build(tmp_path / "app", [])

        assert {path.name for path in (tmp_path / "app").iterdir()} == {
            "dev",
            "etc",
            "mnt",
            "proc",
            "root",
            "run",
            "sys",
            "tmp",
        }
        assert stat.S_IMODE(os.stat(tmp_path / "app/tmp").st_mode) == 0o1777

    def test_progress(self, tmp_path: Path, source: Path) -> None:
        """It is told before each file, and at the end."""
        told: list[tuple[int, int, str]] = []
        size = (source / "bin/x").stat().st_size
        cgctl.Rootfs.build(tmp_path / "app", ["/bin/x"], source=source, progress=lambda *each: told.append(each))

        assert told == [(0, size, "/bin/x"), (size, size, "")]


class TestLooking:
    """What is in a root directory."""

    def test_tree(self, tmp_path: Path, source: Path) -> None:
        """It is drawn as tree does; what is built is what is found."""
        put(source, "/bin/x", b"#!/bin/x")
        link(source, "/bin/y", "x")
        made = cgctl.Rootfs.build(tmp_path / "app", [], extra=["/bin/y"], source=source)

        assert made.tree().splitlines()[:5] == [
            str(tmp_path / "app"),
            "├── bin",
            "│   ├── x [8]",
            "│   └── y -> x",
            "├── dev",
        ]
        assert made.tree().splitlines()[-1] == "1 files, 8 bytes"
        assert cgctl.Rootfs.at(tmp_path / "app") == made
        assert Entry(path="/bin/y", kind="link", mode=0o777, target="x") in made.entries

    def test_not_there(self, tmp_path: Path) -> None:
        """What is no directory cannot be looked at."""
        with pytest.raises(cgctl.SpecError, match="is not a directory"):
            cgctl.Rootfs.at(tmp_path / "app")


class TestBadInput:
    """Each nonsense is named, and nothing is made."""

    @pytest.mark.parametrize(
        ("programs", "keywords", "message"),
        [
            ("/bin/sh", {}, r"binaries must be a list, not '/bin/sh'"),
            (["no-such-program"], {}, r"there is no program 'no-such-program' in .*; name it by its path"),
            (["/no/such"], {}, r"/no/such: No such file or directory"),
            (["/etc"], {}, r"/etc is not a file; name programs"),
            (["/etc/passwd"], {}, r"/etc/passwd is not executable; make it so"),
            (["/etc/passwd/x"], {}, r"/etc/passwd/x: Not a directory"),
            ([""], {}, r"binaries: '' is not a path"),
            (["/bin/s\0h"], {}, r"is not a path"),
            ([7], {}, r"binaries: 7 is not a path"),
            ([], {"extra": ["nonsense"]}, r"extra 'nonsense' is neither a path nor one of nss, terminfo"),
            ([], {"extra": ["/no/such"]}, r"/no/such: No such file"),
            ([], {"extra": ["/dev/null"]}, r"/dev/null is neither a file nor a directory"),
            ([], {"extra": "nss"}, r"extra must be a list"),
            ([], {"source": "/etc/passwd"}, r"source='/etc/passwd' is not a directory"),
            (["bin/sh"], {"source": "/usr"}, r"'bin/sh' is a relative path"),
        ],
    )
    def test_nonsense(self, tmp_path: Path, programs: Any, keywords: dict[str, Any], message: str) -> None:
        """A SpecError says what is wrong."""
        with pytest.raises(cgctl.SpecError, match=message):
            cgctl.Rootfs.build(tmp_path / "app", programs, **keywords)
        assert list(tmp_path.iterdir()) == []

    def test_data(self, tmp_path: Path, source: Path) -> None:
        """A file that the kernel could not start is no program."""
        put(source, "/bin/data", b"just words")
        with pytest.raises(cgctl.SpecError, match=r"neither an ELF file nor a script"):
            cgctl.Rootfs.build(tmp_path / "app", ["/bin/data"], source=source)

    @pytest.mark.parametrize(
        ("line", "error", "message"),
        [
            ("#!/no/such", cgctl.UnsupportedError, r"^/no/such is not supported here: it is the interpreter of /bin/s"),
            ("#!", cgctl.UnsupportedError, "line of /bin/s is not"),
            ("#!/usr/bin/env nothing", cgctl.SpecError, "there is no program 'nothing'"),
            ("#!/bin/s", cgctl.SpecError, "too many interpreters"),
        ],
    )
    def test_scripts(self, tmp_path: Path, source: Path, line: str, error: type[Exception], message: str) -> None:
        """A script whose interpreter is not there."""
        put(source, "/usr/bin/env", elf())
        put(source, "/bin/s", line.encode())
        with pytest.raises(error, match=message):
            cgctl.Rootfs.build(tmp_path / "app", ["/bin/s"], source=source)

    def test_links_in_a_circle(self, tmp_path: Path, source: Path) -> None:
        """ELOOP, as the kernel says it."""
        link(source, "/bin/a", "b")
        link(source, "/bin/b", "a")
        with pytest.raises(cgctl.SpecError, match="Too many levels of symbolic links"):
            cgctl.Rootfs.build(tmp_path / "app", ["/bin/a"], source=source)

    def test_a_place_that_is_taken(self, tmp_path: Path) -> None:
        """Nothing is overwritten, nothing is written through a link; an empty directory is fine."""
        (tmp_path / "full").mkdir()
        (tmp_path / "full/x").touch()
        (tmp_path / "file").touch()
        (tmp_path / "link").symlink_to("elsewhere")
        for name, message in (("full", "is not empty"), ("file", "not a directory"), ("link", "not a directory")):
            with pytest.raises(cgctl.SpecError, match=message):
                cgctl.Rootfs.build(tmp_path / name, [])
        with pytest.raises(cgctl.SpecError, match=r"so .* cannot be made"):
            cgctl.Rootfs.build(tmp_path / "no/such/place", [])
        (tmp_path / "empty").mkdir()
        cgctl.Rootfs.build(tmp_path / "empty", [])

        assert (tmp_path / "empty/tmp").is_dir()

    def test_half_way(self, tmp_path: Path, source: Path) -> None:
        """A step that the kernel refuses is named, and nothing is left."""
        put(source, "/bin/y", elf())

        def vanish(done: int, total: int, path: str) -> None:
            del done, total
            if path == "/bin/y":
                (source / "bin/y").unlink()

        with pytest.raises(cgctl.StepError, match=r"^copy /bin/y to .*/app: ENOENT"):
            cgctl.Rootfs.build(tmp_path / "app", ["/bin/x", "/bin/y"], source=source, progress=vanish)
        assert [path.name for path in tmp_path.iterdir()] == ["source"]

    def test_no_room(self, tmp_path: Path) -> None:
        """A full disk is ENOSPC, in a mount namespace of the test's own."""
        script = (
            "mount -t tmpfs -o size=1m none $1 && "
            f"{sys.executable} -c 'import cgctl, sys; cgctl.Rootfs.build(sys.argv[1], [\"bash\"])' $1/app; ls -A $1"
        )
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", tmp_path], capture_output=True, text=True, check=False
        )
        skip_unless("host", done.stderr if "unshare" in done.stderr else None)

        assert "ENOSPC" in done.stderr
        assert done.stdout == ""
