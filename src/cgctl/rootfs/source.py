"""The tree that is copied from: its paths are resolved as if it were ``/``, so that no link leads out of it."""

from __future__ import annotations

import errno
import os
import stat
from typing import IO, Final

import attrs

__all__ = ["Found", "Source"]

_MOST_LINKS: Final = 40  # as the kernel


@attrs.frozen(kw_only=True)
class Found:
    """Where a path leads.

    Attributes:
        path: the real path, without links.
        links: the links on the way, path → target.
        status: what is there.
    """

    path: str
    links: dict[str, str]
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether a directory is there."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        """Whether a regular file is there."""
        return stat.S_ISREG(self.status.st_mode)


class Source:
    """A tree of files, seen from its root.

    Args:
        root: the directory that is ``/``.
    """

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root).rstrip("/")

    def outside(self, path: str) -> str:
        """Return what the system calls a real path of the tree."""
        return self._root + path

    def find(self, path: str) -> Found:
        """Follow an absolute path to its end.

        Raises:
            OSError: it leads nowhere.
        """
        links: dict[str, str] = {}
        rest, real = path.split("/")[::-1], ""
        followed = 0
        while rest:
            name = rest.pop()
            if name in {"", "."}:
                continue
            if name == "..":
                real = real.rpartition("/")[0]
                continue
            here = f"{real}/{name}"
            status = os.lstat(self.outside(here))
            if not stat.S_ISLNK(status.st_mode):
                if rest and not stat.S_ISDIR(status.st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
                real = here
                continue
            followed += 1
            if followed > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = links[here] = os.readlink(self.outside(here))
            rest.extend(target.split("/")[::-1])
            if target.startswith("/"):
                real = ""
        return Found(path=real or "/", links=links, status=os.lstat(self.outside(real or "/")))

    def exists(self, path: str) -> bool:
        """Tell whether a path leads anywhere."""
        try:
            self.find(path)
        except OSError:
            return False
        return True

    def open(self, path: str) -> IO[bytes]:
        """Open a real path of the tree for reading; what has become a link meanwhile is refused."""
        return open(os.open(self.outside(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")

    def read(self, path: str, most: int = -1) -> bytes:
        """Read a file, or its beginning; nothing where there is none."""
        try:
            with self.open(self.find(path).path) as file:
                return file.read(most)
        except OSError:
            return b""
