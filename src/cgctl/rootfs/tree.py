"""Drawing a directory tree as ``tree`` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cgctl.rootfs.collect import Entry
from cgctl.units import format_size

__all__ = ["draw"]


def draw(root: str, entries: Sequence[Entry]) -> str:
    """Draw a tree: directories, links with their targets, files with their sizes, and the sum of these.

    Args:
        root: what stands at the top.
        entries: sorted by path.
    """
    below: dict[str, list[Entry]] = {}
    for entry in entries:
        below.setdefault(entry.path.rpartition("/")[0], []).append(entry)
    files = [entry for entry in entries if entry.kind == "file"]
    total = sum(entry.size for entry in files)
    return "\n".join([root, *_lines("", below, ""), "", f"{len(files)} files, {total} bytes"])


def _lines(path: str, below: dict[str, list[Entry]], indent: str) -> Iterator[str]:
    children = below.get(path, [])
    for number, entry in enumerate(children, 1):
        last = number == len(children)
        yield f"{indent}{'└── ' if last else '├── '}{_label(entry)}"
        yield from _lines(entry.path, below, indent + ("    " if last else "│   "))


def _label(entry: Entry) -> str:
    name = entry.path.rpartition("/")[2]
    if entry.kind == "link":
        return f"{name} -> {entry.target}"
    return f"{name} [{format_size(entry.size)}]" if entry.kind == "file" else name
