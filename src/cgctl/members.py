"""The processes of a group: find, move, kill, freeze, and wait for them.

Everything here works on a group's places: one directory in each hierarchy that it is in. A process that
somebody moved by hand may be in one of them only, so all are looked at.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from errno import ENODEV, ENOENT, EOPNOTSUPP

from cgctl.errors import SpecError, TimeoutExpired, UnsupportedError
from cgctl.filesystem import Filesystem, execute
from cgctl.filesystem.execute import attempt
from cgctl.layout import UNIFIED
from cgctl.plan import GONE, Place, Plan, Signal, Write
from cgctl.plan.steps import JOIN

__all__ = ["freeze", "go_home", "inside", "join", "kill", "pids", "procs", "thaw", "wait_empty", "walk"]

Places = Mapping[str, Place]
_SIGKILL = int(signal.SIGKILL)


def walk(filesystem: Filesystem, directory: str) -> Iterator[str]:
    """Yield a group's directory and all below it."""
    yield directory
    try:
        names = filesystem.listdir(directory)
    except OSError as error:
        if error.errno in GONE:
            return
        raise
    for name in names:
        yield from walk(filesystem, f"{directory}/{name}")


def pids(filesystem: Filesystem, places: Places) -> set[int]:
    """Return the processes in a group and below, without those that this pid namespace cannot see."""
    found: set[int] = set()
    for place in places.values():
        for directory in walk(filesystem, place.directory):
            found.update(procs(filesystem, directory))
    return found - {0}


def inside(filesystem: Filesystem, places: Places) -> bool:
    """Tell whether the calling process is in a group or below it."""
    return os.getpid() in pids(filesystem, places)


def procs(filesystem: Filesystem, directory: str) -> list[int]:
    """Return the processes in one directory; none if it has gone."""
    try:
        return [int(word) for word in filesystem.read(f"{directory}/cgroup.procs").split()]
    except OSError as error:
        # A threaded group has no processes of its own: they are in the domain above.
        if error.errno in GONE or error.errno == EOPNOTSUPP:
            return []
        raise


def join(filesystem: Filesystem, pid: int, targets: Mapping[str, str], homes: Mapping[str, str]) -> None:
    """Move a process to other groups, or leave it where it was.

    Args:
        filesystem: the kernel.
        pid: the process; 0 is the caller.
        targets: where to: hierarchy label → directory.
        homes: where it is: hierarchy label → directory.

    Raises:
        StepError: the kernel refused; the process is where it was.
    """
    who = str(pid).encode()
    steps = [
        Write(
            path=f"{directory}/cgroup.procs",
            data=who,
            retry=JOIN,
            undo=who if label in homes else None,
            undo_path=f"{homes[label]}/cgroup.procs" if label in homes else "",
            because="join",
        )
        for label, directory in targets.items()
    ]
    execute(filesystem, Plan(tuple(steps)))


def go_home(filesystem: Filesystem, homes: Mapping[str, str]) -> None:
    """Move the caller back to where it was; to the nearest group above where that has gone meanwhile.

    Raises:
        StepError: the kernel refused.
    """
    for label, directory in homes.items():
        home = directory
        while home.count("/") > 1 and _is_gone(filesystem, home):
            home = home.rpartition("/")[0]
        join(filesystem, 0, {label: home}, {})


def _is_gone(filesystem: Filesystem, directory: str) -> bool:
    try:
        filesystem.listdir(directory)
    except OSError as error:
        return error.errno in GONE
    return False


def kill(filesystem: Filesystem, places: Places, *, timeout: float, name: str) -> None:
    """Kill all processes of a group and below, except the caller, and wait until they are gone.

    Raises:
        TimeoutExpired: some are still there after *timeout* seconds.
    """
    deadline = time.monotonic() + timeout
    own = os.getpid()
    for pause in _pauses():
        alive = pids(filesystem, places)
        if not alive - {own}:
            return
        if own in alive or not _kill_all(filesystem, places):
            _kill_each(filesystem, places, alive - {own}, frozen=own not in alive)
        if time.monotonic() > deadline:
            raise TimeoutExpired(f"kill group {name!r} (left: {sorted(alive - {own})[:5]})", timeout)
        time.sleep(pause)


def _kill_all(filesystem: Filesystem, places: Places) -> bool:
    """Kill by ``cgroup.kill``, which no fork escapes; tell whether there is one and nobody is left elsewhere."""
    unified = places.get(UNIFIED)
    if unified is None:
        return False
    try:
        filesystem.write(unified.file("cgroup.kill"), b"1")
    except OSError as error:
        if error.errno in {ENOENT, EOPNOTSUPP, ENODEV}:
            return False
        raise
    # Frozen v1 tasks take no signal until thawed; and a process may be in a v1 directory only.
    strays = {label: place for label, place in places.items() if place is not unified}
    return not strays or not pids(filesystem, strays) - pids(filesystem, {"": unified})


