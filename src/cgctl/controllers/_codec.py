"""Codecs: what the text of one interface file means, both ways.

``encode`` gets the whole spec of its controller, because some files hold two settings and some
settings need another to be expressed; ``decode`` gets the texts of all files it named. ``same`` tells
whether what the kernel holds is what would be written, after the kernel's own rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import attrs

from cgctl.formats import (
    Pressure,
    format_cpu_list,
    parse_cpu_list,
    parse_flat_keyed,
    parse_pressure,
)
from cgctl.units import MAX, Limit

__all__ = [
    "LARGEST_PAGE",
    "V1_UNLIMITED",
    "Bytes",
    "Codec",
    "Count",
    "CpuList",
    "Flag",
    "Key",
    "Keyed",
    "Number",
    "Psi",
    "Text",
]

V1_UNLIMITED: Final = 2**63 - 4096
"""The least value at which a page counter is unlimited: ``PAGE_COUNTER_MAX`` pages of 4 KiB.

Kernels with larger pages have a slightly smaller one; :class:`Bytes` allows for pages up to 64 KiB.
"""
LARGEST_PAGE: Final = 65536


@attrs.frozen(kw_only=True)
class Codec:
    """One file's meaning. Subclasses say how; the default is the file's text as it is."""

    def encode(self, value: Any, spec: Any) -> str:
        """Write a value as the kernel wants to read it."""
        del spec
        return str(value)

    def decode(self, text: str, texts: Mapping[str, str]) -> Any:
        """Read what the kernel wrote."""
        del texts
        return text.strip()

    def same(self, held: str, wanted: str, page_size: int) -> bool:
        """Tell whether writing *wanted* would leave a file that reads *held* as it is."""
        del page_size
        return held.split() == wanted.split()

    def stands(self, held: str) -> bool:
        """Tell whether what a file reads is in force and can lapse when other settings change."""
        del held
        return False

    def pending(self, held: str | None, wanted: str, page_size: int) -> tuple[str, ...]:
        """Return what is to be written, one ``write(2)`` each, to a file that reads *held* (``None``: not known)."""
        return () if held is not None and self.same(held, wanted, page_size) else (wanted,)

    def route(self, file: str, line: str) -> tuple[str, str]:
        """Return the file that takes a pending line, and the line as it takes it, where it is not the row's file."""
        return file, line


class Text(Codec):
    """A word, or a sentence, as it is."""


@attrs.frozen(kw_only=True)
class Count(Codec):
    """A number, or ``max``.

    Attributes:
        unlimited: how "no limit" is written: ``max``, or ``-1`` on v1.
    """

    unlimited: str = "max"

    def encode(self, value: Limit, spec: Any) -> str:
        del spec
        return self.unlimited if value is MAX else str(value)

    def decode(self, text: str, texts: Mapping[str, str]) -> Limit:
        del texts
        word = text.strip()
        return MAX if word in {"max", self.unlimited} else int(word)


class Bytes(Count):
    """A page-counted size: rounded down to whole pages by the kernel."""

    def decode(self, text: str, texts: Mapping[str, str]) -> Limit:
        number = Count.decode(self, text, texts)
        return MAX if number is MAX or number > V1_UNLIMITED - LARGEST_PAGE else number

    def same(self, held: str, wanted: str, page_size: int) -> bool:
        current, new = Bytes.decode(self, held, {}), Bytes.decode(self, wanted, {})
        return current == (new if new is MAX else new - new % page_size)


@attrs.frozen(kw_only=True)
class Number(Codec):
    """A counter or gauge. A negative reading is a kernel bug that means 0.

    Attributes:
        divide: what the kernel's unit is to be divided by (1000 for nanoseconds to microseconds).
    """

    divide: int = 1

    def decode(self, text: str, texts: Mapping[str, str]) -> int:
        del texts
        return max(int(text), 0) // self.divide


class Flag(Codec):
    """``0`` or ``1``."""

    def encode(self, value: bool, spec: Any) -> str:  # noqa: FBT001 - the value is the argument
        del spec
        return str(int(value))

    def decode(self, text: str, texts: Mapping[str, str]) -> bool:
        del texts
        return int(text) != 0


class CpuList(Codec):
    """CPU or node numbers, in the kernel's list notation."""

    def encode(self, value: tuple[int, ...], spec: Any) -> str:
        del spec
        # A write of no bytes never reaches the kernel; a newline clears the list.
        return format_cpu_list(value) or "\n"

    def decode(self, text: str, texts: Mapping[str, str]) -> tuple[int, ...]:
        del texts
        return parse_cpu_list(text)

    def same(self, held: str, wanted: str, page_size: int) -> bool:
        del page_size
        return parse_cpu_list(held) == parse_cpu_list(wanted)


class Psi(Codec):
    """Pressure stall information."""

    def decode(self, text: str, texts: Mapping[str, str]) -> Pressure:
        del texts
        return parse_pressure(text)


@attrs.frozen(kw_only=True)
class Key(Codec):
    """One key of a flat-keyed file; ``None`` where the kernel does not print it.

    Attributes:
        key: the kernel's key.
        divide: what the kernel's unit is to be divided by.
    """

    key: str
    divide: int = 1

    def decode(self, text: str, texts: Mapping[str, str]) -> int | None:
        del texts
        value = _keyed(text).get(self.key)
        return None if value is None else max(value, 0) // self.divide


@lru_cache(maxsize=16)
def _keyed(text: str) -> Mapping[str, int]:
    """Parse a file once, of which several attributes are made."""
    return parse_flat_keyed(text)


@attrs.frozen(kw_only=True)
class Keyed(Codec):
    """A flat-keyed file as an object with one attribute a key; unknown keys are kept in ``extra``.

    Attributes:
        into: the attrs class to make.
        rename: the kernel's key → the attribute's name, where they differ (v1).
    """

    into: type[Any]
    rename: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    _names: Mapping[str, str] = attrs.field(init=False, eq=False, repr=False)

    @_names.default
    def _attributes(self) -> Mapping[str, str]:
        """Return the kernel's key → the attribute, for all that there is an attribute for."""
        fields = attrs.fields_dict(self.into).keys() - {"extra"}
        own = {name: name for name in fields - self.rename.keys()}
        return own | {key: name for key, name in self.rename.items() if name in fields}

    def decode(self, text: str, texts: Mapping[str, str]) -> Any:
        del texts
        values, names = _keyed(text), self._names
        if "-" in text:
            values = {key: max(0, value) for key, value in values.items()}
        known = {names[key]: value for key, value in values.items() if key in names}
        extra = {key: value for key, value in values.items() if key not in names} if len(known) < len(values) else {}
        return self.into(**known, extra=extra)
