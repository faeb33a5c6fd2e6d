"""Callers killed at random moments, with their helpers or without: after one ``--prune`` nothing of theirs is there."""

from __future__ import annotations

import pytest

from tests.kernel.chaos import Chaos
from tests.kernel.pace import EMULATED
from tests.leaks import PREFIX

# In a guest there are few of them, so that the machines' tests show it too.
pytestmark = [pytest.mark.host, *([] if EMULATED else [pytest.mark.slow])]


def test_killed_at_any_moment(name: str) -> None:
    """No group, no process; and what a living process had is as it was, whoever pruned meanwhile."""
    found = Chaos(PREFIX, 10 if EMULATED else 200, name).run()

    assert found["wrong"] == []
    assert found["witness"] == {"lives": True, "there": True, "pids": 60}
    assert (found["groups"], found["homes"], found["processes"]) == ([], [], [])
    assert found["prune"]["failed"] == 0
    assert found["after"] == []
