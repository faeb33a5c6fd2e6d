"""What has to be copied: programs, their libraries and interpreters, and all links and directories on the way."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from typing import Final, Literal

import attrs

from cgctl.errors import SpecError, UnsupportedError
from cgctl.rootfs.elf import MAGIC, read_elf
from cgctl.rootfs.extras import EXTRAS
from cgctl.rootfs.libraries import Libraries, Object
from cgctl.rootfs.source import Found, Source

__all__ = ["Collector", "Entry"]

Kind = Literal["directory", "file", "link"]

_HEAD: Final = 256  # as much of a first line as the kernel reads
_DEEPEST: Final = 4  # interpreters of interpreters; the kernel has 5 levels
_MERGED: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")  # into /usr, on most machines
_MODE: Final = 0o777  # without setuid, setgid and sticky


@attrs.frozen(kw_only=True)
class Entry:
    """One thing in a root directory.

    Attributes:
        path: where it is, from the root.
        kind: ``"directory"``, ``"file"`` or ``"link"``.
        size: of a file, bytes.
        mode: its permissions.
        target: of a link.
    """

    path: str
    kind: Kind
    size: int = 0
    mode: int = 0o755
    target: str = ""


class Collector:
    """Collects what a root directory needs.

    Args:
        source: the tree to copy from.
        path: the directories in which programs are looked for.

    Attributes:
        entries: path → what is to be there.
    """

    def __init__(self, source: Source, path: str) -> None:
        self._source = source
        self._path = path
        self._libraries = Libraries(source)
        self.entries: dict[str, Entry] = {}

    def add_program(self, name: str) -> None:
        """Bring a program: an ELF file or a script, by path, or by name along the search path.

        Raises:
            SpecError: it is not there, or no program.
            UnsupportedError: something that it needs is not there.
        """
        path = self._locate(name)
        found = self._find(path, name)
        if not found.is_file:
            msg = f"{name} is not a file; name programs, and directories as extra"
            raise SpecError(msg)
        if not found.status.st_mode & 0o111:
            msg = f"{name} is not executable; make it so with chmod +x, or name it as extra"
            raise SpecError(msg)
        self._executable(path, depth=0)

    def add_extra(self, name: str) -> None:
        """Bring a set of :data:`EXTRAS`, a file, or a directory with all that is in it.

        Raises:
            SpecError: there is no such set or path.
            UnsupportedError: this machine has nothing of the set, or something that a program needs is not there.
        """
        if name in EXTRAS:
            self._named(name)
        elif "/" in name:
            path = posixpath.normpath(name)
            self._tree(path, self._find(path, name))
        else:
            msg = f"extra {name!r} is neither a path nor one of {', '.join(EXTRAS)}"
            raise SpecError(msg)

    def finish(self) -> tuple[Entry, ...]:
        """Return all entries, directories before what is in them."""
        for path in sorted(self._libraries.lists):  # in there too, the loader must find them
            self._bring(path)
        for name in _MERGED:
            if self._source.exists(name) and (found := self._source.find(name)).links and found.path in self.entries:
                self._bring(name)
        return tuple(self.entries[path] for path in sorted(self.entries))

    def add_directory(self, path: str, mode: int) -> None:
        """Have a directory of our own, if there is nothing of this name yet."""
        self.entries.setdefault(path, Entry(path=path, kind="directory", mode=mode))

    # --- one thing after the other

    def _locate(self, name: str) -> str:
        if "/" in name:
            return posixpath.normpath(name)
        for directory in self._path.split(":"):
            path = f"{directory}/{name}"
            if directory.startswith("/") and self._source.exists(path):
                return path
        msg = f"there is no program {name!r} in {self._path}; name it by its path"
        raise SpecError(msg)

    def _find(self, path: str, name: str) -> Found:
        try:
            return self._source.find(path)
        except OSError as error:
            msg = f"{name}: {error.strerror}; name files that are there"
            raise SpecError(msg) from error

    def _executable(self, path: str, depth: int) -> None:
        """Bring a program and what the kernel starts in its place."""
        real = self._bring(path)
        head = self._source.read(real, _HEAD)
        if head.startswith(MAGIC):
            self._needs(real)
        elif head.startswith(b"#!"):
            if depth > _DEEPEST:
                msg = f"{path}: too many interpreters of interpreters"
                raise SpecError(msg)
            for each in self._interpreters(path, head):
                self._executable(each, depth + 1)
        else:
            msg = f"{path} is neither an ELF file nor a script with a #! line; name data as extra"
            raise SpecError(msg)

    def _interpreters(self, path: str, head: bytes) -> Iterator[str]:
        """Yield what a script's first line names: the interpreter, and behind ``env`` the program that it looks for."""
        words = head[2:].split(b"\n", 1)[0].decode(errors="surrogateescape").split()
        if not words or not self._source.exists(words[0]):
            reason = f"it is the interpreter of {path}, and is not there; install it"
            raise UnsupportedError(words[0] if words else f"the #! line of {path}", reason)
        yield words[0]
        if posixpath.basename(words[0]) == "env":
            for word in words[1:]:
                if not word.startswith("-") and "=" not in word:
                    yield self._locate(word)
                    return

    def _needs(self, real: str) -> None:
        """Bring what an ELF file needs, and what that needs."""
        with self._source.open(real) as file:
            first = Object(path=real, elf=read_elf(file, real))
        interpreter = first.elf.interpreter
        if interpreter is not None:
            if not self._source.exists(interpreter):
                reason = (
                    f"{real} ({first.elf}) is loaded by it, and it is not there; install the C library of that kind"
                )
                raise UnsupportedError(interpreter, reason)
            self._bring(interpreter)
        waiting, seen = [first], {real}
        while waiting:
            each = waiting.pop()
            for name in each.elf.needed:
                library = self._libraries.find(name, each)
                if library.path not in seen:
                    seen.add(library.path)
                    self._bring(library.path)
                    waiting.append(library)

    def _named(self, name: str) -> None:
        there = [path for path in EXTRAS[name].paths if self._source.exists(path)]
        if not there:
            raise UnsupportedError(f"extra {name!r}", f"none of {', '.join(EXTRAS[name].paths)} is here; install it")
        for path in there:
            self._tree(path, self._source.find(path))
        # Beside the C library, whichever programs brought it; older ones have these compiled in.
        libraries = [posixpath.dirname(path) for path in self.entries if posixpath.basename(path) == "libc.so.6"]
        for library in EXTRAS[name].libraries:
            for directory in libraries:
                if self._source.exists(f"{directory}/{library}"):
                    self._needs(self._bring(f"{directory}/{library}"))

    def _tree(self, path: str, found: Found) -> None:
        """Bring a file, or a directory with all that is in it; devices and sockets are passed over."""
        real = self._bring(path)
        if found.is_file:
            if self._source.read(real, len(MAGIC)) == MAGIC:
                self._needs(real)
            return
        if not found.is_directory:
            msg = f"{path} is neither a file nor a directory"
            raise SpecError(msg)
        for parent, directories, files in os.walk(self._source.outside(real)):
            within = real + parent.removeprefix(self._source.outside(real))
            for name in sorted(directories + files):
                self._leaf(f"{within}/{name}")

    def _leaf(self, path: str) -> None:
        """Bring what is in a directory that is brought: a link that leads nowhere stays one."""
        status = os.lstat(self._source.outside(path))
        if stat.S_ISLNK(status.st_mode) and not self._source.exists(path):
            self._link(path, os.readlink(self._source.outside(path)))
        elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode):
            real = self._bring(path)
            if self._source.read(real, len(MAGIC)) == MAGIC:
                self._needs(real)

    # --- entries

    def _bring(self, path: str) -> str:
        """Have a path in the root directory lead where it leads in the source; return the real path."""
        found = self._source.find(path)
        for link, target in found.links.items():
            self._link(link, target)
        self._parents(found.path)
        mode = found.status.st_mode & _MODE
        if found.is_directory:
            self.add_directory(found.path, mode)
        elif found.is_file:
            entry = Entry(path=found.path, kind="file", size=found.status.st_size, mode=mode)
            self.entries.setdefault(found.path, entry)
        return found.path

    def _link(self, path: str, target: str) -> None:
        self._parents(path)
        self.entries.setdefault(path, Entry(path=path, kind="link", mode=_MODE, target=target))

    def _parents(self, path: str) -> None:
        parent = posixpath.dirname(path)
        if parent != "/" and parent not in self.entries:
            self._parents(parent)
            self.add_directory(parent, os.lstat(self._source.outside(parent)).st_mode & _MODE)