def _kill_each(filesystem: Filesystem, places: Places, victims: set[int], *, frozen: bool) -> None:
    """Kill one by one; stopped by the freezer meanwhile where there is one, so that none forks away."""
    freezer = _freezer(places) if frozen else None
    if freezer:
        _set_freezer(filesystem, freezer, b"FROZEN")
    try:
        for pid in victims:
            attempt(filesystem, Signal(pid=pid, number=_SIGKILL))
    finally:
        if freezer:
            _set_freezer(filesystem, freezer, b"THAWED")


def _set_freezer(filesystem: Filesystem, freezer: Place, state: bytes) -> None:
    try:
        filesystem.write(freezer.file("freezer.state"), state)
    except OSError as error:
        if error.errno not in GONE:
            raise


def _freezer(places: Places) -> Place | None:
    return next((place for place in places.values() if "freezer" in place.hierarchy.controllers), None)


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
    frozen, write = _switch(filesystem, places, name)
    deadline = time.monotonic() + timeout
    write(True)  # noqa: FBT003
    try:
        for pause in _pauses():
            if frozen(min(pause, 0.05)):
                return
            if time.monotonic() > deadline:
                raise TimeoutExpired(f"freeze group {name!r}", timeout)
            write(True)  # noqa: FBT003 - v1 gives up on tasks that fork meanwhile, so it is told again
    except BaseException:
        write(False)  # noqa: FBT003
        raise


def thaw(filesystem: Filesystem, places: Places, name: str) -> None:
    """Let the processes of a group run again.

    Raises:
        UnsupportedError: the group is in no hierarchy that can freeze.
    """
    _, write = _switch(filesystem, places, name)
    write(False)  # noqa: FBT003


def _switch(
    filesystem: Filesystem, places: Places, name: str
) -> tuple[Callable[[float], bool], Callable[[bool], None]]:
    """Return how to see whether a group is frozen, and how to change it."""
    unified = places.get(UNIFIED)
    if unified is not None:
        return _switch_v2(filesystem, unified)
    freezer = _freezer(places)
    if freezer is None:
        reason = f"group {name!r} is neither in a v2 hierarchy nor in v1's freezer; mount one of them"
        raise UnsupportedError("freeze", reason)

    def frozen(pause: float) -> bool:
        if filesystem.read(freezer.file("freezer.state")).strip() == b"FROZEN":
            return True
        time.sleep(pause)
        return False

    def write(stop: bool) -> None:  # noqa: FBT001
        filesystem.write(freezer.file("freezer.state"), b"FROZEN" if stop else b"THAWED")

    return frozen, write


def _switch_v2(filesystem: Filesystem, place: Place) -> tuple[Callable[[float], bool], Callable[[bool], None]]:
    events = place.file("cgroup.events")

    def frozen(pause: float) -> bool:
        seen = filesystem.read(events)
        if b"frozen 1" in seen.splitlines():
            return True
        filesystem.wait(events, seen, pause)
        return False

    def write(stop: bool) -> None:  # noqa: FBT001
        filesystem.write(place.file("cgroup.freeze"), b"1" if stop else b"0")

    return frozen, write


def wait_empty(filesystem: Filesystem, places: Places, *, timeout: float | None, name: str) -> None:
    """Wait until no process is left in a group and below.

    Raises:
        TimeoutExpired: some are still there after *timeout* seconds.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    unified = places.get(UNIFIED)
    for pause in _pauses():
        if not pids(filesystem, places):
            return
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutExpired(f"wait for group {name!r} to be empty", timeout or 0.0)
        span = pause if left is None else min(pause, left)
        if unified is None:
            time.sleep(span)
        else:
            _wait_event(filesystem, unified, span)


def _wait_event(filesystem: Filesystem, place: Place, span: float) -> None:
    events = place.file("cgroup.events")
    try:
        seen = filesystem.read(events)
        if b"populated 0" in seen.splitlines():
            time.sleep(span)  # the last one is in a v1 directory only, of which nothing tells
        else:
            filesystem.wait(events, seen, max(span, 0.05))
    except OSError as error:
        if error.errno not in GONE:
            raise


def _pauses() -> Iterator[float]:
    """Yield 1 ms doubled up to 100 ms, for ever."""
    pause = 0.001
    while True:
        yield pause
        pause = min(pause * 2, 0.1)
