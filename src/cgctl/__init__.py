"""Control Linux resources: cgroups of both versions, and programs that run in them.

::

    with cgctl.Group("p1", memory="100M"):          # this block, and all that it starts, has 100 MiB
        train()

    result = cgctl.run(["./job"], memory="512M", cpu=1, pids=64, timeout=60)
    print(result.returncode, result.stats.memory.peak, result.oom_killed)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cgctl.controllers import (
    DEVICES_DEFAULT,
    Core,
    CoreStats,
    Cpu,
    Cpuset,
    CpusetStats,
    CpuStats,
    DeviceRule,
    Devices,
    DevicesStats,
    Dmem,
    DmemStats,
    Hugetlb,
    HugetlbPages,
    HugetlbStats,
    Io,
    IoCostModel,
    IoCostQos,
    IoDevice,
    IoMax,
    IoStats,
    Limits,
    Memory,
    MemoryEvents,
    MemoryStat,
    MemoryStats,
    Misc,
    MiscStats,
    Net,
    NetStats,
    Partition,
    PerfEvent,
    PerfEventStats,
    Pids,
    PidsStats,
    Rdma,
    RdmaStats,
    Stats,
    SwapEvents,
)
from cgctl.errors import (
    CgctlError,
    GroupExistsError,
    GroupNotFoundError,
    LaunchError,
    OutOfMemoryError,
    ProcessError,
    SpecError,
    StepError,
    SystemdError,
    TimeoutExpired,
    UnsupportedError,
)
from cgctl.group import Group, current
from cgctl.plan import Plan
from cgctl.system import System
from cgctl.units import MAX

if TYPE_CHECKING:
    from cgctl import convert, testing
    from cgctl.launch.interface import Veth
    from cgctl.launch.looking import Namespace, namespaces
    from cgctl.launch.mount import Mount
    from cgctl.launch.process import Process
    from cgctl.launch.sandbox import Sandbox
    from cgctl.peaks import Peak
    from cgctl.rootfs import Rootfs
    from cgctl.runner import Completed, popen, run

__version__ = "0.1.0"

__all__ = [
    "DEVICES_DEFAULT",
    "MAX",
    "CgctlError",
    "Completed",
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
    "Group",
    "GroupExistsError",
    "GroupNotFoundError",
    "Hugetlb",
    "HugetlbPages",
    "HugetlbStats",
    "Io",
    "IoCostModel",
    "IoCostQos",
    "IoDevice",
    "IoMax",
    "IoStats",
    "LaunchError",
    "Limits",
    "Memory",
    "MemoryEvents",
    "MemoryStat",
    "MemoryStats",
    "Misc",
    "MiscStats",
    "Mount",
    "Namespace",
    "Net",
    "NetStats",
    "OutOfMemoryError",
    "Partition",
    "Peak",
    "PerfEvent",
    "PerfEventStats",
    "Pids",
    "PidsStats",
    "Plan",
    "Process",
    "ProcessError",
    "Rdma",
    "RdmaStats",
    "Rootfs",
    "Sandbox",
    "SpecError",
    "Stats",
    "StepError",
    "SwapEvents",
    "System",
    "SystemdError",
    "TimeoutExpired",
    "UnsupportedError",
    "Veth",
    "convert",
    "current",
    "namespaces",
    "popen",
    "run",
    "testing",
]

# The launcher is needed only by those who launch, as root directories are: their imports wait until then.
_LAZY = {
    "Completed": "cgctl.runner",
    "Mount": "cgctl.launch.mount",
    "Namespace": "cgctl.launch.looking",
    "Peak": "cgctl.peaks",
    "Process": "cgctl.launch.process",
    "Rootfs": "cgctl.rootfs",
    "Sandbox": "cgctl.launch.sandbox",
    "Veth": "cgctl.launch.interface",
    "namespaces": "cgctl.launch.looking",
    "popen": "cgctl.runner",
    "run": "cgctl.runner",
}


def __getattr__(name: str) -> Any:
    import importlib  # noqa: PLC0415 - only for what is lazy

    if name in {"convert", "testing"}:
        return importlib.import_module(f"cgctl.{name}")
    if name in _LAZY:
        # The function shadows its module's name in this namespace, which the import system would set.
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
