"""Conversions between v1, v2 and OCI, against the numbers of the runtimes that have them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgctl import convert
from cgctl.errors import SpecError, shown
from cgctl.units import MAX
from tests.unit import CALM
from tests.unit.refusals import says

SHARES = (*range(5000), *range(5000, 262144, 997), 262143, 262144, 262145, 2**64 - 1)
WEIGHTS = tuple(range(10001))


@attrs.frozen
class Law:
    """What must hold of a conversion of one number.

    Attributes:
        function: the conversion.
        domain: what it is tried with, in order.
        low: the least result, of anything but 0.
        high: the most.
        back: what undoes it, where going there and back is the identity.
    """

    function: Callable[[int], int]
    domain: tuple[int, ...]
    low: int
    high: int
    back: Callable[[int], int] | None = None

    def __str__(self) -> str:
        return self.function.__name__


LAWS = (
    Law(convert.shares_to_weight, SHARES, 1, 10000),
    Law(convert.weight_to_shares, WEIGHTS, 2, 262115, convert.shares_to_weight),
    Law(convert.shares_to_weight_linear, SHARES, 1, 10000),
    Law(convert.weight_to_shares_linear, WEIGHTS, 2, 262144, convert.shares_to_weight_linear),
    Law(convert.shares_to_weight_proportional, SHARES, 1, 10000),
    Law(convert.weight_to_shares_proportional, WEIGHTS, 2, 102400, convert.shares_to_weight_proportional),
    Law(convert.blkio_to_io_weight, (0, *range(10, 1001)), 1, 10000, convert.io_to_blkio_weight),
    Law(convert.io_to_blkio_weight, WEIGHTS, 10, 1000),
    Law(convert.io_to_bfq_weight, WEIGHTS, 1, 1000),
    Law(convert.bfq_to_io_weight, tuple(range(1001)), 1, 10000, convert.io_to_bfq_weight),
)
ONE_NUMBER = tuple(law.function for law in LAWS)


@pytest.mark.parametrize("law", LAWS, ids=str)
class TestLaws:
    """What holds of every conversion of one number, over its whole range."""

    def test_never_falls(self, law: Law) -> None:
        """More is never converted to less."""
        results = [law.function(value) for value in law.domain]

        assert all(a <= b for a, b in pairwise(results))

    def test_range(self, law: Law) -> None:
        """What comes out is what the kernel takes, its ends are what they are said to be; 0, not set, stays 0."""
        results = [law.function(value) for value in law.domain if value]

        assert (law.low, law.high) == (min(results), max(results))
        assert law.function(0) == 0

    def test_said_to_be_exact_or_lossy(self, law: Law) -> None:
        """The documentation says which it is, and it is: exact is what can be undone."""
        if law.back is not None:
            back = law.back
            assert list(law.domain) == [back(law.function(value)) for value in law.domain]
        one_to_one = len({law.function(value) for value in law.domain}) == len(law.domain)
        said = " ".join((law.function.__doc__ or "").split())

        assert one_to_one == (law.back is not None)
        assert ("Exact" in said, "Lossy" in said) == (one_to_one, not one_to_one)


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


class TestWeightToShares:
    """The inverse of it."""

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

    @pytest.mark.parametrize(("weight", "shares"), [(0, 0), (1, 2), (2, 29), (39, 999), (100, 2598), (10000, 262144)])
    def test_its_inverse(self, weight: int, shares: int) -> None:
        """Where the kubelet, rounding down, is one less and not back at the weight."""
        assert shares == convert.weight_to_shares_linear(weight)


class TestSharesToWeightProportional:
    """The formula that keeps ratios."""

    @pytest.mark.parametrize(
        ("shares", "weight"), [(0, 0), (2, 1), (20, 1), (21, 2), (512, 50), (1024, 100), (2048, 200), (102400, 10000)]
    )
    def test_values_of_systemd(self, shares: int, weight: int) -> None:
        """The default is the default, twice as much twice as much."""
        assert weight == convert.shares_to_weight_proportional(shares)

    @pytest.mark.parametrize(("weight", "shares"), [(0, 0), (1, 2), (2, 21), (100, 1024), (200, 2048), (10000, 102400)])
    def test_its_inverse(self, weight: int, shares: int) -> None:
        """The same ratios."""
        assert shares == convert.weight_to_shares_proportional(weight)


class TestCpus:
    """CPUs as a quota in each period."""

    @pytest.mark.parametrize(
        ("cpus", "period", "quota"),
        [
            (1.5, 100_000, 150_000),
            (1, 50_000, 50_000),
            (0.01, 100_000, 1_000),
            (1.1, 100_000, 110_000),
            ("150%", 100_000, 150_000),
            (Decimal("0.3333333"), 1_000_000, 333_333),
            (-1, 100_000, -1),
            (-1.0, 100_000, -1),
            (MAX, 100_000, -1),
            (0, 100_000, 0),
        ],
    )
    def test_values(self, cpus: Any, period: int, quota: int) -> None:
        """To the nearest microsecond; -1 is unlimited, 0 is not set."""
        assert quota == convert.cpus_to_quota(cpus, period)

    @given(quota=st.integers(1_000, 2**40), period=st.integers(1_000, 1_000_000))
    @CALM
    def test_round_trip(self, quota: int, period: int) -> None:
        """What the kernel holds is converted to CPUs and back to itself."""
        assert quota == convert.cpus_to_quota(convert.quota_to_cpus(quota, period), period)

    @given(a=st.floats(0.01, 1024), b=st.floats(0.01, 1024), period=st.integers(100_000, 1_000_000))
    @CALM
    def test_never_falls(self, a: float, b: float, period: int) -> None:
        """More CPUs are never a smaller quota, and none is off by more than half a microsecond."""
        low, high = sorted((a, b))

        assert convert.cpus_to_quota(low, period) <= convert.cpus_to_quota(high, period)
        assert abs(convert.cpus_to_quota(a, period) - a * period) <= 0.5 + 1e-6

    @pytest.mark.parametrize("quota", [-1, 0])
    def test_no_quota(self, quota: int) -> None:
        """Unlimited and not set stay what they are."""
        assert quota == convert.quota_to_cpus(quota)

    def test_too_little(self) -> None:
        """The kernel gives a millisecond in each period at least."""
        with says(SpecError, "cpus=0.001 with period_usec=100000: that is 100 us", "period_usec=1000000"):
            convert.cpus_to_quota(0.001)
        with says(SpecError, "quota=999: out of range", "1000"):
            convert.quota_to_cpus(999)

    @pytest.mark.parametrize("bad", [None, True, "x", float("nan"), float("inf"), -2, -0.5, [1], Decimal("sNaN")])
    def test_nonsense(self, bad: Any) -> None:
        """What is no amount of CPU is named."""
        with says(SpecError, f"cpus={bad!r}: "):
            convert.cpus_to_quota(bad)

    @pytest.mark.parametrize("bad", [None, True, 1.0, "1", 0, 999, 1_000_001])
    def test_nonsense_of_periods(self, bad: Any) -> None:
        """The kernel takes a millisecond to a second."""
        with says(SpecError, f"period_usec={bad!r}"):
            convert.cpus_to_quota(1, bad)
        with says(SpecError, f"period_usec={bad!r}"):
            convert.quota_to_cpus(100_000, bad)

    @pytest.mark.parametrize("bad", [None, True, 1.0, "1", -2, 2**64])
    def test_nonsense_of_quotas(self, bad: Any) -> None:
        """A quota is an int."""
        with says(SpecError, f"quota={bad!r}"):
            convert.quota_to_cpus(bad)


class TestBlkioWeights:
    """The weights of disks."""

    @pytest.mark.parametrize(("blkio", "io"), [(0, 0), (10, 1), (100, 910), (500, 4950), (1000, 10000)])
    def test_values_of_runc(self, blkio: int, io: int) -> None:
        """The whole of one range is the whole of the other; 100, 500 and 1000 do not wrap at 16 bits."""
        assert io == convert.blkio_to_io_weight(blkio)
        assert blkio == convert.io_to_blkio_weight(io)

    @pytest.mark.parametrize("weight", [1, 9])
    def test_below_the_least(self, weight: int) -> None:
        """v1's least is 10."""
        with says(SpecError, f"blkio weight={weight}: out of range", "10 to 1000"):
            convert.blkio_to_io_weight(weight)


