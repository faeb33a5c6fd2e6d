"""freezer, net_cls, net_prio, hugetlb, misc and rdma: the small controllers."""

from __future__ import annotations

import re
from collections.abc import Callable
from errno import EINVAL, ENODEV
from typing import Final

from cgctl.fake.parse import BLANKS, UNLIMITED_PAGES, decimal, memparse, stripped, u64
from cgctl.fake.refusal import refuse
from cgctl.fake.tree import Group

__all__ = ["INHERITED_V1", "READ_V1", "READ_V2", "WRITE_V1", "WRITE_V2", "is_frozen_v1"]

Reader = Callable[[Group], str]
Writer = Callable[[Group, str], str | None]

# --- v1 freezer -----------------------------------------------------------------------------------------------------


def _freezes(group: Group) -> bool:
    return group.values.get("freezer.state") == "FROZEN\n"


def is_frozen_v1(group: Group) -> bool:
    """Tell whether a v1 group is frozen, by itself or from above."""
    return any(_freezes(each) for each in group.line())


def _state(group: Group) -> str:
    return "FROZEN\n" if is_frozen_v1(group) else "THAWED\n"


def _set_state(group: Group, text: str) -> str:
    wanted = stripped(text)
    if wanted not in {"FROZEN", "THAWED"}:
        refuse(EINVAL)
    group.values["freezer.state"] = f"{wanted}\n"
    if wanted == "THAWED":
        group.kernel.signals.arrive()
    return f"{wanted}\n"


# --- v1 net_cls and net_prio ----------------------------------------------------------------------------------------


def _set_classid(_group: Group, text: str) -> str:
    return f"{u64(text) % (1 << 32)}\n"


def _interfaces(group: Group) -> str:
    held = dict(line.split(" ") for line in group.values.get("net_prio.ifpriomap", "").splitlines())
    return "".join(f"{name} {held.get(name, 0)}\n" for name in group.kernel.interfaces)


# As sscanf("%16s %u") reads it: a name of IFNAMSIZ characters may go over into the number.
_PRIORITY: Final = re.compile(rf"[{BLANKS}]*(\S{{1,16}}+)[{BLANKS}]*(\d.*)", re.DOTALL)


def _set_priority(group: Group, text: str) -> None:
    match = _PRIORITY.fullmatch(text)
    if match is None:
        refuse(EINVAL)
    if match[1] not in group.kernel.interfaces:
        refuse(ENODEV)
    number, _ = decimal(match[2], saturates=group.profile.saturates)
    held = dict(line.split(" ") for line in group.values.get("net_prio.ifpriomap", "").splitlines())
    held[match[1]] = f"{number % (1 << 32)}"
    group.values["net_prio.ifpriomap"] = "".join(f"{name} {value}\n" for name, value in held.items())


def _index(group: Group) -> str:
    return f"{1 if group.parent is None else 2}\n"


# --- hugetlb --------------------------------------------------------------------------------------------------------

_SIZES: Final = {"2MB": 2 << 20, "1GB": 1 << 30}


def _huge(size: int, unlimited: str) -> Writer:
    most = UNLIMITED_PAGES * 4096 // size * size

    def write(group: Group, text: str) -> str:
        pages = memparse(text, saturates=group.profile.saturates, unlimited=unlimited)
        if group.parent is None:
            refuse(EINVAL)
        held = min(pages * 4096 // size * size, most)
        return f"{'max' if held == most and unlimited == 'max' else held}\n"

    return write


def _resets(group: Group, text: str) -> str:
    del group, text
    return "0\n"


_HUGE_V2: Final[dict[str, Writer]] = {
    f"hugetlb.{name}.{kind}": _huge(size, "max") for name, size in _SIZES.items() for kind in ("max", "rsvd.max")
}
_HUGE_V1: Final[dict[str, Writer]] = {
    **{
        f"hugetlb.{name}.{rsvd}limit_in_bytes": _huge(size, "-1")
        for name, size in _SIZES.items()
        for rsvd in ("", "rsvd.")
    },
    **{
        f"hugetlb.{name}.{rsvd}{kind}": _resets
        for name in _SIZES
        for rsvd in ("", "rsvd.")
        for kind in ("failcnt", "max_usage_in_bytes")
    },
}

# --- misc and rdma: nothing here has what they limit ----------------------------------------------------------------


def _no_resource(group: Group, text: str) -> None:
    del group, text
    refuse(EINVAL)


_RESOURCE: Final = re.compile(r"hca_(?:handle|object)=(?:m|ma|max|\+?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*))?")


def _no_device(group: Group, text: str) -> None:
    """Do what ``rdmacg_resource_set_max`` does: the resources are read before the device is looked for."""
    del group
    if not all(_RESOURCE.fullmatch(word) for word in stripped(text).split(" ")[1:]):
        refuse(EINVAL)
    refuse(ENODEV)


_SAME: Final[dict[str, Writer]] = {"misc.max": _no_resource, "rdma.max": _no_device}

READ_V2: Final[dict[str, Reader]] = {}
WRITE_V2: Final[dict[str, Writer]] = {**_HUGE_V2, **_SAME}
READ_V1: Final[dict[str, Reader]] = {
    "freezer.parent_freezing": lambda group: f"{int(any(_freezes(each) for each in group.above()))}\n",
    "freezer.self_freezing": lambda group: f"{int(_freezes(group))}\n",
    "freezer.state": _state,
    "net_prio.ifpriomap": _interfaces,
    "net_prio.prioidx": _index,
}
WRITE_V1: Final[dict[str, Writer]] = {
    **_HUGE_V1,
    **_SAME,
    "freezer.state": _set_state,
    "net_cls.classid": _set_classid,
    "net_prio.ifpriomap": _set_priority,
}
INHERITED_V1: Final = ("net_cls.classid", "net_prio.ifpriomap")
"""What a new group takes over from the one above."""
