"""Files that have one line for each device or resource, and take one line a write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from cgctl.controllers._codec import Codec
from cgctl.formats import parse_nested_keyed
from cgctl.units import MAX, Limit

__all__ = ["Events", "Lines", "NestedLines"]

_NO_LIMIT: Final = 2**63 - 1


@attrs.frozen(kw_only=True)
class Lines(Codec):
    """``NAME VALUE``, one line each; a line is left out of what is written where it is held already.

    Attributes:
        unlimited: from which value on the kernel means no limit, and says ``max``.
    """

    unlimited: int = _NO_LIMIT

    def encode(self, value: Mapping[str, Any], spec: Any) -> str:
        del spec
        return "\n".join(self._line(name, each) for name, each in value.items())

    def decode(self, text: str, texts: Mapping[str, str]) -> dict[str, Any]:
        del texts
        return {name: self._limit(word) for name, word in (line.split() for line in text.splitlines())}

    def same(self, held: str, wanted: str, page_size: int) -> bool:
        return not self.pending(held, wanted, page_size)

    def pending(self, held: str | None, wanted: str, page_size: int) -> tuple[str, ...]:
        del page_size
        has = {} if held is None else self.decode(held, {})
        return tuple(
            self._line(name, each)
            for name, each in self.decode(wanted, {}).items()
            if name not in has or not self._holds(has[name], each)
        )

    def _line(self, name: str, value: Any) -> str:
        return f"{name} {value}"

    def _holds(self, held: Any, wanted: Any) -> bool:
        return bool(held == wanted)

    def _limit(self, word: str) -> Limit:
        return MAX if word == "max" or int(word) >= self.unlimited else int(word)


class NestedLines(Lines):
    """``NAME KEY=VALUE KEY=VALUE``, one line each; keys that a line does not name stay as they are."""

    def decode(self, text: str, texts: Mapping[str, str]) -> dict[str, Any]:
        del texts
        return {
            name: {key: self._limit(word) for key, word in pairs.items()}
            for name, pairs in parse_nested_keyed(text).items()
        }

    def _line(self, name: str, value: Any) -> str:
        return " ".join((name, *(f"{key}={each}" for key, each in value.items())))

    def _holds(self, held: Any, wanted: Any) -> bool:
        return all(held.get(key) == each for key, each in wanted.items())


class Events(Lines):
    """``NAME.max COUNT``, one line each."""

    def decode(self, text: str, texts: Mapping[str, str]) -> dict[str, Any]:
        return {name.removesuffix(".max"): count for name, count in Lines.decode(self, text, texts).items()}
