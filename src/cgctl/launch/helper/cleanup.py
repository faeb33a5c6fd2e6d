"""When the caller is gone: ending what it had running, and removing its groups."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PATIENCE_SEC = 5.0
_LONGEST_PAUSE_SEC = 0.5


def _below(directory: str) -> Iterator[str]:
    """Yield the groups below *directory* and itself, children first."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for name in names:
        yield from _below(f"{directory}/{name}")
    yield directory


def is_group(directory: str) -> bool:
    """Tell a group from what must never be emptied, the root of a hierarchy or a directory elsewhere."""
    return os.path.exists(f"{directory}/cgroup.procs") and not os.path.ismount(directory)


def _write(path: str, data: bytes) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, data)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _members(groups: Sequence[str]) -> set[int]:
    """Read the processes in *groups*; 0 is one that our pid namespace does not have."""
    pids: set[int] = set()
    for group in groups:
        try:
            fd = os.open(f"{group}/cgroup.procs", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            while data := os.read(fd, 1 << 20):
                pids.update(map(int, data.split()))
        except (OSError, ValueError):
            pass
        finally:
            os.close(fd)
    return pids - {0, os.getpid()}


def _kill(groups: Sequence[str]) -> None:
    """Send SIGKILL to all that is in *groups*, once."""
    frozen = [group for group in groups if _write(f"{group}/freezer.state", b"FROZEN")]
    for group in groups:
        _write(f"{group}/cgroup.kill", b"1")
    pidfds = {}
    for pid in _members(groups):
        try:
            pidfds[pid] = os.pidfd_open(pid)
        except OSError:
            continue
    # Those that are in the groups still are the processes that the pidfds were opened for, and not later ones of the
    # same number.
    still = _members(groups)
    for pid, pidfd in pidfds.items():
        try:
            if pid in still:
                _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
        except OSError:
            pass
        finally:
            os.close(pidfd)
    for group in frozen:  # on v1, a frozen task does not die
        _write(f"{group}/freezer.state", b"THAWED")


def _remove(directory: str) -> bool:
    for group in _below(directory):
        try:
            os.rmdir(group)
        except OSError:
            continue
    return not os.path.isdir(directory)


def clean(directories: Sequence[str]) -> None:
    """Kill what is in the groups, and remove them; what has never been there, or has gone, is fine."""
    left = [directory for directory in dict.fromkeys(directories) if is_group(directory)]
    deadline, pause = time.monotonic() + _PATIENCE_SEC, 0.001
    while left:
        _kill([group for directory in left for group in _below(directory)])
        left = [directory for directory in left if not _remove(directory)]
        if not left or time.monotonic() > deadline:
            return
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SEC)
