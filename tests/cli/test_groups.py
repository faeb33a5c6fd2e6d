"""The commands for groups: make, change, look, fill, freeze, kill, remove."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cgctl
from tests.cli.conftest import CommandLine, state
from tests.kernel import disks, lacks

pytestmark = pytest.mark.host


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps, in nobody's group."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            yield process
        finally:
            process.kill()


class TestCreateAndSet:
    """create, set, plan."""

    def test_create(self, command: CommandLine) -> None:
        """The group is there with its limits, and stays."""
        done = command("create", "web", "-m", "64m", "cpu.weight=200", "--pids-limit", "8")

        held = command.group("web").limits()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert held.memory is not None
        assert held.memory.max == 64 << 20
        assert held.cpu is not None
        assert held.cpu.weight == 200

    def test_create_json(self, command: CommandLine) -> None:
        """JSON says where it is, and what the kernel holds."""
        facts = json.loads(command("create", "web", "pids=8", "--json").stdout)

        assert facts["group"] == "web"
        assert facts["limits"]["pids"] == {"max": 8}
        assert all(path.endswith(f"/{command.base}/web") and Path(path).is_dir() for path in facts["paths"].values())

    def test_absolute(self, command: CommandLine) -> None:
        """A name with a leading / is below the hierarchies' root."""
        assert command("create", f"/{command.base}/web").returncode == 0
        assert command.group("web").exists()

    def test_set(self, command: CommandLine) -> None:
        """It prints what the kernel then holds, of the controllers named, in words that set understands."""
        command.group("web").create()

        done = command("set", "web", "memory=64M", "pids=max", "memory.low=1000001")

        told = dict(line.split() for line in done.stdout.splitlines())
        assert told["memory.max"] == "64M"
        assert told["memory.low"] == "976K"
        assert told["pids.max"] == "max"
        assert not any(name.startswith("cpu.") for name in told)

    def test_set_json(self, command: CommandLine) -> None:
        """JSON has MAX as "max"."""
        command.group("web").create()

        facts = json.loads(command("set", "web", "pids=max", "--json").stdout)

        assert facts["limits"]["pids"] == {"max": "max"}

    @pytest.mark.parametrize(
        ("arguments", "status", "message"),
        [
            (["set", "web", "nosuch=1"], 2, "no controller 'nosuch'"),
            (["set", "web", "memory.nosuch=1"], 2, "memory has no 'nosuch'"),
            (["set", "web", "memory"], 2, "is not a setting"),
            (["set", "web"], 2, "missing argument"),
            (["set", "web", "memory=lots"], 1, "not a size"),
            (["set", "nosuch", "memory=1M"], 1, "is not there"),
            (["set", "..", "memory=1M"], 1, "is not a name"),
            (["create", "web", "cpu=0"], 1, "must be above 0"),
            (["create", "there"], 1, "is there already"),
            (["create", "memory.max"], 1, "interface file"),
            (["create", "web", "--cpus", "0"], 2, "leave it out"),
            (["rm", "nosuch"], 1, "is not there"),
            (["kill", "nosuch"], 1, "is not there"),
            (["freeze", "nosuch"], 1, "is not there"),
            (["thaw", "nosuch"], 1, "is not there"),
            (["stat", "nosuch"], 1, "is not there"),
            (["stat", "there", "nosuch"], 2, "'nosuch' is not one of"),
            (["tree", "nosuch"], 1, "is not there"),
            (["add", "there", "x"], 2, "not a valid integer"),
            (["add", "there", "0"], 1, "not a process"),
            (["add", "there", "4194304"], 1, "ESRCH"),
            (["add", "there"], 2, "missing argument"),
            (["add", "nosuch", "1"], 1, "is not there"),
            (["plan", "/", "-m", "1m"], 1, "empty component"),
            (["nosuch"], 2, "no such command 'nosuch'"),
        ],
    )
    def test_refused(self, command: CommandLine, arguments: list[str], status: int, message: str) -> None:
        """One line: 2 for what cannot be understood, 1 for what cannot be done."""
        command.group("there").create()

        done = command(*arguments)

        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.startswith("cgctl: ")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1

    def test_plan(self, command: CommandLine) -> None:
        """It prints a script and does nothing; the script, run, does it."""
        done = command("plan", "-m", "64m", "--pids-limit", "8", "job", "cpu.weight=50")

        assert command.left() == []
        subprocess.run(["sh"], input=done.stdout, text=True, check=True, timeout=30)
        held = command.group("job").limits()
        assert held.memory == command.group("job").update(memory="64M").memory
        assert held.pids == cgctl.Pids(max=8)
        assert held.cpu is not None
        assert held.cpu.weight == 50

    def test_plan_json(self, command: CommandLine) -> None:
        """JSON is the list of steps."""
        steps = json.loads(command("plan", "job", "pids=8", "--json").stdout)

        assert {step["step"] for step in steps} >= {"mkdir", "write"}
        assert [step["data"] for step in steps if step["path"].endswith("pids.max")] == ["8"]
        assert all(step["shell"] for step in steps)


