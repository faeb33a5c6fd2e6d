"""pids: how many tasks a group may have; the same files in both versions."""

from __future__ import annotations

from errno import EAGAIN, EINVAL
from typing import Final

from cgctl.fake.parse import S64, kstrto, stripped
from cgctl.fake.refusal import refuse
from cgctl.fake.tree import Group

__all__ = ["READ", "WRITE", "charge", "vet_fork"]

_MOST: Final = 4_194_304


def _set_max(_group: Group, text: str) -> str:
    text = stripped(text)
    if text == "max":
        return "max\n"
    number = kstrto(text, -S64, S64 - 1)
    if not 0 <= number <= _MOST:
        refuse(EINVAL)
    return f"{number}\n"


def charge(group: Group, tasks: int) -> None:
    """Count tasks that come into a group, or leave it."""
    for each in group.nearest("pids").line():
        now = each.counts.get("pids.current", 0) + tasks
        each.counts["pids.current"] = now
        _note_peak(each, now)


def vet_fork(group: Group) -> None:
    """Refuse one more task at a limit, and count the refusal where this kernel does."""
    forking = group.nearest("pids")
    charged: list[Group] = []
    for each in forking.line():
        most = each.values.get("pids.max", "max\n")
        if most != "max\n" and each.counts.get("pids.current", 0) + 1 > int(most):
            # pids_try_charge: those below the limit were charged, and it is taken back.
            for below in charged:
                _note_peak(below, below.counts.get("pids.current", 0) + 1)
            _refused(forking, each)
            refuse(EAGAIN)
        charged.append(each)


def _note_peak(group: Group, now: int) -> None:
    group.counts["pids.peak"] = max(group.counts.get("pids.peak", 0), now)


def _refused(forking: Group, limited: Group) -> None:
    if forking.tree.version == 1 or not forking.profile.pids_at_limit:
        _add(forking, "pids.events")
        forking.kernel.notify()
        return
    _add(limited, "pids.events.local")
    for each in limited.line():
        _add(each, "pids.events")
        each.kernel.notify()


def _add(group: Group, name: str) -> None:
    group.counts[name] = group.counts.get(name, 0) + 1


def _current(group: Group) -> str:
    return f"{group.counts.get('pids.current', 0)}\n"


def _peak(group: Group) -> str:
    return f"{group.counts.get('pids.peak', 0)}\n"


def _events(group: Group) -> str:
    return f"max {group.counts.get('pids.events', 0)}\n"


def _events_local(group: Group) -> str:
    return f"max {group.counts.get('pids.events.local', 0)}\n"


READ: Final = {
    "pids.current": _current,
    "pids.events": _events,
    "pids.events.local": _events_local,
    "pids.peak": _peak,
}
WRITE: Final = {"pids.max": _set_max}
