"""Device nodes: what they are, and whether a process may use one (``devcgroup_check_permission``)."""

from __future__ import annotations

import re
from errno import EPERM
from typing import TYPE_CHECKING, Final

from cgctl.errors import SpecError, shown
from cgctl.fake import proc
from cgctl.fake.refusal import refuse
from cgctl.fake.rules import attached, devices
from cgctl.mounts import STATUS

if TYPE_CHECKING:
    from cgctl.fake.task import Task

__all__ = ["disk", "use"]

_NODE: Final = re.compile(r"([bc]) (\d+):(\d+)")
_LETTERS: Final = "rwm"


def use(task: Task, node: str, access: str) -> None:
    """Let a process open a device node, or make one (``m``).

    Raises:
        OSError: ``EPERM``: its group may not; ``ENOENT``: there is no such path.
        SpecError: it is no device, or no access.
    """
    kernel = task.kernel
    with kernel.mutex:
        text = proc.read(kernel, f"{STATUS}{node}").partition(" on ")[0] if node.startswith("/") else node
        match = _NODE.fullmatch(text)
        if match is None:
            msg = f"{shown(node)}: no device; give its path, or its numbers as 'c 1:3'"
            raise SpecError(msg)
        if not access or not set(access) <= set(_LETTERS):
            msg = f"mode={shown(access)}: no access; give some of the letters {_LETTERS!r}"
            raise SpecError(msg)
        kind, major, minor = match[1], int(match[2]), int(match[3])
        for tree, group in task.threads[0].groups.items():
            if tree.version != 1 and not attached.allows(group, kind, major, minor, access):
                refuse(EPERM)
            if "devices" in tree.controllers and not devices.allows(group, kind, major, minor, access):
                refuse(EPERM)


def disk(task: Task, device: str, access: str) -> str:
    """Let a process open a block device, and return its numbers.

    Raises:
        OSError: ``EPERM``: its group may not; ``ENOENT``, ``ENXIO``, ``ENOTBLK``: there is none.
    """
    number = task.kernel.disk(device)
    use(task, f"b {number}", access)
    return number
