"""The right to change the tree where systemd is its single writer: that is, in delegated units alone.

Where the caller's own unit is not delegated, systemd is asked for a scope that is, with the caller in it. The caller
stays there: the way back would be a write to somebody else's part of the tree. All groups of the process share it, and
it is gone with its last process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from cgctl.address import Address
from cgctl.errors import SystemdError, UnsupportedError
from cgctl.layout import Hierarchy
from cgctl.plan import Place
from cgctl.system import System, check_slice
from cgctl.systemd.delegation import OWN_MARK, Writer, in_charge, is_unit, limits_between, managed, writer_of

if TYPE_CHECKING:
    from cgctl.systemd.bus import Bus

__all__ = ["claimed", "is_ours", "require_known", "require_lasting", "set_as_unit", "writable", "writer"]

_IN_ONE: Final = "systemd-run --scope -p Delegate=yes CMD (with --user as an ordinary user)"
_asked: Final[dict[str, bool]] = {}
"""The control group of a user's unit → whether it is delegated, as the user's systemd said; that never changes."""


def claimed(address: Address, specs: Mapping[str, Any]) -> Address:
    """Return the address of a group that is to be made, below a base where this process may make it.

    If that takes a scope of systemd's, the process is in it afterwards. To be called by one thread at a time.

    Raises:
        UnsupportedError: there is none to be had.
    """
    where = _undelegated(address, lambda: [place.hierarchy.label for place in address.planned(specs)])
    if where is None:
        return address
    if not address.base.own:
        reason = (
            f"systemd manages {where} and has not delegated it; name a group in a delegated unit, or leave out"
            " CGCTL_BASE and the leading '/': then systemd is asked for one"
        )
        raise UnsupportedError(f"a group in {where}", reason)
    _enter_scope(address.system)
    directories, refused = address.system.own_directories()
    return attrs.evolve(address, base=attrs.evolve(address.base, directories=directories, refused=refused))


def require_lasting(address: Address, specs: Mapping[str, Any]) -> None:
    """Refuse to make a group that is to outlive this process, but would be in a scope that does not.

    Raises:
        UnsupportedError: it would be in one.
    """
    where = _undelegated(address, lambda: [place.hierarchy.label for place in address.planned(specs)])
    if where is not None and address.base.own:
        reason = (
            f"systemd manages {where} and has not delegated it, and a scope of our own would be gone with this process;"
            " start a shell in one (systemd-run --scope -p Delegate=yes bash; with --user as an ordinary user), or name"
            " a delegated unit that stays (CGCTL_BASE)"
        )
        raise UnsupportedError("a group that stays", reason)


def require_known(address: Address, labels: Collection[str]) -> None:
    """Refuse to say where a group would be that takes a scope which is not there yet.

    Raises:
        UnsupportedError: it takes one.
    """
    where = _undelegated(address, lambda: labels)
    if where is not None:
        reason = (
            f"systemd manages {where} and has not delegated it; it is asked for a scope when the first group is made,"
            f" and only then says where that is; make a group first, or start the program in one: {_IN_ONE}"
        )
        raise UnsupportedError(f"the place of group {address.name!r}", reason)


def set_as_unit(address: Address, specs: Mapping[str, Any]) -> bool:
    """Have systemd change the limits of a group that is a unit's own; tell whether it is one.

    systemd writes such a group's files again whenever it is reloaded, so what is to stay must be the unit's.

    Raises:
        GroupNotFoundError: it is not there.
        UnsupportedError: systemd has no such limit, or will not.
    """
    found = _looked_at(address)
    if found is None:
        return False
    address.require()
    if not is_unit(address.system.filesystem, *found):
        return False
    from cgctl.systemd.bus import Bus  # noqa: PLC0415 - few need it
    from cgctl.systemd.scope import set_limits, unit_at  # noqa: PLC0415 - the same

    path = _path(*found)
    if any(path.startswith(f"{control_group}/") for control_group in _asked):
        return False
    with Bus.open(user=os.geteuid() != 0) as bus:
        unit = unit_at(bus, path)
        if unit is None or unit.control_group != path:
            return False
        set_limits(bus, unit, specs)
    return True


def writable(address: Address) -> dict[str, Place]:
    """Return the places of a group that is to be changed: hierarchy label → place.

    Raises:
        GroupNotFoundError: it is not there.
        UnsupportedError: it is not in a delegated unit, so systemd alone may change it.
    """
    places = address.require()
    where = _undelegated(address, lambda: places)
    if where is not None:
        reason = (
            f"systemd manages {where} and has not delegated it, and would undo the change;"
            " ask systemd (systemctl set-property, freeze, thaw, kill)"
        )
        raise UnsupportedError(f"a change to group {address.name!r}", reason)
    return places


def is_ours(address: Address) -> bool:
    """Tell whether a group is in a scope that was asked for: all in there descend from whom it was made for."""
    return writer(address) is Writer.OURS


def writer(address: Address) -> Writer | None:
    """Return who may change the tree where a group is, as far as looking tells; ``None`` where systemd is not."""
    found = _looked_at(address)
    return found and writer_of(address.system.filesystem, found[0].mount_point, found[1])


def _undelegated(address: Address, labels: Callable[[], Collection[str]]) -> str | None:
    """Return the directory in which only systemd may write, if a group in these hierarchies is in such a one."""
    found, layout = _looked_at(address), address.system.layout
    if found is None or (layout.unified is None and not {h.label for h in managed(layout)}.intersection(labels())):
        return None
    hierarchy, directory = found
    filesystem = address.system.filesystem
    match writer_of(filesystem, hierarchy.mount_point, directory):
        case Writer.OURS | Writer.DELEGATED:
            return None
        case Writer.USER_MANAGER if _is_delegated_by_user(hierarchy, directory):
            return None
    return "/".join((address.base.directories[hierarchy.label], *address.base.parts))


def _looked_at(address: Address) -> tuple[Hierarchy, str] | None:
    """Return the hierarchy that has systemd's marks, and the group's directory there, if systemd is in charge of it."""
    system, base = address.system, address.base
    hierarchies = managed(system.layout)
    # What systemd delegates of v1, it delegates to root alone.
    if not hierarchies or (os.geteuid() and hierarchies[0] != system.layout.unified):
        return None
    directory = base.directories.get(hierarchies[0].label)
    if directory is None or not in_charge(system.filesystem):
        return None
    return hierarchies[0], "/".join((directory, *base.parts, *address.parts))


def _is_delegated_by_user(hierarchy: Hierarchy, directory: str) -> bool:
    from cgctl.systemd.bus import Bus  # noqa: PLC0415 - few need it
    from cgctl.systemd.scope import unit_at  # noqa: PLC0415 - the same

    path = _path(hierarchy, directory)
    for control_group, delegated in _asked.items():
        if path == control_group or path.startswith(f"{control_group}/"):
            return delegated
    try:
        bus = Bus.open(user=True)
    except UnsupportedError:
        # Nobody can be asked, so nobody can be asked for a scope either: the owner is whom it was delegated to.
        return _is_owner(directory)
    with bus:
        unit = unit_at(bus, path)
    if unit is None:
        return False
    _asked[unit.control_group] = unit.delegated
    return unit.delegated


def _is_owner(directory: str) -> bool:
    while directory:
        with contextlib.suppress(FileNotFoundError):
            return os.stat(directory).st_uid == os.geteuid()
        directory = directory.rpartition("/")[0]
    return False


def _enter_scope(system: System) -> None:
    """Have systemd put the calling process into a scope of its own.

    Raises:
        UnsupportedError: it will not, or that would leave limits behind.
    """
    from cgctl.systemd.bus import FEATURE, Bus  # noqa: PLC0415 - few need it
    from cgctl.systemd.scope import SLICE, start_scope  # noqa: PLC0415 - the same

    chosen = system.slice or os.environ.get("CGCTL_SLICE") or None
    hierarchy = managed(system.layout)[0]
    with Bus.open(user=os.geteuid() != 0) as bus:
        if chosen is None:
            _require_unlimited(system, bus)
        unit = start_scope(bus, SLICE if chosen is None else check_slice(chosen, "CGCTL_SLICE"))
    own = system.membership().get(hierarchy.label, "")
    if own != unit.control_group:
        reason = (
            f"systemd has put {unit.name} in {unit.control_group}, but this process sees itself in {own};"
            " run it in systemd's own cgroup namespace"
        )
        raise SystemdError(FEATURE, reason, call="StartTransientUnit")
    directory = hierarchy.directory(own)
    if directory is not None and hierarchy == system.layout.unified:
        system.filesystem.setxattr(directory, OWN_MARK, b"1")


def _require_unlimited(system: System, bus: Bus) -> None:
    """Refuse to leave limits behind.

    Raises:
        UnsupportedError: there are some.
    """
    from cgctl.systemd.bus import FEATURE  # noqa: PLC0415 - few need it
    from cgctl.systemd.scope import SLICE  # noqa: PLC0415 - the same

    filesystem, tasks_max = system.filesystem, int(bus.get_own("DefaultTasksMax"))
    for hierarchy in managed(system.layout):
        directory = hierarchy.directory(system.membership().get(hierarchy.label, "/.."))
        if directory is None:
            continue
        common = os.path.commonpath((_path(hierarchy, directory), bus.control_group or "/"))
        top = hierarchy.directory(common) or hierarchy.mount_point
        for limit in limits_between(filesystem, directory, top, tasks_max):
            reason = (
                f"in a scope of its own this process would escape {limit}; have its unit delegated (Delegate=yes), or"
                f" choose the slice on purpose (CGCTL_SLICE={SLICE})"
            )
            raise UnsupportedError(FEATURE, reason)


def _path(hierarchy: Hierarchy, directory: str) -> str:
    """Return a directory as ``/proc/PID/cgroup`` would name it."""
    above = "" if hierarchy.root == "/" else hierarchy.root
    return above + directory[len(hierarchy.mount_point) :] or "/"
