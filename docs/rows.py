"""A Sphinx extension: the tables of all rows, what each setting and statistic is called in v1 and in v2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cgctl.controllers import CONTROLLERS, Controller, Row, Side
from cgctl.controllers._left_out import LEFT_OUT, VERBS

_SETTINGS = ("attribute", "v1", "v2", "unit", "range", "since", "exact or lossy")
_STATISTICS = ("attribute", "v1", "v2", "unit", "since", "exact or lossy")


def tables() -> str:
    """Write the page's part that is made from the rows."""
    lines = [line for controller in CONTROLLERS.values() for line in _controller(controller)]
    return "\n".join([*lines, *_without_rows()])


def _controller(controller: Controller) -> Iterator[str]:
    if controller.settings:
        yield from (f"## {controller.name}: settings", "", *_head(_SETTINGS))
        yield from (
            _line(_name(row), *_files(row), row.unit, str(row.values or ""), _since(row), _exactness(row))
            for row in controller.settings
        )
        yield ""
    if controller.readings:
        yield from (f"## {controller.name}: statistics", "", *_head(_STATISTICS))
        yield from (
            _line(_name(row), *_files(row), row.unit, _since(row), _exactness(row)) for row in controller.readings
        )
        yield ""


def _without_rows() -> Iterator[str]:
    yield from ("## Files that have no row", "")
    yield "`group.read` and `group.write` reach these too, as they do all that a newer kernel may add."
    for title, table in (("used by", VERBS), ("why there is no row", LEFT_OUT)):
        yield from ("", *_head(("file", title)))
        yield from (_line(f"`{file}`", reason) for file, reason in table.items())


def _head(titles: tuple[str, ...]) -> tuple[str, str]:
    return _line(*titles), "|---" * len(titles) + "|"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _name(row: Row) -> str:
    return f"`{row.attribute}`"


def _files(row: Row) -> tuple[str, str]:
    return _file(row.v1), _file(row.v2)


def _file(side: Side | None) -> str:
    if side is None:
        return "none"
    return f"BPF program `{side.file[1:]}`" if side.file.startswith("@") else f"`{side.file}`"


def _since(row: Row) -> str:
    """Return the release that first has the file, for each version where that differs."""
    sides = {f"v{number}": side for number, side in ((1, row.v1), (2, row.v2)) if side}
    releases = {side.since or "" for side in sides.values()}
    if len(releases) == 1:
        return releases.pop()
    return ", ".join(f"{version}: {side.since}" for version, side in sides.items() if side.since)


def _exactness(row: Row) -> str:
    if row.v1 is None or row.v2 is None:
        only = "v2 only" if row.v1 is None else "v1 only"
        return f"{only}: {row.reason}" if row.reason else only
    return f"lossy: {row.lossy}" if row.lossy else "exact"


def _generate(app: Any) -> None:
    directory = Path(app.srcdir, "_generated")
    directory.mkdir(exist_ok=True)
    path = directory / "rows.md"
    text = tables()
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(app: Any) -> dict[str, bool]:
    """Make the part of the page before the pages are read."""
    app.connect("builder-inited", _generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
