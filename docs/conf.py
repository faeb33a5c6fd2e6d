"""How the documentation is built: ``tox run -e docs``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cgctl
from cgctl.controllers import CONTROLLERS

project = "cgctl"
author = "the cgctl authors"
project_copyright = "2026, the cgctl authors"
version = release = cgctl.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated"]
nitpicky = True
# Python's own documentation is on the network, and a build must not need one.
nitpick_ignore_regex = [
    ("py:.*", r"(subprocess|psutil|collections\.abc)(\..*)?"),
    ("py:exc", r"OSError|ValueError"),
    # What the reader of a signature sees under a shorter name, or need not see.
    ("py:class", r"cgctl\.(units\.Max|plan\.Plan|filesystem\._protocol\.Filesystem|controllers\._row\.\w+)"),
    ("py:class", r"cgctl\.testing\.case\.Action"),
]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"cgctl {release}"


def _rows() -> str:
    """Write the tables of all rows: what each setting and statistic is called in v1 and in v2."""
    lines: list[str] = []
    for controller in CONTROLLERS.values():
        for title, rows in (("settings", controller.settings), ("statistics", controller.readings)):
            lines += [
                f"## {controller.name}: {title}",
                "",
                "| attribute | v1 | v2 | since | notes |",
                "|---|---|---|---|---|",
            ]
            for row in rows:
                v1, v2 = (f"`{side.file}`" if side else "none" for side in (row.v1, row.v2))
                since = next((side.since for side in (row.v2, row.v1) if side and side.since), "")
                notes = " ".join(filter(None, (f"lossy: {row.lossy}" if row.lossy else "", row.reason)))
                lines.append(f"| `{row.attribute}` | {v1} | {v2} | {since or ''} | {notes.replace('|', '/')} |")
            lines.append("")
    return "\n".join(lines)


def _generate(app: Any) -> None:
    directory = Path(app.srcdir, "_generated")
    directory.mkdir(exist_ok=True)
    path = directory / "rows.md"
    text = _rows()
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(app: Any) -> None:
    """Make the pages that are made from code."""
    app.connect("builder-inited", _generate)
