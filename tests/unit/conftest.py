"""What tests on machines in memory share."""

from __future__ import annotations

from typing import Any

import pytest

from cgctl.testing import FakeSystem

MACHINES: list[Any] = [
    pytest.param((layout, kernel), id=f"{layout}-{kernel}")
    for layout, kernel in (
        *(("v2", kernel) for kernel in ("5.10", "6.1", "6.12", "6.18", "7.3")),
        *(("v1", kernel) for kernel in ("5.10", "6.1")),
        *(("hybrid", kernel) for kernel in ("6.1", "6.12")),
    )
]


@pytest.fixture(params=MACHINES)
def system(request: pytest.FixtureRequest) -> FakeSystem:
    """A machine in memory, of each layout that has all controllers."""
    layout, kernel = request.param
    return FakeSystem(layout, kernel=kernel)
