"""What was read, before anything is decided: path → content, or the errno of trying to read it."""

from __future__ import annotations

from collections.abc import Mapping
from errno import ENODEV, ENOENT, ENOTDIR
from typing import Final

import attrs

__all__ = ["GONE", "Snapshot"]

GONE: Final = frozenset({ENOENT, ENODEV, ENOTDIR})
"""What the kernel says of a file that is not there: never was, or its group was removed (``ENODEV``)."""


@attrs.frozen
class Snapshot:
    """Contents of interface files at one moment.

    Attributes:
        values: path → bytes read, or errno.
    """

    values: Mapping[str, bytes | int] = attrs.field(factory=dict)

    def known(self, path: str) -> bool:
        """Tell whether the path was tried."""
        return path in self.values

    def text(self, path: str) -> str | None:
        """Return a file's text; ``None`` if it is not there or could not be read."""
        value = self.values.get(path)
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else None

    def words(self, path: str) -> tuple[str, ...]:
        """Return a file's words; none if it could not be read."""
        return tuple((self.text(path) or "").split())

    def missing(self, path: str) -> bool:
        """Tell whether the path was tried and is not there."""
        value = self.values.get(path)
        return isinstance(value, int) and value in GONE

    def errno(self, path: str) -> int | None:
        """Return why a path could not be read, if it could not."""
        value = self.values.get(path)
        return value if isinstance(value, int) else None

    def merged(self, values: Mapping[str, bytes | int]) -> Snapshot:
        """Return a snapshot with more read."""
        return Snapshot({**self.values, **values})
