"""The pytest plugin: fixtures for who installed cgctl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cgctl.testing import FakeSystem

__all__ = ["fake_system"]


@pytest.fixture
def fake_system(request: pytest.FixtureRequest) -> FakeSystem:
    """A machine in memory, of its own for each test.

    It is v2 of Linux 6.12; ``@pytest.mark.parametrize("fake_system", [...], indirect=True)`` gives others: a layout, or
    a ``dict`` of the keywords of :class:`cgctl.testing.FakeSystem`.
    """
    from cgctl.testing import FakeSystem  # noqa: PLC0415 - a run that does not use it does not wait for it

    given: Any = getattr(request, "param", "v2")
    return FakeSystem(**given) if isinstance(given, dict) else FakeSystem(given)
