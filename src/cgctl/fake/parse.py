"""The kernel's number parsers, which differ from file to file: KERNEL-FACTS §1.1, measured.

Each takes the text that was written, and returns the number or refuses with the errno that the kernel gives.
"""

from __future__ import annotations

import re
from errno import EINVAL, EOVERFLOW, ERANGE
from typing import Final

from cgctl.fake.refusal import refuse

__all__ = [
    "BLANKS",
    "UNLIMITED_PAGES",
    "decimal",
    "flag",
    "kstrto",
    "memparse",
    "number_list",
    "s64",
    "stripped",
    "u64",
    "unsigned",
    "written",
]

U64: Final = 1 << 64
S64: Final = 1 << 63
INT_MAX: Final = (1 << 31) - 1
UNLIMITED_PAGES: Final = (S64 - 1) // 4096
"""``PAGE_COUNTER_MAX``: a limit of so many pages is none."""
BLANKS: Final = " \t\n\v\f\r\xa0"

_DIGITS: Final = {8: re.compile(r"[0-7]*"), 10: re.compile(r"[0-9]*"), 16: re.compile(r"[0-9a-fA-F]*")}
_SUFFIXES: Final = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}


def written(data: bytes) -> str:
    """Return what functions that read strings see of what was written."""
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def stripped(text: str) -> str:
    """Strip as ``strstrip`` does."""
    return text.strip(BLANKS)


def _digits(text: str, base: int) -> tuple[int, str]:
    """Read digits, in base 0 with the prefixes of C: the number (-1: there was none), and what is left."""
    if base == 0:
        base = 10
        if text[:1] == "0":
            base = 8
            if text[1:2] in {"x", "X"} and _DIGITS[16].match(text, 2, 3)[0]:  # type: ignore[index] # it always matches
                base, text = 16, text[2:]
    match = _DIGITS[base].match(text)
    assert match is not None  # noqa: S101 - nothing is a match too
    found = match[0]
    return (int(found, base) if found else -1), text[len(found) :]


def kstrto(text: str, low: int, high: int) -> int:
    """Read a whole number as ``kstrtoull`` and ``kstrtoll`` do: one sign, C's prefixes, one newline at the end."""
    signed = low < 0
    negative = signed and text[:1] == "-"
    if text[:1] == "+" or negative:
        text = text[1:]
    number, rest = _digits(text, 0)
    if number >= U64:
        refuse(ERANGE)
    if number < 0 or rest not in {"", "\n"}:
        refuse(EINVAL)
    number = -number if negative else number
    if not low <= number <= high:
        refuse(ERANGE)
    return number


def u64(text: str) -> int:
    """Read as ``cftype.write_u64`` does: no blanks around it."""
    return kstrto(text, 0, U64 - 1)


def s64(text: str) -> int:
    """Read as ``cftype.write_s64`` does: no blanks around it."""
    return kstrto(text, -S64, S64 - 1)


def flag(text: str, *, refused: int = EINVAL) -> int:
    """Read 0 or 1, blanks around it allowed; other numbers are refused with *refused*."""
    number = kstrto(stripped(text), -INT_MAX - 1, INT_MAX)
    if number not in {0, 1}:
        refuse(refused)
    return number


def memparse(text: str, *, saturates: bool, unlimited: str = "max", unit: int = 4096) -> int:
    """Read a size as ``page_counter_memparse`` does: the number of units, at most :data:`UNLIMITED_PAGES`.

    Args:
        text: what was written; nothing but blanks is 0.
        saturates: whether numbers stop at 2**64 - 1 (since some release after 6.18), or wrap around.
        unlimited: the word for no limit.
        unit: bytes of a page, to which it is rounded down.
    """
    text = stripped(text)
    if text == unlimited:
        return UNLIMITED_PAGES * 4096 // unit
    number, rest = _digits(text, 0)
    number = max(number, 0)
    shift = _SUFFIXES.get(rest[:1].lower(), 0) if rest else 0
    if shift:
        rest = rest[1:]
    number = min(number << shift, U64 - 1) if saturates else (number << shift) % U64
    if rest:
        refuse(EINVAL)
    return min(number // 4096, UNLIMITED_PAGES) * 4096 // unit


def unsigned(text: str) -> int | None:
    """Read as ``simple_strtoull`` does: the number, 0 for nothing at all; ``None`` if something comes after it."""
    number, rest = _digits(text, 0)
    return None if rest else max(number, 0)


def decimal(text: str, *, saturates: bool) -> tuple[int, str]:
    """Read digits as ``sscanf("%llu")`` does: the number (refused if there is none), and what is left."""
    number, rest = _digits(text.lstrip(BLANKS), 10)
    if number < 0:
        refuse(EINVAL)
    return (min(number, U64 - 1) if saturates else number % U64), rest


_NUMBER: Final = re.compile(r"[0-9]+")


def number_list(text: str, count: int, *, words: bool) -> frozenset[int]:
    """Read a list of processors or nodes as ``bitmap_parselist`` does.

    Args:
        text: the list.
        count: how many there may be; a higher number is ``ERANGE``.
        words: whether ``all`` and ``N`` are known (since 5.11).
    """
    found: set[int] = set()
    rest: str | None = text
    while rest is not None:
        rest = rest.lstrip(BLANKS + ",")
        if not rest:
            break
        rest = _region(rest, count, found, words=words)
    return frozenset(found)


def _region(text: str, count: int, found: set[int], *, words: bool) -> str | None:
    if words and text[:3].lower() == "all":
        first, last, text = 0, count - 1, text[3:]
    else:
        first, text = _item(text, count, words=words)
        if not text or text[0] in BLANKS + ",":
            return _add(found, count, (first, first, first + 1, first + 1), text)
        if text[0] != "-":
            refuse(EINVAL)
        last, text = _item(text[1:], count, words=words)
    if not text or text[0] in BLANKS + ",":
        return _add(found, count, (first, last, last + 1, last + 1), text)
    if text[0] != ":":
        refuse(EINVAL)
    used, text = _item(text[1:], count, words=words)
    if text[:1] != "/":
        refuse(EINVAL)
    size, text = _item(text[1:], count, words=words)
    return _add(found, count, (first, last, used, size), text)


def _item(text: str, count: int, *, words: bool) -> tuple[int, str]:
    if words and text[:1] == "N":
        return count - 1, text[1:]
    match = _NUMBER.match(text)
    if match is None:
        refuse(EINVAL)
    number = int(match[0])
    if number >= 1 << 32:
        refuse(EOVERFLOW)
    return number, text[match.end() :]


def _add(found: set[int], count: int, region: tuple[int, int, int, int], rest: str) -> str | None:
    first, last, used, size = region
    # All four are unsigned ints, of which the highest plus one is none.
    size %= 1 << 32
    if first > last or size == 0 or used > size:
        refuse(EINVAL)
    if last >= count:
        refuse(ERANGE)
    found.update(number for number in range(first, last + 1) if (number - first) % size < used)
    # A newline right after an item ends the list.
    return None if not rest or rest[0] == "\n" else rest
