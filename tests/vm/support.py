"""Write ``docs/support.md`` from what the machines have shown: ``python -m tests.vm.support [--check]``."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping

from tests.vm.matrix import CELLS, FILES, Cell
from tests.vm.project import TREE
from tests.vm.report import Result, read_report

TABLE = TREE / "docs" / "support.md"
_SPINE = "tests/contract/test_spine.py::test_"
_SETTING = re.compile(r"tests/kernel/test_settings\.py::test_what_(is_set_is_held|cannot_be_had_is_refused)\[(.+)\]")

# Test → heading. A test that is not named here is no feature.
FEATURES = {
    "run_in_a_group": "run",
    "memory_oom_kill": "memory limit, OOM kill",
    "cpu_quota": "CPU quota",
    "pids": "pids",
    "cpuset": "cpuset",
    "limits_together": "all four at once",
    "nested_limits": "nested limits",
    "statistics": "statistics",
    "freeze_and_thaw": "freeze",
    "kill": "kill",
    "join_and_return": "`with`: join, return",
    "recursive_removal": "recursive removal",
}
_INTRO = """\
# What works where

Written by `python -m tests.vm.support` from what the tests found in real kernels (`tox run -e vm`, which fails when
this page is not what it found). ✓: it was done there, and held. A letter: the kernel or the layout does not have it,
for the reason below, and cgctl raised an `UnsupportedError`.

"user" is an ordinary user, under systemd in a delegated unit of its own manager; all else is done by root. The layouts
are those of [real kernels](vm.md).

## Features
"""
_SETTINGS = """
## Settings

✓: set, and read back as it was set. Empty: refused with an `UnsupportedError` that says why: v1 or v2 has no such
thing, the kernel is older, or was built without it ([which release has what](controllers.md)).
"""


def results() -> dict[Cell, tuple[Result, ...]]:
    """Read what the last run has left."""
    return {cell: read_report(cell) for cell in CELLS}


def page(found: Mapping[Cell, Iterable[Result]]) -> str:
    """Write the page."""
    reasons: dict[str, str] = {}
    features = [["kernel", "layout", *FEATURES.values()]]
    settings: dict[str, dict[str, str]] = {}
    for cell in sorted((cell for cell in CELLS if cell.tests != FILES and not cell.part), key=_order):
        mine = {one.test: one for one in found[cell]}
        spine = [_mark(mine.get(f"{_SPINE}{test}"), reasons) for test in FEATURES]
        features.append([cell.kernel, _layout(cell), *spine])
        for one in mine.values():
            if (match := _SETTING.match(one.test)) is not None:
                is_held = match[1] == "is_set_is_held" and one.outcome == "passed"
                settings.setdefault(match[2], {})[f"{cell.kernel}<br>{_layout(cell)}"] = "✓" if is_held else ""
    columns = list(dict.fromkeys(column for marks in settings.values() for column in marks))
    rows = [[f"`{name}`", *(marks.get(column, "") for column in columns)] for name, marks in sorted(settings.items())]
    notes = [f"- **{letter}**: {reason}" for reason, letter in reasons.items()]
    parts = [_INTRO, *_table(features), "", *notes, _SETTINGS, *_table([["setting", *columns], *rows])]
    return "\n".join(parts) + "\n"


def _order(cell: Cell) -> tuple[object, ...]:
    return (
        [*dict.fromkeys(one.layout for one in CELLS)].index(cell.layout),
        cell.user,
        *map(int, cell.kernel.split(".")),
    )


def _layout(cell: Cell) -> str:
    return f"{cell.layout}, user" if cell.user else cell.layout


def _mark(result: Result | None, reasons: dict[str, str]) -> str:
    if result is None:
        return "?"
    if result.outcome == "skipped":
        why = re.sub(r"^.*\[(.*)\]$", r"\1", result.text, flags=re.DOTALL)  # the judge's: tests/contract/here.py
        return reasons.setdefault(why, chr(ord("a") + len(reasons)))
    return {"passed": "✓", "failed": "**failed**"}[result.outcome]


def _table(rows: list[list[str]]) -> list[str]:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return [head, "|" + "---|" * len(rows[0]), *body]


def main(argv: list[str]) -> int:
    """Write the page; with ``--check``, only tell whether it is what the machines have shown."""
    found = results()
    if missing := [str(cell) for cell, each in found.items() if not each]:
        sys.stderr.write(f"no results of {', '.join(missing)}: tox run -e vm\n")
        return 1
    told = page(found)
    if argv != ["--check"]:
        TABLE.write_text(told, encoding="utf-8")
        return 0
    lines = TABLE.read_text(encoding="utf-8").splitlines(), told.splitlines()
    if difference := list(
        difflib.unified_diff(*lines, "docs/support.md", "what the machines have shown", "", "", 0, "")
    ):
        sys.stderr.write("\n".join((*difference, "if that is as it should be: python -m tests.vm.support", "")))
    return bool(difference)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
