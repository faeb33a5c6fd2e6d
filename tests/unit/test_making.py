"""What others do meanwhile to the tree above a group that is being made."""

from __future__ import annotations

import os

import pytest

import cgctl
from cgctl.fake import FakeKernel
from cgctl.system import System


class _Meddled(FakeKernel):
    """A kernel in which somebody switches a controller off just before its file is written, and then on again."""

    meddlers = 1

    def write(self, path: str, data: bytes) -> None:
        """Write a file."""
        if not path.endswith("/memory.max") or not self.meddlers:
            return super().write(path, data)
        self.meddlers -= 1
        above = f"{path.rsplit('/', 2)[0]}/cgroup.subtree_control"
        super().write(above, b"-memory")
        try:
            super().write(path, data)
        finally:
            super().write(above, b"+memory")


@pytest.fixture
def system() -> System:
    """A machine with such a kernel."""
    return System.detect(_Meddled("v2", "6.12", caller=os.getpid()))


def test_a_controller_is_missing_for_a_moment(system: System) -> None:
    """A file that was not there is asked for again: a group above may just have been made anew by others."""
    group = cgctl.Group("p1", memory="100M", system=system).create()

    assert getattr(group.limits().memory, "max", None) == 100 << 20


def test_a_controller_is_missing_again_and_again(system: System) -> None:
    """That is not done for ever, and the refusal leaves nothing."""
    kernel = system.filesystem
    assert isinstance(kernel, _Meddled)
    kernel.meddlers = 100
    group = cgctl.Group("p1", memory="100M", system=system)

    with pytest.raises(cgctl.UnsupportedError, match=r"memory\.max"):
        group.create()
    assert not group.exists()
