"""What the pages show happens: the scenes of docs/scenes.md, and the container of the README."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cgctl
from tests.cli.conftest import CommandLine
from tests.kernel import lacks
from tests.kernel.pace import SLOWNESS
from tests.leaks import PREFIX

pytestmark = pytest.mark.host

PAGES = Path(__file__).parents[2]
SCENES = (PAGES / "docs/scenes.md").read_text(encoding="utf-8")
README = (PAGES / "README.md").read_text(encoding="utf-8")
PROGRAMS = ("bash", "ls", "ps", "hostname", "readlink", "cat", "ip", "ipcmk", "ipcs", "date", "touch", "id")
KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
# What a scene takes that not every machine has.
TAKES = {"Limits": ("memory",), "An interface that reaches the host": ("veth", "ping")}


def sections(page: str) -> dict[str, str]:
    """Part a page by its headings; what comes first is for all."""
    first, *rest = re.split(r"^## ", page, flags=re.MULTILINE)
    return {"": first} | {title: text for title, _, text in (part.partition("\n") for part in rest)}


def blocks(text: str, language: str) -> list[str]:
    """Find the blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """The command line, in a directory with the scenes' root."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    place = tmp_path_factory.mktemp("scenes")
    command = CommandLine(f"{PREFIX}base")
    (place / "bin").mkdir()
    script = place / "bin/cgctl"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m cgctl "$@"\n')
    script.chmod(0o755)
    package = os.path.dirname(os.path.dirname(os.path.realpath(cgctl.__file__)))
    command.env |= {"PATH": f"{place}/bin:{os.environ['PATH']}", "PYTHONPATH": package, "LC_ALL": "C"}
    (place / "work").mkdir()
    with contextlib.chdir(place / "work"):
        for block in blocks(sections(SCENES)[""], "console"):
            run_commands(block, command)
    return command


@pytest.fixture(autouse=True)
def _in_place(shell: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be where the root is, and let others in there: those whom a map says."""
    place = Path(shell.env["PATH"].partition(":")[0]).parent / "work"
    # At each test, as other runs of pytest shut the directory that all have theirs in when they begin.
    for parent in (place, *place.parents[:-2]):
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o11)
    monkeypatch.chdir(place)
    monkeypatch.setenv("LC_ALL", "C")


def matches(wanted: str, found: str) -> bool:
    """Compare what came out, with … for anything; how wide columns are is each version's of a program."""
    texts = [
        re.sub(r"[ \t]+", " ", re.sub(r"^[ \t]+|[ \t]+$", "", text, flags=re.MULTILINE)) for text in (wanted, found)
    ]
    return re.fullmatch(".*".join(map(re.escape, texts[0].split("…"))), texts[1]) is not None


def run_commands(block: str, shell: CommandLine) -> None:
    """Run the commands of a block, and compare what comes out."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, wanted = part.partition("\n")
        done = subprocess.run(
            ["bash", "-c", command],
            env=shell.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            text=True, check=False, timeout=60 * SLOWNESS,
        )  # fmt: skip

        assert matches(wanted, done.stdout), (command, done.stdout, wanted)


class Matching(doctest.OutputChecker):
    """Takes … for anything."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        """Compare."""
        del optionflags
        return matches(want, got)


def run_examples(block: str, names: dict[str, Any]) -> None:
    """Run the examples of a block."""
    if ">>>" not in block:
        exec(block, names)  # noqa: S102 - the documentation's own
        return
    test = doctest.DocTestParser().get_doctest(block, names, "scenes.md", None, None)
    said = io.StringIO()
    results = doctest.DocTestRunner(checker=Matching(), verbose=False).run(test, out=said.write, clear_globs=False)

    assert results.failed == 0, said.getvalue()


@pytest.mark.parametrize("title", [title for title in sections(SCENES) if title])
@pytest.mark.parametrize("way", [pytest.param("console", marks=pytest.mark.slow), "python"])
def test_scene(title: str, way: str, shell: CommandLine) -> None:
    """By the command line alone, or by the library."""
    parts = sections(SCENES)
    found = blocks(parts[title], way)
    if not found:
        assert way == "python"
        return
    lacks.require(*TAKES.get(title, ()))
    if way == "console":
        for block in found:
            run_commands(block, shell)
        return
    names: dict[str, Any] = {}
    for block in (*blocks(parts[""], "python"), *found):
        run_examples(block, names)


def _container(lines: list[str]) -> None:
    """Look at what the README's container says of itself."""
    assert lines[0] == "test01"
    processes = [line.split() for line in lines if re.match(r"\S+ +\d+ +\d+ ", line)]
    assert [(each[1], each[2]) for each in processes[:1]] == [("1", "0")]
    assert {each[7] for each in processes} <= {"bash", "ps"}
    assert {"bin", "dev", "proc", "tmp"} < set(lines)
    inside = dict(re.findall(r"^(\w+):\[(\d+)\]$", "\n".join(lines), re.MULTILINE))
    assert {*KINDS} <= {*inside}
    for kind in KINDS:
        assert os.readlink(f"/proc/self/ns/{kind}") != f"{kind}:[{inside[kind]}]"
    assert "/" in lines
    assert [line.split()[0] for line in lines if re.search(r" (UNKNOWN|UP|DOWN) ", line)] == ["lo"]
    assert float(lines[-1].split()[0]) > 7 * 86400


def test_the_readmes_container(shell: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call, or two commands: its own name, processes, files, namespaces, network and clock, under limits."""
    lacks.require("memory", "cpu")
    monkeypatch.chdir(tmp_path)
    text = sections(README)["A container"]
    (example,), (commands,) = blocks(text, "python"), blocks(text, "console")
    said = io.StringIO()
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(said):
        exec(example, names)  # noqa: S102 - the same
    _container(said.getvalue().strip().splitlines())
    assert names["done"].stats.memory.peak < 512 << 20
    shutil.rmtree("appdir")
    outputs = [
        subprocess.run(
            ["bash", "-c", command.removeprefix("$ ").replace("\n> ", "\n")],
            env=shell.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
            timeout=60 * SLOWNESS,
        ).stdout
        for command in re.split(r"\n(?=\$ )", commands.strip())
    ]  # fmt: skip

    _container(outputs[-1].strip().splitlines())


def test_a_hog_in_the_readmes_container() -> None:
    """What is more than its limit is stopped, and said to be."""
    lacks.require("memory")
    script = "x=x; while :; do x+=$x; done"
    done = cgctl.run(["bash", "-c", script], root="appdir", hostname="test01", namespaces="all", memory="64M", cpu=1)

    assert (done.oom_killed, done.returncode) == (True, -9)
