"""The measured rows as cases: what five kernels answered to each write.

``measured.json`` is made by ``scripts/measured.py``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any, Final

from cgctl.testing.case import Action, Case, read, release, write

__all__ = ["KERNELS", "measured"]

KERNELS: Final = ("5.10", "6.1", "6.12", "6.18", "7.3")
"""Those that were measured."""

# Files of the core, which every group has; the others' first word names their controller.
_CORE: Final = frozenset({"cgroup", "notify_on_release", "tasks", "release_agent"})
_CONTROLLERS: Final = frozenset({"memory", "pids", "cpu", "cpuset", "io", "hugetlb", "rdma", "misc"})
_SINCE: Final = {"cpu.max.burst": "5.14", "cpu.idle": "5.15"}
# Files that are there only while a module is loaded or a processor has the feature.
_OPTIONAL: Final = ("blkio.bfq.", "dmem.")


@functools.cache
def measured(kernel: str) -> tuple[Case, ...]:
    """Return the cases of one kernel.

    Raises:
        ValueError: it is none of those that were measured.
    """
    if kernel not in KERNELS:
        raise ValueError(f"kernel {kernel!r} was not measured; give one of {', '.join(KERNELS)}")
    text = resources.files(__package__).joinpath("measured.json").read_text(encoding="utf-8")
    rows: dict[str, list[dict[str, Any]]] = json.loads(text)
    return tuple(
        _case(row, int(version), kernel) for version, each in rows.items() for row in each if _has(row, kernel)
    )


def _has(row: dict[str, Any], kernel: str) -> bool:
    return any(not kernels or kernel in kernels for kernels, _, _ in row["answers"])


def _case(row: dict[str, Any], version: int, kernel: str) -> Case:
    file, data = row["file"], row["write"]
    result, after = next((r, a) for kernels, r, a in row["answers"] if not kernels or kernel in kernels)
    return Case(
        name=f"{row['id']} {file}",
        actions=tuple(_actions(row, kernel, result, after)),
        version=version,
        controllers=frozenset(_controllers(file, data)),
        machine=tuple(row["machine"]) if "machine" in row else None,
        devices=frozenset(row.get("devices", ())),
        top=row.get("top", False),
        pid=row.get("pid", False),
        file=file,
        optional=file.startswith(_OPTIONAL),
    )


def _actions(row: dict[str, Any], kernel: str, result: str, after: str | None) -> Iterator[Action]:
    file = row["file"]
    reading = row.get("read", file)
    for path, data in row.get("before", ()):
        # On a kernel without the file, the row was measured without.
        yield write(path, data, "ENOENT" if release(kernel) < release(_SINCE.get(path, "0")) else None)
    if after == "=":
        yield read(reading, None)
    yield write(file, row["write"], None if result == "OK" else result)
    if after is not None:
        yield read(reading, after)


def _controllers(file: str, data: str) -> Iterator[str]:
    """Name what the file takes, and what the write to ``cgroup.subtree_control`` does."""
    controller = file.split(".", 1)[0]
    if controller not in _CORE:
        yield controller
    if file == "cgroup.subtree_control":
        yield from _CONTROLLERS & {word.lstrip("+-") for word in data.split()}
