"""In which order files must be written so that the kernel takes each write.

Each rule gets what the files hold and what they shall hold, both by file name, and returns the names
in an order in which every state on the way is one that the kernel accepts, and none allows more than
both ends do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cgctl.controllers._codec import LARGEST_PAGE, V1_UNLIMITED

__all__ = ["ordered"]

Texts = Mapping[str, str]
_INFINITE: Final = float("inf")
_LIMIT, _MEMSW = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
_QUOTA, _PERIOD, _BURST = "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us"
_RUNTIME, _RT_PERIOD = "cpu.rt_runtime_us", "cpu.rt_period_us"


def ordered(controller: str, version: int, held: Texts, wanted: Texts) -> tuple[str, ...]:
    """Return the names of the files to write, in order.

    Args:
        controller: whose files they are.
        version: of its hierarchy.
        held: what the files read now (more files may be named than are written).
        wanted: what is to be written.
    """
    rule = _RULES.get((controller, version))
    return rule(held, wanted) if rule else tuple(wanted)


def _memory_v1(held: Texts, wanted: Texts) -> tuple[str, ...]:
    """``limit ≤ memsw`` must always hold, else EINVAL: the limit goes first exactly if it fits below the old sum."""
    if _LIMIT not in wanted or _MEMSW not in wanted:
        return tuple(wanted)
    limit_first = _bytes(wanted[_LIMIT]) <= _bytes(held.get(_MEMSW, "-1"))
    pair = (_LIMIT, _MEMSW) if limit_first else (_MEMSW, _LIMIT)
    return (*pair, *(name for name in wanted if name not in pair))


def _cpu_v1(held: Texts, wanted: Texts) -> tuple[str, ...]:
    """``burst ≤ quota``, ``runtime ≤ period``; ratios at most the parent's, at least each child's, at every moment."""
    bandwidth = _between(held, wanted, (_QUOTA, "-1"), (_PERIOD, "100000"))
    real_time = _between(held, wanted, (_RUNTIME, "0"), (_RT_PERIOD, "1000000"))
    shrinks = int(wanted.get(_BURST, 0)) < int(held.get(_BURST, 0))
    first, last = ((_BURST,), ()) if shrinks else ((), (_BURST,))
    return _arrange(wanted, (*first, *bandwidth, *real_time), last)


def _between(held: Texts, wanted: Texts, budget: tuple[str, str], period: tuple[str, str]) -> tuple[str, str]:
    """Return a budget's and its period's file in the order whose middle state allows no more than both ends do."""
    old = float(held.get(*budget)), float(held.get(*period))
    new = float(wanted.get(budget[0], old[0])), float(wanted.get(period[0], old[1]))
    low, high = sorted((_ratio(*old), _ratio(*new)))
    budget_first, period_first = _ratio(new[0], old[1]), _ratio(old[0], new[1])
    if low <= budget_first <= high:
        return budget[0], period[0]
    if low <= period_first <= high or period_first < budget_first:
        return period[0], budget[0]
    # Neither lies between: the lower one never allows more than was or will be allowed.
    return budget[0], period[0]


def _cpu_v2(held: Texts, wanted: Texts) -> tuple[str, ...]:
    """``burst ≤ quota``: a smaller burst goes before the quota, a larger one after it."""
    shrinks = int(wanted.get("cpu.max.burst", 0)) < int(held.get("cpu.max.burst", 0))
    pair = ("cpu.max.burst", "cpu.max") if shrinks else ("cpu.max", "cpu.max.burst")
    return _arrange(wanted, pair, ())


def _cpuset_v2(held: Texts, wanted: Texts) -> tuple[str, ...]:
    """A partition is left before its CPUs change, and made after."""
    del held
    name = "cpuset.cpus.partition"
    return _arrange(wanted, (name,), ()) if wanted.get(name) == "member" else _arrange(wanted, (), (name,))


def _arrange(wanted: Texts, first: tuple[str, ...], last: tuple[str, ...]) -> tuple[str, ...]:
    middle = tuple(name for name in wanted if name not in first and name not in last)
    return tuple(name for name in (*first, *middle, *last) if name in wanted)


def _ratio(quota: float, period: float) -> float:
    return _INFINITE if quota < 0 else quota / period


def _bytes(text: str) -> float:
    number = int(text)
    return _INFINITE if number < 0 or number > V1_UNLIMITED - LARGEST_PAGE else number


_RULES: Final[Mapping[tuple[str, int], Callable[[Texts, Texts], tuple[str, ...]]]] = {
    ("memory", 1): _memory_v1,
    ("cpu", 1): _cpu_v1,
    ("cpu", 2): _cpu_v2,
    ("cpuset", 2): _cpuset_v2,
}
