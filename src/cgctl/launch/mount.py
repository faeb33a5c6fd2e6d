"""Something that is mounted for a program alone, as a frozen spec; and what paths and sizes in a sandbox may be."""

from __future__ import annotations

import posixpath
from typing import Any, Final

import attrs

from cgctl.errors import SpecError, shown
from cgctl.units import parse_size

__all__ = ["TMPFS_SIZE", "Mount", "parse_bytes", "parse_inside", "parse_outside"]

_MOUNT_TYPES: Final = ("bind", "cgroup2", "devpts", "mqueue", "proc", "sysfs", "tmpfs")
TMPFS_SIZE: Final = "64M"
"""How large a tmpfs is by default."""


def parse_bytes(value: Any, what: str) -> int | None:
    """Check a size that must not be 0, which the kernel takes for no limit; ``None`` stays."""
    if value is None:
        return None
    size = parse_size(value, what)
    if size == 0:
        msg = f"{what}=0 is no limit to the kernel; give the bytes that may be taken"
        raise SpecError(msg)
    return size


def _size(value: Any) -> int | None:
    return parse_bytes(value, "size")


def parse_inside(value: object, what: str) -> str:
    """Check an absolute path, without ``..``, and return it in its shortest form."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        msg = f"{what}={shown(value)}: not an absolute path; it is one inside, from the new root"
        raise SpecError(msg)
    if ".." in value.split("/"):
        msg = f"{what}={shown(value)}: '..' is not allowed; name the place itself"
        raise SpecError(msg)
    return posixpath.normpath("/" + value.lstrip("/"))


def _target(value: object) -> str:
    path = parse_inside(value, "target")
    if path == "/":
        msg = "target='/': the root is what root= says; mount below it"
        raise SpecError(msg)
    return path


def parse_outside(value: Any, what: str) -> str | None:
    """Check a path of the caller's."""
    if value is None:
        return None
    path = value.__fspath__() if hasattr(value, "__fspath__") else value
    if not isinstance(path, str) or not path or "\0" in path:
        msg = f"{what}={shown(value)}: not a path"
        raise SpecError(msg)
    return path


def _source(value: Any) -> str | None:
    return parse_outside(value, "source")


@attrs.frozen
class Mount:
    """Something that is mounted for a program alone.

    Attributes:
        target: where, an absolute path inside. It must be there, except below what is mounted before.
        source: the file or directory outside that is to be seen there; makes it a bind mount.
        type: ``"bind"``, ``"tmpfs"``, ``"proc"``, ``"sysfs"``, ``"mqueue"``, ``"devpts"`` or ``"cgroup2"``.
        read_only: whether nothing can be changed in it.
        recursive: whether what is mounted below the source comes along.
        noexec: whether programs in it cannot be executed.
        nosuid: whether setuid bits in it mean nothing.
        nodev: whether devices in it cannot be opened.
        size: of a tmpfs, bytes or such as ``"64M"``, which is the default; what is written counts as memory.
        mode: of a tmpfs, the permissions of its root.
    """

    target: str = attrs.field(converter=_target)
    source: str | None = attrs.field(default=None, converter=_source)
    type: str = attrs.field(default="bind", kw_only=True)
    read_only: bool = attrs.field(default=False, kw_only=True)
    recursive: bool = attrs.field(default=True, kw_only=True)
    noexec: bool = attrs.field(default=False, kw_only=True)
    nosuid: bool = attrs.field(default=True, kw_only=True)
    nodev: bool = attrs.field(default=True, kw_only=True)
    size: int | None = attrs.field(default=None, kw_only=True, converter=_size)
    mode: int = attrs.field(default=0o1777, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.type not in _MOUNT_TYPES:
            msg = f"type={shown(self.type)}: not a kind of mount; they are {', '.join(_MOUNT_TYPES)}"
            raise SpecError(msg)
        if (self.type == "bind") != (self.source is not None):
            msg = f"{self.target}: a bind mount has a source, and nothing else has one"
            raise SpecError(msg)
        if self.size is not None and self.type != "tmpfs":
            msg = f"{self.target}: size is for tmpfs"
            raise SpecError(msg)
        if self.type == "tmpfs" and self.size is None:
            object.__setattr__(self, "size", parse_size(TMPFS_SIZE))
