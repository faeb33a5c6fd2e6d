"""Conversions between the words of cgroup v1, cgroup v2 and the OCI runtime specification.

Numbers in, numbers out; ``-1`` is unlimited, as OCI has it. Where a value has no answer, and for
``None``, a :class:`cgctl.SpecError` says why.
"""

from __future__ import annotations

import bisect
import math

from cgctl.errors import SpecError, shown
from cgctl.formats import format_cpu_list, parse_cpu_list
from cgctl.units import format_size, parse_size

__all__ = [
    "blkio_to_io_weight",
    "format_cpu_list",
    "format_size",
    "io_to_blkio_weight",
    "memory_swap_to_swap_max",
    "parse_cpu_list",
    "parse_size",
    "shares_to_weight",
    "shares_to_weight_linear",
    "weight_to_shares",
]

MIN_SHARES, MAX_SHARES = 2, 262144
MIN_WEIGHT, MAX_WEIGHT = 1, 10000
MIN_BLKIO, MAX_BLKIO = 10, 1000
MOST = 2**64 - 1


def shares_to_weight(shares: int) -> int:
    """Convert v1 ``cpu.shares`` to v2 ``cpu.weight`` so that the defaults meet: 1024 is 100.

    ``ceil(10 ** ((l*l + 125*l) / 612 - 7/34))`` with ``l = log2(shares)``: a quadratic through
    (2, 1), (1024, 100) and (262144, 10000) on logarithmic axes. Shares outside 2..262144 are clamped,
    as the kernel does; 0 stays 0 (OCI: not set). Source: opencontainers/cgroups, 2025.

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
    weight → shares → weight is the identity on 1..10000. 0 stays 0.

    Raises:
        SpecError: it is not from 0 to 10000.
    """
    weight = _whole(weight, "weight", 0, MAX_WEIGHT)
    if weight == 0:
        return 0
    if weight == 100:  # noqa: PLR2004 - the default of cpu.weight, whose shares are the default too
        return 1024
    return bisect.bisect_left(range(MAX_SHARES + 1), weight, lo=MIN_SHARES, key=shares_to_weight)


def shares_to_weight_linear(shares: int) -> int:
    """Convert v1 ``cpu.shares`` to v2 ``cpu.weight`` by the older linear formula.

    ``1 + (shares - 2) * 9999 / 262142``, which makes 1024 a weight of 39. Runtimes before 2025 used
    it, so monitors that read their groups need it. 0 stays 0.

    Raises:
        SpecError: it is no ``int``, negative, or 2**64 and more.
    """
    shares = _whole(shares, "shares", 0)
    if shares == 0:
        return 0
    clamped = min(max(shares, MIN_SHARES), MAX_SHARES)
    return 1 + (clamped - MIN_SHARES) * 9999 // 262142


def blkio_to_io_weight(weight: int) -> int:
    """Convert v1 ``blkio.weight`` (10..1000) to v2 ``io.weight`` (1..10000).

    ``1 + (weight - 10) * 9999 / 990``, rounded down. 0 stays 0 (OCI: not set). Source:
    opencontainers/cgroups, ``ConvertBlkIOToIOWeightValue``.

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

    The smallest v1 weight whose :func:`blkio_to_io_weight` is not below *weight*. 0 stays 0.

    Raises:
        SpecError: it is not from 0 to 10000.
    """
    weight = _whole(weight, "io weight", 0, MAX_WEIGHT)
    if weight == 0:
        return 0
    return bisect.bisect_left(range(MAX_BLKIO + 1), weight, lo=MIN_BLKIO, key=blkio_to_io_weight)


def memory_swap_to_swap_max(memory_swap: int, memory: int) -> int:
    """Convert OCI's *memory + swap* to v2's ``memory.swap.max``.

    Args:
        memory_swap: bytes of memory and swap together; -1 is unlimited, 0 is not set.
        memory: bytes of memory; -1 is unlimited, 0 is not set.

    Returns:
        Bytes of swap, -1 for unlimited, 0 when neither was set or both are equal. With unlimited memory
        *memory_swap* is returned as it is. Source: opencontainers/cgroups.

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


def _whole(value: object, what: str, low: int, high: int = MOST) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{what}={shown(value)}: not a whole number; give an int"
        raise SpecError(msg)
    if not low <= value <= high:
        msg = f"{what}={shown(value)}: out of range; give {low} to {'2**64-1' if high == MOST else high}"
        raise SpecError(msg)
    return value
