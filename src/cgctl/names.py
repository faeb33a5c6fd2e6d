"""Group names: what may be one, checked before anything is touched."""

from __future__ import annotations

import re
from typing import Final

from cgctl.errors import SpecError, shown

__all__ = ["parse_file", "parse_name"]

_LONGEST: Final = 255
_CONTROLLERS: Final = (
    "cgroup|cpu|cpuacct|cpuset|memory|pids|io|blkio|devices|freezer|hugetlb|rdma|misc|dmem"
    "|net_cls|net_prio|perf_event|debug|irq"
)
_INTERFACE_FILE: Final = re.compile(rf"(?:{_CONTROLLERS})\..*|tasks|notify_on_release|release_agent", re.DOTALL)
_PROGRAM: Final = re.compile(r"@[a-z_]+", re.ASCII)
_NOT_IN_FILES: Final = re.compile(r"[/\s\0]|\.\.|\.$")


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
        msg = f"group name {shown(name)}: not a string; give a name such as 'web' or 'jobs/17'"
        raise SpecError(msg)
    absolute = name.startswith("/")
    parts = tuple(name[1:].split("/") if absolute else name.split("/"))
    for part in parts:
        _check(name, part)
    return absolute, parts


def parse_file(name: object) -> str:
    """Return the controller whose interface file a name is; empty for v1's files that name none.

    Args:
        name: such as ``"memory.max"``, ``"cgroup.procs"`` or ``"tasks"``; of an attached program ``"@device"``.

    Raises:
        SpecError: it is no interface file's name, but a path, for example.
    """
    is_file = isinstance(name, str) and _INTERFACE_FILE.fullmatch(name) and not _NOT_IN_FILES.search(name)
    if isinstance(name, str) and _PROGRAM.fullmatch(name):
        return ""
    if not is_file or len(_bytes(str(name)) or b"x" * (_LONGEST + 1)) > _LONGEST:
        msg = f"interface file {shown(name)}: not a name such as 'memory.max'; give it without a directory"
        raise SpecError(msg)
    controller, dot, _ = str(name).partition(".")
    return controller if dot else ""


def _check(name: str, part: str) -> None:
    if not part:
        rule = "has an empty component; write it without double or trailing '/'"
    elif part in {".", ".."}:
        rule = f"{part!r} is not a name; groups go below the base only, use parent= to choose another"
    elif "\0" in part or "\n" in part:
        rule = "holds a NUL or a newline, which the kernel refuses; leave it out"
    elif _bytes(part) is None:
        rule = "holds half of a surrogate pair, which no file name can; leave it out"
    elif len(_bytes(part) or b"") > _LONGEST:
        rule = f"a component is longer than {_LONGEST} bytes; shorten it"
    elif _INTERFACE_FILE.fullmatch(part):
        rule = f"{shown(part)} is, or could become, the name of an interface file; choose a name without that prefix"
    elif part == "supervisor":
        rule = "'supervisor' is the leaf that cgctl itself makes; choose another name"
    else:
        return
    msg = f"group name {shown(name)}: {rule}"
    raise SpecError(msg)


def _bytes(part: str) -> bytes | None:
    """Return the name as the kernel sees it; ``None`` if there is no such."""
    try:
        return part.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None
