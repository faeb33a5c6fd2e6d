"""Control Linux resources: cgroups of both versions, and programs that run in them.

::

    with cgctl.Group("p1", memory="100M"):          # this block, and all that it starts, has 100 MiB
        train()

    result = cgctl.run(["./job"], memory="512M", cpu=1, pids=64, timeout=60)
    print(result.returncode, result.stats.memory.peak, result.oom_killed)
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing for it would take longer than this module
if TYPE_CHECKING:
    from typing import Any

    from cgctl import convert, testing
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
    from cgctl.events import Event, Events
    from cgctl.group import Group, current
    from cgctl.launch.interface import Veth
    from cgctl.launch.looking import Namespace, namespaces
    from cgctl.launch.mount import Mount
    from cgctl.launch.process import Process
    from cgctl.launch.sandbox import Sandbox
    from cgctl.peaks import Peak
    from cgctl.plan import Plan
    from cgctl.rootfs import Rootfs
    from cgctl.runner import Completed, popen, run
    from cgctl.sampling import IoRates, NetRates, Sample, Sampler
    from cgctl.system import System
    from cgctl.units import MAX

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
    "Event",
    "Events",
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
    "IoRates",
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
    "NetRates",
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
    "Sample",
    "Sampler",
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

# Each is imported when it is first used: who makes a group needs no launcher, and no controller that he does not limit.
_NAMES = {
    "cgctl.controllers": (
        "Core CoreStats Cpu CpuStats Cpuset CpusetStats DEVICES_DEFAULT DeviceRule Devices "
        "DevicesStats Dmem DmemStats Hugetlb HugetlbPages HugetlbStats Io IoCostModel IoCostQos "
        "IoDevice IoMax IoStats Limits Memory MemoryEvents MemoryStat MemoryStats Misc MiscStats "
        "Net NetStats Partition PerfEvent PerfEventStats Pids PidsStats Rdma RdmaStats Stats "
        "SwapEvents"
    ),
    "cgctl.errors": (
        "CgctlError GroupExistsError GroupNotFoundError LaunchError OutOfMemoryError ProcessError "
        "SpecError StepError SystemdError TimeoutExpired UnsupportedError"
    ),
    "cgctl.events": "Event Events",
    "cgctl.group": "Group current",
    "cgctl.launch.interface": "Veth",
    "cgctl.launch.looking": "Namespace namespaces",
    "cgctl.launch.mount": "Mount",
    "cgctl.launch.process": "Process",
    "cgctl.launch.sandbox": "Sandbox",
    "cgctl.peaks": "Peak",
    "cgctl.plan": "Plan",
    "cgctl.rootfs": "Rootfs",
    "cgctl.runner": "Completed popen run",
    "cgctl.sampling": "IoRates NetRates Sample Sampler",
    "cgctl.system": "System",
    "cgctl.units": "MAX",
}
"""Module → the names that are shown here."""
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
_MODULES = frozenset({"controllers", "convert", "errors", "metrics", "plan", "testing"})


if not TYPE_CHECKING:  # a type checker is to know of no other names

    def __getattr__(name: str) -> Any:
        from importlib import import_module  # noqa: PLC0415 - only for what is not there yet

        if name in _MODULES:
            return import_module(f"cgctl.{name}")
        if name in _HOMES:
            # A function may have its module's name, which the import system would set.
            value = globals()[name] = getattr(import_module(_HOMES[name]), name)
            return value
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
