"""The controllers cgctl knows, one module each, and the table of them; each is imported when it is first wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypedDict

import attrs

from cgctl.controllers._presence import PRESENCE
from cgctl.controllers._row import CORE, SIZE, SYMBOLS, Clash, Controller, Row, Side
from cgctl.controllers._values import BYTES, CLASS, USEC
from cgctl.errors import SpecError

if TYPE_CHECKING:
    from cgctl.controllers.core import Core, CoreStats
    from cgctl.controllers.cpu import Cpu, CpuStats
    from cgctl.controllers.cpuset import Cpuset, CpusetStats, Partition
    from cgctl.controllers.devices import DEVICES_DEFAULT, DeviceRule, Devices, DevicesStats
    from cgctl.controllers.dmem import Dmem, DmemStats
    from cgctl.controllers.hugetlb import Hugetlb, HugetlbPages, HugetlbStats
    from cgctl.controllers.io import Io, IoCostModel, IoCostQos, IoDevice, IoMax, IoStats
    from cgctl.controllers.memory import Memory, MemoryEvents, MemoryStat, MemoryStats, SwapEvents, parse_swappiness
    from cgctl.controllers.misc import Misc, MiscStats
    from cgctl.controllers.net import Net, NetStats
    from cgctl.controllers.perf_event import PerfEvent, PerfEventStats
    from cgctl.controllers.pids import Pids, PidsStats
    from cgctl.controllers.rdma import Rdma, RdmaStats
    from cgctl.units import Max, Size

__all__ = [
    "BYTES",
    "CLASS",
    "CONTROLLERS",
    "CORE",
    "DEVICES_DEFAULT",
    "PRESENCE",
    "SIZE",
    "SYMBOLS",
    "USEC",
    "Clash",
    "Controller",
    "ControllerKeywords",
    "Core",
    "CoreStats",
    "Cpu",
    "CpuStats",
    "Cpuset",
    "CpusetStats",
    "DeviceRule",
    "Devices",
    "DevicesStats",
    "Dmem",
    "DmemStats",
    "Hugetlb",
    "HugetlbPages",
    "HugetlbStats",
    "Io",
    "IoCostModel",
    "IoCostQos",
    "IoDevice",
    "IoMax",
    "IoStats",
    "Limits",
    "Memory",
    "MemoryEvents",
    "MemoryStat",
    "MemoryStats",
    "Misc",
    "MiscStats",
    "Net",
    "NetStats",
    "Partition",
    "PerfEvent",
    "PerfEventStats",
    "Pids",
    "PidsStats",
    "Rdma",
    "RdmaStats",
    "Row",
    "Side",
    "Stats",
    "SwapEvents",
    "parse_specs",
    "parse_swappiness",
]

_HOMES: Final = {
    "Core": "core",
    "CoreStats": "core",
    "Cpu": "cpu",
    "CpuStats": "cpu",
    "Cpuset": "cpuset",
    "CpusetStats": "cpuset",
    "DEVICES_DEFAULT": "devices",
    "DeviceRule": "devices",
    "Devices": "devices",
    "DevicesStats": "devices",
    "Dmem": "dmem",
    "DmemStats": "dmem",
    "Hugetlb": "hugetlb",
    "HugetlbPages": "hugetlb",
    "HugetlbStats": "hugetlb",
    "Io": "io",
    "IoCostModel": "io",
    "IoCostQos": "io",
    "IoDevice": "io",
    "IoMax": "io",
    "IoStats": "io",
    "Memory": "memory",
    "MemoryEvents": "memory",
    "MemoryStat": "memory",
    "MemoryStats": "memory",
    "Misc": "misc",
    "MiscStats": "misc",
    "Net": "net",
    "NetStats": "net",
    "Partition": "cpuset",
    "PerfEvent": "perf_event",
    "PerfEventStats": "perf_event",
    "Pids": "pids",
    "PidsStats": "pids",
    "Rdma": "rdma",
    "RdmaStats": "rdma",
    "SwapEvents": "memory",
    "parse_swappiness": "memory",
}
"""Name → the module that has it."""


if not TYPE_CHECKING:  # a type checker is to know of no other names

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value


class _Controllers(Mapping[str, Controller]):
    """Name → controller, in the order in which limits are written."""

    def __init__(self) -> None:
        self._found: dict[str, Controller] = {}

    def __getitem__(self, name: str) -> Controller:
        if name not in self._found:
            if name not in PRESENCE:
                raise KeyError(name)
            self._found[name] = import_module(f"{__name__}.{name}").CONTROLLER
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in PRESENCE

    def __iter__(self) -> Iterator[str]:
        return iter(PRESENCE)

    def __len__(self) -> int:
        return len(PRESENCE)


CONTROLLERS: Final[Mapping[str, Controller]] = _Controllers()
"""Name → controller, in the order in which limits are written."""


@attrs.frozen(kw_only=True)
class Limits:
    """What the kernel holds, one attribute a controller; ``None`` where the group has not that controller."""

    core: Core | None = None
    cpuset: Cpuset | None = None
    cpu: Cpu | None = None
    memory: Memory | None = None
    io: Io | None = None
    hugetlb: Hugetlb | None = None
    pids: Pids | None = None
    devices: Devices | None = None
    net: Net | None = None
    rdma: Rdma | None = None
    misc: Misc | None = None
    dmem: Dmem | None = None
    perf_event: PerfEvent | None = None


@attrs.frozen(kw_only=True)
class Stats:
    """What the kernel tells, one attribute a controller; ``None`` where the group has not that controller."""

    core: CoreStats | None = None
    cpuset: CpusetStats | None = None
    cpu: CpuStats | None = None
    memory: MemoryStats | None = None
    io: IoStats | None = None
    hugetlb: HugetlbStats | None = None
    pids: PidsStats | None = None
    devices: DevicesStats | None = None
    net: NetStats | None = None
    rdma: RdmaStats | None = None
    misc: MiscStats | None = None
    dmem: DmemStats | None = None
    perf_event: PerfEventStats | None = None


class ControllerKeywords(TypedDict, total=False):
    """One keyword a controller: its spec, or the shorthand for its main limit."""

    core: Core | None
    cpuset: Cpuset | str | Iterable[int] | None
    cpu: Cpu | float | str | Max | None
    memory: Memory | int | str | Max | None
    io: Io | Mapping[str, IoMax | int | str | Max] | str | None
    hugetlb: Hugetlb | Mapping[str | int, Size] | str | None
    pids: Pids | int | str | Max | None
    devices: Devices | Iterable[DeviceRule | str] | None
    net: Net | int | str | None
    rdma: Rdma | Mapping[str, Mapping[str, Size]] | str | None
    misc: Misc | Mapping[str, Size] | str | None
    dmem: Dmem | Mapping[str, Size] | str | None
    perf_event: PerfEvent | bool | None


def parse_specs(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Turn controller keywords into specs, in the order of :data:`CONTROLLERS`; ``None`` is left out.

    Raises:
        SpecError: a keyword names no controller, or its value is nonsense.
    """
    for name in keywords:
        if name not in CONTROLLERS:
            msg = f"{name}=: there is no such controller; cgctl has {', '.join(CONTROLLERS)}"
            raise SpecError(msg)
    return {name: CONTROLLERS[name].parse(keywords[name]) for name in PRESENCE if keywords.get(name) is not None}
