"""Killing the processes of a group, and waiting until they are gone.

By ``cgroup.kill`` where that is enough, else one by one, with v1's freezer so that none forks away. A process that v1's
freezer holds takes no signal, not even SIGKILL, so whatever is frozen is let go once the signal waits for it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from errno import EACCES, ENODEV, ENOENT, EOPNOTSUPP, EPERM, ESRCH
from typing import Final

from cgctl.errors import SpecError, TimeoutExpired, UnsupportedError
from cgctl.filesystem import Filesystem, read_all
from cgctl.filesystem.execute import attempt
from cgctl.freezing import FROZEN, THAWED, freezer, frozen_above, set_freezer
from cgctl.layout import UNIFIED
from cgctl.members import Places, is_own, pauses, pids, tids, walk
from cgctl.plan import GONE, Place, Signal

__all__ = ["kill"]

_SIGKILL: Final = int(signal.SIGKILL)
_DYING_SEC: Final = 0.5


def kill(
    filesystem: Filesystem, places: Places, *, timeout: float, name: str, companions: Collection[int] = ()
) -> None:
    """Kill all processes of a group and below, except the caller, and wait until they are gone.

    A frozen group is killed as well. On v2 it stays frozen; on v1 it and all below are thawed, as only so its processes
    die.

    Args:
        filesystem: the kernel.
        places: the group.
        timeout: for how long to wait, seconds.
        name: of the group, for messages.
        companions: who is spared with the caller, if he is inside.

    Raises:
        UnsupportedError: it is threaded, and holds threads.
        SpecError: it is the root of every hierarchy, and all the machine is in it.
        TimeoutExpired: some are still there after *timeout* seconds.
    """
    if all(place.directory == place.hierarchy.mount_point for place in places.values()):
        msg = (
            f"kill group {name!r}: it is the root of every hierarchy ({', '.join(places)}), and every process there"
            " would be killed; kill a group below it"
        )
        raise SpecError(msg)
    begun = filesystem.monotonic()
    deadline = begun + timeout
    own = os.getpid()
    # What is the caller's own in one hierarchy may be everybody's in another: there, only the processes are killed.
    apart = not is_own(places)
    home = freezer(places) if apart else None
    for pause in pauses():
        alive = pids(filesystem, places)
        victims = alive - {own, *companions} if own in alive else alive
        if not victims:
            # Of a process that was just killed the threads are seen a moment longer.
            held = _threads_alone(filesystem, places)
            if not held:
                return
            if filesystem.monotonic() > begun + _DYING_SEC:
                reason = f"it is threaded, and a thread ({held[:5]}) is killed with its process; kill the group above"
                raise UnsupportedError(f"kill group {name!r}", reason)
            filesystem.sleep(pause)
            continue
        if own in alive or not apart or not _kill_all(filesystem, places):
            _kill_each(filesystem, home, victims, hold=own not in alive)
        if filesystem.monotonic() > deadline:
            raise TimeoutExpired(_left(filesystem, home, name, sorted(victims)), timeout)
        filesystem.sleep(pause)


def _threads_alone(filesystem: Filesystem, places: Places) -> list[int]:
    """Return the threads of a group that is threaded, and so holds no processes: the kernel kills no thread alone."""
    unified = places.get(UNIFIED)
    if unified is None:
        return []
    path = unified.file("cgroup.type")
    kind = read_all(filesystem, [path])[path]
    return sorted(tids(filesystem, places)) if kind == b"threaded\n" else []


def _left(filesystem: Filesystem, home: Place | None, name: str, left: list[int]) -> str:
    above = frozen_above(filesystem, home) if home else []
    why = f"; {above[0]}, above it, is frozen, and v1 lets nobody die who is; thaw that one" if above else ""
    return f"kill group {name!r} (left: {left[:5]}{why})"


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


def _kill_each(filesystem: Filesystem, home: Place | None, victims: set[int], *, hold: bool) -> None:
    """Kill one by one; stopped by the freezer meanwhile where there is one, so that none forks away."""
    if home and hold:
        set_freezer(filesystem, home, home.directory, FROZEN)
    try:
        for pid in victims:
            attempt(filesystem, Signal(pid=pid, number=_SIGKILL))
    finally:
        if home:
            for directory in walk(filesystem, home.directory):
                set_freezer(filesystem, home, directory, THAWED)
    if home:
        _release(filesystem, home, victims)


def _release(filesystem: Filesystem, home: Place, dying: set[int]) -> None:
    """Move those who are frozen from above to where nobody is: there the signal that waits for them is taken.

    A process that leaves a frozen v1 group goes on, and the first thing that it does is to die.
    """
    above = frozen_above(filesystem, home)
    if not above:
        return
    running = above[-1].rpartition("/")[0]
    for pid in dying:
        try:
            filesystem.write(f"{running}/cgroup.procs", str(pid).encode())
        except OSError as error:
            if error.errno not in GONE | {ESRCH, EACCES, EPERM}:
                raise
