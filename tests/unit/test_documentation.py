"""The page on testing says what is so: its examples run."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from cgctl.testing import FakeSystem

DIRECTORY = Path(__file__).parents[2] / "examples"
PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_page_on_testing_runs(example: str, fake_system: FakeSystem) -> None:
    """Each example holds, and the tests in it pass."""
    names: dict[str, object] = {}
    exec(example, names)  # noqa: S102 - the documentation's own
    tests = [thing for name, thing in names.items() if name.startswith("test_") and callable(thing)]

    for test in tests:
        test(fake_system)


def test_the_orchestrator(fake_system: FakeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's own test passes in memory; tests/kernel has it on this machine."""
    monkeypatch.syspath_prepend(DIRECTORY)
    example = importlib.import_module("test_orchestrator")
    example.test_all_get_what_they_need(fake_system)
