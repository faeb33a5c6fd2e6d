"""What any kernel, real or in memory, must answer."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["Filesystem"]


@runtime_checkable
class Filesystem(Protocol):
    """Cgroup filesystems, and the few files of /proc and /sys/dev that describe them and the devices, by absolute path.

    Every method raises ``OSError`` with the kernel's errno.
    """

    def read(self, path: str) -> bytes:
        """Return a file's whole content; for ``stat:PATH``, what the path names (``cgctl.mounts.parse_status``)."""

    def write(self, path: str, data: bytes) -> None:
        """Write *data* with one ``write(2)``; the file must be there."""

    def mkdir(self, path: str) -> None:
        """Make a group."""

    def rmdir(self, path: str) -> None:
        """Remove an empty group."""

    def listdir(self, path: str) -> list[str]:
        """Return the names of the groups directly below a group."""

    def signal(self, pid: int, number: int) -> None:
        """Signal a process."""

    def wait(self, path: str, seen: bytes, timeout: float) -> None:
        """Return when an ``*.events`` file reads something else than *seen*, or after *timeout* seconds."""

    def getxattr(self, path: str, name: str) -> bytes | None:
        """Return an extended attribute of a group; ``None`` where there is none."""

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        """Set an extended attribute of a group."""

    def writable(self, path: str) -> bool:
        """Tell whether groups may be made below a group, as far as can be told without trying."""
