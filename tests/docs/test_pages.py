"""The manual says what is so: each command and program in it is run, and prints what the page shows."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cgctl
from tests.docs.page import Block, matches, read
from tests.docs.session import Session
from tests.kernel import lacks
from tests.leaks import PREFIX
from tests.require import skip_unless

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if not path.parent.name.startswith("_"))]
ELSEWHERE = {
    DOCS / "events.md": "tests/unit/test_documentation.py",
    DOCS / "scenes.md": "tests/kernel/test_scenes.py",
    DOCS / "testing.md": "tests/unit/test_documentation.py",
}
"""Pages that are run by tests of their own."""
PAGES = [path for path in WRITTEN if path not in ELSEWHERE]
GROUP = "cgctl-demo"
"""What groups on the pages are called; here each run has its own, for others may be reading the same page."""
TOOLS = ("bash", "hostname", "ldd", "ps", "unshare")


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _is_real(block: Block) -> bool:
    return not block.where.startswith("no: ") and not block.is_in_memory


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A shell where the page begins, and nothing of what it did behind it."""
    monkeypatch.delenv("CGCTL_BASE")  # a reader has none
    work, tools = tmp_path / "work", tmp_path / "tools"
    work.mkdir()
    tools.mkdir()
    (work / "examples").symlink_to(ROOT / "examples")
    try:
        with Session(work, tools) as opened:
            yield opened
    finally:
        _clean()


@pytest.mark.host
@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in PAGES if any(map(_is_real, read(path)))], ids=_named)
def test_a_page(path: Path, session: Session) -> None:
    """What it says to type works, and prints what it shows."""
    lacks.require("host", "memory", "cpu", "pids")
    skip_unless("root", "it is for root" if os.geteuid() else None)
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    skip_unless("tools", f"there is no {', '.join(missing)}" if missing else None)
    here = _version()
    for block in read(path):
        if block.where in {"", here} and not block.is_in_memory:
            _check(block, session, path)


@pytest.mark.parametrize("path", [path for path in PAGES if any(b.is_in_memory for b in read(path))], ids=_named)
def test_in_memory(path: Path, session: Session) -> None:
    """What it shows on a machine in memory comes out anywhere."""
    for block in read(path):
        if block.is_in_memory and not block.where:
            _check(block, session, path)


@pytest.mark.parametrize("path", WRITTEN, ids=_named)
def test_all_code_is_run(path: Path) -> None:
    """There is no block but of commands, of programs, and of text; Sphinx has its own, with braces."""
    text = path.read_text(encoding="utf-8")
    fences = re.findall(r"^`{3,}([^`\n]*)\n.*?^`{3,}$", text, re.MULTILINE | re.DOTALL)

    assert re.findall(r"^ +`{3,}.*", text, re.MULTILINE) == []  # within a list it would not be found
    assert {language for language in fences if not language.startswith("{")} <= {"console", "python", "text"}


@pytest.mark.parametrize("path", PAGES, ids=_named)
def test_what_is_said_of_blocks(path: Path) -> None:
    """A block runs everywhere, with one version, or nowhere for a reason; and a page that has v1 has v2."""
    page = read(path)

    assert [block for block in page if block.where not in {"", "v1", "v2"} and not block.where.startswith("no: ")] == []
    assert any(b.where == "v1" for b in page) == any(b.where == "v2" for b in page)


def _version() -> str:
    hierarchy = cgctl.System.detect().layout.locate("memory")
    assert hierarchy is not None
    return f"v{hierarchy.version}"


def _check(block: Block, session: Session, path: Path) -> None:
    run: Callable[[str], str] = session.shell
    if block.language == "python":
        run = _in_process if block.is_in_memory else session.python
    for typed, expected in block.steps():
        got = run(typed.replace(GROUP, PREFIX + "demo")).replace(PREFIX + "demo", GROUP)
        if not matches(expected, got):
            shown = f"$ {typed}\n--- the page:\n{expected}\n--- here:\n{got}"
            pytest.fail(f"{_named(path)}:{block.line}\n{shown}", pytrace=False)


def _in_process(program: str) -> str:
    """Run a program that does not leave this process, and return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {"__name__": "__main__"})  # noqa: S102 - the documentation's own
    return printed.getvalue().rstrip("\n")


def _clean() -> None:
    """Remove what a page that failed half way has left; one that went well has left nothing."""
    for hierarchy in cgctl.System.detect().layout.hierarchies:
        for parent, names, _ in os.walk(hierarchy.mount_point, topdown=False):
            for name in names:
                if name.startswith(PREFIX + "demo") or PREFIX + "demo" in parent:
                    with contextlib.suppress(OSError):
                        Path(parent, name).rmdir()
