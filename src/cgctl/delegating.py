"""Giving a group to a user, who may then make groups below it, and limit and fill those; not the group itself.

The kernel names the files for it, ``cgroup.procs`` and others, in ``/sys/kernel/cgroup/delegate``; the limits of the
group are not among them, and so stay as they are (cgroup-v2.rst, "Delegation").
"""

from __future__ import annotations

import grp
import pwd
from typing import Final

from cgctl.errors import SpecError, UnsupportedError, shown
from cgctl.filesystem import Filesystem, execute, read_all
from cgctl.layout import UNIFIED
from cgctl.members import Places
from cgctl.plan import Chown, Plan

__all__ = ["delegate", "parse_owner"]

_LIST: Final = "/sys/kernel/cgroup/delegate"
_BEFORE_IT: Final = "cgroup.procs cgroup.threads cgroup.subtree_control"
"""What it has read since 4.15, the first release that has it."""
_MOST_ID: Final = 2**32 - 2


def delegate(filesystem: Filesystem, places: Places, owner: tuple[int, int], name: str) -> None:
    """Give a group's v2 directory, and the files that the kernel names, to a user.

    Raises:
        UnsupportedError: the group is in no v2 hierarchy.
        StepError: the kernel refused.
    """
    place = places.get(UNIFIED)
    if place is None:
        reason = (
            "v1 has no safe delegation: whoever may write to a v1 group may also change its limits, and there is no"
            " rule about whom he may move (cgroup-v2.rst); this needs a cgroup2 mount"
        )
        raise UnsupportedError(f"delegation of group {name!r}", reason)
    named = read_all(filesystem, [_LIST])[_LIST]
    files = (named.decode() if isinstance(named, bytes) else _BEFORE_IT).split()
    uid, gid = owner
    steps = [Chown(path=place.file(file), uid=uid, gid=gid, missing_ok=True) for file in files]
    # The directory last: who owns it already may make groups, and has the files for that by then.
    execute(filesystem, Plan((*steps, Chown(path=place.directory, uid=uid, gid=gid))))


def parse_owner(user: object, group: object) -> tuple[int, int]:
    """Return the ids of a user and a group of users; -1 for the group where none is given and the user has none.

    Raises:
        SpecError: there is no such user or group.
    """
    uid, primary = _user(user)
    return uid, primary if group is None else _group(group)


def _user(user: object) -> tuple[int, int]:
    try:
        if isinstance(user, str):
            entry = pwd.getpwnam(user)
            return entry.pw_uid, entry.pw_gid
        if _is_id(user):
            return int(str(user)), _primary(int(str(user)))
    except (KeyError, ValueError):
        pass
    msg = f"delegate({shown(user)}): there is no such user; give the name of one, or a uid from 0"
    raise SpecError(msg)


def _primary(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return -1


def _group(group: object) -> int:
    try:
        if isinstance(group, str):
            return grp.getgrnam(group).gr_gid
        if _is_id(group):
            return int(str(group))
    except (KeyError, ValueError):
        pass
    msg = f"delegate(…, group={shown(group)}): there is no such group of users; give the name of one, or a gid from 0"
    raise SpecError(msg)


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_ID
