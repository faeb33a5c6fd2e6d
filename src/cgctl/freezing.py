"""Stopping the processes of a group and letting them go on: v2's ``cgroup.freeze``, or v1's freezer.

v2 freezes each process that comes in, and says in ``cgroup.events`` when all have stopped. v1 stops those that it
finds; while they fork it may stay ``FREEZING`` for ever, so it is told again, and lets them go in between, that whoever
is in the middle of something gets out of it. In both, a group below a frozen one is frozen whatever its own state.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from cgctl.errors import SpecError, TimeoutExpired, UnsupportedError
from cgctl.filesystem import Filesystem
from cgctl.layout import UNIFIED
from cgctl.members import Places, inside, pauses
from cgctl.plan import GONE, Place

__all__ = ["FROZEN", "THAWED", "freeze", "freezer", "frozen_above", "frozen_itself", "set_freezer", "thaw"]

FROZEN: Final = b"FROZEN"
THAWED: Final = b"THAWED"
_LONGEST_WAIT_SEC: Final = 0.05
_ROUNDS_UNTIL_THAW: Final = 4
_THAWED_SEC: Final = 0.01
"""How often v1 is told again, and then for how long all may run; runc's ``fs/freezer.go`` does the same, with 10 ms."""


def freeze(filesystem: Filesystem, places: Places, *, timeout: float, name: str) -> None:
    """Stop all processes of a group and below, and wait until they have.

    Raises:
        SpecError: the caller is inside.
        UnsupportedError: the group is in no hierarchy that can freeze.
        TimeoutExpired: they have not stopped after *timeout* seconds; they are thawed again.
    """
    if inside(filesystem, places):
        msg = (
            f"freeze group {name!r}: the caller (pid {os.getpid()}) is inside and would stop for ever;"
            " freeze it from outside"
        )
        raise SpecError(msg)
    place = _home(places, name)
    before = _own_state(filesystem, place)
    deadline = filesystem.monotonic() + timeout
    rounds = _rounds_v2(filesystem, place) if place is places.get(UNIFIED) else _rounds_v1(filesystem, place)
    try:
        for stopped in rounds:
            if stopped:
                return
            if filesystem.monotonic() > deadline:
                raise TimeoutExpired(f"freeze group {name!r}", timeout)
    except BaseException:
        if not before:
            _set_own_state(filesystem, place, frozen=False)
        raise


def thaw(filesystem: Filesystem, places: Places, name: str) -> None:
    """Let the processes of a group run again.

    Raises:
        UnsupportedError: the group is in no hierarchy that can freeze, or a group above is frozen.
    """
    place = _home(places, name)
    _set_own_state(filesystem, place, frozen=False)
    above = frozen_above(filesystem, place)
    if above:
        reason = f"the group above it, {above[0]}, is frozen, and so is all that is below; thaw that one"
        raise UnsupportedError(f"thaw group {name!r}", reason)


def freezer(places: Places) -> Place | None:
    """Return the group's place in v1's freezer."""
    return next((place for place in places.values() if "freezer" in place.hierarchy.controllers), None)


def frozen_itself(filesystem: Filesystem, place: Place, directory: str) -> bool:
    """Tell whether a group was told to freeze, itself and not from above; the root never is."""
    name = "cgroup.freeze" if place.hierarchy.label == UNIFIED else "freezer.self_freezing"
    try:
        return filesystem.read(f"{directory}/{name}").strip() == b"1"
    except OSError as error:
        if error.errno not in GONE:
            raise
        return False


def frozen_above(filesystem: Filesystem, place: Place) -> list[str]:
    """Return the groups above, nearest first, that were told to freeze."""
    found = []
    directory = place.directory
    while len(directory) > len(place.hierarchy.mount_point):
        directory = directory.rpartition("/")[0]
        if frozen_itself(filesystem, place, directory):
            found.append(directory)
    return found


def set_freezer(filesystem: Filesystem, place: Place, directory: str, state: bytes) -> None:
    """Write to ``freezer.state`` of a group that may have gone meanwhile."""
    try:
        filesystem.write(place.file("freezer.state", directory), state)
    except OSError as error:
        if error.errno not in GONE:
            raise


def _home(places: Places, name: str) -> Place:
    """Return the place in which a group is frozen: v2 where it is in both."""
    place = places.get(UNIFIED) or freezer(places)
    if place is None:
        reason = f"group {name!r} is neither in a v2 hierarchy nor in v1's freezer; mount one of them"
        raise UnsupportedError("freeze", reason)
    return place


def _own_state(filesystem: Filesystem, place: Place) -> bool:
    return frozen_itself(filesystem, place, place.directory)


def _set_own_state(filesystem: Filesystem, place: Place, *, frozen: bool) -> None:
    if place.hierarchy.label == UNIFIED:
        filesystem.write(place.file("cgroup.freeze"), b"1" if frozen else b"0")
    else:
        filesystem.write(place.file("freezer.state"), FROZEN if frozen else THAWED)


def _rounds_v2(filesystem: Filesystem, place: Place) -> Iterator[bool]:
    """Freeze, then yield, again and again, whether all have stopped."""
    events = place.file("cgroup.events")
    _set_own_state(filesystem, place, frozen=True)
    for pause in pauses():
        seen = filesystem.read(events)
        yield b"frozen 1" in seen.splitlines()
        filesystem.wait(events, seen, min(pause, _LONGEST_WAIT_SEC))


def _rounds_v1(filesystem: Filesystem, place: Place) -> Iterator[bool]:
    """Freeze, again and again, and yield whether all have stopped."""
    state = place.file("freezer.state")
    for number, pause in enumerate(pauses(), 1):
        _set_own_state(filesystem, place, frozen=True)
        yield filesystem.read(state).strip() == FROZEN
        filesystem.sleep(min(pause, _LONGEST_WAIT_SEC))
        yield filesystem.read(state).strip() == FROZEN
        if number % _ROUNDS_UNTIL_THAW == 0:
            _set_own_state(filesystem, place, frozen=False)
            filesystem.sleep(_THAWED_SEC)
