"""Where each controller is to be found: what has to be known of all of them before any is wanted.

The modules of the controllers are imported when they are used, because most programs use three of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["PRESENCE", "Presence"]


class Presence(NamedTuple):
    """Where a controller is.

    Attributes:
        v1: the controllers of v1 that serve it, in the order of need.
        everywhere: whether every v2 group has it, without a controller that is to be enabled.
        implicit: the same, unless it is bound to v1; ``cgroup.controllers`` does not say so.
    """

    v1: tuple[str, ...] = ()
    everywhere: bool = False
    implicit: bool = False


PRESENCE: Final[Mapping[str, Presence]] = {
    "core": Presence(everywhere=True),
    "cpuset": Presence(("cpuset",)),
    "cpu": Presence(("cpu",)),
    "memory": Presence(("memory",)),
    "io": Presence(("blkio",)),
    "hugetlb": Presence(("hugetlb",)),
    "pids": Presence(("pids",)),
    "devices": Presence(("devices",), everywhere=True),
    "net": Presence(("net_cls", "net_prio"), everywhere=True),
    "rdma": Presence(("rdma",)),
    "misc": Presence(("misc",)),
    "dmem": Presence(("dmem",)),
    "perf_event": Presence(("perf_event",), implicit=True),
}
"""Name, which is its module's too → where it is; in the order in which limits are written."""
