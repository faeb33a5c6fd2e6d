"""The kernel's text formats."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgctl.errors import SpecError, shown
from cgctl.formats import (
    FormatError,
    Pressure,
    PressureLine,
    format_cpu_list,
    parse_cpu_list,
    parse_flat_keyed,
    parse_lines,
    parse_nested_keyed,
    parse_pressure,
    parse_words,
)
from tests.unit import CALM
from tests.unit.refusals import says


class TestLists:
    """Lists by line, and by blank."""

    @pytest.mark.parametrize(("text", "expected"), [("", ()), ("a\n", ("a",)), ("a b\nc\n", ("a b", "c"))])
    def test_lines(self, text: str, expected: tuple[str, ...]) -> None:
        """A line each; an empty file is an empty list."""
        assert expected == parse_lines(text)

    @pytest.mark.parametrize(("text", "expected"), [("", ()), ("\n", ()), ("cpuset cpu io\n", ("cpuset", "cpu", "io"))])
    def test_words(self, text: str, expected: tuple[str, ...]) -> None:
        """A word each; an empty line is an empty list."""
        assert expected == parse_words(text)


class TestFlatKeyed:
    """``KEY VALUE`` lines."""

    def test_keeps_the_order(self) -> None:
        """Keys are in the file's order, whatever they are."""
        text = "low 0\nhigh 1\nbrand_new -3\n"

        assert list(parse_flat_keyed(text).items()) == [("low", 0), ("high", 1), ("brand_new", -3)]

    @pytest.mark.parametrize("line", ["", "low", "low 1 2", "low x", "low 1.5"])
    def test_other_lines(self, line: str) -> None:
        """What is not a key and a number is refused by name."""
        with says(FormatError, f"line {line!r} is not a key and a number"):
            parse_flat_keyed(f"max 1\n{line}\n")


class TestNestedKeyed:
    """``KEY SUB=VALUE`` lines."""

    def test_values_are_text(self) -> None:
        """Values may hold an equals sign; a key may have none at all."""
        text = "8:0 rbps=1 wbps=max\ndefault\nx a=b=c\n"

        assert parse_nested_keyed(text) == {"8:0": {"rbps": "1", "wbps": "max"}, "default": {}, "x": {"a": "b=c"}}

    @pytest.mark.parametrize("line", ["", "8:0 rbps", "8:0 rbps=1 max"])
    def test_other_lines(self, line: str) -> None:
        """What is not a key and pairs is refused by name."""
        with says(FormatError, f"line {line!r} is not a key and sub=value pairs"):
            parse_nested_keyed(f"8:16 rbps=1\n{line}\n")


class TestPressure:
    """Pressure stall information."""

    SOME = "some avg10=0.22 avg60=0.17 avg300=1.11 total=58761459\n"

    def test_both_lines(self) -> None:
        """Averages are per cent, the total microseconds."""
        some = PressureLine(avg10=0.22, avg60=0.17, avg300=1.11, total_usec=58761459)
        full = PressureLine(avg10=0.0, avg60=0.0, avg300=0.0, total_usec=7)

        text = self.SOME + "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"

        assert Pressure(some=some, full=full) == parse_pressure(text)

    def test_without_full(self) -> None:
        """``cpu.pressure`` before 5.13 has one line."""
        assert parse_pressure(self.SOME).full is None

    def test_lines_of_a_kernel_to_come(self) -> None:
        """More keys, another order and whole numbers are read all the same."""
        text = "full total=7 avg300=0 avg60=0 avg10=0 avg900=1\nsome avg10=1 avg60=2 avg300=3 total=4\n"

        assert parse_pressure(text) == Pressure(
            some=PressureLine(avg10=1.0, avg60=2.0, avg300=3.0, total_usec=4),
            full=PressureLine(avg10=0.0, avg60=0.0, avg300=0.0, total_usec=7),
        )

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "some avg10=1.2.3 avg60=0.00 avg300=0.00 total=0\n",
            "full avg10=0 avg60=0 avg300=0 total=0\n",
            "some avg10=0\n",
            "some x\n",
            "\n",
        ],
    )
    def test_other_texts(self, text: str) -> None:
        """What lacks a line or a key is refused."""
        with says(FormatError, "not pressure stall information"):
            parse_pressure(text)


