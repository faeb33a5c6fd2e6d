"""What the runner keeps on disk: built once, locked while used, evicted when old.

An entry is a directory ``KIND/NAME-KEY``. It is built beside its place and renamed into it, so that it is whole or not
there; a SIGKILL leaves at most a ``.part``, which the next trim removes. Locks are flocks: the kernel drops them with
their holder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

KINDS = MACHINES, IMAGES, KERNELS = "machines", "images", "kernels"
# A line that the builder of an entry may leave in it, for `--list`.
DETAIL = "detail"
_MANIFEST = "manifest.json"
_PART = ".part"


def location() -> Path:
    """Say where the cache is: ``CGCTL_VM_CACHE``, or below the user's cache directory."""
    if named := os.environ.get("CGCTL_VM_CACHE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cgctl" / "vm"


def key_of(*parts: object) -> str:
    """Make the key of an entry from all that goes into it."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Item:
    """One entry, as ``--list`` shows it.

    Attributes:
        kind: which of ``KINDS``.
        name: what it is, such as ``6.12-v2``; entries of one name differ by what went into them.
        path: its directory.
        size: bytes on the disk.
        used: when it was last used, in seconds since 1970.
        detail: what it says of itself.
    """

    kind: str
    name: str
    path: Path
    size: int
    used: float
    detail: str = ""


class Cache:
    """The entries below *root*."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "locks").mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def entry(self, kind: str, name: str, key: str, build: Callable[[Path], None]) -> Iterator[Path]:
        """Hold the entry ``KIND/NAME-KEY``, built by *build* if it is not there; it cannot be evicted meanwhile."""
        path = self.root / kind / f"{name}-{key}"
        while True:
            with self.locked(f"{kind}-{path.name}", fcntl.LOCK_SH):
                if _whole(path):
                    # Where root made the cache, others may use it.
                    with contextlib.suppress(PermissionError):
                        os.utime(path)
                    yield path
                    return
            with self.locked(f"{kind}-{path.name}", fcntl.LOCK_EX):
                if not _whole(path):
                    _build(path, build)

    @contextlib.contextmanager
    def locked(self, name: str, how: int) -> Iterator[None]:
        """Hold the lock *name*.

        Raises:
            BlockingIOError: with ``LOCK_NB`` in *how*, if someone else holds it.
        """
        path = self.root / "locks" / name
        while True:
            lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(lock, how)
                # Whoever evicts removes the lock's file too: a lock on a file that is no longer there is none.
                if path.exists() and os.path.samestat(path.stat(), os.fstat(lock)):
                    yield
                    return
            finally:
                os.close(lock)

    def items(self) -> list[Item]:
        """List what is there, the longest unused first."""
        found = []
        for kind in KINDS:
            for path in (self.root / kind).glob("*"):
                if path.suffix != _PART and path.is_dir():
                    size = sum(file.stat().st_blocks * 512 for file in path.iterdir())
                    detail = (path / DETAIL).read_text().strip() if (path / DETAIL).exists() else ""
                    found.append(Item(kind, path.name.rpartition("-")[0], path, size, path.stat().st_mtime, detail))
        return sorted(found, key=lambda item: item.used)

    def remove(self, path: Path) -> bool:
        """Remove an entry, unless it is in use; say whether it went."""
        name = f"{path.parent.name}-{path.name}"
        try:
            with self.locked(name, fcntl.LOCK_EX | fcntl.LOCK_NB):
                for directory in (path, _part(path)):
                    shutil.rmtree(directory, ignore_errors=True)
                (self.root / "locks" / name).unlink(missing_ok=True)
        except BlockingIOError:
            return False
        return True

    def trim(self, limit: int, copies: int = 2) -> list[Item]:
        """Evict what has been unused longest: to *limit* bytes in all, and to *copies* of any one name.

        A change to a guest script gives every machine a new key, so yesterday's machines are what there is most of.
        """
        for part in self.root.glob(f"*/*{_PART}"):
            if not (entry := part.with_name(part.name.removesuffix(_PART))).exists():
                self.remove(entry)
        gone, total, seen = [], 0, dict[tuple[str, str], int]()
        for item in reversed(self.items()):
            seen[item.kind, item.name] = seen.get((item.kind, item.name), 0) + 1
            total += item.size
            if (total > limit or seen[item.kind, item.name] > copies) and self.remove(item.path):
                gone.append(item)
                total -= item.size
        return gone


def _part(path: Path) -> Path:
    return path.with_name(path.name + _PART)


def _build(path: Path, build: Callable[[Path], None]) -> None:
    part = _part(path)
    for stale in (path, part):
        shutil.rmtree(stale, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        build(part)
        sizes = {file.name: file.stat().st_size for file in part.iterdir() if file.is_file()}
        (part / _MANIFEST).write_text(json.dumps(sizes))
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _whole(path: Path) -> bool:
    """Compare the entry's files with its manifest: a disk that ran full leaves short ones."""
    try:
        sizes = json.loads((path / _MANIFEST).read_text())
        return all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False
