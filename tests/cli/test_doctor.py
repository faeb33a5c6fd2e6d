"""``cgctl doctor``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

import cgctl
from cgctl.cli.checks import Bench, Finding, failure
from cgctl.cli.doctor import CHECKS
from tests.cli.conftest import CommandLine


@pytest.mark.host
def test_on_this_machine(command: CommandLine) -> None:
    """Everything required works where these tests run, and nothing is left of the trial."""
    done = command("doctor", "--json")

    facts = json.loads(done.stdout)
    found = {finding["name"]: finding for finding in facts["findings"]}
    assert (done.returncode, facts["works"]) == (0, True)
    assert found["base"]["found"] == f"by CGCTL_BASE=/{command.base}"
    assert found["launch"]["found"].startswith("'true' within memory=64M, pids=8 in ")
    assert found["kill"]["ok"]
    assert found["freeze"]["ok"]
    assert command.left() == []


@pytest.mark.host
def test_for_a_person(command: CommandLine) -> None:
    """One line a finding, without colours."""
    done = command("doctor")

    assert done.returncode == 0
    assert all(line.startswith(("ok ", "missing ")) for line in done.stdout.splitlines())
    assert "\x1b" not in done.stdout


@pytest.mark.host
def test_a_base_that_is_none(command: CommandLine) -> None:
    """A base that is nonsense is said to be, and the exit status is 1."""
    command.env["CGCTL_BASE"] = "/a/../b"

    done = command("doctor", "--json")

    missing = [finding for finding in json.loads(done.stdout)["findings"] if not finding["ok"]]
    assert done.returncode == 1
    assert any("CGCTL_BASE='/a/../b'" in finding["reason"] for finding in missing)


def test_without_anything() -> None:
    """Where nothing works, each check says why or is silent; none fails."""
    bench = Bench(None, None, cgctl.UnsupportedError("cgroups", "no cgroup filesystem is mounted; mount one"))

    findings = [finding for check in CHECKS for finding in check(bench)]

    missing = [finding for finding in findings if finding.required and not finding.ok]
    assert {finding.name for finding in missing} >= {"hierarchies", "group with limits", "launch"}
    assert {finding.fix for finding in missing} == {"mount one"}


def test_failure() -> None:
    """An error's last part is what to do about it."""
    assert failure("x", ValueError("it is; so; do that")) == Finding(
        name="x", ok=False, reason="it is; so", fix="do that"
    )
    assert failure("x", ValueError("it is")) == Finding(name="x", ok=False, reason="it is")


def test_on_a_read_only_machine() -> None:
    """What is mounted read-only is told with what would change that."""
    system = cgctl.System.detect()
    hierarchies = tuple(
        type(each)(version=2, controllers=("memory",), mount_point="/x", read_only=True)
        for each in system.layout.hierarchies[:1]
    )
    layout = type(system.layout)(hierarchies)
    bench = Bench(
        cgctl.System(system.filesystem, layout, type(system.base)(directories={}, refused={"unified": "a; b"})), None
    )

    findings = {finding.name: finding for check in CHECKS for finding in check(bench)}

    assert not findings["hierarchy unified"].ok
    assert not findings["base"].ok
    assert (findings["base in unified"].reason, findings["base in unified"].fix) == ("a", "b")
    assert not findings["controller pids"].ok
    assert findings["controller memory"].ok


_KILLED = """
import os, signal, sys
import cgctl, cgctl.guarding
group = cgctl.Group(sys.argv[1], join=False)
group.__enter__()
os.kill(cgctl.guarding.own_helper().pid, signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.host
def test_prune(command: CommandLine) -> None:
    """What a killed process has left is told by a dry run, then removed; a living process's group is left."""
    directory = f"/{command.base}/killed"
    with cgctl.Group(f"/{command.base}/mine", join=False):
        done = subprocess.run([sys.executable, "-c", _KILLED, directory], check=False, env=command.env)
        assert done.returncode == -signal.SIGKILL
        would = command("doctor", "--prune", "--dry-run")
        did = command("doctor", "--prune")
        after = command("doctor", "--prune", "--json")

        lines = [line.split(maxsplit=2) for line in would.stdout.splitlines() if directory in line]
        assert would.returncode == 1
        assert {line[0] for line in lines} == {"orphan"}
        assert did.returncode == 0
        assert {line.split()[0] for line in did.stdout.splitlines() if directory in line} == {"removed"}
        facts = json.loads(after.stdout)
        assert (after.returncode, facts["clean"]) == (0, True)
        ours = [each for each in facts["groups"] if f"/{command.base}" in each["directories"][0]]
        assert {each["owner"] for each in ours} == {os.getpid()}
        assert {each["reason"] for each in ours} == {f"its owner, process {os.getpid()}, lives"}
    assert command.left() == []


def test_a_dry_run_of_nothing(command: CommandLine) -> None:
    """--dry-run says nothing by itself."""
    done = command("doctor", "--dry-run")

    assert (done.returncode, "--dry-run is for --prune" in done.stderr) == (2, True)
