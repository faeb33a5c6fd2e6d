"""Sizes, times and CPU counts, as people write them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgctl.errors import SpecError, shown
from cgctl.units import (
    MAX,
    check_range,
    format_duration,
    format_size,
    is_max,
    parse_count,
    parse_count_or_max,
    parse_cpus,
    parse_duration,
    parse_flag,
    parse_limit,
    parse_size,
    parse_usec,
)
from tests.unit import CALM
from tests.unit.refusals import says

DIGITS = "9" * 100_000
"""More digits than Python turns into an int (sys.get_int_max_str_digits())."""


class TestMax:
    """No limit."""

    @pytest.mark.parametrize("value", [MAX, "max", " max\n"])
    def test_is_max(self, value: object) -> None:
        """``MAX`` and ``"max"`` are the same."""
        assert is_max(value)

    @pytest.mark.parametrize("value", [0, -1, None, "", "MAX", "maximum", float("inf"), True])
    def test_nothing_else_is(self, value: object) -> None:
        """Zero, nothing, and what other programs write for "no limit" are not."""
        assert not is_max(value)

    def test_shown_as_people_write_it(self) -> None:
        """``repr`` is the name in Python, ``str`` the kernel's word."""
        assert (repr(MAX), str(MAX)) == ("MAX", "max")


class TestParseSize:
    """Numbers of bytes."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (0, 0),
            (2**64 - 1, 2**64 - 1),
            ("0", 0),
            ("104857600", 104857600),
            ("100M", 104857600),
            ("100m", 104857600),
            (" 100 MB ", 104857600),
            ("100MiB", 104857600),
            ("1K", 1 << 10),
            ("1KB", 1 << 10),
            ("1.5G", 3 << 29),
            ("1T", 1 << 40),
            ("2P", 1 << 51),
            ("15E", 15 << 60),
            ("10B", 10),
            ("0.0001K", 0),
            ("1.9", 1),
        ],
    )
    def test_sizes(self, value: int | str, expected: int) -> None:
        """Suffixes are powers of 1024; fractions are rounded down."""
        assert expected == parse_size(value)

    @pytest.mark.parametrize(
        "value",
        [
            "10Q",
            "",
            " ",
            "M",
            "1.M",
            ".5M",
            "1e3",
            "0x10",
            "1_000",
            "-1",
            "+1",
            "nan",
            "inf",
            "max",
            "1 2",
            "\u0661",
            "10MM",
        ],
    )
    def test_strings_that_are_no_sizes(self, value: str) -> None:
        """The message has the value and an example."""
        with says(SpecError, f"memory={value!r}: not a size", "K, M, G", "'100M'"):
            parse_size(value, "memory")

    @pytest.mark.parametrize("value", [None, True, False, 1.5, float("nan"), float("inf"), b"1", [1], Decimal(1)])
    def test_other_types(self, value: object) -> None:
        """Only ints and strings are sizes; a bool is none, a float neither."""
        with says(SpecError, f"memory={value!r}: not a size", "int of bytes", "'100M'"):
            parse_size(value, "memory")

    @pytest.mark.parametrize("value", [-1, 2**64, "18446744073709551616", "16E", "99999E"])
    def test_out_of_range(self, value: int | str) -> None:
        """The kernel's sizes are unsigned and of 64 bits; the message has what was written."""
        with says(SpecError, f"memory={value!r}: out of range", "0 to 2**64-1", "MAX means no limit"):
            parse_size(value, "memory")

    @pytest.mark.parametrize("value", [10**5000, -(10**5000), DIGITS, DIGITS + "E", f"0.{DIGITS}E{DIGITS}"], ids=shown)
    def test_absurd_numbers(self, value: int | str) -> None:
        """They are refused at once, in few words."""
        with pytest.raises(SpecError) as caught:
            parse_size(value, "memory")

        assert len(str(caught.value)) < 300

    @CALM
    @given(st.integers(0, 2**64 - 1))
    def test_reads_what_format_size_writes(self, number: int) -> None:
        """Writing and reading a size is the identity."""
        assert number == parse_size(format_size(number))


