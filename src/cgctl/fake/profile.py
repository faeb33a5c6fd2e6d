"""What one kernel series has: its interface files, and the rules in which the series differ, as data."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final, Literal

import attrs

__all__ = ["KERNELS", "Interface", "Profile", "profile"]

KERNELS: Final = ("5.10", "6.1", "6.12", "6.18", "7.3")
"""Those that were measured, as Debian builds them."""


@attrs.frozen
class Interface:
    """One interface file.

    Attributes:
        name: of the file.
        mode: its permissions.
        default: what it reads in a new group, or in the root.
    """

    name: str
    mode: int
    default: str


Table = Mapping[str, Interface]


@attrs.frozen(kw_only=True)
class PartitionWords:
    """How cpuset.cpus.partition says why it is invalid.

    Attributes:
        empty: no processors are asked for.
        member: the group above is no partition.
        overlap: a sibling asks for the same processors.
        outside: the group above has none of them.
    """

    empty: str = "cpuset.cpus and cpuset.cpus.exclusive are empty"
    member: str = "Invalid cpu list in cpuset.cpus.exclusive"
    overlap: str = ""
    outside: str = "Invalid cpu list in cpuset.cpus.exclusive"


_FIRST_WORDS: Final = PartitionWords(
    empty="cpuset.cpus is empty",
    member="Parent is not a partition root",
    overlap="Cpu list in cpuset.cpus not exclusive",
    outside="Invalid cpu list in cpuset.cpus",
)


@attrs.frozen(kw_only=True)
class Profile:
    """One kernel series.

    Attributes:
        kernel: the series.
        saturates: numbers of 2**64 and more become 2**64 - 1 in limit files; before, they wrap around.
        list_words: lists of processors may say ``all`` and ``N``.
        idle_weight: what cpu.weight reads while cpu.idle is 1.
        largest_quota: cpu.max takes 2**64 - 1, as ``max``.
        least_rate: the least value that io.max takes.
        strict_cpusets: v2 cpusets are compared with those below, and partitions that cannot be are refused.
        trims_partitions: a cpuset that overlaps a sibling's partition is trimmed; before, the partition turns invalid.
        compares_exclusive: processors are compared with exclusive ones of siblings also where both groups have such.
        clears_cpusets: a populated v2 cpuset may be cleared.
        partition_words: how it says why a partition is none.
        pids_at_limit: v2's pids.events counts where the limit is; before, where the fork was.
        reclaim_words: what memory.reclaim takes beside the size.
        hierarchical: v1 memory always counts the groups below.
        swappiness: the highest of v1.
        relax_domain: the highest sched_relax_domain_level of v1.
        kmem_limits: v1's kmem.limit_in_bytes is kept.
        full_cpu_pressure: cpu.pressure takes a ``full`` trigger.
        least_window: the shortest window of a PSI trigger, microseconds.
        ordinary_windows: those of ordinary users are multiples of so many; 0: any.
        isolated: partitions may be isolated.
        idle_disks: io.stat has a line for a device that was configured, but not used.
        v1: the controllers that can be mounted as v1.
        v2: those of v2, in the kernel's order.
        tables: hierarchy → root or below → the files.
    """

    kernel: str
    saturates: bool = False
    list_words: bool = True
    idle_weight: str = "1\n"
    largest_quota: bool = True
    least_rate: int = 1
    strict_cpusets: bool = False
    trims_partitions: bool = False
    compares_exclusive: bool = False
    clears_cpusets: bool = False
    partition_words: PartitionWords = PartitionWords()
    pids_at_limit: bool = True
    reclaim_words: Literal["", "swappiness=", "swappiness=max"] = "swappiness=max"
    hierarchical: bool = True
    swappiness: int = 200
    relax_domain: int = 5
    kmem_limits: bool = False
    full_cpu_pressure: bool = True
    least_window: int = 1
    ordinary_windows: int = 2_000_000
    isolated: bool = True
    idle_disks: bool = True
    v1: tuple[str, ...] = ()
    v2: tuple[str, ...] = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc")
    tables: Mapping[str, Mapping[str, Table]] = attrs.field(factory=dict, repr=False)

    def files(self, hierarchy: str, where: str) -> Table:
        """Return the files of a hierarchy: ``v2``, a v1 controller, or ``cgroup``, what is in every v1 one."""
        return self.tables.get(hierarchy, {}).get(where, {})


_V1: Final = (
    *("cpuset", "cpu", "cpuacct", "blkio", "memory", "devices", "freezer", "net_cls", "perf_event", "net_prio"),
    *("hugetlb", "pids", "rdma", "misc"),
)
_LATER_V1: Final = tuple(name for name in _V1 if name not in {"memory", "cpuset"})

_FACTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "5.10": {
        "list_words": False,
        "largest_quota": False,
        "least_rate": 2,
        "strict_cpusets": True,
        "isolated": False,
        "idle_disks": False,
        "partition_words": _FIRST_WORDS,
        "pids_at_limit": False,
        "reclaim_words": "",
        "hierarchical": False,
        "swappiness": 100,
        "relax_domain": 1,
        "kmem_limits": True,
        "full_cpu_pressure": False,
        "least_window": 500_000,
        "ordinary_windows": 0,
        "v1": tuple(name for name in _V1 if name != "misc"),
        "v2": ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"),
    },
    "6.1": {
        "idle_weight": "0\n",
        "largest_quota": False,
        "least_rate": 2,
        "partition_words": _FIRST_WORDS,
        "pids_at_limit": False,
        "reclaim_words": "",
        "least_window": 500_000,
        "v1": _V1,
    },
    "6.12": {"largest_quota": False, "least_rate": 2, "reclaim_words": "swappiness=", "v1": _LATER_V1},
    "6.18": {"compares_exclusive": True, "v1": _LATER_V1},
    "7.3": {"saturates": True, "trims_partitions": True, "clears_cpusets": True, "v1": _LATER_V1},
}


@functools.cache
def profile(kernel: str) -> Profile:
    """Return what a kernel series has.

    Raises:
        ValueError: it is none of those that were measured.
    """
    if kernel not in _FACTS:
        msg = f"kernel {kernel!r} was not measured; give one of {', '.join(KERNELS)}"
        raise ValueError(msg)
    text = resources.files(__package__).joinpath("files.json").read_text(encoding="utf-8")
    rows: dict[str, list[tuple[str, str, list[tuple[list[str], int, str]]]]] = json.loads(text)
    tables: dict[str, dict[str, dict[str, Interface]]] = {}
    for hierarchy, each in rows.items():
        for name, where, variants in each:
            for kernels, mode, default in variants:
                if not kernels or kernel in kernels:
                    table = tables.setdefault(hierarchy, {}).setdefault(where, {})
                    table[name] = Interface(name, mode, default)
    return Profile(kernel=kernel, tables=tables, **_FACTS[kernel])
