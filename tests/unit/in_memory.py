"""Groups on machines in memory."""

from __future__ import annotations

from typing import Any

import cgctl
from cgctl.testing import FakeSystem


def make(system: FakeSystem, **keywords: Any) -> cgctl.Group:
    """Create a group."""
    return cgctl.Group("p1", system=system, **keywords).create()
