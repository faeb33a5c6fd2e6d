"""Which disk is meant: from the names in a spec to the numbers that the kernel takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

import attrs

from cgctl.controllers._row import Read
from cgctl.controllers.io._spec import Io, is_number
from cgctl.errors import SpecError, UnsupportedError, errno_name
from cgctl.mounts import STATUS, Mount, Status, parse_mountinfo, parse_status

__all__ = ["looks", "resolved", "scheduler"]

T = TypeVar("T")

_BY_DEVICE: Final = ("max", "device_weight", "latency", "cost_qos", "cost_model")
_MOUNTINFO: Final = "/proc/self/mountinfo"
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "rootfs"})


def looks(spec: Io, read: Read) -> Iterator[str]:
    """Yield the paths that tell which disks a spec means; ask again until all of them are known."""
    for name in dict.fromkeys(name for attribute in _BY_DEVICE for name in getattr(spec, attribute) or ()):
        paths = tuple(_looks(name, read))
        yield from paths
        if name in (spec.device_weight or ()) and all(path in read for path in paths):
            disk = _disk(name, read)
            if disk is not None:
                yield _scheduler(disk)


def resolved(spec: Io, read: Read) -> Io:
    """Return the spec with disks' numbers, and with those among them that BFQ schedules.

    Raises:
        UnsupportedError: a name is no block device, and lies on none.
        SpecError: two names are the same disk, with different wishes.
    """
    changes: dict[str, Any] = {
        attribute: _numbered(attribute, values, read)
        for attribute in _BY_DEVICE
        if (values := getattr(spec, attribute)) is not None
    }
    weights = changes.get("device_weight", {})
    bfq = frozenset(disk for disk in weights if scheduler(_text(read, _scheduler(disk)) or "") == "bfq")
    return attrs.evolve(spec, **changes, bfq_disks=bfq)


def scheduler(text: str) -> str:
    """Read ``queue/scheduler``: the scheduler in brackets; empty where there is none."""
    return next((word.strip("[]") for word in text.split() if word.startswith("[")), "")


def _numbered(attribute: str, values: Mapping[str, T], read: Read) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in values.items():
        disk = _disk(name, read)
        if disk is None:
            raise UnsupportedError(f"io.{attribute} of {name}", _why_none(name, read))
        found[disk] = _together(found[disk], value, f"io.{attribute}: {name!r}", disk) if disk in found else value
    return found


def _together(one: Any, other: Any, what: str, disk: str) -> Any:
    """Return what two names of one disk wish together."""
    if one == other:
        return one
    fields = [field.name for field in attrs.fields(type(one))] if attrs.has(type(one)) else []
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in fields}
    if not pairs or any(None not in pair and pair[0] != pair[1] for pair in pairs.values()):
        msg = f"{what} is on disk {disk}, which was named before otherwise; name each disk once"
        raise SpecError(msg)
    return type(one)(**{name: pair[1] if pair[0] is None else pair[0] for name, pair in pairs.items()})


def _looks(name: str, read: Read) -> Iterator[str]:
    status = None
    if not is_number(name):
        yield STATUS + name
        status = _status(name, read)
    number = _number(name, status)
    if number is not None:
        yield _partition(number)
        if _text(read, _partition(number)) is not None:
            yield _above(number)
    elif status and status.type != "c":
        yield _MOUNTINFO


def _disk(name: str, read: Read) -> str | None:
    """Return the number of the disk that a name stands for, or ``None`` where it stands for none."""
    number = _number(name, _status(name, read))
    if number is None or _text(read, _partition(number)) is None:
        return number
    return (_text(read, _above(number)) or number).strip()


def _number(name: str, status: Status | None) -> str | None:
    """Return the block device; filesystems that are on none have the major number 0."""
    if is_number(name):
        return name
    if status is None or status.type == "c":
        return None
    if status.type == "b":
        return status.device
    return None if status.filesystem.startswith("0:") else status.filesystem


def _why_none(name: str, read: Read) -> str:
    status = _status(name, read)
    if status is None:
        number = read.get(STATUS + name)
        told = errno_name(number) if isinstance(number, int) else "unknown"
        return f"the path cannot be looked up ({told}); give one that is there, such as those that lsblk --paths prints"
    if status.type == "c":
        return "it is a character device, and the kernel limits I/O of block devices only; name a disk"
    mounts = parse_mountinfo(_text(read, _MOUNTINFO) or "")
    mount = next((mount for mount in mounts if mount.number == status.mount), None)
    return _why_no_disk(mount) if mount else "it lies on no block device; name the disk"


def _why_no_disk(mount: Mount) -> str:
    at = f"{mount.filesystem} at {mount.mount_point}"
    if mount.filesystem in _IN_MEMORY:
        return f"{at} is in memory and has no disk; name a disk, or a path on one"
    if mount.filesystem == "overlay":
        upper = [option.removeprefix("upperdir=") for option in mount.super_options if option.startswith("upperdir=")]
        where = f"upper directory {upper[0]} is" if upper else "directories are"
        return f"{at} shows files of other filesystems; name the disk that its {where} on"
    if mount.filesystem == "btrfs":
        return f"{at} may be on several disks, and does not say which; name the disk ({mount.source})"
    return f"{at} ({mount.source}) is on no block device that the kernel knows; name the disk, if it has one"


def _status(name: str, read: Read) -> Status | None:
    text = _text(read, STATUS + name)
    return None if text is None else parse_status(text)


def _partition(number: str) -> str:
    """Return the file that only partitions have."""
    return f"/sys/dev/block/{number}/partition"


def _above(number: str) -> str:
    return f"/sys/dev/block/{number}/../dev"


def _scheduler(disk: str) -> str:
    return f"/sys/dev/block/{disk}/queue/scheduler"


def _text(read: Read, path: str) -> str | None:
    value = read.get(path)
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else None
