"""Writing a root directory: beside its place first, so that it is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence

from cgctl.errors import SpecError, StepError
from cgctl.rootfs.collect import Entry
from cgctl.rootfs.source import Source

__all__ = ["Progress", "check_place", "copy"]

Progress = Callable[[int, int, str], None]
"""Told before each file, and at the end: bytes done, bytes in all, what is copied."""

_CHUNK = 1 << 20
_MODE = 0o755


def check_place(place: str) -> None:
    """Refuse a place that is taken.

    Raises:
        SpecError: something is there, or there is no directory for it to be in.
    """
    parent = os.path.dirname(place) or "."
    if not os.path.isdir(parent):
        msg = f"{parent} is not a directory, so {place} cannot be made; make it first"
        raise SpecError(msg)
    if os.path.islink(place) or (os.path.lexists(place) and not os.path.isdir(place)):
        msg = f"{place} is there, and not a directory; choose another name"
        raise SpecError(msg)
    if os.path.isdir(place) and os.listdir(place):
        msg = f"{place} is not empty; remove it, or choose another name"
        raise SpecError(msg)


def copy(source: Source, entries: Sequence[Entry], place: str, progress: Progress | None) -> None:
    """Make a root directory.

    Args:
        source: the tree to copy from.
        entries: what to make, directories before what is in them.
        place: the directory; there may be an empty one.
        progress: told how far it is.

    Raises:
        StepError: the kernel refused something; nothing is left.
    """
    total, done = sum(entry.size for entry in entries), 0
    with _beside(place) as made:
        for entry in entries:
            if progress is not None and entry.kind == "file":
                progress(done, total, entry.path)
            with _step(f"copy {entry.path} to {place}", entry.path):
                _make(source, entry, made + entry.path)
            done += entry.size
        # Last of all, innermost first: a directory that may not be written to is one that cannot be filled.
        for entry in reversed(entries):
            if entry.kind == "directory":
                os.chmod(made + entry.path, entry.mode)
    if progress is not None:
        progress(total, total, "")


def _make(source: Source, entry: Entry, path: str) -> None:
    if entry.kind == "directory":
        os.mkdir(path, 0o700)
    elif entry.kind == "link":
        os.symlink(entry.target, path)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with source.open(entry.path) as reading, open(os.open(path, flags, 0o600), "wb") as writing:
            shutil.copyfileobj(reading, writing, _CHUNK)
            writing.flush()  # before the time is set
            status = os.fstat(reading.fileno())
            os.utime(writing.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
            os.fchmod(writing.fileno(), entry.mode)


@contextlib.contextmanager
def _beside(place: str) -> Iterator[str]:
    """Give a fresh directory, which takes its place when all went well, and is gone otherwise."""
    parent, name = os.path.split(place)
    with _step(f"make {place}", place):
        made = tempfile.mkdtemp(prefix=f".{name}.", dir=parent or ".")
    try:
        yield made
        with _step(f"make {place}", place):
            os.chmod(made, _MODE)
            os.rename(made, place)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


@contextlib.contextmanager
def _step(step: str, filename: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StepError(step, error.errno or errno.EIO, filename=filename) from error
