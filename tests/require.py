"""Honest skips: a test may be skipped only for a named feature, and never where that feature was promised.

``CGCTL_REQUIRE=host,net`` is the promise: there, a test that cannot have ``host`` or ``net`` fails.
"""

from __future__ import annotations

import os

import pytest


def required() -> frozenset[str]:
    """Read the features that must be here from ``CGCTL_REQUIRE``."""
    return frozenset(name.strip() for name in os.environ.get("CGCTL_REQUIRE", "").split(",") if name.strip())


def skip_unless(feature: str, reason: str | None) -> None:
    """Go on where *feature* can be had; else skip the test, or fail it where the feature is required.

    Args:
        feature: the name that ``CGCTL_REQUIRE`` has for it, such as ``"host"``.
        reason: why it cannot be had here, or ``None`` if it can.
    """
    if reason is None:
        return
    if feature in required():
        pytest.fail(f"{feature}: {reason} (and CGCTL_REQUIRE says that it must be here)", pytrace=False)
    pytest.skip(f"{feature}: {reason}")
