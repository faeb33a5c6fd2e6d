"""Attached programs as files (:mod:`cgctl.bpf`): here they are kept as the text that they mean."""

from __future__ import annotations

from errno import EINVAL
from typing import Final

from cgctl.controllers.devices import Devices, format_text, parse_text
from cgctl.errors import SpecError
from cgctl.fake.refusal import refuse
from cgctl.fake.tree import Group

__all__ = ["READ", "WRITE"]

_DEVICES: Final = "@devices"


def _devices(group: Group) -> str:
    return group.values.get(_DEVICES) or f"{format_text(Devices(default='allow'))}\n"


def _set_devices(_group: Group, text: str) -> str:
    try:
        return f"{format_text(parse_text(text))}\n"
    except SpecError:
        refuse(EINVAL)


READ: Final = {_DEVICES: _devices}
WRITE: Final = {_DEVICES: _set_devices}
