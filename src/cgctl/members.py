"""The processes of a group: find, move, and wait for them.

Everything here works on a group's places: one directory in each hierarchy that it is in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from errno import EOPNOTSUPP

from cgctl.errors import TimeoutExpired
from cgctl.filesystem import Filesystem, execute
from cgctl.layout import UNIFIED
from cgctl.plan import GONE, Place, Plan, Write
from cgctl.plan.steps import JOIN

__all__ = ["Places", "go_home", "inside", "is_own", "join", "pauses", "pids", "procs", "tids", "wait_empty", "walk"]

Places = Mapping[str, Place]
"""Hierarchy label → the group's place in it."""


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
    """Return the processes in a group and below, without those that this pid namespace cannot see.

    A process that somebody moved by hand may be in one hierarchy's only, so all are looked at. But the caller's own
    cgroup is another one in each hierarchy, and often a root, that all the machine is in: there belongs who is in all.
    """
    found = [
        {pid for directory in walk(filesystem, place.directory) for pid in procs(filesystem, directory)}
        for place in places.values()
    ]
    if not found:
        return set()
    return (set.intersection(*found) if is_own(places) else set.union(*found)) - {0}


def tids(filesystem: Filesystem, places: Places) -> set[int]:
    """Return the threads in a group and below: in a threaded group there are no processes."""
    found = [
        {
            tid
            for directory in walk(filesystem, place.directory)
            for tid in _listed(filesystem, f"{directory}/{_file(label, thread=True)}")
        }
        for label, place in places.items()
    ]
    if not found:
        return set()
    return (set.intersection(*found) if is_own(places) else set.union(*found)) - {0}


def is_own(places: Places) -> bool:
    """Tell whether this is the caller's own cgroup, as against a group that has a name below it."""
    return not any(place.parts for place in places.values())


def inside(filesystem: Filesystem, places: Places) -> bool:
    """Tell whether the calling process, or one of its threads, is in a group or below it."""
    if os.getpid() in pids(filesystem, places):
        return True
    own = {int(name) for name in os.listdir("/proc/self/task")}
    return bool(own & tids(filesystem, places))


def procs(filesystem: Filesystem, directory: str) -> list[int]:
    """Return the processes in one directory; none if it has gone."""
    return _listed(filesystem, f"{directory}/cgroup.procs")


def _listed(filesystem: Filesystem, path: str) -> list[int]:
    try:
        return [int(word) for word in filesystem.read(path).split()]
    except OSError as error:
        # A threaded group has no processes of its own: they are in the domain above.
        if error.errno in GONE or error.errno == EOPNOTSUPP:
            return []
        raise


def join(
    filesystem: Filesystem,
    pid: int,
    targets: Mapping[str, str],
    homes: Mapping[str, str],
    *,
    thread: bool = False,
) -> None:
    """Move a process, or one thread, to other groups, or leave it where it was.

    Args:
        filesystem: the kernel.
        pid: the process, or the thread; 0 is the caller.
        targets: where to: hierarchy label → directory.
        homes: where it is: hierarchy label → directory.
        thread: whether it is just that thread.

    Raises:
        StepError: the kernel refused; the process is where it was.
    """
    who = str(pid).encode()
    steps = [
        Write(
            path=f"{directory}/{_file(label, thread=thread)}",
            data=who,
            retry=JOIN,
            undo=who if label in homes else None,
            undo_path=f"{homes[label]}/{_file(label, thread=thread)}" if label in homes else "",
            because="join",
        )
        for label, directory in targets.items()
    ]
    execute(filesystem, Plan(tuple(steps)))


def _file(label: str, *, thread: bool) -> str:
    if not thread:
        return "cgroup.procs"
    return "cgroup.threads" if label == UNIFIED else "tasks"


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


def wait_empty(filesystem: Filesystem, places: Places, *, timeout: float | None, name: str) -> None:
    """Wait until no process is left in a group and below.

    Raises:
        TimeoutExpired: some are still there after *timeout* seconds.
        RuntimeError: there is no timeout, and on a machine in memory nothing is to happen by which they would go.
    """
    deadline = None if timeout is None else filesystem.monotonic() + timeout
    unified = places.get(UNIFIED)
    for pause in pauses():
        if not tids(filesystem, places):
            return
        left = None if deadline is None else deadline - filesystem.monotonic()
        if left is None and filesystem.idle():
            msg = (
                f"group {name!r} would be waited for for ever: nothing that is to happen on the machine in memory ends"
                " what is in it; kill or thaw it first, or give a timeout"
            )
            raise RuntimeError(msg)
        if left is not None and left <= 0:
            raise TimeoutExpired(f"wait for group {name!r} to be empty", timeout or 0.0)
        span = pause if left is None else min(pause, left)
        if unified is None:
            filesystem.sleep(span)
        else:
            _wait_event(filesystem, unified, span)


def _wait_event(filesystem: Filesystem, place: Place, span: float) -> None:
    events = place.file("cgroup.events")
    try:
        seen = filesystem.read(events)
        if b"populated 0" in seen.splitlines():
            filesystem.sleep(span)  # the last one is in a v1 directory only, of which nothing tells
        else:
            filesystem.wait(events, seen, max(span, 0.05))
    except OSError as error:
        if error.errno not in GONE:
            raise


def pauses() -> Iterator[float]:
    """Yield 1 ms doubled up to 100 ms, for ever."""
    pause = 0.001
    while True:
        yield pause
        pause = min(pause * 2, 0.1)
