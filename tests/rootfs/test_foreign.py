"""Programs of another C library, and of 32 bits: they run in a root made of them, or it says what is missing."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import cgctl
from tests.require import skip_unless
from tests.rootfs.elves import I386, elf, put

PROGRAM = """
#include <math.h>
#include <pthread.h>
#include <stdio.h>
int answer(int);
static void *act(void *given) { return given; }
int main(int argc, char **argv) {
    pthread_t thread;
    if (pthread_create(&thread, 0, act, 0) || pthread_join(thread, 0)) return 2;
    printf("%d %d\\n", (int) (8 * sizeof(void *)), answer((int) sqrt(argc * 36.0)));
    return 0;
}
"""
LIBRARY = "int answer(int given) { return given * 7; }"
MUSL, MULTILIB = ("musl-gcc",), ("gcc", "-m32")


@functools.cache
def _why_not(*compiler: str) -> str | None:
    """Say why this compiler makes no programs that run here."""
    if shutil.which(compiler[0]) is None:
        return f"{compiler[0]} is not installed"
    with tempfile.TemporaryDirectory() as place:
        program = f"{place}/program"
        made = subprocess.run(
            [*compiler, "-x", "c", "-", "-o", program],
            input="int main(){return 0;}",
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            return f"{' '.join(compiler)} makes no programs: {made.stderr.strip().splitlines()[-1]}"
        try:
            return None if subprocess.run([program], check=False).returncode == 0 else "its programs do not run here"
        except OSError as error:
            return f"its programs do not run here: {error.strerror}"


Compile = Callable[..., str]


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    """Give what makes a program and a library of its own beside it; a program's path is the answer."""

    def make(*compiler: str, run_path: bool = True) -> str:
        feature = "musl" if compiler == MUSL else "multilib"
        skip_unless(feature, _why_not(*compiler))
        place = tmp_path / "compiled"
        place.mkdir()
        (place / "program.c").write_text(PROGRAM)
        (place / "library.c").write_text(LIBRARY)
        library = [*compiler, "-shared", "-fPIC", "-o", "libanswer.so", "library.c"]
        where = ["-Wl,--enable-new-dtags,-rpath,$ORIGIN"] if run_path else []
        program = [*compiler, "program.c", "-o", "program", "-L.", *where, "-lanswer", "-pthread", "-lm"]
        for argv in (library, program):
            subprocess.run(argv, cwd=place, check=True, capture_output=True)
        return str(place / "program")

    return make


def run(root: cgctl.Rootfs, program: str) -> str:
    """Run a program with a root directory, in the sandbox that is usual."""
    skip_unless("host", None if os.geteuid() == 0 else "only root may change the root directory")
    done = cgctl.run([program], root=root, namespaces=["pid"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


def test_musl(compiled: Compile, tmp_path: Path) -> None:
    """A program of musl, with threads and a library of its own, has nothing of glibc in its root, and runs there."""
    program = compiled(*MUSL)
    made = cgctl.Rootfs.build(tmp_path / "app", [program])

    assert run(made, program) == "64 42\n"
    paths = [entry.path for entry in made.entries]
    assert any(re.search(r"/ld-musl-\w+\.so\.1$", path) for path in paths)
    assert not [path for path in paths if "ld-linux" in path or path.endswith("libc.so.6")]


def test_musl_finds_by_its_list(compiled: Compile, tmp_path: Path) -> None:
    """A library that only the loader's list of directories leads to is found in there too."""
    program = compiled(*MUSL, run_path=False)
    tree = tmp_path / "tree"
    loader = Path(f"/lib/ld-musl-{platform.machine()}.so.1")
    put(tree, str(loader), loader.read_bytes())
    put(tree, f"/etc/ld-musl-{platform.machine()}.path", b"/opt/odd\n")
    put(tree, "/opt/odd/libanswer.so", Path(program).with_name("libanswer.so").read_bytes())
    put(tree, "/bin/program", Path(program).read_bytes())

    assert run(cgctl.Rootfs.build(tmp_path / "app", ["/bin/program"], source=tree), "/bin/program") == "64 42\n"


def test_32_bits(compiled: Compile, tmp_path: Path) -> None:
    """A program of 32 bits brings the libraries of 32 bits, and runs, filtered by numbers of its own."""
    program = compiled(*MULTILIB)
    made = cgctl.Rootfs.build(tmp_path / "app", [program])

    assert run(made, program) == "32 42\n"
    assert "/lib/ld-linux.so.2" in {entry.path for entry in made.entries} | {
        f"/lib{entry.path.removeprefix('/usr/lib')}" for entry in made.entries
    }


def test_side_by_side(compiled: Compile, tmp_path: Path) -> None:
    """One root has programs of both widths, each with its own libraries."""
    program = compiled(*MULTILIB)
    made = cgctl.Rootfs.build(tmp_path / "app", [program, "/bin/echo"])

    assert run(made, program) == "32 42\n"
    done = cgctl.run(["/bin/echo", "64"], root=made, capture_output=True, text=True)
    assert done.stdout == "64\n"


@pytest.mark.parametrize(
    ("program", "loader", "words"),
    [
        (elf(interpreter="/lib/ld-musl-xyz.so.1"), "/lib/ld-musl-xyz.so.1", r"\(64-bit X86_64\)"),
        (elf(kind=I386, interpreter="/lib/ld-linux-xyz.so.2"), "/lib/ld-linux-xyz.so.2", r"\(32-bit 386\)"),
        (elf(kind=I386, interpreter="/lib/ld-musl-xyz.so.1"), "/lib/ld-musl-xyz.so.1", r"\(32-bit 386\)"),
    ],
    ids=["musl", "32-bit", "32-bit musl"],
)
def test_without_a_loader(tmp_path: Path, program: bytes, loader: str, words: str) -> None:
    """Which loader, for what kind of program, and what to do; nothing is made."""
    put(tmp_path, "/x", program)

    with pytest.raises(cgctl.UnsupportedError, match=rf"{loader} .*/x {words} is loaded by it.*install the C library"):
        cgctl.Rootfs.build(tmp_path / "app", [tmp_path / "x"])
    assert not (tmp_path / "app").exists()


def test_started_without_one(tmp_path: Path) -> None:
    """In a root that somebody else made, the launch says that it may be the interpreter that is missing."""
    skip_unless("host", None if os.geteuid() == 0 else "only root may change the root directory")
    for directory in ("dev", "proc", "tmp"):
        (tmp_path / "app" / directory).mkdir(parents=True)
    put(tmp_path, "/app/x", elf(interpreter="/lib/ld-musl-xyz.so.1"))

    with pytest.raises(cgctl.LaunchError, match=r"exec: ENOENT .*'/x' was not found, or the interpreter that it names"):
        cgctl.run(["/x"], root=tmp_path / "app")
