"""The names and numbers of capabilities, of ``include/uapi/linux/capability.h``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from cgctl.errors import SpecError, shown

__all__ = ["CAPABILITIES", "number_of", "parse_capabilities"]

CAPABILITIES: Final = (
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
)
"""All that there are up to Linux 7.3, by number."""


def parse_capabilities(value: Any) -> tuple[str, ...] | None:
    """Read names of capabilities, with or without ``CAP_``, in any case; ``"all"`` are all.

    Raises:
        SpecError: there is no such capability.
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = CAPABILITIES if value.lower() == "all" else value.replace(",", " ").split()
    if not isinstance(value, Iterable):
        msg = f"capabilities={shown(value)}: give names such as ['NET_RAW']"
        raise SpecError(msg)
    found = set()
    for each in value:
        name = each.upper().removeprefix("CAP_") if isinstance(each, str) else each
        if name not in CAPABILITIES:
            msg = f"capabilities: there is none of the name {shown(each)}; they are named as in capabilities(7)"
            raise SpecError(msg)
        found.add(name)
    return tuple(name for name in CAPABILITIES if name in found)


def number_of(name: str) -> int:
    """Return the number of a capability."""
    return CAPABILITIES.index(name)