class TestLook:
    """tree and stat."""

    def test_tree(self, command: CommandLine, sleeper: subprocess.Popen[bytes]) -> None:
        """Groups below the base, with processes, memory and its limit."""
        command.group("web").create()
        command.group("web/one").create().add(sleeper.pid)
        command.group("web").update(memory="64M")

        done = command("tree")

        lines = done.stdout.splitlines()
        assert lines[0] == f"base: CGCTL_BASE=/{command.base}"
        assert lines[1].startswith("└── web  1 pid, ")
        assert lines[1].endswith(" of 64.0M")
        assert lines[2].startswith("    └── one  1 pid")
        assert command("ls").stdout.splitlines()[0] == lines[0]

    def test_tree_of_a_group(self, command: CommandLine) -> None:
        """With a group, it and what is below; names in JSON are those that commands take."""
        command.group("web/one/two").create()

        done = command("tree", "web/one", "--json")

        (node,) = json.loads(done.stdout)
        assert (node["name"], node["pids"]) == ("web/one", 0)
        assert [child["name"] for child in node["children"]] == ["web/one/two"]
        assert command("tree", "web/one").stdout.splitlines()[0].startswith("one  0 pids")
        (node,) = json.loads(command("tree", "--json").stdout)
        assert node["children"][0]["children"][0]["name"] == "web/one/two"

    def test_names_that_a_terminal_would_obey(self, command: CommandLine) -> None:
        """What is in a name reaches no terminal; JSON has it in full, and bytes that are no text."""
        for name in ("a\x1b[31m", os.fsdecode(b"b\xff"), "[red]c"):
            command.group(name).create()

        told: Any = command("tree", text=False).stdout
        names = {node["name"] for node in json.loads(command("tree", "--json").stdout)}

        assert b"\x1b" not in told
        assert b"b\xff  0 pids" in told
        assert b"[red]c" in told
        assert names == {"a\x1b[31m", os.fsdecode(b"b\xff"), "[red]c"}

    def test_stat(self, command: CommandLine) -> None:
        """Statistics with units, of all controllers or of some; details only when asked for."""
        command.group("web").create()
        command.group("web").update(memory="64M", pids=8)

        every = dict(line.split(maxsplit=1) for line in command("stat", "web").stdout.splitlines())
        some = dict(line.split(maxsplit=1) for line in command("stat", "web", "pids").stdout.splitlines())
        details = command("stat", "--all", "web", "memory").stdout

        assert every["memory.current"].endswith(("B", "K"))
        assert every["cpu.usage_usec"].endswith("us")
        assert not any(name.startswith("memory.stat.") for name in every)
        assert all(name.startswith("pids.") for name in some)
        assert some["pids.current"] == "0"
        assert "memory.stat.anon" in details

    def test_devices(self, command: CommandLine) -> None:
        """Devices are set and shown as rules, which can be given again."""
        command.group("web").create()
        told = command("set", "web", "devices=null,tty rw").stdout

        assert told.splitlines() == [
            "devices.default  deny",
            "devices.deny",
            "devices.allow    c 1:3 rwm,c 5:0 rw",
        ]
        assert command("stat", "--limits", "web", "devices").stdout == told
        assert command("set", "web", "devices=null,/etc").stderr == (
            "cgctl: devices: '/etc': not a device node; give the path of one, or its type and numbers\n"
        )

    def test_disks(self, command: CommandLine) -> None:
        """What is set of a disk is printed as it can be set again, and the disk's name with what was done to it."""
        lacks.require("io", "disk")
        command.group("web").create()
        held = command("set", "web", f"io={disks.NAME}:10M", f"io.max.riops={disks.NAME}:77").stdout
        told = command("stat", "web", "io").stdout
        again = command("set", "web", f"io.max.rbps={disks.NUMBER} 10M").stdout

        lines = dict(line.split(maxsplit=1) for line in held.splitlines())
        assert lines["io.max.rbps"] == lines["io.max.wbps"] == f"{disks.NUMBER} 10M"
        assert (lines["io.max.riops"], lines["io.max.wiops"]) == (f"{disks.NUMBER} 77", f"{disks.NUMBER} max")
        assert again == held
        assert "io.pressure" in told or "io.devices" in told

    def test_stat_json(self, command: CommandLine) -> None:
        """JSON has all."""
        command.group("web").create()
        command.group("web").update(memory="64M")

        facts = json.loads(command("stat", "web", "--json").stdout)
        limits = json.loads(command("stat", "web", "memory", "--limits", "--json").stdout)

        assert "stat" in facts["stats"]["memory"]
        assert set(limits["limits"]) == {"memory"}
        assert limits["limits"]["memory"]["max"] == 64 << 20

    def test_stat_limits(self, command: CommandLine) -> None:
        """Limits instead of statistics."""
        command.group("web").create()
        command.group("web").update(memory="64M", cpuset="0")

        told = dict(line.split(maxsplit=1) for line in command("stat", "web", "--limits").stdout.splitlines())

        assert told["memory.max"] == "64M"
        assert told["cpuset.cpus"] == "0"

    def test_stat_of_its_own(self, command: CommandLine) -> None:
        """Without a group, cgctl's own."""
        assert json.loads(command("stat", "--json").stdout)["group"] == "."
        assert command("stat", ".", "cpu").stdout.startswith("cpu.usage_usec")


