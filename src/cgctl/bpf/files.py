"""Attached programs as files: ``@devices`` in a group's directory, read and written as text.

A new sort of program is a :class:`File` in :data:`FILES`. The text is what a program means, not its code: reading tells
what the kernel holds, also when somebody else attached or detached it meanwhile, and writing what was read changes
nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from errno import ENOENT
from typing import Final, Protocol

__all__ = ["FILES", "File", "read", "write"]


class File(Protocol):
    """One sort of program, as text. The group is a descriptor of its directory; all raise ``OSError``."""

    def read(self, group: int) -> bytes:
        """Return what is attached to the group, as text; a default text where nothing is."""

    def write(self, group: int, data: bytes) -> None:
        """Attach what a text says, in place of what is attached; ``EINVAL`` if it is no such text."""


FILES: Final[Mapping[str, File]] = {}
"""File name → sort of program."""


def read(group: int, name: str) -> bytes:
    """Return the text of a group's attached program.

    Args:
        group: a descriptor of its directory.
        name: as in :data:`FILES`.

    Raises:
        OSError: ``ENOENT``: there is no such file; all others are the kernel's.
    """
    return _find(name).read(group)


def write(group: int, name: str, data: bytes) -> None:
    """Attach what a text says.

    Args:
        group: a descriptor of its directory.
        name: as in :data:`FILES`.
        data: the text.

    Raises:
        OSError: ``ENOENT``: there is no such file; ``EINVAL``: it has no such text; all others are the kernel's.
    """
    _find(name).write(group, data)


def _find(name: str) -> File:
    if name not in FILES:
        raise OSError(ENOENT, os.strerror(ENOENT))
    return FILES[name]
