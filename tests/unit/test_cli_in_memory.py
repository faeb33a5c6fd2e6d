"""``CGCTL_FAKE``: the commands, on a machine in memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

import cgctl
from cgctl.cli import in_memory, main
from cgctl.cli.demos import PROGRAMS
from cgctl.system import default_system

TOLD = "cgctl: CGCTL_FAKE={}: on a machine in memory, as Linux {} is, and not on this one\n"


class Commands:
    """Runs commands in this process, as whoever has ``CGCTL_FAKE`` set."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Return the exit status, the output, and what was said after the notice."""
        status = main(words)
        out, err = self.capfd.readouterr()
        notice, _, rest = err.partition("\n")
        assert "in memory" in notice, err
        return status, out, rest


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Commands]:
    """A fresh machine, v2 of Linux 6.12."""
    monkeypatch.setenv("CGCTL_FAKE", "v2")
    monkeypatch.delenv("CGCTL_BASE", raising=False)
    in_memory._machines.clear()
    yield Commands(capfd)
    in_memory._machines.clear()


class TestGroups:
    """What there is, and what it may use."""

    def test_one_process_is_one_machine(self, run: Commands) -> None:
        """What one command makes the next one sees, and the last removes."""
        assert run("create", "jobs/a", "memory=1G", "--pids-limit", "5") == (0, "", "")
        assert "a  0 pids, 0B of 1.0G" in run("tree")[1]
        assert run("set", "jobs/a", "pids=7")[1].split() == ["pids.max", "7"]
        facts = json.loads(run("stat", "jobs/a", "pids", "--json")[1])
        assert facts["stats"]["pids"]["current"] == 0
        assert run("freeze", "jobs/a")[0] == run("thaw", "jobs/a")[0] == run("kill", "jobs/a")[0] == 0
        assert run("rm", "jobs") == (0, "", "")
        assert run("rm", "jobs")[0] == 1

    def test_a_dry_run(self, run: Commands) -> None:
        """The plan is that of the machine in memory."""
        lines = run("plan", "p1", "memory=1M")[1].splitlines()

        assert lines[2].startswith("echo +memory > /sys/fs/cgroup/cgroup.subtree_control")
        assert lines[3:5] == [
            "mkdir /sys/fs/cgroup/p1",
            "echo 1048576 > /sys/fs/cgroup/p1/memory.max  # memory.max = 1048576",
        ]
        assert run("tree")[1].splitlines()[1:] == []

    def test_this_machine_is_left_alone(self, run: Commands) -> None:
        """What is made in memory is not here, and after the command this machine is the default again."""
        before = set(os.listdir("/sys/fs/cgroup")) if os.path.isdir("/sys/fs/cgroup") else set()
        run("create", "cgctl-in-memory", "pids=5")
        run("run", "true")

        assert (set(os.listdir("/sys/fs/cgroup")) if before else before) == before
        assert isinstance(in_memory.machine(), cgctl.System)
        with contextlib.suppress(cgctl.UnsupportedError):  # there may be no cgroups here at all
            assert default_system() is not in_memory.machine()

    @pytest.mark.parametrize("word", ["v1:6.1", "hybrid", "hybrid:7.3", "v2:5.10"])
    def test_other_machines(self, run: Commands, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
        """A layout, and a kernel behind it."""
        monkeypatch.setenv("CGCTL_FAKE", word)
        main(["plan", "p1", "memory=1M"])
        out, err = run.capfd.readouterr()

        assert err == TOLD.format(word, word.partition(":")[2] or "6.12")
        assert ("memory.limit_in_bytes" in out) == (word == "v1:6.1")

    @pytest.mark.parametrize("word", ["v3", "v2:4.4", "v2:"])
    def test_no_such_machine(self, run: Commands, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
        """It is refused, and nothing is done on this one instead."""
        monkeypatch.setenv("CGCTL_FAKE", word)

        assert main(["tree"]) == 1
        assert f"CGCTL_FAKE={word}: " in run.capfd.readouterr().err


class TestRun:
    """``cgctl run``."""

    def test_at_the_limit(self, run: Commands) -> None:
        """The demonstration of a limit, with docker's exit status."""
        status, out, err = run("run", "--memory", "100M", "hog")

        assert (status, out.split()[-1]) == (137, "100")
        assert err == "cgctl: out of memory: limit 100.0M, peak 100.0M; the kernel killed a process of it\n"

    def test_time(self, run: Commands) -> None:
        """Its time is virtual, and so is the timeout."""
        told = run("run", "--cpus", "0.5", "--timeout", "3s", "--json", "burn", "1h")[2]
        facts = json.loads(told[told.index("{") :])

        assert (facts["exit_status"], facts["wall_usec"]) == (124, 3_000_000)
        assert facts["stats"]["cpu"]["usage_usec"] == 1_500_000
        assert run("run", "--name", "p1", "--stop-timeout", "0", "--timeout", "1", "sleep", "1d")[0] == 124
        assert run("run", "sleep", "1d")[0] == 0

    @pytest.mark.parametrize(
        ("words", "status", "out", "err"),
        [
            (("echo", "a", "b"), 0, "a b\n", ""),
            (("false",), 1, "", ""),
            (("cat", "/nothing"), 1, "", "cat: /nothing: No such file or directory\n"),
            (("cat", "/proc/cgroups", "/nothing"), 1, None, "cat: /nothing: No such file or directory\n"),
            (("--pids-limit", "5", "fork"), 1, "", "fork 5: Resource temporarily unavailable\n"),
            (("fork", "3"), 0, "", ""),
            (("fork", "many"), 2, "", None),
            (("hog", "much"), 2, "", None),
        ],
    )
    def test_programs(
        self, run: Commands, words: tuple[str, ...], status: int, out: str | None, err: str | None
    ) -> None:
        """Each does what its name says."""
        found = run("run", *words)

        assert found[0] == status
        assert out in {found[1], None}
        assert err in {found[2], None}

    def test_others(self, run: Commands) -> None:
        """A program of this machine cannot be run there, which is said, with those that can."""
        status, out, err = run("run", sys.executable, "-c", "print(1)")

        assert (status, out) == (127, "")
        assert f"on a machine in memory, those in system.programs are ({', '.join(PROGRAMS)})" in err

    def test_what_it_cannot_have(self, run: Commands) -> None:
        """A flag that would do nothing there is refused, by the name that Python has for it."""
        status, _, err = run("run", "--user", "1:1", "true")

        assert status == 125
        assert err.startswith("cgctl: user= of a program in memory is not supported here: it is a Python function")

    @pytest.mark.parametrize("command", ["enter", "ns", "rootfs"])
    def test_commands_for_real_machines(self, run: Commands, command: str) -> None:
        """They are refused, with the reason."""
        assert main([command, "x", "true"]) in {1, 125}
        assert f"cgctl {command} in memory is not supported here" in run.capfd.readouterr().err


class TestDoctor:
    """``cgctl doctor``."""

    def test_all_that_is_tried_works(self, run: Commands) -> None:
        """It makes a group, freezes, kills and launches there, and tells of no other machine."""
        status, out, _ = run("doctor", "--json")
        facts = json.loads(out)
        findings = {finding["name"]: finding for finding in facts["findings"]}

        assert (status, facts["works"]) == (0, True)
        assert all(findings[name]["ok"] for name in ("group with limits", "freeze", "kill", "launch", "place: chosen"))
        assert findings["machine"]["found"].startswith("in memory: as Linux 6.12")
        assert not {"kernel", "user", "BPF", "namespaces"} & findings.keys()
        assert run("doctor", "--prune")[:2] == (0, "clean  there is no group of cgctl's\n")

    @pytest.mark.parametrize("word", ["v2:5.10", "v2:7.3", "hybrid:6.12", "v1:6.1"])
    def test_no_kernel_is_to_be_built(self, run: Commands, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
        """Of a kernel in memory nothing is missing because of how it was built."""
        monkeypatch.setenv("CGCTL_FAKE", word)

        assert "CONFIG_" not in run("doctor")[1]


def test_from_a_shell() -> None:
    """The same in a process of its own, with input from a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "cgctl.cli", "run", "cat"],
        check=False,
        capture_output=True,
        text=True,
        input="in and out",
        env={**os.environ, "CGCTL_FAKE": "v2:6.18"},
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "in and out", TOLD.format("v2:6.18", "6.18"))
