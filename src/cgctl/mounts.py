"""Which filesystems are mounted where, and what a path names: pure parsers of what the edge reads."""

from __future__ import annotations

import re
from typing import Final

import attrs

from cgctl.formats import FormatError

__all__ = ["STATUS", "Mount", "Status", "parse_mountinfo", "parse_status"]

STATUS: Final = "stat:"
"""Before an absolute path: not the file's content is to be read, but what the path names, a :class:`Status`."""
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_STATUS: Final = re.compile(r"(?:([bc]) ([0-9]+:[0-9]+)|-) on ([0-9]+:[0-9]+) mount ([0-9]+)", re.ASCII)


@attrs.frozen(kw_only=True)
class Mount:
    """One line of ``/proc/PID/mountinfo``.

    Attributes:
        number: the mount's id.
        device: ``major:minor`` of the filesystem; equal for all mounts of one hierarchy.
        root: which directory of that filesystem is mounted.
        mount_point: where.
        options: per-mount options (``ro`` may be one).
        filesystem: its type.
        source: what is mounted, in the filesystem's own words: a device's path for those that have one.
        super_options: options of the filesystem; for v1 they end with its controllers.
    """

    number: int
    device: str
    root: str
    mount_point: str
    options: frozenset[str]
    filesystem: str
    source: str
    super_options: tuple[str, ...]

    @property
    def read_only(self) -> bool:
        """Whether writing through this mount is refused."""
        return "ro" in self.options or "ro" in self.super_options


@attrs.frozen(kw_only=True)
class Status:
    """What a path names, symbolic links followed.

    Attributes:
        type: ``b`` for a block device, ``c`` for a character device, ``-`` for all else.
        device: the device's ``major:minor``; empty for all else.
        filesystem: ``major:minor`` of what the file itself lies on; major 0 where that is no block device.
        mount: the id of the mount that it was reached through.
    """

    type: str
    device: str
    filesystem: str
    mount: int


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Read ``/proc/PID/mountinfo``.

    Raises:
        FormatError: a line has no `` - `` or too few fields.
    """
    return tuple(_mount(line) for line in text.splitlines())


def _mount(line: str) -> Mount:
    # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue   (proc_pid_mountinfo(5))
    try:
        before, after = line.split(" - ", 1)
        number, _, device, root, mount_point, options = before.split(" ")[:6]
        filesystem, source, super_options = [*after.split(" "), ""][:3]
        return Mount(
            number=int(number),
            device=device,
            root=_unescape(root),
            mount_point=_unescape(mount_point),
            options=frozenset(options.split(",")),
            filesystem=filesystem,
            source=_unescape(source),
            super_options=tuple(_unescape(option) for option in super_options.split(",")),
        )
    except ValueError:
        msg = f"not a line of mountinfo: {line!r}"
        raise FormatError(msg) from None


def _unescape(text: str) -> str:
    # Only ASCII is escaped: blank, tab, newline, backslash and '#'.
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def parse_status(text: str) -> Status:
    """Read what a filesystem answers for ``stat:PATH``: ``b 254:0 on 0:6 mount 24``, or ``- on 254:1 mount 31``.

    Raises:
        FormatError: it is something else.
    """
    match = _STATUS.fullmatch(text.strip())
    if match is None:
        msg = f"not the status of a path: {text!r}"
        raise FormatError(msg)
    return Status(type=match[1] or "-", device=match[2] or "", filesystem=match[3], mount=int(match[4]))
