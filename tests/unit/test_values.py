"""What settings take: the range that a row prints is the range that its spec holds values to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from cgctl.controllers import CONTROLLERS, Row
from cgctl.controllers._values import FLAGS, LIMITS, Values, usec, whole
from cgctl.errors import SpecError, shown
from cgctl.units import MAX
from tests.unit.refusals import says

SETTINGS = [
    pytest.param(name, row, id=f"{name}.{row.attribute}")
    for name, controller in CONTROLLERS.items()
    for row in controller.settings
]
READINGS = [
    pytest.param(row, id=f"{name}.{row.attribute}")
    for name, controller in CONTROLLERS.items()
    for row in controller.readings
]
NONSENSE = (object(), b"1", [None], float("nan"), Decimal("sNaN"), "", "1 2 x", "\N{ARABIC-INDIC DIGIT ONE}\0", 10**400)


def _read(name: str, row: Row, value: Any) -> Any:
    """Read a value as a spec does, or, where the attribute is a part of one, as that part is read."""
    each = _values(row).each
    for _ in each if value is not None else ():
        value = {"x": value}
    controller = CONTROLLERS[name]
    if controller.parts is None:
        value = getattr(controller.spec(**{row.attribute: value}), row.attribute)
    else:
        value = _values(row)(value, f"{name}.{row.attribute}")
    for _ in each if value is not None else ():
        value = value["x"]
    return value


def _values(row: Row) -> Values[Any]:
    assert row.values is not None, f"{row.attribute}: a settings row says what it takes (values=)"
    return row.values


@pytest.mark.parametrize(("name", "row"), SETTINGS)
class TestSettings:
    """Each row of the settings."""

    def test_unit_and_range(self, name: str, row: Row) -> None:
        """The documentation has something to print: a unit and a range, or the words that there are."""
        del name

        assert str(_values(row))
        assert row.unit == _values(row).unit

    def test_ends(self, name: str, row: Row) -> None:
        """Both ends of the range are taken, and what is beyond is refused, by name."""
        values = _values(row)
        for end, beyond in ((values.low, -1), (values.high, 1)):
            if end is None:
                continue
            # A list of numbers takes them as its items.
            end_, beyond_ = ([end], [end + beyond]) if "list" in values.unit else (end, end + beyond)
            assert _read(name, row, end_) is not None
            with says(SpecError, f"{name}.{row.attribute}"):
                _read(name, row, beyond_)

    def test_unlimited(self, name: str, row: Row) -> None:
        """``MAX`` is taken exactly where the row says so."""
        if _values(row).unlimited:
            assert _read(name, row, MAX) is MAX
            assert _read(name, row, "max") is MAX
        else:
            with says(SpecError, f"{name}.{row.attribute}"):
                _read(name, row, MAX)

    def test_words(self, name: str, row: Row) -> None:
        """Every word that the row has is taken."""
        for word in _values(row).words:
            assert _read(name, row, {"True": True, "False": False}.get(word, word)) is not None

    @pytest.mark.parametrize("bad", NONSENSE, ids=lambda value: shown(value)[:20])
    def test_nonsense(self, name: str, row: Row, bad: Any) -> None:
        """What is no such value at all is refused by name, whatever it is."""
        if bad == "" and "list" in _values(row).unit:
            return
        with says(SpecError, f"{name}.{row.attribute}"):
            _read(name, row, bad)

    def test_none(self, name: str, row: Row) -> None:
        """``None`` leaves the setting as it is."""
        assert _read(name, row, None) is None


@pytest.mark.parametrize("row", READINGS)
def test_statistics_have_units(row: Row) -> None:
    """Every statistic says what it counts."""
    assert row.unit, f"{row.attribute}: a row of the statistics says its unit (unit=)"


@pytest.mark.parametrize(("name", "row"), [param for param in SETTINGS if _values(param.values[1]).each])  # type: ignore[arg-type]
class TestNamed:
    """Settings that have a value for each of several things."""

    @pytest.mark.parametrize("bad", [1, "x", "", [("x", 1)], {1: 1}, {"": 1}, {"a b": 1}, {"a\nb": 1}, {"a=b": 1}])
    def test_names(self, name: str, row: Row, bad: Any) -> None:
        """They are given as a mapping of names, each of them one word."""
        with says(SpecError, f"{name}.{row.attribute}", _values(row).each[0]):
            CONTROLLERS[name].spec(**{row.attribute: bad})

    def test_words(self, name: str, row: Row) -> None:
        """A string is read as the kernel's line is written, or with an equals sign; several go with commas."""
        inside = "k=5" if len(_values(row).each) > 1 else "5"
        five: Any = {"k": 5} if len(_values(row).each) > 1 else 5
        spec = CONTROLLERS[name].spec

        assert getattr(spec(**{row.attribute: f"a {inside}"}), row.attribute) == {"a": five}
        assert getattr(spec(**{row.attribute: f"a={inside}, b {inside}"}), row.attribute) == {"a": five, "b": five}


class TestText:
    """How a range is printed."""

    @pytest.mark.parametrize(
        ("values", "text"),
        [
            (LIMITS, "0..2^64-1, `MAX`"),
            (FLAGS, "`True`, `False`"),
            (whole("weight", 1, 10_000), "1..10000"),
            (whole("groups", 0, 2**31 - 1), "0..2^31-1"),
            (usec(-1, 2**53), "-1..2^53"),
            (usec(0, 17_592_186_044_415), "0..2^44-1"),
        ],
    )
    def test_ranges(self, values: Values[Any], text: str) -> None:
        """Large bounds are powers of two."""
        assert text == str(values)
