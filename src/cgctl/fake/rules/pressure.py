"""PSI: what was waited for is read; triggers are checked, and hold while the file that they were written to is open."""

from __future__ import annotations

import re
from collections.abc import Callable
from errno import EINVAL
from typing import Final

from cgctl.fake.refusal import refuse
from cgctl.fake.time.pressure import shown
from cgctl.fake.tree import Group

__all__ = ["READ", "WRITE"]

_TRIGGER: Final = re.compile(r"(some|full) (\d+) (\d+)")
_LONGEST_WINDOW: Final = 10_000_000


def _trigger(name: str) -> Callable[[Group, str], None]:
    def write(group: Group, text: str) -> None:
        match = _TRIGGER.match(text)
        if match is None:
            refuse(EINVAL)
        threshold, window = int(match[2]), int(match[3])
        if not group.profile.least_window <= window <= _LONGEST_WINDOW or not 0 < threshold <= window:
            refuse(EINVAL)
        if match[1] == "full" and name == "cpu.pressure" and not group.profile.full_cpu_pressure:
            refuse(EINVAL)

    return write


def _reader(name: str) -> Callable[[Group], str]:
    return lambda group: shown(group, name)


_NAMES: Final = ("cpu.pressure", "io.pressure", "irq.pressure", "memory.pressure")
READ: Final = {name: _reader(name) for name in _NAMES}
WRITE: Final = {name: _trigger(name) for name in _NAMES}
