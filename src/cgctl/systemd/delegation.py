"""Whose a part of the tree is, as far as looking tells: by systemd's marks on its units, and by ours on our scopes.

systemd marks a delegated unit's directory (``trusted.delegate``, and since version 251 ``user.delegate``). A user's own
systemd, which may do neither, marks nothing, so it has to be asked: that the user owns the directory is true of all its
units.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from enum import Enum
from posixpath import basename, dirname
from typing import Final, NamedTuple

from cgctl.filesystem import Filesystem
from cgctl.filesystem.kernel import KernelFilesystem
from cgctl.layout import Hierarchy, Layout
from cgctl.remembering import remembered

__all__ = ["OWN_MARK", "Writer", "cgroup_namespace", "in_charge", "is_unit", "limits_between", "managed", "writer_of"]

OWN_MARK: Final = "user.cgctl.scope"
"""The extended attribute of a scope that systemd was asked for: whoever is in it descends from whom it was made for."""

_MARKS: Final = ("trusted.delegate", "user.delegate")
_V1_CONTROLLERS: Final = frozenset({"cpu", "cpuacct", "blkio", "memory", "devices", "pids"})
_USER_MANAGER: Final = re.compile(r"user@\d+\.service")
_FIRST_CGROUP_NAMESPACE: Final = "cgroup:[4026531835]"  # PROC_CGROUP_INIT_INO, include/linux/proc_ns.h
_LIMITS: Final = {
    "memory.max": "max",
    "memory.high": "max",
    "memory.swap.max": "max",
    "memory.zswap.max": "max",
    "cpu.max": "max",
    "cpuset.cpus": "",
    "cpuset.mems": "",
    "io.max": "",
    "memory.limit_in_bytes": "92233720368547",  # the largest number, down to a page
    "cpu.cfs_quota_us": "-1",
}
"""File → how it begins where there is no limit."""


class Writer(Enum):
    """Who alone may change a part of the tree."""

    OURS = "a scope of cgctl's"
    DELEGATED = "a delegated unit"
    USER_MANAGER = "a user's systemd"
    SYSTEMD = "systemd"


class CgroupNamespace(NamedTuple):
    """Where this process sees the tree from.

    Attributes:
        is_first: whether from the machine's own root.
        is_of_init: whether PID 1 does from the same place, as far as can be told.
    """

    is_first: bool
    is_of_init: bool


def cgroup_namespace() -> CgroupNamespace:
    """Return the cgroup namespace of this process."""
    own = _namespace("self")
    return CgroupNamespace(own in {None, _FIRST_CGROUP_NAMESPACE}, own == _namespace("1"))


def in_charge(filesystem: Filesystem) -> bool:
    """Tell whether systemd is the single writer of the tree that this process sees.

    It is not in a container without one, nor in a cgroup namespace other than systemd's: what is visible there was
    given to whoever made the namespace.
    """
    if not isinstance(filesystem, KernelFilesystem) or not os.path.isdir("/run/systemd/system"):
        return False
    namespace = cgroup_namespace()
    return namespace.is_first or namespace.is_of_init


@remembered
def managed(layout: Layout) -> tuple[Hierarchy, ...]:
    """Return the hierarchies that systemd writes; the first of them has the marks."""
    found = [h for h in layout.hierarchies if h.name == "systemd" or not _V1_CONTROLLERS.isdisjoint(h.controllers)]
    unified = layout.unified
    others = sorted((h for h in found if h is not unified), key=lambda h: h.name != "systemd")
    return (*([unified] if unified else []), *others)


def writer_of(filesystem: Filesystem, mount_point: str, directory: str) -> Writer:
    """Tell who may write in a directory of a hierarchy with marks; it need not be there yet."""
    below: list[str] = []
    while len(directory) > len(mount_point):
        if _mark(filesystem, directory, OWN_MARK):
            return Writer.OURS
        name = basename(directory)
        if any(_mark(filesystem, directory, mark) for mark in _MARKS):
            if below and _USER_MANAGER.fullmatch(name):
                return Writer.USER_MANAGER
            # Slices are made by a systemd alone, so this was delegated to one that runs in a container.
            return Writer.SYSTEMD if any(each.endswith(".slice") for each in below) else Writer.DELEGATED
        # An older systemd does not mark it so that the user could see.
        if below and _USER_MANAGER.fullmatch(name):
            return Writer.USER_MANAGER
        below.append(name)
        directory = dirname(directory)
    return Writer.SYSTEMD


def is_unit(filesystem: Filesystem, hierarchy: Hierarchy, directory: str) -> bool:
    """Tell whether a directory may be a unit's own: it is marked, or nobody was delegated anything there."""
    if any(_mark(filesystem, directory, mark) for mark in (OWN_MARK, *_MARKS)):
        return True
    return writer_of(filesystem, hierarchy.mount_point, directory) in {Writer.SYSTEMD, Writer.USER_MANAGER}


def limits_between(filesystem: Filesystem, directory: str, top: str, tasks_max: int) -> Iterator[str]:
    """Yield the limits that hold in a directory and those above it, below another: whoever leaves escapes them.

    Args:
        filesystem: the kernel.
        directory: where the process is.
        top: above everything that it would leave.
        tasks_max: systemd's ``DefaultTasksMax``, which every unit has unasked. Users' slices have one of their own.
    """
    while len(directory) > len(top):
        for name, unlimited in _LIMITS.items():
            held = _held(filesystem, f"{directory}/{name}")
            if held is not None and not (held.startswith(unlimited) if unlimited else not held):
                yield f"{directory}/{name} = {held}"
        held = _held(filesystem, f"{directory}/pids.max")
        if held not in {None, "max", str(tasks_max)} and not directory.endswith(".slice"):
            yield f"{directory}/pids.max = {held}"
        directory = dirname(directory)


def _held(filesystem: Filesystem, path: str) -> str | None:
    try:
        return filesystem.read(path).decode().strip()
    except OSError:
        return None


def _mark(filesystem: Filesystem, directory: str, name: str) -> bool:
    try:
        return filesystem.getxattr(directory, name) == b"1"
    except OSError:  # it is not there yet, or it has gone
        return False


def _namespace(pid: str) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/cgroup")
    except OSError:  # before Linux 4.6, or another user's
        return None