class TestBfqWeights:
    """The weights of the BFQ scheduler."""

    @pytest.mark.parametrize(
        ("io", "bfq"), [(0, 0), (1, 1), (100, 100), (110, 100), (111, 101), (500, 136), (1000, 181), (10000, 1000)]
    )
    def test_values_of_systemd(self, io: int, bfq: int) -> None:
        """The default is the default; below it both are the same."""
        assert bfq == convert.io_to_bfq_weight(io)

    @pytest.mark.parametrize(("bfq", "io"), [(0, 0), (1, 1), (100, 100), (101, 111), (1000, 10000)])
    def test_back(self, bfq: int, io: int) -> None:
        """The smallest of the eleven."""
        assert io == convert.bfq_to_io_weight(bfq)


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


class TestSwapMaxToMemorySwap:
    """The way back."""

    @pytest.mark.parametrize(
        ("swap_max", "memory", "memory_swap"),
        [(0, 100, 100), (200, 100, 300), (-1, 100, -1), (-1, -1, -1), (5, 0, 5)],
    )
    def test_values(self, swap_max: int, memory: int, memory_swap: int) -> None:
        """Both together; unlimited is unlimited."""
        assert memory_swap == convert.swap_max_to_memory_swap(swap_max, memory)

    @given(swap=st.integers(-1, 2**62), memory=st.integers(1, 2**62))
    @CALM
    def test_round_trip(self, swap: int, memory: int) -> None:
        """With a limit of memory, going there and back is the identity."""
        both = convert.swap_max_to_memory_swap(swap, memory)

        assert swap == convert.memory_swap_to_swap_max(both, memory)

    @given(memory=st.integers(1, 2**40), more=st.integers(0, 2**40), swap=st.integers(0, 2**40))
    @CALM
    def test_never_falls(self, memory: int, more: int, swap: int) -> None:
        """More swap is never a smaller sum, nor more of either."""
        both = convert.swap_max_to_memory_swap(swap, memory)

        assert both <= convert.swap_max_to_memory_swap(swap + more, memory)
        assert both <= convert.swap_max_to_memory_swap(swap, memory + more)

    def test_no_sum(self) -> None:
        """Of unlimited memory and limited swap there is none."""
        with says(SpecError, "swap_max=5 with memory=-1", "limit memory"):
            convert.swap_max_to_memory_swap(5, -1)
        with says(SpecError, "memory + swap_max=", "out of range"):
            convert.swap_max_to_memory_swap(2**63, 2**63)

    @pytest.mark.parametrize("bad", [None, True, 1.0, "1", -2, 2**64])
    def test_nonsense(self, bad: Any) -> None:
        """Either argument is checked, and named."""
        with says(SpecError, f"swap_max={bad!r}"):
            convert.swap_max_to_memory_swap(bad, 100)
        with says(SpecError, f"memory={bad!r}"):
            convert.swap_max_to_memory_swap(100, bad)


