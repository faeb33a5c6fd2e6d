"""Every link within the documentation leads somewhere: the file is there, and so is the heading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if not path.parent.name.startswith("_")),
]


@pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_links(path: Path) -> None:
    """Relative links, with their anchors; what is on the network is not asked for."""
    lost = []
    for link in re.findall(r"\]\(([^()\s]+)\)", _prose(path)):
        if "://" in link or link.startswith("mailto:"):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            lost.append(link)

    assert lost == []


def test_all_pages_are_in_the_table_of_contents() -> None:
    """Nothing is written that nobody finds."""
    listed: set[Path] = set()
    for path in PAGES:
        for entries in re.findall(r"```\{toctree\}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            names = [line for line in entries.splitlines() if line and not line.startswith(":")]
            listed |= {(path.parent / f"{name}.md").resolve() for name in names}

    assert {path for path in PAGES if path.is_relative_to(ROOT / "docs")} - listed == {ROOT / "docs" / "index.md"}


def _prose(path: Path) -> str:
    """Return a page without its blocks of code, in which brackets mean something else."""
    return re.sub(r"^(`{3,}).*?^\1$|`[^`\n]+`", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def _anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    found = set()
    for heading in re.findall(r"^#{1,6} (.+)$", _prose_with_code_words(path), re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found


def _prose_with_code_words(path: Path) -> str:
    return re.sub(r"^(`{3,}).*?^\1$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
