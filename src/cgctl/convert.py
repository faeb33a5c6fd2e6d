"""Conversions between the words of cgroup v1, cgroup v2, docker and the OCI runtime specification.

Numbers in, numbers out; ``-1`` is unlimited and ``0`` is not set, as OCI has it. Where a value has no
answer, and for ``None``, a :class:`cgctl.SpecError` says why. None of them falls as its argument rises.
*Lossy* says that several values are converted to the same one; what undoes such a conversion returns
the smallest of them, so that going that way and back is exact.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from decimal import Decimal

from cgctl.errors import SpecError, shown
from cgctl.formats import format_classid, format_cpu_list, parse_classid, parse_cpu_list
from cgctl.units import MAX, format_size, parse_cpus, parse_size

__all__ = [
    "bfq_to_io_weight",
    "blkio_to_io_weight",
    "cpus_to_quota",
    "docker_memory_swap",
    "format_classid",
    "format_cpu_list",
    "format_size",
    "io_to_bfq_weight",
    "io_to_blkio_weight",
    "memory_swap_to_swap_max",
    "parse_classid",
    "parse_cpu_list",
    "parse_size",
    "quota_to_cpus",
    "shares_to_weight",
    "shares_to_weight_linear",
    "shares_to_weight_proportional",
    "swap_max_to_memory_swap",
    "weight_to_shares",
    "weight_to_shares_linear",
    "weight_to_shares_proportional",
]

MIN_SHARES, MAX_SHARES, DEFAULT_SHARES = 2, 262144, 1024
MIN_WEIGHT, MAX_WEIGHT, DEFAULT_WEIGHT = 1, 10000, 100
MIN_BLKIO, MAX_BLKIO = 10, 1000
MAX_BFQ = 1000
SHARES, WEIGHTS, BLKIO = (
    range(MIN_SHARES, MAX_SHARES + 1),
    range(MIN_WEIGHT, MAX_WEIGHT + 1),
    range(MIN_BLKIO, MAX_BLKIO + 1),
)
LEAST_QUOTA_USEC = 1_000
"""The least quota that the kernel gives, microseconds a period (``min_cfs_quota_period``)."""
MIN_PERIOD_USEC, MAX_PERIOD_USEC = 1_000, 1_000_000
MOST = 2**64 - 1

# --- processor time -----------------------------------------------------------------------------------------------


def shares_to_weight(shares: int) -> int:
    """Convert v1 ``cpu.shares`` to v2 ``cpu.weight`` so that the defaults meet: 1024 is 100.

    ``ceil(10 ** ((l*l + 125*l) / 612 - 7/34))`` with ``l = log2(shares)``: a quadratic through
    (2, 1), (1024, 100) and (262144, 10000) on logarithmic axes. Shares outside 2..262144 are clamped,
    as the kernel does; 0 stays 0 (OCI: not set). Lossy. Source: opencontainers/cgroups,
    ``ConvertCPUSharesToCgroupV2Value``, 2025 (runc 1.3.2, crun 1.23).

    Raises:
        SpecError: it is no ``int``, negative, or 2**64 and more.
    """
    shares = _whole(shares, "shares", 0)
    if shares == 0:
        return 0
    if shares <= MIN_SHARES:
        return MIN_WEIGHT
    if shares >= MAX_SHARES:
        return MAX_WEIGHT
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def weight_to_shares(weight: int) -> int:
    """Convert v2 ``cpu.weight`` to v1 ``cpu.shares``, the inverse of :func:`shares_to_weight`.

    The smallest shares whose weight is *weight*, except that the default 100 is the default 1024; so
    weight → shares → weight is the identity on 1..10000. 0 stays 0. Exact.

    Raises:
        SpecError: it is not from 0 to 10000.
    """
    if _whole(weight, "weight", 0, MAX_WEIGHT) == DEFAULT_WEIGHT:
        return DEFAULT_SHARES
    return _smallest(weight, "weight", MAX_WEIGHT, shares_to_weight, SHARES)


def shares_to_weight_linear(shares: int) -> int:
    """Convert v1 ``cpu.shares`` to v2 ``cpu.weight`` by the older linear formula.

    ``1 + (shares - 2) * 9999 / 262142``, rounded down, which makes 1024 a weight of 39. Runtimes before
    2025 used it (runc, crun, youki), so monitors that read their groups need it. 0 stays 0. Lossy.

    Raises:
        SpecError: it is no ``int``, negative, or 2**64 and more.
    """
    shares = _whole(shares, "shares", 0)
    if shares == 0:
        return 0
    clamped = min(max(shares, MIN_SHARES), MAX_SHARES)
    return 1 + (clamped - MIN_SHARES) * 9999 // 262142


def weight_to_shares_linear(weight: int) -> int:
    """Convert v2 ``cpu.weight`` to v1 ``cpu.shares``, the inverse of :func:`shares_to_weight_linear`.

    The smallest shares whose weight is *weight*: ``2 + (weight - 1) * 262142 / 9999``, rounded up (the
    kubelet rounds it down, and so does not get back to the weight). 0 stays 0. Exact.

    Raises:
        SpecError: it is not from 0 to 10000.
    """
    return _smallest(weight, "weight", MAX_WEIGHT, shares_to_weight_linear, SHARES)


def shares_to_weight_proportional(shares: int) -> int:
    """Convert v1 ``cpu.shares`` to v2 ``cpu.weight`` so that ratios stay what they are.

    ``shares * 100 / 1024``, rounded down, within 1..10000: the kernel's own scale, so all from 102400
    on are 10000. 0 stays 0. Lossy. Source: systemd, ``cgroup_cpu_shares_to_weight``; libcgroup.

    Raises:
        SpecError: it is no ``int``, negative, or 2**64 and more.
    """
    shares = _whole(shares, "shares", 0)
    if shares == 0:
        return 0
    return min(max(shares * DEFAULT_WEIGHT // DEFAULT_SHARES, MIN_WEIGHT), MAX_WEIGHT)


def weight_to_shares_proportional(weight: int) -> int:
    """Convert v2 ``cpu.weight`` to v1 ``cpu.shares``, the inverse of :func:`shares_to_weight_proportional`.

    The smallest shares whose weight is *weight*: ``weight * 1024 / 100``, rounded up, at least 2.
    0 stays 0. Exact.

    Raises:
        SpecError: it is not from 0 to 10000.
    """
    return _smallest(weight, "weight", MAX_WEIGHT, shares_to_weight_proportional, SHARES)


def cpus_to_quota(cpus: float | str | Decimal, period_usec: int = 100_000, what: str = "cpus") -> int:
    """Convert CPUs (docker's ``--cpus``) to a quota: microseconds in each period.

    ``cpus * period_usec``, to the nearest microsecond; -1 is unlimited, 0 stays 0 (not set). Lossy, by
    less than a microsecond a period. Source: ``cpu.max`` in the kernel's cgroup-v2.rst, moby ``NanoCPUs``.

    Args:
        cpus: such as ``1.5`` or ``"150%"``.
        period_usec: 1000..1000000.
        what: the setting's name, for the error message.

    Raises:
        SpecError: it is no such number, or the quota is less than the 1000 that the kernel gives at least.
    """
    period = _whole(period_usec, "period_usec", MIN_PERIOD_USEC, MAX_PERIOD_USEC)
    if isinstance(cpus, int | float) and not isinstance(cpus, bool) and cpus in {-1, 0}:
        return int(cpus)
    number = parse_cpus(cpus, what)
    if number is MAX:
        return -1
    # The decimal that the number was written as: 1.1 is 110000, and no hair more.
    quota = round(number * period)
    if quota < LEAST_QUOTA_USEC:
        msg = (
            f"{what}={shown(cpus)} with period_usec={period}: that is {quota} us a period, and the kernel gives"
            f" at least {LEAST_QUOTA_USEC}; take a longer period, such as period_usec=1000000"
        )
        raise SpecError(msg)
    return quota


def quota_to_cpus(quota: int, period_usec: int = 100_000) -> float:
    """Convert a quota in microseconds a period to CPUs, the inverse of :func:`cpus_to_quota`.

    ``quota / period_usec``; -1 is unlimited, 0 stays 0 (not set). Exact.

    Raises:
        SpecError: the kernel has no such quota (1000 and more) or period (1000..1000000).
    """
    quota, period = _whole(quota, "quota", -1), _whole(period_usec, "period_usec", MIN_PERIOD_USEC, MAX_PERIOD_USEC)
    if quota in {-1, 0}:
        return float(quota)
    if quota < LEAST_QUOTA_USEC:
        msg = f"quota={quota}: out of range; the kernel gives at least {LEAST_QUOTA_USEC} us a period, -1 is unlimited"
        raise SpecError(msg)
    return quota / period


# --- weights of disks ---------------------------------------------------------------------------------------------


def blkio_to_io_weight(weight: int) -> int:
    """Convert v1 ``blkio.weight`` (10..1000) to v2 ``io.weight`` (1..10000).

    ``1 + (weight - 10) * 9999 / 990``, rounded down. 0 stays 0 (OCI: not set). Exact, but the defaults
    do not meet: v1's 500 is 4950, and v2's is 100. Source: opencontainers/cgroups,
    ``ConvertBlkIOToIOWeightValue``.

    Raises:
        SpecError: it is neither 0 nor from 10 to 1000.
    """
    weight = _whole(weight, "blkio weight", 0, MAX_BLKIO)
    if weight == 0:
        return 0
    if weight < MIN_BLKIO:
        msg = f"blkio weight={weight!r}: out of range; v1 takes 10 to 1000"
        raise SpecError(msg)
    return 1 + (weight - MIN_BLKIO) * 9999 // 990


def io_to_blkio_weight(weight: int) -> int:
    """Convert v2 ``io.weight`` (1..10000) to v1 ``blkio.weight`` (10..1000).

    The smallest v1 weight whose :func:`blkio_to_io_weight` is not below *weight*. 0 stays 0. Lossy.

    Raises:
        SpecError: it is not from 0 to 10000.
    """
    return _smallest(weight, "io weight", MAX_WEIGHT, blkio_to_io_weight, BLKIO)


def io_to_bfq_weight(weight: int) -> int:
    """Convert ``io.weight`` (1..10000) to ``io.bfq.weight`` and v1 ``blkio.bfq.weight`` (1..1000).

    As it is up to the default, which is 100 in both, then ``100 + (weight - 100) * 900 / 9900``, rounded
    down. 0 stays 0. Lossy above 100: eleven weights are one. Source: systemd, ``BFQ_WEIGHT``.

    Raises:
        SpecError: it is not from 0 to 10000.
    """
    weight = _whole(weight, "io weight", 0, MAX_WEIGHT)
    if weight <= DEFAULT_WEIGHT:
        return weight
    return DEFAULT_WEIGHT + (weight - DEFAULT_WEIGHT) * (MAX_BFQ - DEFAULT_WEIGHT) // (MAX_WEIGHT - DEFAULT_WEIGHT)


def bfq_to_io_weight(weight: int) -> int:
    """Convert ``io.bfq.weight`` (1..1000) to ``io.weight`` (1..10000), the inverse of :func:`io_to_bfq_weight`.

    The smallest ``io.weight`` that is that BFQ weight: ``100 + (weight - 100) * 11`` above 100. 0 stays 0. Exact.

    Raises:
        SpecError: it is not from 0 to 1000.
    """
    return _smallest(weight, "bfq weight", MAX_BFQ, io_to_bfq_weight, WEIGHTS)


# --- memory and swap ----------------------------------------------------------------------------------------------


def memory_swap_to_swap_max(memory_swap: int, memory: int) -> int:
    """Convert OCI's *memory + swap* to v2's ``memory.swap.max``.

    Args:
        memory_swap: bytes of memory and swap together; -1 is unlimited, 0 is not set.
        memory: bytes of memory; -1 is unlimited, 0 is not set.

    Returns:
        Bytes of swap, -1 for unlimited, 0 when neither was set or both are equal. With unlimited memory
        *memory_swap* is returned as it is, which is lossy. Source: opencontainers/cgroups,
        ``ConvertMemorySwapToCgroupV2Value``.

    Raises:
        SpecError: swap is limited where memory is not set, or is below memory.
    """
    memory_swap, memory = _whole(memory_swap, "memory_swap", -1), _whole(memory, "memory", -1)
    if memory == -1 and memory_swap == 0:
        return -1
    if memory_swap in {-1, 0} or memory == -1:
        return memory_swap
    if memory == 0:
        msg = f"memory_swap={memory_swap!r} with memory=0: a limit of both needs the limit of memory; set it too"
        raise SpecError(msg)
    if memory_swap < memory:
        msg = f"memory_swap={memory_swap!r} is below memory={memory!r}: it counts both; give at least the memory limit"
        raise SpecError(msg)
    return memory_swap - memory


def swap_max_to_memory_swap(swap_max: int, memory: int) -> int:
    """Convert v2's ``memory.swap.max`` to OCI's *memory + swap*, the inverse of :func:`memory_swap_to_swap_max`.

    It is what v1's ``memory.memsw.limit_in_bytes`` counts as well.

    Args:
        swap_max: bytes of swap; -1 is unlimited.
        memory: bytes of memory; -1 is unlimited.

    Returns:
        ``memory + swap_max``; -1 where either is unlimited. Exact, except that unlimited memory with
        limited swap has no such sum: that is refused.

    Raises:
        SpecError: the sum would say nothing of the swap, or is 2**64 and more.
    """
    swap_max, memory = _whole(swap_max, "swap_max", -1), _whole(memory, "memory", -1)
    if swap_max == -1:
        return -1
    if memory == -1:
        msg = f"swap_max={swap_max!r} with memory=-1: a limit of both cannot say how much of it is swap; limit memory"
        raise SpecError(msg)
    return _whole(memory + swap_max, "memory + swap_max", 0)


def docker_memory_swap(memory_swap: int, memory: int) -> int:
    """Return OCI's *memory + swap* of docker's ``--memory-swap`` and ``--memory``.

    They differ where ``--memory-swap`` is not set (0): docker then allows as much swap as memory,
    ``2 * memory``. All else is as given; -1 is unlimited. Exact. Source: moby, ``adaptContainerSettings``;
    docker's manual, "--memory-swap details".

    Raises:
        SpecError: swap is limited where memory is not, is below memory, or the sum is 2**64 and more.
    """
    memory_swap, memory = _whole(memory_swap, "memory_swap", -1), _whole(memory, "memory", 0)
    if memory_swap == 0:
        return _whole(2 * memory, "2 * memory", 0)
    memory_swap_to_swap_max(memory_swap, memory)
    return memory_swap


def _smallest(value: int, what: str, most: int, forward: Callable[[int], int], among: range) -> int:
    """Return the smallest number *among* those that *forward*, which never falls, makes at least *value*; 0 of 0."""
    value = _whole(value, what, 0, most)
    return among[bisect.bisect_left(among, value, key=forward)] if value else 0


def _whole(value: object, what: str, low: int, high: int = MOST) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{what}={shown(value)}: not a whole number; give an int"
        raise SpecError(msg)
    if not low <= value <= high:
        msg = f"{what}={shown(value)}: out of range; give {low} to {'2**64-1' if high == MOST else high}"
        raise SpecError(msg)
    return value
