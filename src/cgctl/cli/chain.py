"""Where groups go on this machine, which case that is, and why not another: what ``cgctl doctor`` tells of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import psutil

import cgctl
from cgctl import claim, members
from cgctl.address import Address
from cgctl.cli.checks import Bench, Finding, failure
from cgctl.filesystem import is_there
from cgctl.layout import Hierarchy
from cgctl.systemd.delegation import Writer, cgroup_namespace, in_charge, managed

__all__ = ["case", "place"]

_DELEGATION: Final = {
    Writer.OURS: "in a scope that cgctl asked systemd for",
    Writer.DELEGATED: "in a delegated unit",
    Writer.USER_MANAGER: "in a unit of a user's systemd",
    Writer.SYSTEMD: "in a unit that systemd has not delegated",
}
_CONTAINERS: Final = {"/run/.containerenv": "podman", "/.dockerenv": "docker", "/run/host/container-manager": ""}


def case(bench: Bench) -> Iterator[Finding]:
    """Tell which of the cases this is: systemd, whose unit, a container and of which kind, or none of them."""
    if bench.system is None:
        return
    found = [*_cases(bench.system)]
    yield Finding(name="case", ok=True, found="; ".join(found) or "a machine without systemd")


def place(bench: Bench) -> Iterator[Finding]:
    """Tell the chain that chooses where groups go, in its order: each with what was found."""
    if bench.system is None:
        return
    system = bench.system
    variable = os.environ.get("CGCTL_BASE")
    yield Finding(name="place: CGCTL_BASE", ok=True, found=variable or "not set")
    yield _own(system)
    yield _beside(system)
    yield _systemd(bench)
    yield Finding(name="place: CGCTL_EVACUATE", ok=True, found=os.environ.get("CGCTL_EVACUATE") or "not set")
    if bench.trial is None:
        yield bench.untried("place: chosen", required=True)
    else:
        yield Finding(name="place: chosen", ok=True, found=", ".join(bench.trial.paths().values()), required=True)


def _cases(system: cgctl.System) -> Iterator[str]:
    hierarchy = _first(system)
    if in_charge(system.filesystem):
        writer = claim.writer(Address(system, system.base, ()))
        yield f"systemd{f', {_DELEGATION[writer]}' if writer else ''}"
    runtime = next((name for path, name in _CONTAINERS.items() if os.path.exists(path)), None)
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        runtime = "Kubernetes"
    if runtime is not None:
        yield f"a container{f' ({runtime})' if runtime else ''}"
    namespace = cgroup_namespace()
    if not namespace.is_first:
        yield f"a cgroup namespace {'with PID 1' if namespace.is_of_init else 'of its own'}"
    if hierarchy.read_only:
        yield "a read-only cgroup filesystem"
    if hierarchy.directory(system.membership().get(hierarchy.label, "/..")) is None:
        yield "the own cgroup is outside of what is mounted"
    elif others := _others(system):
        yield f"an own cgroup that others are in, too ({len(others)})"


def _own(system: cgctl.System) -> Finding:
    hierarchy = _first(system)
    directories, refused = system.own_directories()
    name = "place: own cgroup"
    if hierarchy.label in refused:
        return failure(name, cgctl.CgctlError(refused[hierarchy.label]))
    return Finding(name=name, ok=True, found=directories[hierarchy.label])


def _beside(system: cgctl.System) -> Finding:
    """Tell who else is in the own group, which on v2 has to be empty before it can give controllers on."""
    name, others = "place: others in it", _others(system)
    if not others:
        return Finding(name=name, ok=True, found="none but this process and what it started")
    shown = ", ".join(f"{pid} ({_called(pid)})" if pid else "0 (of another pid namespace)" for pid in others[:5])
    reason = f"{len(others)} processes are not this one's: {shown}; a v2 group with processes enables no controllers"
    fix = (
        "in a container of your own set CGCTL_EVACUATE=1: they move to a leaf below; elsewhere use a group of your own"
    )
    return Finding(name=name, ok=False, reason=reason, fix=fix)


def _systemd(bench: Bench) -> Finding:
    name = "place: systemd"
    assert bench.system is not None  # noqa: S101 - asked before
    if not in_charge(bench.system.filesystem):
        why = "it does not run here"
        if os.path.isdir("/run/systemd/system"):
            why = "this cgroup namespace is not systemd's"
        return Finding(name=name, ok=True, found=f"is not asked: {why}")
    before = claim.writer(Address(bench.system, bench.system.base, ()))
    told = _DELEGATION[before] if before else "delegates nothing of v1 to ordinary users"
    if bench.trial is None:
        return failure(name, bench.trouble or cgctl.CgctlError(told))
    label = managed(bench.system.layout)[0].label
    now, was = bench.trial.system.own_directories()[0].get(label), bench.system.base.directories.get(label)
    asked = now != was and before in {Writer.SYSTEMD, Writer.USER_MANAGER}
    moved = f"; asked for a scope: {now}" if asked else ""
    return Finding(name=name, ok=True, found=f"{told}{moved}")


def _first(system: cgctl.System) -> Hierarchy:
    return system.layout.unified or system.layout.hierarchies[0]


def _others(system: cgctl.System) -> list[int]:
    """Return the processes in the own v2 group that are neither this one nor its descendants."""
    hierarchy = system.layout.unified
    directory = system.own_directories()[0].get(hierarchy.label) if hierarchy else None
    # The real root, which alone has no type, may hold processes beside enabled controllers.
    if directory is None or not is_there(system.filesystem, f"{directory}/cgroup.type"):
        return []
    own = psutil.Process()
    mine = {own.pid, *(child.pid for child in own.children(recursive=True))}
    return [pid for pid in members.procs(system.filesystem, directory) if pid not in mine]


def _called(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "gone"
