"""Write the page of the documentation on what limits are held: tables, and a figure for each limit.

    python -m benchmarks.enforcement.page              # from docs/data/enforcement/*.csv

It takes matplotlib (the dependency group ``bench``), and writes ``docs/enforcement.md`` and ``docs/enforcement/*.svg``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import matplotlib as mpl

from benchmarks.enforcement.report import Row, figure, is_held, machine, rows, spread

_DOCS: Final = Path(__file__).parents[2] / "docs"

_INTRO = """# What limits are held

For each limit, what was asked and what was got: programs that want more than they may have, swept over a range of values,
three times each. Written by `python -m benchmarks.enforcement.page` from the data beside it.

<!-- run: no: it takes minutes of a quiet machine, and QEMU -->
```console
$ python -m benchmarks.enforcement --out docs/data/enforcement             # this machine, as root
$ python -m benchmarks.enforcement.machines docs/data/enforcement 6.12:v2  # one under QEMU
$ python -m benchmarks.enforcement.page                                    # this page
$ python -m benchmarks.enforcement.report docs/data/enforcement out.html   # each value, as one HTML page
```
"""  # noqa: E501 - as wide as the pages

_HOW = """## How it is measured

| limit | what is done |
|---|---|
| `memory.max` | a program touches twice as much, page by page, without swap; got: the group's peak when the kernel kills it |
| `memory.high` | the same; got: what it has after three seconds, being held back and not killed |
| `memory.swap_max` | 16 MiB of memory, and so much swap; got: the swap's peak when it is killed |
| `cpu.max` | as many programs that never wait as the quota has processors; got: processor time over two seconds of time |
| `cpu.burst` | a program that has rested; got: for how long it runs before it is held up. The period may end meanwhile, and then there is another quota to be had: that is within the tolerance |
| `cpu.weight` | three groups of weights 1:2:4 on one processor; got: their shares |
| `cpu.idle` | an idle group beside one that is not, on one processor; got: what the other has |
| `cpuset.cpus` | programs that would go anywhere; got: how many were seen on that processor alone |
| `pids.max` | a fork bomb; got: how many processes it became |
| `io.max` | direct I/O of twice what a second may have; and writes through the page cache, until all is on the disk |
| `net.classid` | groups that send at once, in HTB classes of these rates, over a pair of veth devices |
| `devices` | six device nodes, three of them allowed; got: right answers |

*Error* is how far the median of the three is from what was asked, *spread* how far the three lie apart, both in percent of
what was asked. *Within* is the tolerance, as parts of what was asked, and the program fails beyond it.
"""  # noqa: E501 - rows of a table


def page(found: list[Row]) -> str:
    """Write the page of all rows."""
    measured = [row for row in found if row["asked"]]
    lost = [row for row in measured if not is_held(row)]
    parts = [_INTRO, "## Machines\n", _machines(found), _HOW, "## What misses its tolerance\n"]
    parts.append(f"{len(lost)} of {len(measured)} values:\n" if lost else f"None of {len(measured)} values.\n")
    if lost:
        cells = [
            (machine(row), f"`{row['limit']}`, {row['case']}", *_numbers(row), row["note"] or _guess(row))
            for row in lost
        ]
        parts.append(_table(("machine", "limit", "asked", "got", "unit", "error", "spread", "why"), cells))
    parts.append("## Limit by limit\n")
    for limit in dict.fromkeys(row["limit"] for row in measured):
        mine = [row for row in measured if row["limit"] == limit]
        parts.append(f"### {limit}\n\n![{limit}: asked and got](enforcement/{limit}.svg)\n\n{_summary(mine)}")
        noted = [(machine(row), row["case"], row["note"]) for row in mine if row["note"] and is_held(row)]
        if noted:
            parts.append(_table(("machine", "value", ""), noted))
    absent = [(machine(row), f"`{row['limit']}`", row["note"].removeprefix("absent: ")) for row in _absent(found)]
    parts += ["## What could not be shown, and why\n", _table(("machine", "sweep", "reason"), absent)]
    return "\n".join(parts)


def main() -> None:
    """Write the page and its figures."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "cgctl"})
    found = rows(_DOCS / "data" / "enforcement")
    figures = _DOCS / "enforcement"
    figures.mkdir(exist_ok=True)
    for limit in dict.fromkeys(row["limit"] for row in found if row["asked"]):
        drawn = figure(limit, [row for row in found if row["limit"] == limit and row["asked"]])
        text = "\n".join(line.rstrip() for line in f"<svg{drawn}".splitlines()) + "\n"
        (figures / f"{limit}.svg").write_text(text, encoding="utf-8")
    (_DOCS / "enforcement.md").write_text(page(found), encoding="utf-8")


def _machines(found: list[Row]) -> str:
    facts = ("kernel", "processors", "memory_mib", "date", "load")
    head = ("machine", "kernel", "processors", "memory, MiB", "date", "load before")
    lines = _table(head, dict.fromkeys((machine(row), *(row[fact] for fact in facts)) for row in found))
    return (
        f"{lines}\n*Emulated* machines are QEMU without KVM, and their load is that of the machine around them: others"
        " worked there at the same time.\n"
    )


def _absent(found: Iterable[Row]) -> list[Row]:
    return [row for row in found if not row["asked"]]


def _summary(mine: list[Row]) -> str:
    """Write a line for each machine: the values, and the worst of their errors."""
    lines = []
    for name in dict.fromkeys(map(machine, mine)):
        those = [row for row in mine if machine(row) == name]
        errors = [float(row["got"]) / float(row["asked"]) - 1 for row in those]
        held = sum(map(is_held, those))
        widest = max(map(spread, those))
        lines.append(
            (
                *(name, str(len(those)), f"{held} of {len(those)}" if those[0]["low"] else "nothing promised"),
                *(f"{min(errors):+.1%}".replace("%", " %"), f"{max(errors):+.1%}".replace("%", " %")),
                f"{widest:.1%}".replace("%", " %"),
            )
        )
    return _table(("machine", "values", "within tolerance", "least error", "greatest error", "widest spread"), lines)


def _guess(row: Row) -> str:
    """Say what is known of a miss without a note: which way it goes, and whether its repetitions agree."""
    if row["unit"] == "CPUs" and float(row["got"]) < float(row["asked"]):
        return "less than it may have: others used the processors too"
    if spread(row) > 0.1:  # noqa: PLR2004 - a tenth
        return f"the three differ by {spread(row):.0%}: others worked on this machine, with a load of {row['load']}"
    return "the three agree"


def _numbers(row: Row) -> tuple[str, ...]:
    asked, got = float(row["asked"]), float(row["got"])
    return (f"{asked:.4g}", f"{got:.4g}", row["unit"], f"{(got / asked - 1) * 100:+.1f} %", f"{spread(row):.1%}")


def _table(head: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *body)) + "\n"


if __name__ == "__main__":
    main()
