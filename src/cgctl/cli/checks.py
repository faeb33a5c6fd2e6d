"""What ``cgctl doctor`` looks at: one small function a check. Those that try things are in ``trials``."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from typing import Final

import attrs

import cgctl
from cgctl.controllers import CONTROLLERS, Controller

__all__ = [
    "Bench",
    "Check",
    "Finding",
    "base",
    "controllers",
    "failure",
    "hierarchies",
    "own_group",
    "pressure",
    "versions",
]

_PSI: Final = "/proc/pressure/memory"


@attrs.frozen(kw_only=True)
class Finding:
    """What one check has found.

    Attributes:
        name: what was looked at.
        ok: whether it is there and works.
        found: what was found.
        reason: why it is missing.
        fix: what would change that.
        required: whether cgctl is of no use without it.
    """

    name: str
    ok: bool
    found: str = ""
    reason: str = ""
    fix: str = ""
    required: bool = False


@attrs.frozen
class Bench:
    """What checks may use.

    Attributes:
        system: the machine; ``None`` if it could not be looked at.
        trial: a group with limits, made for the checks; ``None`` if it could not be made.
        trouble: why something could not be had.
    """

    system: cgctl.System | None
    trial: cgctl.Group | None
    trouble: cgctl.CgctlError | None = None

    def untried(self, name: str, *, required: bool = False) -> Finding:
        """Return the finding of a check that could not be done."""
        return failure(name, self.trouble or cgctl.CgctlError("there is no group to try it in"), required=required)


Check = Callable[[Bench], Iterator[Finding]]


def failure(name: str, error: Exception, *, required: bool = False) -> Finding:
    """Return a finding of an error; what comes after its last semicolon is what to do."""
    text = str(error)
    reason, semicolon, fix = text.rpartition("; ")
    reason, fix = (reason, fix) if semicolon else (text, "")
    return Finding(name=name, ok=False, reason=reason, fix=fix, required=required)


def versions(bench: Bench) -> Iterator[Finding]:
    """Tell what this runs on."""
    del bench
    yield Finding(name="kernel", ok=True, found=f"{os.uname().release} {os.uname().machine}")
    yield Finding(name="python", ok=True, found=f"{platform.python_version()} ({sys.executable})")
    yield Finding(name="cgctl", ok=True, found=cgctl.__version__)


def hierarchies(bench: Bench) -> Iterator[Finding]:
    """Tell what is mounted."""
    if bench.system is None:
        yield bench.untried("hierarchies", required=True)
        return
    for each in bench.system.layout.hierarchies:
        words = ["named" if each.name else " ".join(each.controllers) or "no controllers", f"at {each.mount_point}"]
        name = f"hierarchy {each.label}"
        if each.read_only:
            fix = "remount it read-write; in a container, ask for a writable one (docker run --privileged)"
            reason = f"v{each.version} at {each.mount_point} is mounted read-only"
            yield Finding(name=name, ok=False, reason=reason, fix=fix)
        else:
            yield Finding(name=name, ok=True, found=f"v{each.version}: {', '.join(words)}")


def controllers(bench: Bench) -> Iterator[Finding]:
    """Tell where each controller is that cgctl knows."""
    if bench.system is None:
        return
    layout = bench.system.layout
    for name, controller in CONTROLLERS.items():
        home = next((home for each in (name, *controller.v1) if (home := layout.locate(each))), None)
        if name == "core":
            continue
        if home is None and controller.everywhere and layout.unified:
            yield _attached(bench.system, controller, layout.unified.mount_point)
        elif home is None:
            reason, fix = "it is in no mounted hierarchy", f"mount it, or boot with cgroup_enable={name}"
            yield Finding(name=f"controller {name}", ok=False, reason=reason, fix=fix)
        else:
            yield Finding(name=f"controller {name}", ok=True, found=f"v{home.version}, hierarchy {home.label}")


def _attached(system: cgctl.System, controller: Controller, root: str) -> Finding:
    """Tell whether what v2 has no controller of can be done by programs that are attached to its groups."""
    file = next(row.v2.file for row in controller.settings if row.v2)
    name, found = f"controller {controller.name}", "v2, by programs attached to groups"
    try:
        system.filesystem.read(f"{root}/{file}")
    except OSError as error:
        fix = "run as root, with a kernel that has CONFIG_CGROUP_BPF"
        return Finding(name=name, ok=False, reason=f"{found}: {error.strerror}", fix=fix)
    return Finding(name=name, ok=True, found=found)


def own_group(bench: Bench) -> Iterator[Finding]:
    """Tell where cgctl itself is."""
    if bench.system is None:
        return
    directories, refused = bench.system.own_directories()
    for label, directory in directories.items():
        yield Finding(name=f"own cgroup in {label}", ok=True, found=directory)
    for label, reason in refused.items():
        yield failure(f"own cgroup in {label}", cgctl.CgctlError(reason))


def base(bench: Bench) -> Iterator[Finding]:
    """Tell where groups go, and why."""
    if bench.system is None:
        return
    where = bench.system.base
    if not where.directories:
        reason = f"by {where.origin}, no hierarchy has a place for groups"
        yield Finding(name="base", ok=False, reason=reason, fix="see the next lines", required=True)
    else:
        yield Finding(name="base", ok=True, found=f"by {where.origin}", required=True)
    for label, directory in where.directories.items():
        found = "/".join((directory.rstrip("/"), *where.parts))
        yield Finding(name=f"base in {label}", ok=True, found=found)
    for label, reason in where.refused.items():
        yield failure(f"base in {label}", cgctl.CgctlError(reason))


def pressure(bench: Bench) -> Iterator[Finding]:
    """Tell whether the kernel has pressure stall information."""
    del bench
    try:
        with open(_PSI, encoding="ascii") as file:
            file.read()
    except OSError as error:
        reason = f"{_PSI} cannot be read: {error.strerror}"
        yield Finding(name="pressure (PSI)", ok=False, reason=reason, fix="boot with psi=1")
    else:
        yield Finding(name="pressure (PSI)", ok=True, found=_PSI)
