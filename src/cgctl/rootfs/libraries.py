"""Where the dynamic loader would find a library: the rules of ``ld.so(8)``, and of musl's loader.

``LD_LIBRARY_PATH`` is not looked at, and of libraries that exist for several processors (``glibc-hwcaps``) the one that
runs on all is taken.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Final

import attrs

from cgctl.errors import UnsupportedError
from cgctl.rootfs.cache import parse_cache
from cgctl.rootfs.elf import MAGIC, Elf, read_elf
from cgctl.rootfs.source import Source

__all__ = ["CACHE", "Libraries", "Object"]

CACHE: Final = "/etc/ld.so.cache"

# Machine and bits → Debian's directory, that of the other distributions, $PLATFORM.
_NAMES: Final = {
    ("X86_64", 64): ("x86_64-linux-gnu", "lib64", "x86_64"),
    ("X86_64", 32): ("x86_64-linux-gnux32", "libx32", "x86_64"),
    ("386", 32): ("i386-linux-gnu", "lib32", "i686"),
    ("AARCH64", 64): ("aarch64-linux-gnu", "lib64", "aarch64"),
    ("ARM", 32): ("arm-linux-gnueabihf", "lib", "v7l"),
    ("RISCV", 64): ("riscv64-linux-gnu", "lib64", "riscv64"),
}
_OTHERS: Final = ("", "lib", "")
_MUSL: Final = "ld-musl-"
_MUSL_DIRECTORIES: Final = ("/lib", "/usr/local/lib", "/usr/lib")
_MUSL_ITSELF: Final = frozenset({"libc", "libpthread", "librt", "libm", "libdl", "libutil", "libxnet"})


@attrs.frozen(kw_only=True)
class Object:
    """A file that is loaded into a process, and why.

    Attributes:
        path: where it was found.
        elf: what it says.
        loader: who needs it; ``None`` is the program itself.
    """

    path: str
    elf: Elf
    loader: Object | None = None

    def chain(self) -> Iterator[Object]:
        """Yield it, who needs it, and so on to the program."""
        each: Object | None = self
        while each is not None:
            yield each
            each = each.loader

    def interpreter(self) -> str:
        """Return the dynamic loader that the program asks for."""
        *_, program = self.chain()
        return program.elf.interpreter or ""


class Libraries:
    """Finds libraries in a tree.

    Attributes:
        lists: the loaders' own files by which alone some were found: glibc's cache, musl's list of directories.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._cache = parse_cache(source.read(CACHE))
        self.lists: set[str] = set()

    def find(self, name: str, needed_by: Object) -> Object:
        """Find a library that an object needs.

        Raises:
            UnsupportedError: it is not in the tree, or not for this architecture.
        """
        musl = posixpath.basename(needed_by.interpreter()).startswith(_MUSL)
        if musl and name.partition(".")[0] in _MUSL_ITSELF:
            candidates = [needed_by.interpreter()]
        elif "/" in name:
            candidates = [_expand(name, needed_by)]
        else:
            directories = [*_named(needed_by, musl=musl), *(self._musl(needed_by) if musl else _default(needed_by.elf))]
            candidates = [f"{directory}/{name}" for directory in dict.fromkeys(directories)]
        known = [] if musl else [path for path in self._cache.get(name, ()) if path not in candidates]
        for path in (*candidates, *known):
            if path.startswith("/") and (found := self._object(path, needed_by)):
                if path in known:
                    self.lists.add(CACHE)
                elif musl and "/" not in name and not _is_found_without(path, needed_by):
                    self.lists.add(_list_of_musl(needed_by))
                return found
        reason = (
            f"{needed_by.path} ({needed_by.elf}) needs it, and it is not there for this architecture;"
            f" looked at {', '.join((*candidates, *known))}; install the package that has it"
        )
        raise UnsupportedError(f"library {name}", reason)

    def _object(self, path: str, needed_by: Object) -> Object | None:
        """Return what is there, if it may be loaded: as the loader, pass over other architectures."""
        try:
            found = self._source.find(path)
            if not found.is_file:
                return None
            with self._source.open(found.path) as file:
                if file.read(len(MAGIC)) != MAGIC:
                    return None
                elf = read_elf(file, path)
        except OSError:
            return None
        return Object(path=path, elf=elf, loader=needed_by) if elf.architecture == needed_by.elf.architecture else None

    def _musl(self, needed_by: Object) -> tuple[str, ...]:
        listed = self._source.read(_list_of_musl(needed_by)).decode(errors="surrogateescape")
        return tuple(listed.replace(":", "\n").split()) or _MUSL_DIRECTORIES


def _list_of_musl(needed_by: Object) -> str:
    """Return the file below the loader's own prefix: /lib/ld-musl-x86_64.so.1 reads /etc/ld-musl-x86_64.path."""
    directory, base = posixpath.split(needed_by.interpreter())
    return f"{posixpath.dirname(directory).rstrip('/')}/etc/{base.partition('.so')[0]}.path"


def _is_found_without(path: str, needed_by: Object) -> bool:
    """Tell whether musl finds a library where there is no such file: it is itself, or where it looks anyhow."""
    directories = {*_named(needed_by, musl=True), *_MUSL_DIRECTORIES}
    return path == needed_by.interpreter() or posixpath.dirname(path) in directories


def _default(elf: Elf) -> list[str]:
    multiarch, directory, _ = _NAMES.get(elf.architecture, _OTHERS)
    names = [*([f"lib/{multiarch}"] if multiarch else []), directory, "lib"]
    return [f"{prefix}/{name}" for name in names for prefix in ("", "/usr")]


def _named(needed_by: Object, *, musl: bool) -> Iterator[str]:
    """Yield the directories that the object, or those that brought it, name."""
    if musl:  # which makes no difference between the two, and inherits both
        for each in needed_by.chain():
            for path in (*each.elf.rpath, *each.elf.runpath):
                yield _expand(path, each)
        return
    if not needed_by.elf.runpath:
        for each in needed_by.chain():
            for path in each.elf.rpath:
                yield _expand(path, each)
    for path in needed_by.elf.runpath:
        yield _expand(path, needed_by)


def _expand(path: str, owner: Object) -> str:
    """Replace ``$ORIGIN``, ``$LIB`` and ``$PLATFORM``, with or without braces."""
    multiarch, directory, platform = _NAMES.get(owner.elf.architecture, _OTHERS)
    values = {
        "ORIGIN": posixpath.dirname(owner.path),
        "LIB": f"lib/{multiarch}" if multiarch else directory,
        "PLATFORM": platform,
    }
    for name, value in values.items():
        path = path.replace(f"${{{name}}}", value).replace(f"${name}", value)
    return path
