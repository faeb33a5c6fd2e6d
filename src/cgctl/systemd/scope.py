"""A unit of our own: a transient scope with the calling process in it, delegated, so that the tree below is ours.

A scope holds processes that systemd has not started, as long as there is one; then it is gone, with all that is below.
So one is enough for a process, and it lasts as long as that process, or what it leaves running.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any, Final

import attrs

from cgctl.errors import SystemdError
from cgctl.systemd.bus import FEATURE, Bus
from cgctl.systemd.properties import Property, properties

__all__ = ["SLICE", "Unit", "set_limits", "start_scope", "unit_at"]

SLICE: Final = "cgctl.slice"
"""Where scopes go unless told otherwise. It has no file of its own, but an administrator may write one."""

_INTERFACE: Final = "org.freedesktop.systemd1"
_CONTROLLERS: Final = ("cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids")
"""All that a systemd may have to give. Delegate=yes leaves out blkio and devices on v1 (252)."""


@attrs.frozen(kw_only=True)
class Unit:
    """A unit of systemd's.

    Attributes:
        name: such as ``foo.service``.
        control_group: its path in systemd's hierarchy, as systemd says it; never made of the name.
        delegated: whether the tree below is its processes' own.
    """

    name: str
    control_group: str
    delegated: bool


def unit_at(bus: Bus, control_group: str) -> Unit | None:
    """Return the unit of this systemd that a cgroup is, or is below, if there is one.

    Raises:
        SystemdError: systemd refused, or did not answer in time.
    """
    try:
        (path,) = bus.manage("GetUnitByControlGroup", "s", control_group)
    except SystemdError as error:
        if error.name.endswith((".NoSuchUnit", ".NoUnitForPID")):
            return None
        raise
    return _unit(bus, path)


def start_scope(bus: Bus, slice_name: str) -> Unit:
    """Have systemd move the calling process, with all its threads, into a new scope; return when that is done.

    Args:
        bus: the systemd.
        slice_name: the slice that it is to be in.

    Raises:
        SystemdError: systemd refused, or did not answer in time.
    """
    name = f"cgctl-{os.getpid()}-{secrets.token_hex(4)}.scope"
    bus.listen("JobRemoved")
    job = _start(bus, name, slice_name)
    *_, result = bus.await_signal("JobRemoved", lambda body: bool(body[1] == job))
    if result != "done":
        reason = f"systemd's job that starts {name} has ended as {result!r}; see why (journalctl -b -u {name})"
        raise SystemdError(FEATURE, reason, call="StartTransientUnit", name=result)
    (path,) = bus.manage("GetUnit", "s", name)
    return _unit(bus, path)


def set_limits(bus: Bus, unit: Unit, specs: Mapping[str, Any]) -> None:
    """Set limits of a unit, for as long as it runs.

    Raises:
        UnsupportedError: systemd has no such limit.
        SystemdError: systemd refused, or did not answer in time.
    """
    bus.manage("SetUnitProperties", "sba(sv)", unit.name, True, properties(specs))  # noqa: FBT003 - no file of it


def _start(bus: Bus, name: str, slice_name: str) -> str:
    """Start it with all that we would like of it, or without what this systemd does not know; return the job."""
    # Our slice goes when its last scope does. One that was loaded already, or has a file, is as it is.
    slices = [(slice_name, [("StopWhenUnneeded", ("b", True))])] if slice_name == SLICE else []
    wanted = _wanted(slice_name)
    while True:
        try:
            # "replace": our slice may just be about to be stopped.
            (job,) = bus.manage("StartTransientUnit", "ssa(sv)a(sa(sv))", name, "replace", wanted, slices)
        except SystemdError as error:
            unknown = [each for each in wanted if each[0] == "OOMPolicy"]
            if slices and error.name.endswith(".UnitExists"):
                slices = []
            elif unknown and error.name.endswith((".PropertyReadOnly", ".UnknownProperty")):
                wanted = [each for each in wanted if each not in unknown]
            else:
                raise
        else:
            return str(job)


def _wanted(slice_name: str) -> list[Property]:
    return [
        ("Description", ("s", f"groups of process {os.getpid()}, made by cgctl")),
        ("Slice", ("s", slice_name)),
        ("DelegateControllers", ("as", [*_CONTROLLERS])),
        # 0 is whoever asks, by the credentials of the socket: right in every pid namespace.
        ("PIDs", ("au", [0])),
        # Who is killed at a limit below is no failure of the unit's, nor a reason to end the rest (since systemd 253).
        ("OOMPolicy", ("s", "continue")),
        ("CollectMode", ("s", "inactive-or-failed")),
    ]


def _unit(bus: Bus, path: str) -> Unit:
    name = str(bus.get(path, f"{_INTERFACE}.Unit", "Id"))
    kind = name.rpartition(".")[2].capitalize()
    return Unit(
        name=name,
        control_group=str(bus.get(path, f"{_INTERFACE}.{kind}", "ControlGroup")),
        delegated=kind in {"Scope", "Service"} and bool(bus.get(path, f"{_INTERFACE}.{kind}", "Delegate")),
    )
