"""Sizes, times and CPU counts as people write them, in the kernel's units.

Strings are understood here and nowhere else. Everything inside is an ``int`` in the base unit (bytes,
microseconds) or :data:`MAX`. Three values are never conflated: ``None`` leaves a setting as it is,
:data:`MAX` is "no limit", and ``0`` is zero.
"""

from __future__ import annotations

import enum
import re
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, TypeGuard

from cgctl.errors import SpecError, shown

__all__ = ["MAX", "Limit", "Max", "format_duration", "format_size", "parse_cpus", "parse_duration", "parse_size"]


class Max(enum.Enum):
    """The type of :data:`MAX`."""

    MAX = "max"

    def __repr__(self) -> str:
        return "MAX"

    def __str__(self) -> str:
        return "max"


MAX: Final = Max.MAX
"""No limit; the string ``"max"`` is the same."""

Limit = int | Literal[Max.MAX]
"""A number in the base unit, or :data:`MAX`."""

Size = int | str | Literal[Max.MAX]
"""How a :data:`Limit` may be given."""

_U64: Final = 2**64
_MOST_USEC: Final = 2**63 // 1000
"""The longest time that the kernel counts, in nanoseconds: 292 years."""
_MOST_DIGITS: Final = 100
_SUFFIXES: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGTPE]?)(?:I?B)?", re.IGNORECASE | re.ASCII)
_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(us|usec|ms|msec|s|sec|m|min|h|d|)", re.ASCII)
_USEC: Final = {
    "": 1_000_000,
    "us": 1,
    "usec": 1,
    "ms": 1_000,
    "msec": 1_000,
    "s": 1_000_000,
    "sec": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}


def parse_size(value: object, what: str = "size") -> int:
    """Read a number of bytes: ``"100M"`` is 104857600.

    ``K M G T P E`` are powers of 1024, as the kernel and docker read them; ``KB`` and ``KiB`` are the same.
    A fraction such as ``"1.5G"`` is rounded down to whole bytes.

    Args:
        value: an ``int`` of bytes, or a string.
        what: the setting's name, for the error message.

    Raises:
        SpecError: it is not a size, negative, or 2**64 and more.
    """
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            msg = f"{what}={shown(value)}: not a size; give bytes, or a number with K, M, G, T, P or E, such as '100M'"
            raise SpecError(msg)
        number = _scaled(Decimal(match[1]), 1 << _SUFFIXES[match[2].upper()], _U64)
    elif not _is_whole(value):
        msg = f"{what}={shown(value)}: not a size; give an int of bytes, or a string such as '100M'"
        raise SpecError(msg)
    else:
        number = value
    rule = "sizes are bytes from 0 to 2**64-1; MAX means no limit"
    return check_range(number, what, 0, _U64 - 1, remedy=rule, given=value)


def parse_limit(value: object, what: str = "limit") -> Limit:
    """Read a number of bytes, or ``MAX`` / ``"max"``.

    Raises:
        SpecError: it is neither.
    """
    return MAX if is_max(value) else parse_size(value, what)


def parse_count(value: object, what: str, low: int, high: int) -> int:
    """Read a whole number within a range; strings of digits are welcome.

    Raises:
        SpecError: it is no whole number, or out of range.
    """
    number = value
    if isinstance(value, str) and len(value) <= _MOST_DIGITS and _WHOLE.fullmatch(value.strip()):
        number = int(value)
    if not _is_whole(number):
        msg = f"{what}={shown(value)}: not a whole number; give an int from {low} to {high}"
        raise SpecError(msg)
    return check_range(number, what, low, high, given=value)


def parse_count_or_max(value: object, what: str, low: int, high: int) -> Limit:
    """Read a whole number within a range, or ``MAX`` / ``"max"``.

    Raises:
        SpecError: it is neither.
    """
    return MAX if is_max(value) else parse_count(value, what, low, high)


def parse_flag(value: object, what: str) -> bool:
    """Read a boolean: ``True``, ``False``, ``1`` or ``0``.

    Raises:
        SpecError: it is something else.
    """
    if value is True or value is False:
        return value
    if isinstance(value, (int, str)) and value in {0, 1, "0", "1"}:
        return value in {1, "1"}
    msg = f"{what}={shown(value)}: not a flag; give True or False"
    raise SpecError(msg)


