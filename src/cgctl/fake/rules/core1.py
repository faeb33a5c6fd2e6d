"""The files that every v1 group has."""

from __future__ import annotations

from errno import E2BIG
from typing import Final

from cgctl.fake.parse import stripped, u64
from cgctl.fake.refusal import refuse
from cgctl.fake.tree import Group

__all__ = ["INHERITED", "READ", "WRITE"]

_PATH_MAX: Final = 4096


def _procs(group: Group) -> str:
    pids = {thread.task.pid for thread in group.threads}
    return "".join(f"{pid}\n" for pid in sorted(pids))


def _tasks(group: Group) -> str:
    return "".join(f"{tid}\n" for tid in sorted(thread.tid for thread in group.threads))


def _set_procs(group: Group, text: str) -> None:
    group.kernel.processes.attach(group, text, whole=True)


def _set_tasks(group: Group, text: str) -> None:
    group.kernel.processes.attach(group, text, whole=False)


def _set_flag(_group: Group, text: str) -> str:
    return f"{int(u64(text) != 0)}\n"


def _set_agent(_group: Group, text: str) -> str:
    if len(text) >= _PATH_MAX:
        refuse(E2BIG)
    return f"{stripped(text)}\n"


READ: Final = {"cgroup.procs": _procs, "tasks": _tasks}
WRITE: Final = {
    "cgroup.clone_children": _set_flag,
    "cgroup.procs": _set_procs,
    "notify_on_release": _set_flag,
    "release_agent": _set_agent,
    "tasks": _set_tasks,
}
INHERITED: Final = ("cgroup.clone_children", "notify_on_release")
"""What a new group takes over from the one above."""
