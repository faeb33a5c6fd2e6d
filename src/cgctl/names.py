"""Group names: what may be one, checked before anything is touched."""

from __future__ import annotations

import re
from typing import Final

from cgctl.errors import SpecError

__all__ = ["parse_name"]

_LONGEST: Final = 255
_CONTROLLERS: Final = (
    "cgroup|cpu|cpuacct|cpuset|memory|pids|io|blkio|devices|freezer|hugetlb|rdma|misc|dmem|net_cls|net_prio|perf_event|debug|irq"
)
_INTERFACE_FILE: Final = re.compile(rf"(?:{_CONTROLLERS})\..*|tasks|notify_on_release|release_agent", re.DOTALL)


def parse_name(name: object) -> tuple[bool, tuple[str, ...]]:
    """Split a group's name into its components.

    Args:
        name: one or more components, such as ``"web"`` or ``"a/b"``; with a leading ``/`` absolute.

    Returns:
        Whether it is absolute, and the components.

    Raises:
        SpecError: it is empty, has an empty component, ``.`` or ``..``, a NUL or newline, a component of
            more than 255 bytes, or one that could be an interface file.
    """
    if not isinstance(name, str):
        msg = f"group name {name!r}: not a string; give a name such as 'web' or 'jobs/17'"
        raise SpecError(msg)
    absolute = name.startswith("/")
    parts = tuple(name[1:].split("/") if absolute else name.split("/"))
    for part in parts:
        _check(name, part)
    return absolute, parts


def _check(name: str, part: str) -> None:
    shown = repr(name) if len(name) <= _LONGEST else f"{name[:32]!r}… ({len(name)} characters)"
    if not part:
        msg = f"group name {shown}: has an empty component; write it without double or trailing '/'"
    elif part in {".", ".."}:
        msg = f"group name {shown}: {part!r} is not a name; groups go below the base only, use parent= to choose another"
    elif "\0" in part or "\n" in part:
        msg = f"group name {shown}: holds a NUL or a newline, which the kernel refuses; leave it out"
    elif len(part.encode("utf-8", "surrogateescape")) > _LONGEST:
        msg = f"group name {shown}: a component is longer than {_LONGEST} bytes; shorten it"
    elif _INTERFACE_FILE.fullmatch(part):
        msg = f"group name {shown}: {part!r} is, or could become, the name of an interface file; choose a name without that prefix"
    elif part == "supervisor":
        msg = f"group name {shown}: 'supervisor' is the leaf that cgctl itself makes; choose another name"
    else:
        return
    raise SpecError(msg)
