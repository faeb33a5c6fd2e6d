"""Ending what processes left that have ended: killing, removing, and undoing what the making of groups took.

The launch helper runs this room too, over files of its own.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import time

from cgctl.marks import CONTROL, OWNER, SUPERVISOR, SUPERVISOR_MARK
from cgctl.owner.mark import EPHEMERAL, WAY, Mark, has_ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from cgctl.filesystem import Lock, Remover

__all__ = ["Remains", "below", "children", "end", "is_alone", "members", "obstacle", "remove_way", "settle"]

_LONGEST_PAUSE_SEC = 0.5
_LOCK_SEC = 1.0
_LONGEST_LOCK_PAUSE_SEC = 0.02
_TRIES = 5


class Remains:
    """One group that is to be gone: its directories, and what is still in the way.

    Args:
        files: the kernel.
        directories: the group's, or such as may be; those that do not carry its mark are not touched.
        mark: the group's mark.
        unmarked: whether a directory that was never marked is the group's too.

    Attributes:
        reason: why it is not gone.
        final: whether waiting will not help.
    """

    def __init__(self, files: Remover, directories: Iterable[str], mark: bytes, *, unmarked: bool = False) -> None:
        self.files = files
        self.directories = list(dict.fromkeys(directories))
        self.mark = mark
        self.unmarked = unmarked
        self.reason = ""
        self.final = False

    def step(self) -> bool:
        """Try once: kill what is in it if it is an ephemeral one, and remove what is empty. Tell whether it is gone."""
        self.directories = [directory for directory in self.directories if self._is_its(directory)]
        if not self.directories:
            return True
        with _Locks(self.files, self.directories) as had:
            if not had:
                self.reason = "groups are being made beside it all the time"
                return False
            return self._step()

    def _step(self) -> bool:
        self.directories = [directory for directory in self.directories if self._is_its(directory)]
        self.reason = obstacle(self.files, self.directories, self.mark)
        if self.reason:
            self.final = True
            return False
        groups = [group for directory in self.directories for group in below(self.files, directory)]
        if self.mark.startswith(EPHEMERAL):
            _kill(self.files, groups)
        for group in groups:
            _rmdir(self.files, group)
        self.directories = [directory for directory in self.directories if self._is_its(directory)]
        if self.directories:
            held = sorted(members(self.files, groups))
            self.reason = f"processes {held[:5]} do not end" if held else "it cannot be removed (is it yours?)"
        return not self.directories

    def _is_its(self, directory: str) -> bool:
        try:
            found = self.files.getxattr(directory, OWNER)
            return found == self.mark or (found is None and self.unmarked and self.files.unfinished(directory))
        except OSError:
            return False


def end(groups: Sequence[Remains], *, patience: float) -> None:
    """End groups whose owner has ended; each that is not gone after *patience* seconds says why."""
    deadline, pause = time.monotonic() + patience, 0.001
    left = [group for group in groups if not group.step()]
    while left := [group for group in left if not group.final]:
        if time.monotonic() > deadline:
            return
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SEC)
        left = [group for group in left if not group.step()]


def obstacle(files: Remover, directories: Sequence[str], mark: bytes) -> str:
    """Return why a group is not to be ended though its owner is; an empty text if nothing is in the way."""
    groups = [group for directory in directories for group in below(files, directory)]
    inside = members(files, groups)
    if os.getpid() in inside:
        return "this very process is in it; run it from elsewhere"
    ephemeral = mark.startswith(EPHEMERAL)
    if inside and not ephemeral:
        return f"it was made to last, and processes are in it: {sorted(inside)[:5]}"
    for group in groups:
        if group in directories:
            continue
        other = Mark.parse(_getxattr(files, group, OWNER))
        if other is None:
            if not (ephemeral or _getxattr(files, group, SUPERVISOR_MARK)):
                return f"{group} below it is not known to be cgctl's"
        elif other.pid not in inside and not has_ended(other):
            return f"{group} below it is of process {other.pid}, which lives"
    return ""


def remove_way(files: Remover, directory: str) -> bool:
    """Remove a group that was made on the way to others, if it is empty; tell whether it was removed.

    One that was never marked is taken for such a group too: its maker was killed before it had marked it. A maker that
    lives has the directory above locked until then.
    """
    if not _is_empty_way(files, directory):
        return False
    with _Locks(files, [directory], patience=0.5) as had:
        return had and _is_empty_way(files, directory) and _rmdir(files, directory)


def _is_empty_way(files: Remover, directory: str) -> bool:
    try:
        mark = files.getxattr(directory, OWNER)
        made = files.unfinished(directory) if mark is None else mark.startswith(WAY)
        return made and files.count(directory) == 0
    except OSError:  # gone meanwhile
        return False


def settle(files: Remover, above: str) -> bool:
    """Undo the emptying of a v2 group, once the last group below it is gone: controllers off, home, rmdir.

    Returns:
        Whether that was done.
    """
    if not is_alone(files, above):
        return False
    try:
        lock = files.lock(f"{above}/{CONTROL}", exclusive=True, timeout=0.5)
    except OSError:  # gone meanwhile
        return False
    # Whoever makes a group counts on the controllers: no group may appear while they are switched off.
    with lock as had:
        return had and is_alone(files, above) and _undo(files, above)


def is_alone(files: Remover, above: str) -> bool:
    """Tell whether below a group nothing is left but the leaf to which its processes have moved."""
    return bool(_getxattr(files, f"{above}/{SUPERVISOR}", SUPERVISOR_MARK)) and _count(files, above) == 1


def _undo(files: Remover, above: str) -> bool:
    leaf = f"{above}/{SUPERVISOR}"
    try:
        enabled = files.read(f"{above}/{CONTROL}").decode().split()
        if enabled:
            files.write(f"{above}/{CONTROL}", " ".join(f"-{name}" for name in enabled).encode())
        for _round in range(_TRIES):
            for pid in files.read(f"{leaf}/cgroup.procs").split():
                _told(files, f"{above}/cgroup.procs", pid)
        files.rmdir(leaf)
    except OSError:
        return False
    return True


# --- what is there ---------------------------------------------------------------------------------------------------


def below(files: Remover, directory: str) -> Iterator[str]:
    """Yield the groups below a directory and itself, children first."""
    for name in children(files, directory):
        yield from below(files, f"{directory}/{name}")
    yield directory


def members(files: Remover, groups: Iterable[str]) -> set[int]:
    """Return the processes in groups, without those that our pid namespace does not have."""
    pids: set[int] = set()
    for group in groups:
        try:
            pids.update(map(int, files.read(f"{group}/cgroup.procs").split()))
        except OSError:  # gone, or threaded: then they are in the domain above
            continue
    return pids - {0}


def children(files: Remover, directory: str) -> list[str]:
    """Return the names of the groups directly below a directory; none if it has gone."""
    try:
        return files.listdir(directory)
    except OSError:
        return []


def _count(files: Remover, directory: str) -> int:
    try:
        return files.count(directory)
    except OSError:
        return -1


def _getxattr(files: Remover, directory: str, name: str) -> bytes | None:
    try:
        return files.getxattr(directory, name)
    except OSError:
        return None


# --- what is done ----------------------------------------------------------------------------------------------------


class _Locks:
    """The locks above some directories, all or none of them: none is held while another is waited for."""

    def __init__(self, files: Remover, directories: Iterable[str], patience: float = _LOCK_SEC) -> None:
        self._files = files
        self._above = sorted({directory.rpartition("/")[0] for directory in directories})
        self._patience = patience
        self._held: list[Lock] = []

    def __enter__(self) -> bool:
        deadline, pause = time.monotonic() + self._patience, 0.001
        while not all(map(self._take, self._above)):
            self.__exit__()
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOCK_PAUSE_SEC)
        return True

    def __exit__(self, *_: object) -> None:
        while self._held:
            self._held.pop().__exit__(None, None, None)

    def _take(self, directory: str) -> bool:
        try:
            lock = self._files.lock(directory, exclusive=True, timeout=0)
        except OSError:
            return True  # it has gone, and all below it
        had = lock.__enter__()
        self._held.append(lock)
        return had


def _kill(files: Remover, groups: Sequence[str]) -> None:
    """Send SIGKILL to all that is in *groups*, once."""
    frozen = [group for group in groups if _told(files, f"{group}/freezer.state", b"FROZEN")]
    for group in groups:
        _told(files, f"{group}/cgroup.kill", b"1")
    pidfds = {}
    for pid in members(files, groups):
        try:
            pidfds[pid] = os.pidfd_open(pid)
        except OSError:
            continue
    # Those that are in the groups still are the processes that the pidfds were opened for, and not later ones of the
    # same number.
    still = members(files, groups)
    for pid, pidfd in pidfds.items():
        try:
            if pid in still:
                _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
        except OSError:
            pass
        finally:
            os.close(pidfd)
    for group in frozen:  # on v1, a frozen task does not die
        _told(files, f"{group}/freezer.state", b"THAWED")
    _let_out(files, frozen, still & pidfds.keys())


def _let_out(files: Remover, groups: Sequence[str], dying: Collection[int]) -> None:
    """Move those who are frozen from above to where nobody is: they go on, and the first thing they do is to die."""
    for group in groups:
        running = _running(files, group)
        if running != group:
            for pid in members(files, [group]).intersection(dying):
                _told(files, f"{running}/cgroup.procs", b"%d" % pid)


def _running(files: Remover, group: str) -> str:
    """Return a group, or the nearest one above it that v1's freezer does not hold; the root has no state."""
    try:
        while files.read(f"{group}/freezer.state") != b"THAWED\n":
            group = group.rpartition("/")[0]
    except OSError:
        pass
    return group


def _told(files: Remover, path: str, data: bytes) -> bool:
    try:
        files.write(path, data)
    except OSError:
        return False
    return True


def _rmdir(files: Remover, directory: str) -> bool:
    try:
        files.rmdir(directory)
    except OSError:
        return False
    return True
