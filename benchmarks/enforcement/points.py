"""What was asked, what was got, and whether that is near enough."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class AbsentError(Exception):
    """This machine cannot show the limit; the text says why."""


@dataclass(frozen=True)
class Point:
    """One value of one limit.

    Attributes:
        limit: what is limited, such as ``memory.max``.
        case: which value, and how.
        asked: the limit, in *unit*.
        got: what was measured: the median of *all_got*.
        unit: of both.
        low: the least part of *asked* that will do; ``None`` where nothing is promised.
        high: the greatest.
        all_got: each repetition.
        note: what is to be known of it.
    """

    limit: str
    case: str
    asked: float
    got: float
    unit: str
    low: float | None
    high: float | None
    all_got: tuple[float, ...]
    note: str = ""

    @property
    def error(self) -> float:
        """How far what was got is from what was asked, in percent."""
        return (self.got / self.asked - 1) * 100

    @property
    def spread(self) -> float:
        """How far the repetitions lie apart, in percent of what was asked."""
        return (max(self.all_got) - min(self.all_got)) / self.asked * 100

    @property
    def is_held(self) -> bool:
        """Whether it is within its tolerance."""
        return self.low is None or self.high is None or self.low <= self.got / self.asked <= self.high


def point(  # noqa: PLR0917 - a row of a table
    limit: str,
    case: str,
    asked: float,
    got: Iterable[float],
    unit: str,
    within: tuple[float, float] | None,
    note: str = "",
) -> Point:
    """Make a point of repetitions.

    Args:
        limit: what is limited.
        case: which value, and how.
        asked: the limit.
        got: what was measured, each time.
        unit: of both.
        within: the least and the greatest part of *asked* that will do; ``None`` where nothing is promised.
        note: what is to be known of it.
    """
    repeated = tuple(got)
    low, high = within or (None, None)
    return Point(limit, case, asked, statistics.median(repeated), unit, low, high, repeated, note)


def table(points: Sequence[Point]) -> str:
    """Write points as a table."""
    head = ("limit", "case", "asked", "got", "unit", "error", "spread", "within", "")
    rows = [head]
    for each in points:
        within = "" if each.low is None or each.high is None else f"{each.low:.2f}..{each.high:.2f}"
        rows.append(
            (
                *(each.limit, each.case, f"{each.asked:.5g}", f"{each.got:.5g}", each.unit),
                *(f"{each.error:+.1f} %", f"{each.spread:.1f} %", within),
                each.note if each.is_held else f"NOT HELD {each.note}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
