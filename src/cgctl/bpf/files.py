"""Attached programs as files: ``@devices`` in a group's directory, read and written as text.

A new sort of program is a :class:`File` in :data:`FILES`. The text is what a program means, not its code: reading tells
what the kernel holds, also when somebody else attached or detached it meanwhile, and writing what was read changes
nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from errno import EBADMSG, EINVAL, ENOENT
from typing import Final, Protocol

import attrs

from cgctl.bpf import traffic
from cgctl.bpf.attachment import Kind, look, put, take
from cgctl.bpf.devices import compile_rules, read_rules
from cgctl.bpf.syscall import AttachType, ProgramType
from cgctl.controllers.devices import Devices, format_text, parse_text

__all__ = ["FILES", "File", "read", "write"]


class File(Protocol):
    """One sort of program, as text. The group is a descriptor of its directory; all raise ``OSError``."""

    def read(self, group: int) -> bytes:
        """Return what is attached to the group, as text; a default text where nothing is."""

    def write(self, group: int, data: bytes) -> None:
        """Attach what a text says, in place of what is attached; ``EINVAL`` if it is no such text."""


@attrs.frozen
class _Devices:
    """``@devices``: which device nodes may be used; see :mod:`cgctl.controllers.devices`."""

    kind: Kind

    def read(self, group: int) -> bytes:
        found = look(group, self.kind)
        try:
            # Where an update was interrupted there is more than one; the next update leaves the last.
            rules = [read_rules(program.code or b"") for program in found.ours] or [Devices(default="allow")]
        except ValueError:
            text = f"{os.strerror(EBADMSG)} (program {found.ours[-1].id} is not as this release makes them)"
            raise OSError(EBADMSG, text) from None
        lines = [format_text(rules[-1]), *(f"other {program.name or program.id}" for program in found.others)]
        return "".join(f"{line}\n" for line in lines).encode()

    def write(self, group: int, data: bytes) -> None:
        try:
            devices = parse_text(data.decode())
        except ValueError:
            raise OSError(EINVAL, os.strerror(EINVAL)) from None
        if devices == Devices(default="allow"):
            take(group, self.kind)
        else:
            put(group, self.kind, compile_rules(devices))


FILES: Final[Mapping[str, File]] = {
    "@devices": _Devices(
        Kind(name="cgctl_devices", type=ProgramType.CGROUP_DEVICE, attach_type=AttachType.CGROUP_DEVICE)
    ),
    "@net_class": traffic.CLASS,
    "@net_counters": traffic.COUNTERS,
    "@net_mark": traffic.MARK,
}
"""File name → sort of program."""


def read(group: int, name: str) -> bytes:
    """Return the text of a group's attached program.

    Args:
        group: a descriptor of its directory.
        name: as in :data:`FILES`.

    Raises:
        OSError: ``ENOENT``: there is no such file; all others are the kernel's.
    """
    return _find(name).read(group)


def write(group: int, name: str, data: bytes) -> None:
    """Attach what a text says.

    Args:
        group: a descriptor of its directory.
        name: as in :data:`FILES`.
        data: the text.

    Raises:
        OSError: ``ENOENT``: there is no such file; ``EINVAL``: it has no such text; all others are the kernel's.
    """
    _find(name).write(group, data)


def _find(name: str) -> File:
    if name not in FILES:
        raise OSError(ENOENT, os.strerror(ENOENT))
    return FILES[name]
