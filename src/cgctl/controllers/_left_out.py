"""Interface files that have no row: used by a verb, or left out on purpose, and why.

``group.read`` and ``group.write`` reach all of them. A test holds the files of every kernel and layout against
the rows and these two tables, so that what a kernel adds is seen; the documentation prints them.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

__all__ = ["LEFT_OUT", "VERBS", "reason_without_row"]

VERBS: Final[Mapping[str, str]] = {
    "cgroup.procs": "`add`, `pids` and whatever starts or moves processes",
    "cgroup.threads": "`add_thread` and `threads`",
    "tasks": "`add_thread` and `threads` on v1",
    "cgroup.controllers": "planning: what there is to enable",
    "cgroup.subtree_control": "planning: what is enabled for the groups below",
    "cgroup.freeze": "`freeze` and `thaw`",
    "cgroup.kill": "`kill`",
    "freezer.state": "`freeze` and `thaw` on v1",
    "freezer.self_freezing": "`freeze` on v1: whether it is this group that is frozen",
    "freezer.parent_freezing": "`freeze` on v1: whether it is a group above",
    "devices.allow": "`devices` on v1, which writes rules here and reads them in `devices.list`",
    "devices.deny": "`devices` on v1, likewise",
    "memory.reclaim": "`reclaim`",
    "memory.use_hierarchy": "planning: before 5.11 v1 counts children only when told to",
    "notify_on_release": "looking for a group on v1: every group has it",
}
"""File → what in cgctl uses it; there is nothing to set or to count that a row could be for."""

_ROOT_ONLY: Final = "of the machine, in the root alone; no group has it"
_KERNEL_MEMORY: Final = "deprecated, and in part without effect since 5.16; `memory.max` counts kernel memory too"
_DEPRECATED: Final = "deprecated by the kernel, and gone in v2"
_PER_CPU: Final = "by processor, which v2 does not tell; `usage_usec` is the sum"

LEFT_OUT: Final[Mapping[str, str]] = {
    "blkio.*.io_service_bytes": "of the group alone; `devices` has the counts that include the groups below",
    "blkio.*.io_serviced": "likewise",
    "blkio.reset_stats": "would take the counts away from everybody else; differences do as well",
    "cgroup.clone_children": "copies a v1 parent's cpuset at mkdir; the plan sets what a new group needs",
    "cgroup.event_control": "v1's notification by eventfd; `oom_kill` and other counts are in the statistics",
    "cgroup.sane_behavior": _ROOT_ONLY,
    "release_agent": _ROOT_ONLY,
    "cpu.weight.nice": "`cpu.weight` in another scale, and coarser",
    "cpuacct.stat": "the same as `usage_user` and `usage_sys`, in ticks instead of nanoseconds",
    "cpuacct.usage_all": _PER_CPU,
    "cpuacct.usage_percpu*": _PER_CPU,
    "cpuset.cpus.isolated": _ROOT_ONLY,
    "cpuset.memory_pressure_enabled": _ROOT_ONLY,
    "cpuset.cpu_exclusive": "a flag for all CPUs at once, which v2 has as a list (`exclusive`) and partitions",
    "cpuset.mem_exclusive": _DEPRECATED,
    "cpuset.mem_hardwall": _DEPRECATED,
    "cpuset.memory_migrate": "v2 always migrates memory when `mems` changes",
    "cpuset.memory_pressure": "counted only once it is switched on for the machine; v2 has `memory.pressure`",
    "cpuset.memory_spread_*": _DEPRECATED,
    "cpuset.sched_load_balance": "v2 has partitions for it (`partition`)",
    "cpuset.sched_relax_domain_level": "tuning of the scheduler, gone in v2",
    "hugetlb.*.rsvd.failcnt": "part of `events_local_max`",
    "irq.pressure": "of no kernel that it could be tried on (CONFIG_IRQ_TIME_ACCOUNTING); `group.read` has it",
    "memory.force_empty": "takes back all at once, which stalls the writer; v2 has `reclaim`",
    "memory.kmem.*": _KERNEL_MEMORY,
    "memory.memsw.max_usage_in_bytes": "the peak of memory and swap together, which v2 does not tell",
    "memory.memsw.usage_in_bytes": "the sum of `current` and `swap_current`",
    "memory.move_charge_at_immigrate": _DEPRECATED,
    "memory.numa_stat": "a table of its own by node and kind; `group.read` has it",
    "memory.shown_ram_in_bytes": "of a vendor's kernel, not in mainline",
    "net_prio.prioidx": "the number by which the kernel finds `net_prio.ifpriomap`",
    "memory.pressure_level": "works by `cgroup.event_control` alone; v2 has `memory.pressure`",
}
"""File, or a pattern of files → why there is no row."""


def reason_without_row(file: str) -> str | None:
    """Return why an interface file has no row; ``None`` if nobody knows."""
    if file in VERBS:
        return VERBS[file]
    return next((reason for pattern, reason in LEFT_OUT.items() if fnmatchcase(file, pattern)), None)
