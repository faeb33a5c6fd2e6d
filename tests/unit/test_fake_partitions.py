"""Partitions of processors in memory: what random sequences showed on Linux 6.12 and 7.3."""

from __future__ import annotations

from errno import EBUSY, ENOSPC

import pytest

from cgctl.fake import FakeKernel

_ROOT = "/sys/fs/cgroup"


@pytest.fixture(params=["6.12", "7.3"])
def kernel(request: pytest.FixtureRequest) -> FakeKernel:
    """One with a partition, a, and a group below it."""
    made = FakeKernel("v2", request.param, cpus=4)
    made.write(f"{_ROOT}/cgroup.subtree_control", b"+cpuset")
    made.mkdir(f"{_ROOT}/a")
    made.write(f"{_ROOT}/a/cgroup.subtree_control", b"+cpuset")
    made.write(f"{_ROOT}/a/cpuset.cpus", b"0-1")
    made.write(f"{_ROOT}/a/cpuset.cpus.partition", b"root")
    for name in "bc":
        made.mkdir(f"{_ROOT}/a/{name}")
    return made


def _said(kernel: FakeKernel, group: str, file: str = "partition") -> str:
    return kernel.read(f"{_ROOT}/{group}/cpuset.cpus.{file}").decode().partition(" (")[0].strip()


def test_one_is_not_cleared(kernel: FakeKernel) -> None:
    """A partition keeps its processors as long as it is one."""
    with pytest.raises(OSError, match="busy") as caught:
        kernel.write(f"{_ROOT}/a/cpuset.cpus", b"\n")
    assert caught.value.errno == EBUSY
    kernel.write(f"{_ROOT}/a/cpuset.cpus.partition", b"member")
    kernel.write(f"{_ROOT}/a/cpuset.cpus", b"\n")

    assert kernel.read(f"{_ROOT}/a/cpuset.cpus") == b"\n"


def test_all_that_there_is_where_nobody_is(kernel: FakeKernel) -> None:
    """A partition may be given all that the one above has, if nobody is left there."""
    kernel.write(f"{_ROOT}/a/b/cpuset.cpus", b"0-1")
    kernel.write(f"{_ROOT}/a/b/cpuset.cpus.partition", b"root")
    assert (_said(kernel, "a/b"), _said(kernel, "a", "effective"), _said(kernel, "a/c", "effective")) == (
        "root",
        "",
        "",
    )


def test_somebody_is_left_there(kernel: FakeKernel) -> None:
    """Where somebody is in a group beside it, it is none."""
    kernel.spawn(f"{_ROOT}/a/c")
    kernel.write(f"{_ROOT}/a/b/cpuset.cpus", b"0-1")
    kernel.write(f"{_ROOT}/a/b/cpuset.cpus.partition", b"root")

    assert (_said(kernel, "a/b"), _said(kernel, "a/c", "effective")) == ("root invalid", "0-1")


@pytest.mark.parametrize(("series", "refused"), [("5.10", True), ("6.18", True), ("7.3", False)])
def test_processors_of_whom_is_below(series: str, *, refused: bool) -> None:
    """Before 7.3, a group's processors are not taken away while somebody is in it or, as here, below it."""
    kernel = FakeKernel("v2", series, cpus=4)
    kernel.write(f"{_ROOT}/cgroup.subtree_control", b"+cpuset")
    kernel.mkdir(f"{_ROOT}/a")
    kernel.mkdir(f"{_ROOT}/a/b")
    kernel.write(f"{_ROOT}/a/cpuset.cpus", b"0-1")
    task = kernel.spawn(f"{_ROOT}/a/b")
    if refused:
        with pytest.raises(OSError, match="No space") as caught:
            kernel.write(f"{_ROOT}/a/cpuset.cpus", b"\n")
        assert caught.value.errno == ENOSPC
        task.exit()
    kernel.write(f"{_ROOT}/a/cpuset.cpus", b"\n")

    assert kernel.read(f"{_ROOT}/a/cpuset.cpus") == b"\n"
