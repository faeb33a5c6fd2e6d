"""What all tests share: their own part of the cgroup tree, and a check that nothing of theirs stays behind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.leaks"]

_numbers = itertools.count(1)


# What is kept back until a program ends, or is lost, is so for those who have not set this.
os.environ.pop("PYTHONUNBUFFERED", None)


@pytest.fixture(autouse=True, scope="session")
def _own_base() -> Iterator[None]:
    """Keep groups that name themselves (``cgctl.run``) below a group of this run's own."""
    os.environ["CGCTL_BASE"] = f"/{_prefix()}base"
    yield
    os.environ.pop("CGCTL_BASE", None)


@pytest.fixture
def name() -> str:
    """Return a group name that no other test has."""
    return f"{_prefix()}{next(_numbers)}"


def _prefix() -> str:
    # A plugin must not be imported before pytest does it.
    from tests.leaks import PREFIX  # noqa: PLC0415

    return PREFIX