class TestParseCpuList:
    """Lists of CPUs and of memory nodes."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", ()),
            ("\n", ()),
            ("0", (0,)),
            ("0-2,5\n", (0, 1, 2, 5)),
            ("3,2,1,0", (0, 1, 2, 3)),
            ("1,1-2", (1, 2)),
            (" 0 , 2 ", (0, 2)),
            ("0 2\t4", (0, 2, 4)),
            (",1,,2,", (1, 2)),
            ("007", (7,)),
            ("0-7:2/4", (0, 1, 4, 5)),
            ("1-1", (1,)),
        ],
    )
    def test_the_kernels_grammar(self, text: str, expected: tuple[int, ...]) -> None:
        """Commas or blanks, ranges and strides; the result is sorted and without duplicates."""
        assert expected == parse_cpu_list(text)

    @pytest.mark.parametrize(
        "text", ["3-1", "x", "-1", "1-", "0x3", "1.5", "0-1-2", "0-3:2", "1:1/2", "all", "٣", "9" * 5000], ids=shown
    )
    def test_other_texts(self, text: str) -> None:
        """The message has the item and an example."""
        with says(SpecError, "cpu list", "is not a number or an ascending range", "'0-3,5'"):
            parse_cpu_list(text)

    @pytest.mark.parametrize("text", ["0-99999999", "1048576", "0,9999999999999999999"])
    def test_beyond_any_machine(self, text: str) -> None:
        """A range that would fill the memory is refused at once."""
        with says(SpecError, f"cpu list {text!r}", "beyond any machine", "1048575"):
            parse_cpu_list(text)

    @pytest.mark.parametrize("text", ["0-7:0/4", "0-7:5/4", "0-7:1/0"])
    def test_strides(self, text: str) -> None:
        """A stride uses at least one of its group, at most all."""
        with says(SpecError, text, "from 1 to the group size"):
            parse_cpu_list(text)

    @pytest.mark.parametrize("value", [None, 3, [0], b"0"])
    def test_other_types(self, value: Any) -> None:
        """Only a string is a list in the kernel's notation."""
        with says(SpecError, f"cpu list {value!r}: not a string"):
            parse_cpu_list(value)


class TestFormatCpuList:
    """CPU numbers, in the kernel's notation."""

    @pytest.mark.parametrize(
        ("numbers", "expected"),
        [((), ""), ([3], "3"), ([5, 2, 1, 0, 1], "0-2,5"), ({7, 9}, "7,9"), (range(64), "0-63"), (iter([1, 0]), "0-1")],
    )
    def test_canonical(self, numbers: Any, expected: str) -> None:
        """Sorted, ranges merged, from any iterable."""
        assert expected == format_cpu_list(numbers)

    @pytest.mark.parametrize("item", [-1, True, 1.0, "1", None, 2**20, 10**5000], ids=shown)
    def test_no_cpu_numbers(self, item: Any) -> None:
        """The message has the item."""
        with says(SpecError, "cpu list", "is not a CPU number; give ints from 0"):
            format_cpu_list([0, item])

    @pytest.mark.parametrize("numbers", [itertools.count(2**20 - 9), range(2**20 - 9, 10**12), range(-(10**12), 0)])
    def test_endless(self, numbers: Any) -> None:
        """What does not end is refused where it leaves any machine, not read to its end."""
        with says(SpecError, "cpu list", "is not a CPU number"):
            format_cpu_list(numbers)

    @pytest.mark.parametrize("value", [None, 3, 1.5])
    def test_no_iterables(self, value: Any) -> None:
        """A single number is no list."""
        with says(SpecError, f"cpu list {value!r}: not a list of ints", "[0, 1]"):
            format_cpu_list(value)

    @CALM
    @given(st.sets(st.integers(0, 2**20 - 1)))
    def test_read_back(self, numbers: set[int]) -> None:
        """Writing and reading a list is the identity."""
        assert tuple(sorted(numbers)) == parse_cpu_list(format_cpu_list(numbers))