class TestProcesses:
    """add, freeze, thaw, kill, rm."""

    def test_add(self, command: CommandLine, sleeper: subprocess.Popen[bytes]) -> None:
        """A running process moves in."""
        group = command.group("web").create()

        assert command("add", "web", str(sleeper.pid)).returncode == 0
        assert group.pids() == [sleeper.pid]

    def test_freeze_and_thaw(self, command: CommandLine, sleeper: subprocess.Popen[bytes]) -> None:
        """Processes stop, which tree shows, and go on."""
        group = command.group("web").create()
        group.add(sleeper.pid)

        assert command("freeze", "web").returncode == 0
        shown = command("tree").stdout
        assert command("thaw", "web").returncode == 0
        again = command("tree").stdout

        assert "frozen" in shown
        assert "frozen" not in again
        assert state(sleeper.pid) in "RS"

    def test_kill(self, command: CommandLine, sleeper: subprocess.Popen[bytes]) -> None:
        """Processes die; the group stays."""
        group = command.group("web").create()
        group.add(sleeper.pid)

        assert command("kill", "web").returncode == 0
        assert sleeper.wait(10) == -signal.SIGKILL
        assert group.exists()

    def test_rm(self, command: CommandLine) -> None:
        """Groups are removed with all below; those that can be are, whatever becomes of the others."""
        command.group("web/one").create()
        command.group("empty").create()

        done = command("rm", "web", "nosuch", "empty")

        assert done.returncode == 1
        assert "nosuch' is not there" in done.stderr
        assert command.left() == []

    def test_rm_by_force(self, command: CommandLine, sleeper: subprocess.Popen[bytes]) -> None:
        """What is in it is killed first."""
        command.group("web/one").create().add(sleeper.pid)

        done = command("rm", "-f", "web")

        assert (done.returncode, done.stderr) == (0, "")
        assert sleeper.wait(10) == -signal.SIGKILL
        assert command.left() == []

    @pytest.mark.slow  # the library gives processes that are just ending 5 s
    def test_rm_of_a_group_in_use(self, command: CommandLine, sleeper: subprocess.Popen[bytes]) -> None:
        """Without force, a group with processes stays."""
        command.group("web/one").create().add(sleeper.pid)

        done = command("rm", "web")

        assert done.returncode == 1
        assert f"it still holds processes [{sleeper.pid}]" in done.stderr
        assert state(sleeper.pid) in "RS"
