"""Attached programs as files (:mod:`cgctl.bpf`): here they are kept as the text that they mean, and answer by it."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from errno import EINVAL
from typing import Final

from cgctl.bpf import machine
from cgctl.bpf.devices import ACCESS, TYPES, compile_rules
from cgctl.controllers.devices import Devices, format_text, parse_text
from cgctl.errors import SpecError
from cgctl.fake.refusal import refuse
from cgctl.fake.tree import Group

__all__ = ["READ", "WRITE", "allows", "count"]

_DEVICES, _COUNTERS = "@devices", "@net_counters"
_COUNTED: Final = ("rx_bytes", "rx_packets", "tx_bytes", "tx_packets")
_U32: Final = 2**32 - 1

# --- devices --------------------------------------------------------------------------------------------------------


def _devices(group: Group) -> str:
    return group.values.get(_DEVICES) or f"{format_text(Devices(default='allow'))}\n"


def _set_devices(_group: Group, text: str) -> str:
    try:
        return f"{format_text(parse_text(text))}\n"
    except SpecError:
        refuse(EINVAL)


def allows(group: Group, kind: str, major: int, minor: int, access: str) -> bool:
    """Tell whether a process in the group may access a device: every program here and above has to say so."""
    asked = sum(ACCESS[letter] for letter in access)
    context = struct.pack("=III", asked << 16 | TYPES[kind], major, minor)
    texts = (each.values.get(_DEVICES) for each in group.line())
    return all(machine.run(_program(text), bytearray(context)) for text in texts if text)


@functools.lru_cache
def _program(text: str) -> bytes:
    return compile_rules(parse_text(text))


# --- networks -------------------------------------------------------------------------------------------------------


def _number(name: str) -> Callable[[Group], str]:
    return lambda group: group.values.get(name, "0\n")


def _set_number(_group: Group, text: str) -> str:
    word = text.strip()
    if not (word.isascii() and word.isdigit()) or int(word) > _U32:
        refuse(EINVAL)
    return f"{int(word)}\n"


def _counters(group: Group) -> str:
    if _COUNTERS not in group.values:
        return ""
    return "".join(f"{name} {group.counts.get(f'@net.{name}', 0)}\n" for name in _COUNTED)


def _set_counters(group: Group, text: str) -> None:
    word = text.strip()
    if word not in {"0", "1"}:
        refuse(EINVAL)
    if word == "1":
        group.values[_COUNTERS] = "1"
    elif group.values.pop(_COUNTERS, None):
        for name in _COUNTED:
            group.counts.pop(f"@net.{name}", None)


def count(group: Group, way: str, size: int, packets: int) -> None:
    """Count what a socket of a group sent (``tx``) or received (``rx``), here and above, where programs count."""
    for each in group.line():
        if _COUNTERS in each.values:
            for name, number in ((f"@net.{way}_bytes", size), (f"@net.{way}_packets", packets)):
                each.counts[name] = each.counts.get(name, 0) + number


READ: Final = {
    _DEVICES: _devices,
    "@net_class": _number("@net_class"),
    _COUNTERS: _counters,
    "@net_mark": _number("@net_mark"),
}
WRITE: Final = {
    _DEVICES: _set_devices,
    "@net_class": _set_number,
    _COUNTERS: _set_counters,
    "@net_mark": _set_number,
}
