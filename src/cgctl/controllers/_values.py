"""What a setting takes: its unit, its range, and how people's words for it are read.

The converter of a spec's attribute and the row of the same attribute share one of these, so the range that
an error names is the range that the documentation prints.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Generic, TypeVar

import attrs

from cgctl.errors import SpecError, shown
from cgctl.units import (
    MAX,
    Limit,
    parse_count,
    parse_count_or_max,
    parse_flag,
    parse_limit,
    parse_usec,
)

__all__ = ["BYTES", "CLASS", "COUNT", "CPU", "FLAGS", "LIMITS", "LIST", "PERCENT", "PRESSURE", "USEC", "WEIGHT", "WORD"]
__all__ += ["Values", "by_name", "saturating", "usec", "whole", "whole_or_max"]

BYTES: Final = "bytes"
CLASS: Final = "class id"
COUNT: Final = "count"
CPU: Final = "CPUs"
LIST: Final = "list of numbers"
PERCENT: Final = "%"
PRESSURE: Final = "% and µs"
USEC: Final = "µs"
WEIGHT: Final = "weight"
WORD: Final = "word"

_MOST: Final = 2**64 - 1
_NAME: Final = re.compile(r"[^\s=,]+")
_PAIR: Final = re.compile(r"([^\s=]+)\s*[\s=]\s*(.+)")

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Values(Generic[T]):
    """The values of a setting.

    Attributes:
        unit: of numbers: one of the words above, or what is counted.
        parse: reads one, given the setting's name for the error message; raises :class:`cgctl.SpecError`.
        low: the least number.
        high: the largest.
        unlimited: whether ``MAX`` is one of them.
        words: those that there are, where they are words.
        each: what there is one value for, from the outside in, such as a device and a resource.
    """

    unit: str
    parse: Callable[[Any, str], T]
    low: float | None = None
    high: float | None = None
    unlimited: bool = False
    words: tuple[str, ...] = ()
    each: tuple[str, ...] = ()

    def __call__(self, value: Any, what: str) -> T | None:
        """Read a value; ``None`` leaves the setting as it is.

        Raises:
            SpecError: it is none of these values.
        """
        return None if value is None else self.parse(value, what)

    def __str__(self) -> str:
        numbers = () if self.low is None else (f"{self.low:g}..{_number(self.high)}",)
        return ", ".join((*numbers, *(f"`{word}`" for word in self.words), *(("`MAX`",) if self.unlimited else ())))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    exponent = int(value).bit_length()
    # Large bounds are powers of two, or one less.
    if value >= 2**31 - 1 and value in {2**exponent - 1, 2 ** (exponent - 1)}:
        return f"2^{exponent}-1" if value == 2**exponent - 1 else f"2^{exponent - 1}"
    return f"{value:.12g}"


def whole(unit: str, low: int, high: int) -> Values[int]:
    """Make the values of a whole number."""
    return Values(unit=unit, parse=partial(parse_count, low=low, high=high), low=low, high=high)


def whole_or_max(unit: str, low: int, high: int) -> Values[Limit]:
    """Make the values of a whole number that may be unlimited."""
    return Values(unit=unit, parse=partial(parse_count_or_max, low=low, high=high), low=low, high=high, unlimited=True)


def usec(low: int, high: int) -> Values[int]:
    """Make the values of a time in microseconds, or with its unit."""
    return Values(unit=USEC, parse=partial(parse_usec, low=low, high=high), low=low, high=high)


def saturating(values: Values[Limit], most: int) -> Values[Limit]:
    """Make the values of a number that means no limit from *most* on: the kernel reads it back as ``max``."""
    return attrs.evolve(values, parse=partial(_parse_saturating, values=values, most=most))


def _parse_saturating(value: Any, what: str, *, values: Values[Limit], most: int) -> Limit:
    limit = values.parse(value, what)
    return MAX if limit is MAX or limit >= most else limit


def by_name(each: str, values: Values[T], separator: str = ",") -> Values[dict[str, T]]:
    """Make the values of a setting that has one for each of several things, by name.

    Given as a mapping; or as a string of ``NAME VALUE`` or ``NAME=VALUE``.

    Args:
        each: what they are, for the error message.
        values: what each takes.
        separator: between them, in a string.
    """
    parse = partial(_parse_named, each=each, values=values, separator=separator)
    return Values(
        unit=f"{values.unit}, by {each}",
        parse=parse,
        low=values.low,
        high=values.high,
        unlimited=values.unlimited,
        words=values.words,
        each=(each, *values.each),
    )


def _parse_named(value: Any, what: str, *, each: str, values: Values[T], separator: str) -> dict[str, T]:
    if isinstance(value, str):
        items = [_PAIR.fullmatch(item) for item in (word.strip() for word in value.split(separator)) if item]
        if items and all(items):
            value = {item[1]: item[2] for item in items if item}
    if not isinstance(value, Mapping):
        msg = f"{what}={shown(value)}: not a mapping; give a value for each {each}, as a dict or as 'NAME=VALUE'"
        raise SpecError(msg)
    return {_name(name, what, each): values.parse(item, f"{what}[{shown(name)}]") for name, item in value.items()}


def _name(name: Any, what: str, each: str) -> str:
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    msg = f"{what}={{{shown(name)}: ...}}: not the name of a {each}; give one word, as the kernel spells it"
    raise SpecError(msg)


LIMITS: Final[Values[Limit]] = Values(unit=BYTES, parse=parse_limit, low=0, high=_MOST, unlimited=True)
"""Sizes in bytes that may be unlimited."""
FLAGS: Final[Values[bool]] = Values(unit="flag", parse=parse_flag, words=("True", "False"))
"""Yes or no."""
