"""Many processes in one base: no refusal of the kernel's reaches any of them, and no group is lost."""

from __future__ import annotations

import pytest

from tests.kernel.crowd import VERBS, Crowd
from tests.kernel.pace import EMULATED

# In a guest there are few of them, so that the machines' tests show it too.
pytestmark = [pytest.mark.host, *([] if EMULATED else [pytest.mark.slow])]


def test_at_once(name: str) -> None:
    """All groups are there when all are made, hold their limits, and are gone when all are removed."""
    processes, groups = (8, 5) if EMULATED else (32, 20)

    found = Crowd(f"/{name}", processes, groups).run()

    assert found["wrong"] == []
    assert {verb: len(took) for verb, took in found["took"].items()} == dict.fromkeys(VERBS, processes * groups)
    assert found["there"] == {
        "create": processes * groups,
        "update": processes * groups,
        "stats": processes * groups,
        "remove": 0,
        "again": 0,
    }
