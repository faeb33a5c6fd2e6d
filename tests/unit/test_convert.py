"""Conversions between v1, v2 and OCI, against the numbers of the runtimes that have them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from cgctl import convert
from cgctl.errors import SpecError, shown
from tests.unit.refusals import says

ONE_NUMBER = (
    convert.shares_to_weight,
    convert.weight_to_shares,
    convert.shares_to_weight_linear,
    convert.blkio_to_io_weight,
    convert.io_to_blkio_weight,
)
SHARES = (*range(5000), *range(5000, 262144, 997), 262143, 262144, 262145, 2**64 - 1)


class TestSharesToWeight:
    """v1's shares as a weight."""

    @pytest.mark.parametrize(
        ("shares", "weight"),
        [
            (0, 0),
            (1, 1),
            (2, 1),
            (3, 2),
            (10, 4),
            (100, 17),
            (256, 35),
            (512, 59),
            (1000, 99),
            (1024, 100),
            (2048, 174),
            (10240, 639),
            (102400, 4429),
            (262144, 10000),
            (262145, 10000),
            (2**64 - 1, 10000),
        ],
    )
    def test_values_of_runc(self, shares: int, weight: int) -> None:
        """The values are those of opencontainers/cgroups; the ends are clamped as the kernel does."""
        assert weight == convert.shares_to_weight(shares)

    def test_never_falls(self) -> None:
        """More shares are never less weight."""
        weights = [convert.shares_to_weight(shares) for shares in SHARES]

        assert all(a <= b for a, b in pairwise(weights))


class TestWeightToShares:
    """The inverse of it."""

    def test_round_trip(self) -> None:
        """From a weight to shares and back is the identity on 0..10000."""
        weights = range(10001)

        assert list(weights) == [convert.shares_to_weight(convert.weight_to_shares(weight)) for weight in weights]

    @pytest.mark.parametrize(("weight", "shares"), [(0, 0), (1, 2), (100, 1024)])
    def test_defaults_meet(self, weight: int, shares: int) -> None:
        """The default is the default, the least the least."""
        assert shares == convert.weight_to_shares(weight)

    @pytest.mark.parametrize("weight", [2, 39, 99, 101, 5000, 9999, 10000])
    def test_the_smallest(self, weight: int) -> None:
        """Of the shares that have a weight it is the smallest."""
        assert weight - 1 == convert.shares_to_weight(convert.weight_to_shares(weight) - 1)


class TestSharesToWeightLinear:
    """The older formula."""

    @pytest.mark.parametrize(
        ("shares", "weight"), [(0, 0), (1, 1), (2, 1), (1024, 39), (2048, 79), (262144, 10000), (300000, 10000)]
    )
    def test_values_of_old_runtimes(self, shares: int, weight: int) -> None:
        """1024 was a weight of 39."""
        assert weight == convert.shares_to_weight_linear(shares)


class TestBlkioWeights:
    """The weights of disks."""

    @pytest.mark.parametrize(("blkio", "io"), [(0, 0), (10, 1), (100, 910), (500, 4950), (1000, 10000)])
    def test_values_of_runc(self, blkio: int, io: int) -> None:
        """The whole of one range is the whole of the other; 100, 500 and 1000 do not wrap at 16 bits."""
        assert io == convert.blkio_to_io_weight(blkio)
        assert blkio == convert.io_to_blkio_weight(io)

    def test_round_trip(self) -> None:
        """From v1 to v2 and back is the identity."""
        weights = [0, *range(10, 1001)]

        assert weights == [convert.io_to_blkio_weight(convert.blkio_to_io_weight(weight)) for weight in weights]

    @pytest.mark.parametrize("weight", [1, 9])
    def test_below_the_least(self, weight: int) -> None:
        """v1's least is 10."""
        with says(SpecError, f"blkio weight={weight}: out of range", "10 to 1000"):
            convert.blkio_to_io_weight(weight)


class TestMemorySwap:
    """OCI's memory + swap as a limit of swap."""

    @pytest.mark.parametrize(
        ("memory_swap", "memory", "swap"),
        [
            (0, 0, 0),
            (0, -1, -1),
            (-1, 0, -1),
            (-1, -1, -1),
            (-1, 100, -1),
            (0, 100, 0),
            (200, -1, 200),
            (300, 100, 200),
            (100, 100, 0),
        ],
    )
    def test_values_of_runc(self, memory_swap: int, memory: int, swap: int) -> None:
        """``ConvertMemorySwapToCgroupV2Value``, case by case."""
        assert swap == convert.memory_swap_to_swap_max(memory_swap, memory)

    def test_swap_without_memory(self) -> None:
        """A limit of both without one of memory has no answer."""
        with says(SpecError, "memory_swap=200 with memory=0", "set it too"):
            convert.memory_swap_to_swap_max(200, 0)

    def test_swap_below_memory(self) -> None:
        """It counts both, so it cannot be the smaller one."""
        with says(SpecError, "memory_swap=50 is below memory=100", "counts both", "at least the memory limit"):
            convert.memory_swap_to_swap_max(50, 100)

    @pytest.mark.parametrize("bad", [None, True, 1.0, "1", float("nan"), -2, 2**64])
    def test_nonsense(self, bad: Any) -> None:
        """Either argument is checked, and named."""
        with says(SpecError, f"memory_swap={bad!r}"):
            convert.memory_swap_to_swap_max(bad, 100)
        with says(SpecError, f"memory={bad!r}"):
            convert.memory_swap_to_swap_max(100, bad)


class TestNonsense:
    """What no conversion answers."""

    @pytest.mark.parametrize("bad", [None, True, False, 1.0, float("nan"), float("inf"), "1", "max", [1]])
    @pytest.mark.parametrize("function", ONE_NUMBER)
    def test_no_ints(self, function: Callable[[Any], int], bad: object) -> None:
        """Only ints are converted; the message has the value."""
        with says(SpecError, f"={bad!r}: not a whole number; give an int"):
            function(bad)

    @pytest.mark.parametrize("bad", [-1, 2**64, 10**5000], ids=shown)
    @pytest.mark.parametrize("function", ONE_NUMBER)
    def test_out_of_range(self, function: Callable[[Any], int], bad: int) -> None:
        """Negative numbers and those of more than 64 bits have no answer."""
        with says(SpecError, ": out of range; give "):
            function(bad)

    @pytest.mark.parametrize("bad", ["10Q", "-1", float("nan"), float("inf"), 2**64, True, None])
    def test_sizes(self, bad: Any) -> None:
        """``convert.parse_size`` refuses what ``memory=`` refuses."""
        with says(SpecError, f"size={bad!r}"):
            convert.parse_size(bad)

    @pytest.mark.parametrize("bad", [None, 1, "3-1", "x"])
    def test_lists(self, bad: Any) -> None:
        """``convert.parse_cpu_list`` too."""
        with says(SpecError, f"{bad!r}"):
            convert.parse_cpu_list(bad)


class TestPublic:
    """What the module shows."""

    def test_names(self) -> None:
        """All that the documentation promises is there."""
        assert {
            "shares_to_weight",
            "weight_to_shares",
            "shares_to_weight_linear",
            "blkio_to_io_weight",
            "io_to_blkio_weight",
            "memory_swap_to_swap_max",
            "parse_cpu_list",
            "format_cpu_list",
            "parse_size",
            "format_size",
        } == set(convert.__all__)
