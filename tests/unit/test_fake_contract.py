"""The contract of a cgroup filesystem, on the kernel in memory: every case that five kernels were measured for."""

from __future__ import annotations

from typing import Literal

import pytest

import cgctl
from cgctl.fake import FakeKernel
from cgctl.fake.profile import KERNELS
from cgctl.fake.rules import WRITE
from cgctl.fake.tree import Tree

DISKS = ("7:0", "7:1")


def _check(kernel: FakeKernel, tree: Tree) -> tuple[int, list[str]]:
    profile = cgctl.testing.Profile(
        version=tree.version,
        kernel=kernel.profile.kernel,
        controllers=frozenset(tree.controllers),
        cpus=8,
        nodes=2,
        devices=frozenset(DISKS),
    )
    failures = cgctl.testing.check_filesystem(kernel, tree.mount_point, profile, pid=kernel.spawn().pid)
    return len(cgctl.testing.cases(profile)), list(map(str, failures))


@pytest.mark.parametrize("layout", ["v1", "v2", "hybrid"])
@pytest.mark.parametrize("series", KERNELS)
def test_contract(series: str, layout: Literal["v1", "v2", "hybrid"]) -> None:
    """Each case of each hierarchy comes out as it was measured on a kernel of this series."""
    kernel = FakeKernel(layout, series, cpus=8, nodes=2, disks=DISKS)
    checked = {tree.label or "v2": _check(kernel, tree) for tree in kernel.trees}

    assert {label: failures for label, (_, failures) in checked.items() if failures} == {}
    assert sum(cases for cases, _ in checked.values()) > 450


@pytest.mark.parametrize("series", KERNELS)
def test_no_file_is_forgotten(series: str) -> None:
    """Each file can be read or written as its mode says, in the root and in a group: none is a stub."""
    for layout in ("v1", "v2"):
        kernel = FakeKernel(layout, series)
        for tree in kernel.trees:
            top = f"{tree.mount_point}/a"
            kernel.mkdir(top)
            for directory in (tree.mount_point, top):
                for name in kernel.files(directory):
                    interface = (tree.below if directory == top else tree.at_root)[name]
                    assert bool(interface.mode & 0o444) == _can_be_read(kernel, f"{directory}/{name}")
                    if directory == top and interface.mode & 0o222 and name not in UNSET:
                        assert name in WRITE[tree.version], f"{series}: nothing takes what is written to {name}"


UNSET = frozenset({"misc.max", "rdma.max"})


def _can_be_read(kernel: FakeKernel, path: str) -> bool:
    try:
        kernel.read(path)
    except OSError:
        return False
    return True