class TestParseLimit:
    """Sizes or no limit."""

    def test_three_values_are_three(self) -> None:
        """No limit, zero, and a size are never conflated; nothing is not one of them."""
        assert [parse_limit(value) for value in (MAX, "max", 0, "1K")] == [MAX, MAX, 0, 1024]
        with says(SpecError, "limit=None"):
            parse_limit(None)

    def test_minus_one_is_not_max(self) -> None:
        """v1's and docker's ``-1`` is refused, and the message knows what was meant."""
        with says(SpecError, "memory=-1", "MAX means no limit"):
            parse_limit(-1, "memory")


class TestParseCount:
    """Whole numbers of a range."""

    @pytest.mark.parametrize(("value", "expected"), [(0, 0), (10, 10), ("7", 7), (" 7 ", 7), ("+7", 7)])
    def test_counts(self, value: object, expected: int) -> None:
        """Ints, and strings of digits."""
        assert expected == parse_count(value, "pids.max", 0, 10)

    @pytest.mark.parametrize("value", [1.5, 1.0, "abc", "1.5", "0x1", "", None, True, "²", "1_0", DIGITS], ids=shown)
    def test_no_whole_numbers(self, value: object) -> None:
        """The message has the value and the range."""
        with says(SpecError, "pids.max=", "not a whole number", "int from 0 to 10"):
            parse_count(value, "pids.max", 0, 10)

    @pytest.mark.parametrize("value", [-1, 11, "-1", "11", 10**5000, "9" * 99], ids=shown)
    def test_out_of_range(self, value: object) -> None:
        """The message has the range."""
        with says(SpecError, "pids.max=", "out of range", "the kernel takes 0 to 10"):
            parse_count(value, "pids.max", 0, 10)

    def test_or_max(self) -> None:
        """No limit is a count too, where it is said so."""
        assert [parse_count_or_max(value, "pids.max", 0, 10) for value in ("max", "0", 10)] == [MAX, 0, 10]


class TestParseFlag:
    """Booleans."""

    @pytest.mark.parametrize(
        ("value", "expected"), [(True, True), (False, False), (1, True), (0, False), ("1", True), ("0", False)]
    )
    def test_flags(self, value: object, expected: bool) -> None:  # noqa: FBT001 - the value is the argument
        """True and False, and the kernel's 1 and 0."""
        assert expected is parse_flag(value, "cpu.idle")

    @pytest.mark.parametrize("value", [2, -1, 1.0, "yes", "true", "", None, MAX, [], {}])
    def test_no_flags(self, value: object) -> None:
        """Nothing else is one, however truthy."""
        with says(SpecError, f"cpu.idle={value!r}: not a flag", "True or False"):
            parse_flag(value, "cpu.idle")


class TestParseDuration:
    """Time spans."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (0, 0),
            (2, 2_000_000),
            (0.5, 500_000),
            (0.1, 100_000),
            (Decimal("0.25"), 250_000),
            ("0.5", 500_000),
            ("50ms", 50_000),
            ("50 msec", 50_000),
            ("7us", 7),
            ("2s", 2_000_000),
            ("1.5m", 90_000_000),
            ("1min", 60_000_000),
            ("2h", 7_200_000_000),
            ("7d", 604_800_000_000),
            ("0.0000001", 0),
        ],
    )
    def test_spans(self, value: object, expected: int) -> None:
        """A bare number is seconds; the result is microseconds."""
        assert expected == parse_duration(value)

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "5 parsecs",
            "-1",
            "-1s",
            "1e3",
            "max",
            "1S",
            -1,
            -0.5,
            float("nan"),
            float("inf"),
            Decimal("nan"),
            Decimal("-inf"),
            None,
            True,
            MAX,
            b"1s",
            [1],
        ],
    )
    def test_no_spans(self, value: object) -> None:
        """The message has the value and an example."""
        with says(SpecError, f"timeout={value!r}: not a time span", "such as '50ms'"):
            parse_duration(value, "timeout")

    @pytest.mark.parametrize(
        "value", [1e300, "1000000d", 10**5000, DIGITS, Decimal("1e999999"), Decimal("1e99999999")], ids=shown
    )
    def test_longer_than_the_kernel_counts(self, value: object) -> None:
        """It is refused at once, instead of overflowing later."""
        with says(SpecError, "timeout=", "out of range", "up to 292 years"):
            parse_duration(value, "timeout")

    @CALM
    @given(st.integers(0, 2**53))
    def test_reads_what_format_duration_writes(self, usec: int) -> None:
        """Writing and reading a time span is the identity."""
        assert usec == parse_duration(format_duration(usec))


class TestParseUsec:
    """Fields whose unit is microseconds."""

    @pytest.mark.parametrize(
        ("value", "expected"), [(1000, 1000), ("1000", 1000), ("1ms", 1000), ("0.5ms", 500), (-1, -1), ("-1", -1)]
    )
    def test_microseconds(self, value: object, expected: int) -> None:
        """A bare number is microseconds, as the field's name says; a string may have a unit."""
        assert expected == parse_usec(value, "cpu.rt_runtime_usec", -1, 10_000)

    @pytest.mark.parametrize(
        ("value", "rule"), [(1e3, "not a whole number"), ("1x", "not a time span"), ("1s", "range")]
    )
    def test_refusals(self, value: object, rule: str) -> None:
        """What is no time, or out of range, is refused with what was written."""
        with says(SpecError, f"cpu.period_usec={value!r}", rule):
            parse_usec(value, "cpu.period_usec", 0, 10_000)


