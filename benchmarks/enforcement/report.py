"""Make one HTML page, with a table and a figure for each limit, of the CSV files of some machines.

    python -m benchmarks.enforcement.report DIR OUT.html

Figures are drawn with matplotlib, and are in the page itself.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

Row = Mapping[str, str]

_WHAT = "A point is the median of its repetitions; error and spread are in percent of what was asked."
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .15em .8em; text-align: right }
th { border-bottom: 1px solid #888 } td:nth-child(-n+2), th:nth-child(-n+2), td:last-child { text-align: left }
.lost { background: #fdd } svg { max-width: 100%; height: auto }
"""


def rows(directory: Path) -> list[Row]:
    """Read all CSV files of a directory."""
    found: list[Row] = []
    for path in sorted(directory.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found += csv.DictReader(file)
    return found


def machine(row: Row) -> str:
    """Name the machine of a row."""
    series = ".".join(row["kernel"].split(".")[:2])
    return f"{series} {row['layout']}{' (emulated)' if row['emulated'] == '1' else ''}"


def is_held(row: Row) -> bool:
    """Whether a row is within its tolerance."""
    return not row["low"] or float(row["low"]) <= float(row["got"]) / float(row["asked"]) <= float(row["high"])


def spread(row: Row) -> float:
    """How far the repetitions of a row lie apart, as a part of what was asked."""
    return (max(_all(row)) - min(_all(row))) / float(row["asked"])


def figure(limit: str, points: Iterable[Row]) -> str:
    """Draw what was got over what was asked, on logarithmic axes, by machine; on the line both are equal."""
    points = list(points)
    drawing, axes = plt.subplots(figsize=(6, 4.2))
    for unit in dict.fromkeys(row["unit"] for row in points):
        for number, name in enumerate(dict.fromkeys(machine(row) for row in points)):
            mine = [row for row in points if machine(row) == name and row["unit"] == unit]
            asked = [float(row["asked"]) for row in mine]
            got = [float(row["got"]) for row in mine]
            low, high = zip(*((min(_all(row)), max(_all(row))) for row in mine), strict=True) if mine else ((), ())
            errors = [
                # Each repetition was written with six digits, and the median with all.
                [max(0, each - least) for each, least in zip(got, low, strict=True)],
                [max(0, most - each) for each, most in zip(got, high, strict=True)],
            ]
            axes.errorbar(asked, got, yerr=errors, fmt="os^vDPX"[number % 7], markersize=5, alpha=0.7, label=name)
    ends = [float(row["asked"]) for row in points]
    axes.plot([min(ends) / 1.2, max(ends) * 1.2], [min(ends) / 1.2, max(ends) * 1.2], color="#888", linewidth=0.8)
    units = " or ".join(dict.fromkeys(row["unit"] for row in points))
    axes.set(xscale="log", yscale="log", xlabel=f"asked, {units}", ylabel=f"got, {units}", title=limit)
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(named.values(), named.keys(), fontsize=8)
    axes.grid(visible=True, which="both", linewidth=0.3)
    text = io.StringIO()
    drawing.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(drawing)
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]


def page(found: list[Row]) -> str:
    """Write the page."""
    measured = [row for row in found if row["asked"]]
    lost = [row for row in measured if not is_held(row)]
    parts = [
        f"<!doctype html><meta charset=utf-8><title>cgctl: limits, asked and got</title><style>{_STYLE}</style>",
        "<h1>Limits: what was asked, and what was got</h1>",
        f"<p>{len(measured)} points, {len(lost)} not within their tolerance. {_WHAT}</p>",
        "<h2>Machines</h2>",
        _table(
            ("machine", "kernel", "processors", "memory, MiB", "date", "load before"),
            dict.fromkeys(
                (machine(row), *(row[fact] for fact in ("kernel", "processors", "memory_mib", "date", "load")))
                for row in found
            ),
        ),
    ]
    for limit in dict.fromkeys(row["limit"] for row in measured):
        mine = [row for row in measured if row["limit"] == limit]
        parts += [f"<h2>{escape(limit)}</h2>", figure(limit, mine)]
        parts.append(
            _table(
                ("machine", "case", "asked", "got", "unit", "error", "spread", "within", ""),
                (_cells(row) for row in mine),
                [not is_held(row) for row in mine],
            )
        )
    absent = [(machine(row), row["limit"], row["note"].removeprefix("absent: ")) for row in found if not row["asked"]]
    parts += ["<h2>What could not be shown, and why</h2>", _table(("machine", "sweep", "reason"), absent)]
    return "\n".join(parts) + "\n"


def _all(row: Row) -> list[float]:
    return [float(word) for word in row["all_got"].split()]


def _cells(row: Row) -> tuple[str, ...]:
    asked, got = float(row["asked"]), float(row["got"])
    within = f"{float(row['low']):.2f} to {float(row['high']):.2f}" if row["low"] else "nothing promised"
    numbers = (f"{asked:.5g}", f"{got:.5g}", row["unit"], f"{got / asked - 1:+.1%}", f"{spread(row):.1%}")
    return (machine(row), row["case"], *numbers, within, row["note"])


def _table(head: tuple[str, ...], body: Iterable[tuple[str, ...]], marked: Iterable[bool] = ()) -> str:
    marks = iter(marked)
    lines = (
        f"<tr{' class=lost' if next(marks, False) else ''}>" + "".join(f"<td>{escape(word)}" for word in row)
        for row in body
    )
    return "\n".join(["<table><tr>" + "".join(f"<th>{escape(word)}" for word in head), *lines, "</table>"])


def main() -> None:
    """Make the page."""
    directory, out = sys.argv[1:]
    Path(out).write_text(page(rows(Path(directory))), encoding="utf-8")


if __name__ == "__main__":
    main()
