"""The kernel in memory and this machine's, driven side by side at random."""

from __future__ import annotations

import os
import secrets

import pytest

from cgctl.layout import Hierarchy
from tests.differential.__main__ import EPISODE, comparable, episode, series
from tests.kernel import lacks
from tests.leaks import PREFIX

pytestmark = pytest.mark.host

STEPS = int(os.environ.get("CGCTL_DIFFERENTIAL_STEPS", "100"))
SEED = int(os.environ.get("CGCTL_DIFFERENTIAL_SEED", secrets.randbelow(1 << 30)))


def _hierarchies() -> list[object]:
    return [pytest.param(each, id=each.label) for each in comparable(series())]


def _run(hierarchy: Hierarchy, steps: int) -> None:
    lacks.require("host")
    for number, begin in enumerate(range(0, steps, EPISODE)):
        episode(hierarchy, series(), SEED + number, min(EPISODE, steps - begin), PREFIX)


@pytest.mark.parametrize("hierarchy", _hierarchies())
def test_both_answer_and_read_the_same(hierarchy: Hierarchy) -> None:
    """After each step both gave the same answer, and all files of all groups read the same; the seed is in the name."""
    _run(hierarchy, STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("hierarchy", _hierarchies())
def test_for_long(hierarchy: Hierarchy) -> None:
    """The same, for longer."""
    _run(hierarchy, 30 * EPISODE)