class TestParseCpus:
    """Amounts of CPU time."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(1, "1"), (0.5, "0.5"), (0.1, "0.1"), ("1.5", "1.5"), ("150%", "1.5"), (" 50 % ", "0.5"), (Decimal(2), "2")],
    )
    def test_amounts(self, value: object, expected: str) -> None:
        """CPUs, or a percentage of one; floats as they are written."""
        assert Decimal(expected) == parse_cpus(value)

    def test_max(self) -> None:
        """No limit is an amount too."""
        assert [parse_cpus(MAX), parse_cpus("max")] == [MAX, MAX]

    @pytest.mark.parametrize("value", [0, 0.0, -1, "0%", "-5%", "0", Decimal(0), -(10**5000), "1e-99999999"], ids=shown)
    def test_nothing_is_no_amount(self, value: object) -> None:
        """Zero CPUs is no limit that a kernel has."""
        with says(SpecError, "cpu=", "must be above 0", "'50%'", "MAX for no limit"):
            parse_cpus(value)

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "abc",
            "%",
            "1%%",
            "nan",
            "inf",
            "1e99999999999999999999",
            True,
            None,
            [1],
            b"1",
            float("nan"),
            float("inf"),
            Decimal("nan"),
            Decimal("sNaN"),
            "1e9999999%",
        ],
    )
    def test_no_amounts(self, value: object) -> None:
        """The message has the value and examples."""
        with says(SpecError, f"cpu={value!r}: not an amount of CPU", "1.5", "'150%'", "MAX for no limit"):
            parse_cpus(value)


class TestFormatSize:
    """Sizes, as people read them."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(0, "0"), (1, "1"), (1023, "1023"), (1024, "1K"), (1536, "1536"), (104857600, "100M"), (15 << 60, "15E")],
    )
    def test_exact(self, value: int, expected: str) -> None:
        """The largest suffix that is exact."""
        assert expected == format_size(value)

    @pytest.mark.parametrize("value", [-1, 2**64, 10**5000, 1.5, "1", True, None, MAX], ids=shown)
    def test_no_sizes(self, value: Any) -> None:
        """What parse_size would not read back is not written."""
        with says(SpecError, "size=", "not a number of bytes", "int from 0 to 2**64-1"):
            format_size(value)


class TestFormatDuration:
    """Time spans, as people read them."""

    @pytest.mark.parametrize(
        ("usec", "expected"),
        [(0, "0us"), (1, "1us"), (1500, "1500us"), (50_000, "50ms"), (2_000_000, "2s"), (604_800_000_000, "7d")],
    )
    def test_exact(self, usec: int, expected: str) -> None:
        """The largest unit that is exact."""
        assert expected == format_duration(usec)


class TestCheckRange:
    """Numbers within a range."""

    def test_ends_are_inside(self) -> None:
        """Both ends belong to the range."""
        assert [check_range(1, "x", 1, 3), check_range(3, "x", 1, 3)] == [1, 3]

    def test_outside(self) -> None:
        """The message has what was given, where that is not the number itself."""
        with says(SpecError, "x='4us': out of range; the kernel takes 1 to 3"):
            check_range(4, "x", 1, 3, given="4us")
