"""Groups for the length of a measurement."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import cgctl


@contextlib.contextmanager
def made(**specs: Any) -> Iterator[cgctl.Group]:
    """Make a group with limits, and kill and remove it at the end."""
    group = cgctl.Group(f"cgctl-{os.urandom(3).hex()}", **specs).create()
    try:
        yield group
    finally:
        group.kill()
        group.remove()
