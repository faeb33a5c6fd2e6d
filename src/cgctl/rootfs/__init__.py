"""Root directories: programs with every library that they need, and nothing else."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable
from typing import Final

import attrs

from cgctl.errors import SpecError
from cgctl.rootfs.collect import Collector, Entry
from cgctl.rootfs.copying import Progress, check_place, copy
from cgctl.rootfs.extras import EXTRAS
from cgctl.rootfs.source import Source
from cgctl.rootfs.tree import draw

__all__ = ["EXTRAS", "Entry", "Rootfs"]

PathLike = str | os.PathLike[str]

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What is mounted into a root directory has its place there.
_MOUNT_POINTS: Final = {
    "/dev": 0o755,
    "/etc": 0o755,
    "/mnt": 0o755,
    "/proc": 0o555,
    "/root": 0o700,
    "/run": 0o755,
    "/sys": 0o555,
    "/tmp": 0o1777,  # noqa: S108 - made, not used
}


@attrs.frozen(kw_only=True)
class Rootfs:
    """A directory that can be the root of a program.

    Attributes:
        path: where it is, absolute.
        entries: what is in it, sorted by path.
    """

    path: str
    entries: tuple[Entry, ...] = attrs.field(default=(), repr=False)

    @classmethod
    def build(
        cls,
        path: PathLike,
        binaries: Iterable[PathLike],
        *,
        extra: Iterable[PathLike] = (),
        source: PathLike = "/",
        progress: Progress | None = None,
    ) -> Rootfs:
        """Make a root directory of programs and of what they need.

        Libraries are found as the dynamic loader would find them, by reading the files; nothing is run. Scripts bring
        their interpreter. Everything is at the path that it has in the source, the links on the way included. Files
        keep their permissions and times, but not setuid and setgid bits, capabilities and owners. What is loaded by
        name while a program runs (``dlopen``) is in no file: that is what *extra* is for. The mount points of a root
        directory (``/dev``, ``/proc``, ``/tmp`` and others) are made.

        Args:
            path: the directory to make; it may be there, if it is empty.
            binaries: programs, by path, or by name along ``PATH``.
            extra: sets of files by name (``"nss"``, ``"terminfo"``, ``"ca-certificates"``, ``"tzdata"``), and paths of
                files and directories, whose programs bring their libraries too.
            source: the tree to copy from; paths are then absolute, and links resolved as if it were ``/``.
            progress: called with the bytes that are copied, the bytes in all, and the file that is copied next.

        Raises:
            SpecError: something is named that is not there, or *path* is taken.
            UnsupportedError: a library or interpreter is not there, or pyelftools is not installed.
            StepError: the kernel refused to make something; nothing is left then.
        """
        place = os.path.abspath(_text(path, "path"))
        check_place(place)
        root = _text(source, "source")
        if not os.path.isdir(root):
            msg = f"source={root!r} is not a directory"
            raise SpecError(msg)
        own = os.path.realpath(root) == "/"
        collector = Collector(Source(root), os.environ.get("PATH", _PATH) if own else _PATH)
        for program in _list(binaries, "binaries"):
            collector.add_program(_absolute(program, own=own))
        for each in _list(extra, "extra"):
            collector.add_extra(_absolute(each, own=own))
        for directory, mode in _MOUNT_POINTS.items():
            collector.add_directory(directory, mode)
        entries = collector.finish()
        copy(Source(root), entries, place, progress)
        return cls(path=place, entries=entries)

    @classmethod
    def at(cls, path: PathLike) -> Rootfs:
        """Look at a root directory that is there.

        Raises:
            SpecError: it is not a directory.
        """
        place = os.path.abspath(_text(path, "path"))
        if not os.path.isdir(place):
            msg = f"{place} is not a directory"
            raise SpecError(msg)
        entries = [
            _entry(f"{parent}/{name}", place)
            for parent, directories, files in os.walk(place)
            for name in (*directories, *files)
        ]
        return cls(path=place, entries=tuple(sorted(entries, key=lambda entry: entry.path)))

    @property
    def size(self) -> int:
        """The bytes of all files in it."""
        return sum(entry.size for entry in self.entries)

    def tree(self) -> str:
        """Draw it as ``tree`` does, with the size of each file."""
        return draw(self.path, self.entries)

    def __fspath__(self) -> str:
        return self.path


def _entry(path: str, place: str) -> Entry:
    status = os.lstat(path)
    within = path.removeprefix(place.rstrip("/"))
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return Entry(path=within, kind="link", mode=mode, target=os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return Entry(path=within, kind="directory", mode=mode)
    return Entry(path=within, kind="file", size=status.st_size, mode=mode)


def _text(path: object, what: str) -> str:
    if isinstance(path, str | os.PathLike):
        text = os.fspath(path)
        if isinstance(text, str) and text and "\0" not in text:
            return text
    msg = f"{what}: {path!r} is not a path"
    raise SpecError(msg)


def _list(values: Iterable[PathLike], what: str) -> list[str]:
    if isinstance(values, str | bytes | os.PathLike):
        msg = f"{what} must be a list, not {values!r}; pass [{values!r}]"
        raise SpecError(msg)
    return [_text(value, what) for value in values]


def _absolute(name: str, *, own: bool) -> str:
    """Take a relative path of this machine from the current directory; another tree has none."""
    if "/" not in name or name.startswith("/"):
        return name
    if not own:
        msg = f"{name!r} is a relative path; with source=, paths are absolute"
        raise SpecError(msg)
    return posixpath.abspath(name)
