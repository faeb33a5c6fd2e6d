"""The examples, on this machine."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import cgctl
from tests.kernel.lacks import require

DIRECTORY = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.host


def test_the_orchestrator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own test passes here, as it does in memory (tests/unit)."""
    require("memory")
    monkeypatch.syspath_prepend(DIRECTORY)
    example = importlib.import_module("test_orchestrator")
    example.test_all_get_what_they_need(cgctl.System.detect())
