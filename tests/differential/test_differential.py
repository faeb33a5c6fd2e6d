"""The kernel in memory and this machine's, driven side by side at random."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable

import pytest

from tests.differential.episode import EPISODE, episode
from tests.differential.ground import Ground, grounds
from tests.differential.nursery import Nursery
from tests.kernel import lacks
from tests.leaks import PREFIX

pytestmark = pytest.mark.host

STEPS = int(os.environ.get("CGCTL_DIFFERENTIAL_STEPS", "0"))
"""How many in all hierarchies together; by default few, and many where the test is a slow one."""
SEED = int(os.environ.get("CGCTL_DIFFERENTIAL_SEED", secrets.randbelow(1 << 30)))
_FEW, _MANY = 800, 20_000

_GROUNDS = grounds()
_EACH = pytest.mark.parametrize("ground", [pytest.param(each, id=each.label) for each in _GROUNDS])


def _run(ground: Ground, steps: int, record: Callable[[str, object], None]) -> None:
    lacks.require("host")
    each = -(-steps // len(_GROUNDS))
    numbers = range(-(-each // EPISODE))
    record("differential", f"{each} steps, seeds {SEED} to {SEED + numbers[-1]}")
    with Nursery() as nursery, ground.entered(f"{PREFIX}look") as there:
        for number in numbers:
            episode(there, nursery, f"{PREFIX}d", SEED + number, min(EPISODE, each - number * EPISODE))


@_EACH
def test_both_answer_and_read_the_same(ground: Ground, record_property: Callable[[str, object], None]) -> None:
    """After each step both gave the same answer, and what is compared read the same; a failure says the seed."""
    _run(ground, STEPS or _FEW, record_property)


@pytest.mark.slow
@_EACH
def test_for_long(
    ground: Ground, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same, for longer; the seeds are printed."""
    _run(ground, STEPS or _MANY, record_property)
    with capsys.disabled():
        print(f"\n{ground.kernel} {ground.label}: {-(-(STEPS or _MANY) // len(_GROUNDS))} steps from seed {SEED}")  # noqa: T201
