"""The kernel's text formats: how an interface file is laid out, whatever it means.

Four formats of ``cgroup-v2.rst`` (newline list, space list, flat keyed, nested keyed), lists of CPUs,
pressure stall information, and class ids as ``tc`` reads them. Parsing is strict and by tokens: text that
does not follow its format is a :class:`FormatError`, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

import attrs

from cgctl.errors import SpecError, shown

__all__ = [
    "HIGHEST_CPU",
    "FormatError",
    "Pressure",
    "PressureLine",
    "format_classid",
    "format_cpu_list",
    "format_huge_page",
    "parse_classid",
    "parse_cpu_list",
    "parse_flat_keyed",
    "parse_lines",
    "parse_nested_keyed",
    "parse_pressure",
    "parse_words",
]

_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+)(?::([0-9]+)/([0-9]+))?)?", re.ASCII)
_CLASS = re.compile(r"([0-9a-f]{1,4}):([0-9a-f]{1,4})|0x([0-9a-f]{1,8})|0", re.ASCII | re.IGNORECASE)
HIGHEST_CLASS: Final = 2**32 - 1
"""The highest id of a traffic class."""
HIGHEST_CPU: Final = 2**20 - 1
"""The highest number that a list of CPUs or memory nodes may have: beyond any machine."""
_MOST_DIGITS = 64


class FormatError(ValueError):
    """A kernel file does not have the format that it is documented to have."""


def format_huge_page(size: int) -> str:
    """Write a size of huge pages as the files of hugetlb are named: 2097152 is ``"2MB"``."""
    for suffix, bits in (("GB", 30), ("MB", 20)):
        if size >= 1 << bits:
            return f"{size >> bits}{suffix}"
    return f"{size >> 10}KB"


def parse_lines(text: str) -> tuple[str, ...]:
    """Read a newline-separated list; an empty file is an empty list."""
    return tuple(text.splitlines())


def parse_words(text: str) -> tuple[str, ...]:
    """Read a space-separated list; an empty file is an empty list."""
    return tuple(text.split())


def parse_flat_keyed(text: str) -> dict[str, int]:
    """Read ``KEY VALUE`` lines into a dict in the file's order.

    Raises:
        FormatError: a line is not a key and an integer.
    """
    lines = text.splitlines()
    try:
        return {key: int(value) for key, value in map(str.split, lines)}
    except ValueError:
        wrong = next(line for line in lines if not _is_flat_keyed(line))
        msg = f"line {wrong!r} is not a key and a number"
        raise FormatError(msg) from None


def _is_flat_keyed(line: str) -> bool:
    try:
        _, value = line.split()
        int(value)
    except ValueError:
        return False
    return True


def parse_nested_keyed(text: str) -> dict[str, dict[str, str]]:
    """Read ``KEY SUB=VALUE SUB=VALUE`` lines into a dict of dicts.

    Raises:
        FormatError: a line is empty, or a word after the key has no ``=``.
    """
    values = {}
    for line in text.splitlines():
        try:
            key, *pairs = line.split()
            values[key] = dict(pair.split("=", 1) for pair in pairs)
        except ValueError:
            msg = f"line {line!r} is not a key and sub=value pairs"
            raise FormatError(msg) from None
    return values


@attrs.frozen(kw_only=True)
class PressureLine:
    """One line of a pressure file.

    Attributes:
        avg10: share of time stalled over the last 10 s, in percent.
        avg60: the same over 60 s.
        avg300: the same over 300 s.
        total_usec: time stalled since the group was made, in microseconds.
    """

    avg10: float
    avg60: float
    avg300: float
    total_usec: int


@attrs.frozen(kw_only=True)
class Pressure:
    """Pressure stall information (``*.pressure``, since 4.20).

    Attributes:
        some: at least one task was stalled.
        full: all tasks that could run were stalled at once; ``None`` where the kernel does not say
            (``cpu.pressure`` before 5.13).
    """

    some: PressureLine
    full: PressureLine | None = None


def parse_pressure(text: str) -> Pressure:
    """Read a ``cpu.pressure``, ``memory.pressure`` or ``io.pressure`` file.

    Raises:
        FormatError: a line or a key is missing.
    """
    # What every kernel since 4.20 prints is read at once; the rest is for what is wrong, and what is to come.
    if match := _pressure().fullmatch(text):
        some10, some60, some300, some_total, full10, full60, full300, full_total = match.groups()
        some = PressureLine(avg10=float(some10), avg60=float(some60), avg300=float(some300), total_usec=int(some_total))
        if full_total is None:
            return Pressure(some=some)
        full = PressureLine(avg10=float(full10), avg60=float(full60), avg300=float(full300), total_usec=int(full_total))
        return Pressure(some=some, full=full)
    try:
        lines = {key: _pressure_line(pairs) for key, pairs in parse_nested_keyed(text).items()}
        return Pressure(some=lines["some"], full=lines.get("full"))
    except (KeyError, ValueError) as error:
        msg = f"not pressure stall information: {text!r}"
        raise FormatError(msg) from error


@cache
def _pressure() -> re.Pattern[str]:
    """Compile a pattern, which is not wanted by all who import this."""
    line = " ".join(rf"avg{span}=([0-9]+\.[0-9]+)" for span in (10, 60, 300)) + r" total=([0-9]+)\n"
    return re.compile(rf"some {line}(?:full {line})?", re.ASCII)


def _pressure_line(pairs: Mapping[str, str]) -> PressureLine:
    return PressureLine(
        avg10=float(pairs["avg10"]),
        avg60=float(pairs["avg60"]),
        avg300=float(pairs["avg300"]),
        total_usec=int(pairs["total"]),
    )


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """Read a list of CPUs or memory nodes: ``"0-2,5"`` is ``(0, 1, 2, 5)``.

    The grammar is the kernel's (``bitmap_parselist``): commas or blanks between items, ranges, and
    strides such as ``0-7:2/4``. The result is sorted and without duplicates.

    Raises:
        SpecError: it does not follow the grammar.
    """
    if not isinstance(text, str):
        msg = f"cpu list {shown(text)}: not a string; give a list such as '0-3,5'"
        raise SpecError(msg)
    numbers: set[int] = set()
    for item in text.replace(",", " ").split():
        numbers.update(_cpu_range(item, text))
    return tuple(sorted(numbers))


def _cpu_range(item: str, text: str) -> Iterable[int]:
    match = _RANGE.fullmatch(item) if len(item) <= _MOST_DIGITS else None
    first, last, used, stride = (int(part) if part else None for part in match.groups()) if match else (None,) * 4
    if first is None or (last is not None and last < first):
        msg = (
            f"cpu list {shown(text)}: {shown(item)} is not a number or an ascending range; write lists such as '0-3,5'"
        )
        raise SpecError(msg)
    last = first if last is None else last
    if last > HIGHEST_CPU:
        msg = f"cpu list {shown(text)}: {item!r} is beyond any machine; the highest number is {HIGHEST_CPU}"
        raise SpecError(msg)
    if used is None or stride is None:
        return range(first, last + 1)
    if not 0 < used <= stride:
        msg = f"cpu list {shown(text)}: in {item!r} the used part must be from 1 to the group size"
        raise SpecError(msg)
    return (number for number in range(first, last + 1) if (number - first) % stride < used)


def format_cpu_list(numbers: Iterable[int]) -> str:
    """Write CPU numbers as the kernel does: ``(0, 1, 2, 5)`` is ``"0-2,5"``.

    Raises:
        SpecError: an item is negative or no ``int``.
    """
    if isinstance(numbers, bytes | bytearray) or not isinstance(numbers, Iterable):
        msg = (
            f"cpu list {shown(numbers)}: not a list of ints; give an iterable such as [0, 1] or a string such as '0-1'"
        )
        raise SpecError(msg)
    given: set[int] = set()
    for number in numbers:
        if not _is_cpu(number):
            msg = f"cpu list {shown(numbers)}: {shown(number)} is not a CPU number; give ints from 0"
            raise SpecError(msg)
        given.add(number)
    runs: list[list[int]] = []
    for number in sorted(given):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _is_cpu(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= HIGHEST_CPU


def parse_classid(value: object, what: str = "classid") -> int:
    """Read the id of a traffic class: ``"1:10"`` is 0x00010010, major and minor number, both hexadecimal as in ``tc``.

    Args:
        value: such a string, one of a hexadecimal number (``"0x10010"``), or an ``int``; 0 is no class.
        what: the setting's name, for the error message.

    Raises:
        SpecError: it is neither, or does not fit into 32 bits.
    """
    if isinstance(value, str):
        match = _CLASS.fullmatch(value.strip())
        if match is None:
            msg = (
                f"{what}={shown(value)}: not a class id; give 'MAJOR:MINOR', two hexadecimal numbers of up to four"
                " digits as tc reads them, such as '1:10', or 0 for no class"
            )
            raise SpecError(msg)
        major, minor, number = (int(part or "0", 16) for part in match.groups())
        return number or major << 16 | minor
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{what}={shown(value)}: not a class id; give a string such as '1:10', or an int such as 0x10010"
        raise SpecError(msg)
    if not 0 <= value <= HIGHEST_CLASS:
        msg = f"{what}={shown(value)}: out of range; a class id has 32 bits, 0 to 2**32-1, and 0 is no class"
        raise SpecError(msg)
    return value


def format_classid(value: int) -> str:
    """Write the id of a traffic class as ``tc`` does: 0x00010010 is ``"1:10"``, and 0 is ``"0"``.

    Raises:
        SpecError: it is no ``int``, or does not fit into 32 bits.
    """
    number = parse_classid(value)
    return f"{number >> 16:x}:{number & 0xFFFF:x}" if number else "0"
