"""Whose a group is, for who makes and removes groups: marks, locks, and what others have left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from cgctl.address import Address
from cgctl.errors import GroupNotFoundError
from cgctl.filesystem import Filesystem, Lock
from cgctl.layout import UNIFIED
from cgctl.marks import CONTROL, OWNER, SUPERVISOR
from cgctl.owner.ending import Remains, end, remove_way, settle
from cgctl.owner.mark import EPHEMERAL, LASTING, WAY, Mark, has_ended, own
from cgctl.owner.orphans import sweep
from cgctl.plan import Mkdir, Place

__all__ = ["Claim", "Steady", "above", "claim", "disown", "end_orphan", "mark_of", "marks", "remove_above", "tidy"]

_END_SEC: Final = 5.0
_MANY: Final = 1000

_swept: Final[set[tuple[int, str]]] = set()
"""Process and directory: where it has looked for what others have left."""


def tidy(address: Address) -> None:
    """Remove what processes that were killed have left where a group is to be made; once a process and directory."""
    pid, found = os.getpid(), []
    for above in {address.base.parts, (*address.base.parts, *address.parts[:-1])}:
        suffix = "/".join(("", *above))
        found += [base for each in address.base.directories.values() if (pid, base := each + suffix) not in _swept]
    if found:
        if len(_swept) > _MANY:
            _swept.clear()
        _swept.update((pid, base) for base in found)
        sweep(address.system.filesystem, found)


def end_orphan(filesystem: Filesystem, places: Mapping[str, Place]) -> bool:
    """End a group that is there, if it was to be gone with a process that has ended; tell whether it is gone."""
    groups: dict[bytes, list[str]] = {}
    for place in places.values():
        groups.setdefault(mark_of(filesystem, [place]) or b"", []).append(place.directory)
    remains = [
        Remains(filesystem, directories, text)
        for text, directories in groups.items()
        if (mark := Mark.parse(text)) and mark.lifetime == EPHEMERAL and has_ended(mark)
    ]
    end(remains, patience=_END_SEC)
    return bool(remains) and not any(each.directories for each in remains)


class Steady:
    """Keeps others from switching controllers off above a group, for the length of a ``with`` block."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._held: list[Lock] = []

    def __enter__(self) -> None:
        base = self._address.base.directories.get(UNIFIED)
        parts = (*self._address.base.parts, *self._address.parts)
        try:
            for depth in range(len(parts) if base else 0):
                control = "/".join((base or "", *parts[:depth], CONTROL))
                try:
                    lock = self._address.system.filesystem.lock(control, exclusive=False)
                except OSError:
                    break  # below what is not there yet nobody has anything to switch off
                lock.__enter__()
                self._held.append(lock)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        while self._held:
            self._held.pop().__exit__(None, None, None)


# --- marks -----------------------------------------------------------------------------------------------------------


@attrs.frozen
class Claim:
    """What mark a group is to have.

    Attributes:
        mark: the mark; ``None`` for a group that is there already and is nobody's.
        mine: whether it is one of this process's, made for the purpose.
    """

    mark: bytes | None
    mine: bool


def claim(filesystem: Filesystem, there: Iterable[Place], *, ephemeral: bool) -> Claim:
    """Decide whose a group is to be: the caller's, unless it is there already and its owner lives."""
    there = tuple(there)
    fresh = Claim(own(EPHEMERAL if ephemeral else LASTING), mine=True)
    if not there:
        return fresh
    text = mark_of(filesystem, there)
    mark = Mark.parse(text)
    if mark is None:  # kept, or made by somebody else
        return fresh if ephemeral else Claim(None, mine=False)
    if mark.lifetime == WAY or mark.pid == os.getpid() or has_ended(mark):
        return fresh
    return Claim(text, mine=False)


def mark_of(filesystem: Filesystem, places: Iterable[Place]) -> bytes | None:
    """Return the mark of a group that is in some places."""
    for place in places:
        with contextlib.suppress(OSError):
            mark = filesystem.getxattr(place.directory, OWNER)
            if mark is not None:
                return mark
    return None


def marks(mark: bytes | None) -> Callable[[Mkdir], Mapping[str, bytes]]:
    """Return what tells which marks a group that is made is to have: its own, or that of one on the way to it."""
    way: Mapping[str, bytes] = {OWNER: own(WAY)}
    owned: Mapping[str, bytes] = {} if mark is None else {OWNER: mark}
    return lambda step: way if step.shared else owned


def adopt(filesystem: Filesystem, places: Iterable[Place], mark: bytes) -> None:
    """Put a mark on a group that is there already.

    Raises:
        GroupNotFoundError: it is not there any more.
    """
    for place in places:
        try:
            with filesystem.lock(place.directory.rpartition("/")[0], exclusive=False):
                filesystem.setxattr(place.directory, OWNER, mark)
        except OSError as error:
            msg = f"group {place.directory} was removed meanwhile"
            raise GroupNotFoundError(msg) from error


def disown(filesystem: Filesystem, places: Iterable[Place], mark: bytes) -> None:
    """Take a mark off a group: it is to last, whatever becomes of its maker."""
    for place in places:
        with contextlib.suppress(OSError):
            if filesystem.getxattr(place.directory, OWNER) == mark:
                filesystem.removexattr(place.directory, OWNER)


# --- what is above ---------------------------------------------------------------------------------------------------


def above(address: Address) -> list[str]:
    """Return the directories above a group and below the hierarchies' bases, innermost first."""
    parts = (*address.base.parts, *address.parts)
    return [
        "/".join((directory, *parts[:depth]))
        for depth in range(len(parts) - 1, 0, -1)
        for directory in address.base.directories.values()
    ]


def remove_above(address: Address, *, undo: bool) -> None:
    """Remove what was made on the way to a group and has no other below, and undo the emptying of the groups above.

    Args:
        address: the group, which is gone.
        undo: whether to undo the emptying of the group directly above.
    """
    filesystem, base = address.system.filesystem, address.base.directories.get(UNIFIED)
    if undo and base:
        directly = "/".join((base, *address.base.parts, *address.parts[:-1]))
        # Mostly nobody had to be moved out of the way; to look costs less than to try.
        if filesystem.exists(f"{directly}/{SUPERVISOR}"):
            settle(filesystem, directly)
    for directory in above(address):
        if remove_way(filesystem, directory) and base and directory.startswith(f"{base}/"):
            settle(filesystem, directory.rpartition("/")[0])