class TestDockerMemorySwap:
    """Docker's flags as OCI's sum."""

    @pytest.mark.parametrize(
        ("memory_swap", "memory", "both", "swap_max"),
        [(0, 100, 200, 100), (100, 100, 100, 0), (300, 100, 300, 200), (-1, 100, -1, -1), (0, 0, 0, 0)],
    )
    def test_values_of_the_manual(self, memory_swap: int, memory: int, both: int, swap_max: int) -> None:
        """What is not set is as much swap as memory."""
        assert both == convert.docker_memory_swap(memory_swap, memory)
        assert swap_max == convert.memory_swap_to_swap_max(both, memory)

    def test_refusals(self) -> None:
        """The sum needs the limit of memory, and cannot be below it."""
        with says(SpecError, "memory_swap=200 with memory=0"):
            convert.docker_memory_swap(200, 0)
        with says(SpecError, "memory_swap=50 is below memory=100"):
            convert.docker_memory_swap(50, 100)
        with says(SpecError, "2 * memory=", "out of range"):
            convert.docker_memory_swap(0, 2**63)

    @pytest.mark.parametrize("bad", [None, True, 1.0, "1", -2, 2**64])
    def test_nonsense(self, bad: Any) -> None:
        """Either argument is checked, and named."""
        with says(SpecError, f"memory_swap={bad!r}"):
            convert.docker_memory_swap(bad, 100)
        with says(SpecError, f"memory={bad!r}"):
            convert.docker_memory_swap(0, bad)


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
        promised = {function.__name__ for function in ONE_NUMBER} | {
            *("cpus_to_quota", "quota_to_cpus"),
            *("memory_swap_to_swap_max", "swap_max_to_memory_swap", "docker_memory_swap"),
            *("parse_cpu_list", "format_cpu_list", "parse_size", "format_size"),
            *("parse_classid", "format_classid"),
        }

        assert promised == set(convert.__all__)
