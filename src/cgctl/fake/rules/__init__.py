"""What the interface files do: for each version, file → how it is read, and what a write to it does.

A file that is in neither table reads what was written, or its default, and takes no write. A writer returns the text
that is then read, or ``None`` where it has done all by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from cgctl.fake.rules import attached, core1, core2, cpu, cpuset, devices, io, memory, others, pids, pressure
from cgctl.fake.tree import Group

__all__ = ["INHERITED", "READ", "WRITE"]

READ: Final[Mapping[int, Mapping[str, Callable[[Group], str]]]] = {
    1: {
        **core1.READ,
        **cpu.READ_V1,
        **cpuset.READ_V1,
        **devices.READ,
        **io.READ_V1,
        **memory.READ_V1,
        **others.READ_V1,
        **pids.READ,
    },
    2: {
        **attached.READ,
        **core2.READ,
        **cpu.READ_V2,
        **cpuset.READ_V2,
        **io.READ_V2,
        **memory.READ_V2,
        **others.READ_V2,
        **pids.READ,
        **pressure.READ,
    },
}
WRITE: Final[Mapping[int, Mapping[str, Callable[[Group, str], Any]]]] = {
    1: {
        **core1.WRITE,
        **cpu.WRITE_V1,
        **cpuset.WRITE_V1,
        **devices.WRITE,
        **io.WRITE_V1,
        **memory.WRITE_V1,
        **others.WRITE_V1,
        **pids.WRITE,
    },
    2: {
        **attached.WRITE,
        **core2.WRITE,
        **cpu.WRITE_V2,
        **cpuset.WRITE_V2,
        **io.WRITE_V2,
        **memory.WRITE_V2,
        **others.WRITE_V2,
        **pids.WRITE,
        **pressure.WRITE,
    },
}
INHERITED: Final = (*core1.INHERITED, *cpuset.INHERITED_V1, *memory.INHERITED_V1, *others.INHERITED_V1)
"""What a new v1 group takes over from the one above, where its hierarchy has the file."""
