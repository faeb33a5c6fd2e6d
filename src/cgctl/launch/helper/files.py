"""The helper's own way to the cgroup filesystems: as much of :class:`cgctl.filesystem.Filesystem` as cleaning up takes.

Nothing is touched but what carries a mark, so there is no need to know what is mounted where.
"""

from __future__ import annotations

import errno
import os
import stat

from cgctl.filesystem.locking import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20


class Files:
    """Files by absolute path."""

    def read(self, path: str) -> bytes:
        """Return a file's whole content."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return b"".join(_pieces(fd))
        finally:
            os.close(fd)

    def write(self, path: str, data: bytes) -> None:
        """Write *data* with one ``write(2)``."""
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    def rmdir(self, path: str) -> None:
        """Remove an empty group."""
        os.rmdir(path)

    def listdir(self, path: str) -> list[str]:
        """Return the names of the groups directly below a group."""
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def count(self, path: str) -> int:
        """Return how many groups are directly below a group."""
        return os.stat(path, follow_symlinks=False).st_nlink - 2

    def getxattr(self, path: str, name: str) -> bytes | None:
        """Return an extended attribute of a group; ``None`` where there is none."""
        try:
            return os.getxattr(path, name, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.ENOTSUP):
                return None
            raise

    def unfinished(self, path: str) -> bool:
        """Tell whether a group is yet to be marked; what is no group at all is ``ENOENT``."""
        # The sign is the sticky bit, which /tmp has too: nothing but a group may ever be taken for one.
        os.stat(f"{path}/cgroup.procs", follow_symlinks=False)
        return bool(os.stat(path, follow_symlinks=False).st_mode & stat.S_ISVTX)

    def lock(self, path: str, *, exclusive: bool, timeout: float = 1.0) -> Lock:
        """Lock a group's directory or file."""
        return Lock(os.open(path, os.O_RDONLY | os.O_CLOEXEC), exclusive=exclusive, timeout=timeout)


def _pieces(fd: int) -> Iterator[bytes]:
    while data := os.read(fd, _CHUNK):
        yield data
