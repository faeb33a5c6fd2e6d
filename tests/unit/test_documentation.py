"""The pages on testing and on events say what is so: their examples run."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import cgctl
from cgctl.testing import FakeSystem

DIRECTORY = Path(__file__).parents[2] / "examples"
DOCS = Path(__file__).parents[2] / "docs"


def _examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", _examples("testing.md"))
def test_the_page_on_testing_runs(example: str, fake_system: FakeSystem) -> None:
    """Each example holds, and the tests in it pass."""
    names: dict[str, object] = {}
    exec(example, names)  # noqa: S102 - the documentation's own
    tests = [thing for name, thing in names.items() if name.startswith("test_") and callable(thing)]

    for test in tests:
        test(fake_system)


@pytest.mark.parametrize("example", _examples("events.md"))
def test_the_page_on_events_runs(example: str, fake_system: FakeSystem) -> None:
    """Each example holds of a group with a process, and the tests in it pass."""
    group = cgctl.Group("web", memory="100M", pids=64, system=fake_system).create()
    fake_system.kernel.spawn(group)
    names: dict[str, object] = {"cgctl": cgctl, "group": group}
    exec(example, names)  # noqa: S102 - the documentation's own
    tests = [thing for name, thing in names.items() if name.startswith("test_") and callable(thing)]

    for test in tests:
        test(fake_system)


def test_the_orchestrator(fake_system: FakeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's own test passes in memory; tests/kernel has it on this machine."""
    monkeypatch.syspath_prepend(DIRECTORY)
    example = importlib.import_module("test_orchestrator")
    example.test_all_get_what_they_need(fake_system)
