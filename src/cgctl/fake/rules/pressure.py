"""PSI: what was waited for is read; what is written are triggers, which last as long as the file is open.

A write by path opens and closes it, so that nothing is left of the trigger: see :class:`cgctl.fake.watching.OpenFile`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from errno import EINVAL
from typing import Final

from cgctl.fake.parse import BLANKS, decimal
from cgctl.fake.refusal import refuse
from cgctl.fake.time.pressure import shown
from cgctl.fake.time.triggers import Trigger
from cgctl.fake.tree import Group

__all__ = ["READ", "WRITE", "trigger"]

# What sscanf("some %u %u") reads: no sign, and any blanks or none before a number.
_TRIGGER: Final = re.compile(rf"(some|full)[{BLANKS}]*([0-9]+)[{BLANKS}]+([0-9]+)")
_LONGEST_WINDOW: Final = 10_000_000
_NSEC: Final = 1_000
_UNSIGNED: Final = 1 << 32


def trigger(group: Group, name: str, text: str) -> Trigger:
    """Make the trigger that is written to a file.

    Raises:
        OSError: ``EINVAL``: it is none.
    """
    match = _TRIGGER.match(text)
    if match is None:
        refuse(EINVAL)
    threshold, window = (decimal(match[which], saturates=group.profile.saturates)[0] % _UNSIGNED for which in (2, 3))
    if not group.profile.least_window <= window <= _LONGEST_WINDOW or not 0 < threshold <= window:
        refuse(EINVAL)
    privileged = not group.profile.ordinary_windows or not group.kernel.owners.user
    if not privileged and window % group.profile.ordinary_windows:
        refuse(EINVAL)
    if match[1] == "full" and name == "cpu.pressure" and not group.profile.full_cpu_pressure:
        refuse(EINVAL)
    line = f"{name.partition('.')[0]} {match[1]}"
    return Trigger(group=group, line=line, threshold=threshold * _NSEC, window=window * _NSEC, privileged=privileged)


def _writer(name: str) -> Callable[[Group, str], None]:
    def write(group: Group, text: str) -> None:
        trigger(group, name, text)

    return write


def _reader(name: str) -> Callable[[Group], str]:
    return lambda group: shown(group, name)


_NAMES: Final = ("cpu.pressure", "io.pressure", "irq.pressure", "memory.pressure")
READ: Final = {name: _reader(name) for name in _NAMES}
WRITE: Final = {name: _writer(name) for name in _NAMES}
