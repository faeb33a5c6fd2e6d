"""The contract of a cgroup filesystem, on this machine's kernel, in each of its hierarchies."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import cgctl
from cgctl.filesystem.kernel import KernelFilesystem
from cgctl.testing.case import release
from cgctl.testing.measured import KERNELS
from tests.kernel import lacks, payloads
from tests.leaks import PREFIX
from tests.require import skip_unless

_IN_GUEST = "CGCTL_VM_KERNEL" in os.environ
_OPTIONS = {"v1:rw", "v1:ro", "v1:xattr", "v1:seclabel", "v1:clone_children"}
"""Words of the mount options that are no controllers."""

_SHARED_ROOT = not _IN_GUEST
"""Whether the hierarchies' roots are others' too: then nothing is enabled there for the purpose."""


def _directories() -> dict[str, list[str]]:
    """Return mount points with the labels of :func:`lacks.hierarchies` that are theirs."""
    found: dict[str, list[str]] = {}
    for label, mount_point in lacks.hierarchies().items():
        if label not in _OPTIONS:
            found.setdefault(mount_point, []).append(label)
    return found


@pytest.fixture
def pid() -> Iterator[int]:
    """A process to move, which is nobody's."""
    with subprocess.Popen(payloads.SLEEPER, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def _kernel() -> str:
    """Return the measured series that this kernel is of, or the one before it."""
    match = re.match(r"(\d+\.\d+)", os.uname().release)
    assert match is not None
    known = [series for series in KERNELS if release(series) <= release(match[1])]
    skip_unless("contract", None if known else f"Linux {match[1]} is older than those that were measured")
    return known[-1]


def _count(pattern: str) -> int:
    return len(list(Path("/sys/devices/system").glob(pattern)))


def _profile(directory: str, labels: list[str]) -> cgctl.testing.Profile:
    v2 = labels == ["v2"]
    if v2:
        enabled = "cgroup.subtree_control" if _SHARED_ROOT else "cgroup.controllers"
        controllers = Path(directory, enabled).read_text(encoding="utf-8").split()
    else:
        controllers = [label.removeprefix("v1:") for label in labels]
    blocks = [path.read_text(encoding="utf-8").strip() for path in Path("/sys/block").glob("*/dev")]
    return cgctl.testing.Profile(
        version=2 if v2 else 1,
        kernel=_kernel(),
        controllers=frozenset(controllers),
        cpus=_count("cpu/cpu[0-9]*"),
        nodes=_count("node/node[0-9]*"),
        devices=frozenset(blocks),
        exact=_IN_GUEST,
        programs=v2 and lacks.FEATURES["attached programs"].probe(),
    )


def _hierarchies() -> list[object]:
    return [
        pytest.param(directory, labels, id="+".join(sorted(labels)).replace("v1:", "v1-"))
        for directory, labels in sorted(_directories().items())
    ]


@pytest.mark.parametrize(("directory", "labels"), _hierarchies())
def test_contract(directory: str, labels: list[str], pid: int) -> None:
    """Each case of each hierarchy comes out as it was measured on a kernel of this series."""
    lacks.require("host")
    profile = _profile(directory, labels)
    checked = cgctl.testing.check_filesystem(KernelFilesystem(), directory, profile, name=PREFIX, pid=pid)
    failures = list(map(str, checked))

    assert len(cgctl.testing.cases(profile)) > 30
    assert not failures, f"{len(failures)} of {len(cgctl.testing.cases(profile))} cases:\n" + "\n".join(failures)
