"""The files of /proc and /sys that describe cgroups and processes."""

from __future__ import annotations

from errno import ENOENT
from typing import TYPE_CHECKING, Final

from cgctl.controllers._device import NODES
from cgctl.fake import namespaces
from cgctl.fake.refusal import refuse
from cgctl.mounts import STATUS

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.namespaces import Namespace
    from cgctl.fake.task import Task

__all__ = ["listdir", "read"]

_HUGE_PAGES: Final = ("hugepages-1048576kB", "hugepages-2048kB")


def read(kernel: FakeKernel, path: str) -> str:
    """Return a file's text."""
    if path.startswith(STATUS):
        return _status(kernel, path.removeprefix(STATUS))
    words = path.split("/")[1:]
    if words[0] == "proc" and len(words) == 3:  # noqa: PLR2004 - /proc/PID/FILE
        task = kernel.caller if words[1] == "self" else kernel.tasks.get(_number(words[1]))
        if task is not None:
            if words[2] == "mountinfo":
                return _mountinfo(kernel, kernel.caller.namespace)
            if words[2] == "cgroup":
                return _membership(task, kernel.caller.namespace)
            if words[2] == "stat":
                return _stat(task)
    if path == "/proc/cgroups":
        return _controllers(kernel)
    return refuse(ENOENT)


def listdir(path: str) -> list[str]:
    """Return the names in a directory."""
    return list(_HUGE_PAGES) if path == "/sys/kernel/mm/hugepages" else refuse(ENOENT)


def _status(kernel: FakeKernel, path: str) -> str:
    """Tell what a path names: one of the usual nodes, or a disk."""
    names = {f"/dev/{name}": rule for name, rule in NODES.items()}
    names |= {f"/dev/disk{index}": f"b {device}" for index, device in enumerate(kernel.disks)}
    if path not in names:
        refuse(ENOENT)
    return f"{names[path]} on 0:5 mount 20\n"


def _number(word: str) -> int:
    return int(word) if word.isdecimal() else -1


def _mountinfo(kernel: FakeKernel, namespace: Namespace) -> str:
    lines = ["20 1 0:5 / / rw,relatime - ext4 /dev/root rw\n"]
    for number, tree in enumerate(kernel.trees, 30):
        kind, options = ("cgroup", f"rw,{tree.label}") if tree.version == 1 else ("cgroup2", _unified_options(kernel))
        where = f"{namespaces.path(tree.root, namespace)} {tree.mount_point} rw,nosuid,nodev,noexec,relatime"
        lines.append(f"{number} 20 0:{number} {where} - {kind} {kind} {options}\n")
    return "".join(lines)


def _unified_options(kernel: FakeKernel) -> str:
    return "rw,nsdelegate" if kernel.nsdelegate else "rw"


def _membership(task: Task, namespace: Namespace) -> str:
    groups = task.threads[0].groups
    lines = []
    for tree in sorted(groups, key=lambda tree: -tree.number):
        group = groups[tree]
        deleted = " (deleted)" if group.gone and tree.version != 1 else ""
        lines.append(f"{tree.number}:{tree.label}:{namespaces.path(group, namespace)}{deleted}\n")
    return "".join(lines)


def _stat(task: Task) -> str:
    state = {"running": "S", "frozen": "S", "stopped": "T", "zombie": "Z"}.get(task.state, "X")
    parent = task.parent.pid if task.parent and task.parent.alive else 1
    # Only what proc_pid_stat(5) calls (1) to (22), starttime last.
    return f"{task.pid} (fake) {state} {parent} {task.pid} {task.pid} " + "0 " * 15 + f"{task.started} 0\n"


def _controllers(kernel: FakeKernel) -> str:
    lines = ["#subsys_name\thierarchy\tnum_cgroups\tenabled\n"]
    mounted = {name: tree for tree in kernel.trees for name in tree.controllers if tree.version == 1}
    for name in kernel.profile.v1:
        tree = mounted.get(name)
        groups = tree.root.descendants + 1 if tree else 1
        lines.append(f"{name}\t{tree.number if tree else 0}\t{groups}\t1\n")
    return "".join(lines)
