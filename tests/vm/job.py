"""What is sent into a machine: the command, and the project's tree as it stands."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import struct
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.vm import catalog
from tests.vm.project import TREE, WORK, dist_info

# Not part of the project: wherever they lie, and at the top of the tree.
_SKIPPED = frozenset((".git", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".venv", "_build"))
_SKIPPED_TOP = frozenset(("build", "dist", "htmlcov"))
# Byte code that the host's Python made is good in the guest if it is of the same version: the file says for which time
# and size of its source it holds, and those are sent along.
_BYTECODE = f".cpython-{catalog.IMAGE_PYTHON.replace('.', '')}"


@dataclasses.dataclass(frozen=True)
class Job:
    """A command for a machine.

    Attributes:
        argv: the command, which no shell looks at.
        user: whether to run it as the ordinary user.
        env: what to add to its environment.
        swap: bytes of swap to switch on first.
    """

    argv: Sequence[str]
    user: bool = False
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    swap: int = 0

    def pack(self) -> bytes:
        """Make what guest/agent.py reads: a header of JSON and the files."""
        files, contents = [], []
        for name, mode, mtime, content in _tree():
            files.append((name, mode, mtime, len(content)))
            contents.append(content)
        # Level 1: emulated, a port is slower than unpacking, and the host should not wait long either.
        blob = zlib.compress(b"".join(contents), 1)
        header = {
            "argv": list(self.argv),
            "user": self.user,
            "env": dict(self.env),
            "swap": self.swap,
            "cwd": WORK,
            "now": time.time(),
            "entropy": os.urandom(64).hex(),
            "files": files,
            "blob": len(blob),
        }
        encoded = json.dumps(header).encode()
        return struct.pack(">I", len(encoded)) + encoded + blob


def _tree() -> Iterator[tuple[str, int | None, float, bytes]]:
    """List name, mode (none: a symbolic link), time and content of each file."""
    for directory, names, files in os.walk(TREE):
        names[:] = [name for name in names if not _skipped(Path(directory, name))]
        links = [name for name in names if Path(directory, name).is_symlink()]
        for name in (*links, *files):
            path = Path(directory, name)
            if path.parent.name == "__pycache__" and _BYTECODE not in name:
                continue
            try:
                status = path.lstat()
                if path.is_symlink():
                    yield str(path.relative_to(TREE)), None, status.st_mtime, os.readlink(path).encode()
                elif stat.S_ISREG(status.st_mode):
                    mode = stat.S_IMODE(status.st_mode)
                    yield str(path.relative_to(TREE)), mode, status.st_mtime, path.read_bytes()
            except FileNotFoundError:
                # An editor, or another run, removed it since it was listed.
                continue
    for name, text in dist_info().items():
        yield name, 0o644, time.time(), text.encode()


def _skipped(path: Path) -> bool:
    return (
        path.name in _SKIPPED
        or (path.name in _SKIPPED_TOP and path.parent == TREE)
        or (path / "pyvenv.cfg").exists()
        or (path / "CACHEDIR.TAG").exists()
    )
