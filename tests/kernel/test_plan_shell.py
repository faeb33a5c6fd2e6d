"""``str(group.plan())`` is a shell script that makes the same group."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cgctl
from tests.kernel import lacks
from tests.kernel.conftest import Make, sweep
from tests.leaks import PREFIX, groups

pytestmark = pytest.mark.host

_SPECS: dict[str, Any] = {
    "memory": cgctl.Memory(max=64 << 20, low=8 << 20),
    "cpu": cgctl.Cpu(max=0.5, period_usec=50_000, weight=333),
    "cpuset": cgctl.Cpuset(cpus=(0,)),
    "pids": cgctl.Pids(max=7),
    "net": cgctl.Net(classid="1:10", mark=7),
    "devices": cgctl.Devices(allow=["null", "c 136:* rw"]),
}
_PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
"""Where the shell finds the Python that has cgctl, as it does where an environment is active."""


def _contents(group: cgctl.Group) -> dict[str, bytes | str]:
    """Read all interface files of a group, in every hierarchy, but for the periods of quota that have passed."""
    limits = group.limits()
    found: dict[str, bytes | str] = {"@devices": repr(limits.devices), "@net": repr(limits.net)}
    for directory in group.paths().values():
        for path in sorted(Path(directory).iterdir()):
            if path.is_file() and path.name != "cpu.stat":
                try:
                    found[str(path)] = path.read_bytes()
                except OSError as error:  # cgroup.kill and others are for writing only
                    found[str(path)] = error.strerror or ""
    return found


def _specs(*controllers: str) -> dict[str, Any]:
    return {name: _SPECS[name] for name in controllers if name in lacks.FEATURES and lacks.FEATURES[name].probe()}


@pytest.mark.parametrize("name_below", ["", "/a/b"])
@pytest.mark.parametrize(
    "controllers", [["memory"], ["cpu"], ["cpuset"], ["pids"], ["devices"], ["net"], list(_SPECS)], ids=" ".join
)
def test_same_files(controllers: list[str], name_below: str, name: str, make: Make) -> None:
    """Every interface file reads the same as in the group that create made."""
    lacks.require(*controllers)
    group = make(name=f"{name}{name_below}", **_specs(*controllers))
    made = _contents(group)
    group.remove()
    script = str(group.plan())
    try:
        env = os.environ | {"PATH": _PATH}
        subprocess.run(["sh"], input=script, text=True, check=True, capture_output=True, env=env)

        assert _contents(group) == made
        assert len(group.plan()) == 0
    finally:
        sweep(groups(PREFIX))


def test_refusals_stop_it(name: str, make: Make) -> None:
    """A script whose command is refused ends there, with a status that says so."""
    lacks.require("pids")
    group = cgctl.Group(name, pids=7)
    script = str(group.plan())
    make(name=name, pids=9)

    assert subprocess.run(["sh"], input=script, text=True, check=False, capture_output=True).returncode != 0
    assert group.limits().pids == cgctl.Pids(max=9)
