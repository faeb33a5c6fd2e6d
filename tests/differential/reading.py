"""Reading many files at once: those of one group in memory and really, by few calls and with little of Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from errno import ENODEV
from itertools import repeat

from cgctl.fake.tree import Group

__all__ = ["Opened", "Reader", "Sheet"]

Reader = Callable[[Group], str]

_MOST = 8192


def _default(name: str) -> Reader:
    return lambda group: group.get(name)


class Sheet:
    """Files that groups of one kind have, and that are compared together.

    Attributes:
        names: the files, in the order in which both are read.
    """

    def __init__(self, files: Iterable[tuple[str, Reader | None]], group: Group) -> None:
        """Take names, each with how it is read in memory; ``None``: what was written to it, or its default."""
        found = list(files)
        self._plain = [name for name, reader in found if reader is None]
        # What a group reads of which nothing was written, without looking anything up.
        self._defaults = [group.interface(name).default for name in self._plain]  # type: ignore[union-attr] # it has it
        self._readers = [(name, reader) for name, reader in found if reader is not None]
        self.names = [*self._plain, *(name for name, _ in self._readers)]

    def each(self) -> Iterator[tuple[str, Reader]]:
        """Yield the files one by one, with how each is read in memory."""
        yield from ((name, _default(name)) for name in self._plain)
        yield from self._readers

    def expected(self, group: Group) -> str:
        """Return what all of them read in memory, put together as :meth:`Opened.read` does.

        Raises:
            OSError: one of them cannot be read.
        """
        plain = map(group.values.get, self._plain, self._defaults)
        return "\0".join([*plain, *[reader(group) for _, reader in self._readers]])


class Opened:
    """The files of a real group, which stay open.

    Attributes:
        path: of the group.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self._fds: dict[str, int] = {}
        self._sheets: dict[Sheet, list[int]] = {}

    def close(self) -> None:
        """Close them all."""
        os.close(self._directory)
        while self._fds:
            os.close(self._fds.popitem()[1])
        self._sheets.clear()

    def children(self) -> int:
        """Return how many groups are directly below."""
        return os.fstat(self._directory).st_nlink - 2

    def listing(self) -> tuple[set[str], set[str]]:
        """Return the groups directly below, and the files."""
        with os.scandir(self._directory) as found:
            entries = list(found)
        directories = {entry.name for entry in entries if entry.is_dir()}
        return directories, {entry.name for entry in entries} - directories

    def read(self, sheet: Sheet) -> str:
        """Return what all files of a sheet read, with NULs between them: no file has one.

        Raises:
            OSError: one of them cannot be read.
        """
        fds = self._sheets.get(sheet)
        if fds is None:
            fds = self._sheets[sheet] = [self._fd(name) for name in sheet.names]
        found = map(os.pread, fds, repeat(_MOST), repeat(0))
        return b"\0".join(found).decode("utf-8", "surrogateescape")

    def read_one(self, name: str, *, anew: bool = False) -> str:
        """Return what one file reads; of one that is opened anew, by who has just come.

        Raises:
            OSError: it cannot be read.
        """
        try:
            fd = os.open(name, os.O_RDONLY, dir_fd=self._directory) if anew else self._fd(name)
            try:
                return os.pread(fd, _MOST, 0).decode("utf-8", "surrogateescape")
            finally:
                if anew:
                    os.close(fd)
        except OSError as error:
            # It was gone for a while.
            if error.errno == ENODEV and name in self._fds:
                os.close(self._fds.pop(name))
                # They hold its number, which the next that is opened gets.
                self._sheets.clear()
            raise

    def _fd(self, name: str) -> int:
        fd = self._fds.get(name, -1)
        if fd < 0:
            fd = self._fds[name] = os.open(name, os.O_RDONLY, dir_fd=self._directory)
        return fd
