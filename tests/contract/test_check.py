"""The contract itself: it finds what is otherwise, says which case that was, and leaves nothing behind."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

import cgctl
from cgctl.filesystem.kernel import KernelFilesystem
from tests.kernel import lacks
from tests.leaks import PREFIX, groups

# The oldest: what later kernels have besides is left out.
_CORE = cgctl.testing.Profile(version=2, kernel="5.10", controllers=frozenset(), exact=False)


class Forgiving(KernelFilesystem):
    """A filesystem with one fault: removing what is not there is fine."""

    def rmdir(self, path: str) -> None:
        """Remove a group, if it is there."""
        with suppress(FileNotFoundError):
            super().rmdir(path)


class Creating(KernelFilesystem):
    """A filesystem with one fault: an empty write is an error, as with a parser that is not guarded."""

    def write(self, path: str, data: bytes) -> None:
        """Write a file, if there is something to write."""
        if not data:
            raise OSError(22, os.strerror(22), path)
        super().write(path, data)


@pytest.fixture
def directory() -> str:
    """The root of a v2 hierarchy; nothing is enabled in it."""
    lacks.require("host", "v2")
    return lacks.hierarchies()["v2"]


def test_a_fault_is_found(directory: str) -> None:
    """Just the cases fail that show the fault, by name, with what was expected and what came."""
    found = list(cgctl.testing.check_filesystem(Forgiving(), directory, _CORE, name=PREFIX))

    assert {failure.case for failure in found} == {"rmdir: not there", "after rmdir: nothing is there"}
    assert str(found[0]) == "rmdir: not there: rmdir a: expected 'ENOENT', got 'OK'"
    assert groups(PREFIX) == []


def test_another_fault_is_found(directory: str) -> None:
    """A measured row that fails is named by its number and its file."""
    found = list(map(str, cgctl.testing.check_filesystem(Creating(), directory, _CORE, name=PREFIX)))

    assert any(text.startswith("KW2-") and "cgroup.max.depth <- ''" in text for text in found), found
    assert all("<- ''" in text for text in found), found


def test_an_unknown_kernel() -> None:
    """A kernel that was not measured is refused, with those that were."""
    profile = cgctl.testing.Profile(version=2, kernel="4.19", controllers=frozenset())

    with pytest.raises(ValueError, match=r"kernel '4\.19' was not measured; give one of 5\.10, 6\.1"):
        cgctl.testing.cases(profile)
