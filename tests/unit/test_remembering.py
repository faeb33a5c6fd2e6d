"""What is worked out once: answers are shared where nobody can change them."""

from __future__ import annotations

import pytest

import cgctl
from cgctl.controllers import parse_specs
from cgctl.remembering import remembered, shared
from cgctl.testing import FakeSystem
from tests.unit.refusals import says


class TestRemembered:
    """Answers of pure functions."""

    def test_worked_out_once(self) -> None:
        """The second time the answer is the first one."""
        asked = []

        @remembered
        def twice(number: int) -> int:
            asked.append(number)
            return 2 * number

        assert (twice(2), twice(2), twice(3)) == (4, 4, 6)
        assert asked == [2, 3]

    def test_arguments_without_a_hash(self) -> None:
        """They are taken all the same."""
        assert remembered(len)([1, 2]) == 2

    def test_an_error_of_a_type(self) -> None:
        """A function's own ``TypeError`` is raised, after one call."""
        asked = []

        @remembered
        def wrong(number: int) -> None:
            asked.append(number)
            raise TypeError("the function's own")

        with pytest.raises(TypeError, match="the function's own"):
            wrong(1)
        assert asked == [1]


class TestShared:
    """Answers that may hold something which can be changed."""

    def test_a_value(self) -> None:
        """What has a hash is made once."""
        made = shared(lambda text: cgctl.Pids(max=text))

        assert made("5") is made("5")
        assert made("5") == cgctl.Pids(max=5)

    def test_a_mapping(self) -> None:
        """What has none is made each time."""
        made = shared(lambda name: {name: 1})
        made("a")["a"] = 2

        assert made("a") == {"a": 1}

    def test_forgets(self) -> None:
        """It does not grow without end."""
        made = shared(str)

        assert [made(number) for number in range(1000)] == [*map(str, range(1000))]


class TestSpecs:
    """Specs of shorthands, and of what the kernel holds."""

    def test_types_are_told_apart(self) -> None:
        """``1`` is a number, ``True`` none, whatever was given before; and so with ``1.0``."""
        assert parse_specs({"pids": 1})["pids"].max == 1
        with says(cgctl.SpecError, "pids.max=True: not a whole number"):
            parse_specs({"pids": True})
        with says(cgctl.SpecError, "pids.max=1.0: not a whole number"):
            parse_specs({"pids": 1.0})

    def test_one_that_holds_a_mapping_is_its_own(self) -> None:
        """Two groups that were given the same words do not share a dict."""
        one, other = (parse_specs({"misc": "res_a=5"})["misc"] for _ in range(2))

        assert one == other
        assert one.max is not other.max

    def test_what_is_held_is_read_each_time(self) -> None:
        """The answer to a later question is that of the later files, whoever changed what they were told before."""
        system = FakeSystem("v2")
        with cgctl.Group("a", system=system, join=False, memory="16M", hugetlb={"2M": "4M"}) as group:
            first = group.limits()
            assert first.hugetlb is not None
            assert isinstance(first.hugetlb.max, dict)
            first.hugetlb.max.clear()

            again = group.limits()
            changed = group.update(memory="32M")

        assert again.hugetlb is not None
        assert again.hugetlb.max is not None
        assert again.hugetlb.max["2MB"] == 4 << 20
        assert (again.memory and again.memory.max, changed.memory and changed.memory.max) == (16 << 20, 32 << 20)
