"""What any kernel, real or in memory, must answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, runtime_checkable

__all__ = ["Filesystem", "Lock", "Notifier", "Remover", "Series", "Watch"]


class Lock(Protocol):
    """A lock, held for the length of a ``with`` block."""

    def __enter__(self) -> bool:
        """Return whether it was had in time."""

    def __exit__(self, *exc_info: object) -> None:
        """Give it up."""


class Watch(Protocol):
    """A file that is open for reading and writing, and answers each who has it open for himself.

    Every method raises ``OSError``: ``ENODEV`` once the group is gone.
    """

    def read(self) -> bytes:
        """Return its content now."""

    def write(self, data: bytes) -> None:
        """Write *data* with one ``write(2)``."""

    def close(self) -> None:
        """Close it; again is fine."""


class Series(Protocol):
    """Files of a group that are open, to be read all together again and again.

    Attributes:
        lost: whether one that was there is gone (``ENODEV``).
    """

    lost: bool

    def read(self) -> list[bytes | int]:
        """Return of each file the content now, or the errno; ``ENODEV`` once it is gone."""

    def close(self) -> None:
        """Close them; again is fine."""


class Notifier(Protocol):
    """Files of groups that are open, and one wait for all of them.

    Every method raises ``OSError``: ``ENODEV`` once the group, or the file, is gone. What is open has a number.
    """

    def look(self, path: str) -> int:
        """Open a file that tells when it is not any more what was read last; it is to be read at once."""

    def trigger(self, path: str, data: bytes) -> int:
        """Open a file, and write to it what it is to tell of."""

    def listen(self, path: str, argument: bytes) -> int:
        """Have v1 tell of a file, by way of its group's ``cgroup.event_control``."""

    def removals(self, directory: str) -> bool:
        """Wake whoever waits when a group directly below is removed; false if that cannot be had."""

    def alarm(self, seconds: float) -> None:
        """Wake whoever waits after so many seconds."""

    def read(self, key: int) -> bytes:
        """Return the content of a file that is open."""

    def wait(self, timeout: float | None) -> frozenset[int]:
        """Wait until something tells, and return which; nothing after *timeout* seconds, or when only woken."""

    def fileno(self) -> int:
        """Return a descriptor that can be read from as long as :meth:`wait` would return at once."""

    def quiet(self) -> None:
        """Tell nothing any more: what is gone would tell so for ever."""

    def close(self) -> None:
        """Close all; again is fine."""


class Remover(Protocol):
    """As much of a :class:`Filesystem` as it takes to remove groups; the launch helper has no more."""

    def read(self, path: str) -> bytes:
        """Return a file's whole content; for ``stat:PATH``, what the path names (``cgctl.mounts.parse_status``)."""

    def write(self, path: str, data: bytes) -> None:
        """Write *data* with one ``write(2)``; the file must be there."""

    def rmdir(self, path: str) -> None:
        """Remove an empty group."""

    def listdir(self, path: str) -> list[str]:
        """Return the names of the groups directly below a group."""

    def count(self, path: str) -> int:
        """Return how many groups are directly below a group, without looking at each."""

    def getxattr(self, path: str, name: str) -> bytes | None:
        """Return an extended attribute of a group; ``None`` where there is none."""

    def unfinished(self, path: str) -> bool:
        """Tell whether the maker of a group has not come to mark it."""

    def lock(self, path: str, *, exclusive: bool, timeout: float = 1.0) -> Lock:
        """Lock a group's directory or file, alone or with others who share it; wait up to *timeout* seconds."""


@runtime_checkable
class Filesystem(Remover, Protocol):
    """Cgroup filesystems, and the few files of /proc and /sys/dev that describe them and the devices, by absolute path.

    Every method raises ``OSError`` with the kernel's errno.
    """

    def exists(self, path: str) -> bool:
        """Tell whether a group is there."""

    def mkdir(self, path: str, marks: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Make a group, with extended attributes, so that no other process finds it without (``cgctl.owner``)."""

    def signal(self, pid: int, number: int) -> None:
        """Signal a process."""

    def wait(self, path: str, seen: bytes, timeout: float) -> None:
        """Return when an ``*.events`` file reads something else than *seen*, or after *timeout* seconds."""

    def monotonic(self) -> float:
        """Return the time by which all waiting goes, in seconds; a kernel in memory has its own."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def idle(self) -> bool:
        """Tell whether nothing is going to happen by itself any more, as in memory: who waits would do so for ever."""

    def watch(self, path: str) -> Watch:
        """Open a file that answers each descriptor for itself."""

    def series(self, directory: str, names: Sequence[str]) -> Series:
        """Open files of a group, to be read together again and again; those that cannot be opened answer so."""

    def notifier(self) -> Notifier:
        """Make something that waits for what the kernel tells of groups."""

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        """Set an extended attribute of a group."""

    def removexattr(self, path: str, name: str) -> None:
        """Take an extended attribute off a group."""

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Give a group's directory or one of its files to a user and a group of users; -1 leaves one of them."""

    def writable(self, path: str) -> bool:
        """Tell whether groups may be made below a group, as far as can be told without trying."""
