"""How cost grows, with the number of groups and with their depth: a table, and the exponent that fits."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cgctl
from measuring import Case, interleaved
from pairs import name_of, supported

WISH: dict[str, Any] = {"memory": "64M", "pids": 64}


@dataclass(frozen=True)
class Growth:
    """Microseconds by size.

    Attributes:
        name: what is done.
        of: what the size is.
        points: size → median of processor time.
        exponent: of the power of the size that fits best; 0 is independent of it, 1 in proportion.
    """

    name: str
    of: str
    points: dict[int, float]
    exponent: float


def fitted(points: dict[int, float]) -> float:
    """Return the slope of the line through the logarithms, by least squares."""
    xs, ys = [math.log(size) for size in points], [math.log(each) for each in points.values()]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return round(sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs), 3)


def by_number(rounds: int, most: int) -> Iterator[Growth]:
    """Make, read and list beside more and more groups."""
    wish, counts = supported(WISH), [10**power for power in range(6) if 10**power <= most]
    points: dict[str, dict[int, float]] = {"create and remove": {}, "stats": {}, "list": {}}
    made = 0
    with cgctl.Group(name_of("many"), join=False) as above:
        directories = [*above.paths().values()]
        group = cgctl.Group("measured", parent=above, **wish)
        try:
            for count in counts:
                for directory in directories:
                    for number in range(made, count):
                        os.mkdir(f"{directory}/{number}")
                made = count
                held = cgctl.Group("held", parent=above, **wish).create()
                cases: dict[str, Case] = {"create and remove": lambda: group.create().remove(), "stats": held.stats}
                for name, found in interleaved(cases, rounds).items():
                    points[name][count] = found.median
                held.remove()
                points["list"][count] = interleaved({"list": above.children}, max(3, min(rounds, 3000 // count)), 1)[
                    "list"
                ].median
        finally:
            for directory in directories:
                for number in range(made):
                    with contextlib.suppress(OSError):
                        os.rmdir(f"{directory}/{number}")
    for name, each in points.items():
        yield Growth(name, "groups beside it" if name != "list" else "groups", each, fitted(each))


def by_depth(rounds: int, depths: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)) -> Iterator[Growth]:
    """Make and read at more and more depth."""
    wish = supported(WISH)
    points: dict[str, dict[int, float]] = {"create and remove": {}, "stats": {}}
    with cgctl.Group(name_of("deep"), join=False, **wish) as top:
        for depth in depths:
            name = "/".join(["d"] * (depth - 1) + ["g"])
            # Those on the way are there, and stay.
            with contextlib.ExitStack() as held:
                kept = held.enter_context(
                    cgctl.Group("/".join(["d"] * (depth - 1) + ["held"]), parent=top, join=False, **wish)
                )
                group = cgctl.Group(name, parent=top, **wish)
                cases: dict[str, Case] = {
                    "create and remove": lambda group=group: group.create().remove(),  # type: ignore[misc]
                    "stats": kept.stats,
                }
                for case, found in interleaved(cases, rounds).items():
                    points[case][depth] = found.median
    for case, each in points.items():
        yield Growth(case, "depth", each, fitted(each))


def figure(path: str, growths: Sequence[Growth]) -> bool:
    """Draw it, log by log, if matplotlib is there; tell whether it is."""
    try:
        from matplotlib import pyplot as plt  # noqa: PLC0415 - for who wants a figure
    except ImportError:
        return False
    kinds = sorted({growth.of for growth in growths})
    drawn, axes = plt.subplots(1, len(kinds), figsize=(4.5 * len(kinds), 4), layout="constrained", squeeze=False)
    for axis, of in zip(axes[0], kinds, strict=True):
        for growth in growths:
            if growth.of == of:
                label = f"{growth.name} (exponent {growth.exponent:.2f})"
                axis.loglog([*growth.points], [*growth.points.values()], "o-", label=label)
        axis.set(xlabel=of, ylabel="processor time (µs)")
        axis.legend()
    drawn.savefig(path)
    return True
