"""The page on testing says what is so: its examples run."""

from __future__ import annotations

import re
from pathlib import Path

from cgctl.testing import FakeSystem

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_the_page_on_testing_runs(fake_system: FakeSystem) -> None:
    """Its first example holds, and its test passes."""
    first, second = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(first, {})  # noqa: S102 - the documentation's own
    names: dict[str, object] = {}
    exec(second, names)  # noqa: S102
    test = names["test_a_job_that_forks_too_much"]
    assert callable(test)

    test(fake_system)