def parse_duration(value: object, what: str = "duration") -> int:
    """Read a time span in microseconds: ``"50ms"`` is 50000, a bare number is seconds.

    Units: ``us ms s m h d``. ``0.5`` and ``"0.5"`` are half a second.

    Raises:
        SpecError: it is no time span, negative, or longer than 292 years.
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            msg = (
                f"{what}={shown(value)}: not a time span; give seconds, or a number with us, ms, s, m, h or d,"
                " such as '50ms'"
            )
            raise SpecError(msg)
        usec = _scaled(Decimal(match[1]), _USEC[match[2]], _MOST_USEC)
    else:
        usec = _scaled(_seconds(value, what), 1_000_000, _MOST_USEC)
    if usec > _MOST_USEC:
        msg = f"{what}={shown(value)}: out of range; the kernel counts time in nanoseconds, up to 292 years; give less"
        raise SpecError(msg)
    return usec


def parse_usec(value: object, what: str, low: int, high: int) -> int:
    """Read a field whose unit is microseconds: an ``int`` as it is, a string with its unit.

    Raises:
        SpecError: it is neither, or out of range.
    """
    if isinstance(value, str) and not _WHOLE.fullmatch(value.strip()):
        return check_range(parse_duration(value, what), what, low, high, given=value)
    return parse_count(value, what, low, high)


def parse_cpus(value: object, what: str = "cpu") -> Decimal | Literal[Max.MAX]:
    """Read an amount of CPU time: ``1.5`` CPUs, ``"1.5"``, ``"150%"`` or ``MAX``.

    Raises:
        SpecError: it is no amount, zero or negative.
    """
    if is_max(value):
        return MAX
    number = value if isinstance(value, Decimal) and value.is_finite() else _decimal_cpus(value, what)
    if number <= 0:
        msg = (
            f"{what}={shown(value)}: must be above 0; give CPUs such as 0.5, a share such as '50%', or MAX for no limit"
        )
        raise SpecError(msg)
    return number


def format_size(value: int) -> str:
    """Write a number of bytes with the largest suffix that is exact: 104857600 is ``"100M"``.

    Raises:
        SpecError: it is no ``int``, negative, or 2**64 and more.
    """
    if not _is_whole(value) or not 0 <= value < _U64:
        msg = f"size={shown(value)}: not a number of bytes; give an int from 0 to 2**64-1"
        raise SpecError(msg)
    for suffix, bits in reversed(_SUFFIXES.items()):
        if value and value % (1 << bits) == 0:
            return f"{value >> bits}{suffix}"
    return str(value)


def format_duration(usec: int) -> str:
    """Write microseconds with the largest unit that is exact: 50000 is ``"50ms"``."""
    for unit in ("d", "h", "m", "s", "ms"):
        if usec and usec % _USEC[unit] == 0:
            return f"{usec // _USEC[unit]}{unit}"
    return f"{usec}us"


def is_max(value: object) -> bool:
    """Tell whether a value means "no limit": ``MAX`` or ``"max"``."""
    return value is MAX or (isinstance(value, str) and value.strip() == "max")


def check_range(number: int, what: str, low: int, high: int, *, remedy: str = "", given: object = None) -> int:
    """Return a number that lies within a range.

    Args:
        number: the number.
        what: the setting's name, for the error message.
        low: the least that is allowed.
        high: the most that is allowed.
        remedy: the rule and what to do, instead of the usual sentence.
        given: what the caller wrote, to be named instead of the number that it was read as.

    Raises:
        SpecError: it does not.
    """
    if not low <= number <= high:
        rule = remedy or f"the kernel takes {low} to {high}"
        msg = f"{what}={shown(number if given is None else given)}: out of range; {rule}"
        raise SpecError(msg)
    return number


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _scaled(number: Decimal, factor: int, limit: int) -> int:
    """Multiply, rounding down; beyond *limit* any number beyond will do, so that a silly exponent costs nothing."""
    return limit + 1 if number > limit else int(number * factor)


def _seconds(value: object, what: str) -> Decimal:
    if not isinstance(value, bool) and isinstance(value, (int, float, Decimal)):
        # repr of a float is the shortest that reads back the same; an int may have too many digits for it.
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        if number.is_finite() and number >= 0:
            return number
    msg = f"{what}={shown(value)}: not a time span; give seconds of 0 or more, or a string such as '50ms'"
    raise SpecError(msg)


def _decimal_cpus(value: object, what: str) -> Decimal:
    text, scale = value, Decimal(1)
    if isinstance(value, str) and value.strip().endswith("%"):
        text, scale = value.strip()[:-1], Decimal("0.01")
    try:
        if isinstance(value, bool):
            raise InvalidOperation
        number = Decimal(text if isinstance(text, int) else str(text).strip()) * scale
        if not number.is_finite():
            raise InvalidOperation
    except (ArithmeticError, ValueError):
        msg = (
            f"{what}={shown(value)}: not an amount of CPU; give CPUs such as 1.5, a share such as '150%',"
            " or MAX for no limit"
        )
        raise SpecError(msg) from None
    return number
