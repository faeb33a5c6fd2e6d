"""``cgctl top``: what groups use, as a table, as JSON, and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Iterator

import pytest

from cgctl.cli import in_memory, main
from tests.cli.conftest import CommandLine
from tests.kernel import lacks
from tests.kernel.pace import PATIENCE_SEC

_HEADINGS = ["group", "cpu", "memory", "pids", "read/s", "write/s"]


@pytest.fixture
def in_a_group(command: CommandLine) -> Iterator[CommandLine]:
    """A process that computes, in the group ``web/job``, beside one that is empty."""
    lacks.require("memory", "cpu", "pids")
    command("create", "web", "memory=64M", "pids=8", "cpu=0.5")
    command("create", "idle", "pids=8")
    with command.group("web").popen(["sh", "-c", "while :; do :; done"]) as process:
        yield command
        process.kill()


@pytest.mark.host
class TestOnThisMachine:
    """With a process in it."""

    def test_tables(self, in_a_group: CommandLine) -> None:
        """So many, with those that use most first."""
        done = in_a_group("top", "-n", "2", "-d", "300ms")
        tables = [[line.split() for line in table.splitlines()] for table in done.stdout.split("\n\n")]

        assert (done.returncode, done.stderr) == (0, "")
        assert [table[0] for table in tables] == [_HEADINGS] * 2
        assert {row[0] for row in tables[1][1:]} >= {"web", "idle"}
        assert tables[1][1][0].startswith("web")
        assert next(row for row in tables[1] if row[0] == "idle")[3] == "0"

    def test_json(self, in_a_group: CommandLine) -> None:
        """An object a line: of GROUP and those below it."""
        done = in_a_group("top", "--json", "-n", "2", "-d", "0.3", "--sort", "name", "web")
        first, second = map(json.loads, done.stdout.splitlines())
        web, job = second["groups"]

        assert second["time"] - first["time"] >= 0.3
        assert web["group"] == "web"
        assert job["group"].startswith("web/")
        assert 0 < web["cpu"] < 1
        assert web["pids"] == job["pids"] == 1
        assert web["memory"] >= 0
        assert web.keys() == {"group", "cpu", "memory", "pids", "read", "write"}

    def test_it_ends_with_the_group(self, in_a_group: CommandLine) -> None:
        """There is nothing more to show."""
        process = in_a_group.start("top", "-d", "50ms", "idle")
        assert process.stdout is not None
        assert process.stdout.readline().split() == _HEADINGS
        in_a_group.group("idle").remove()
        _, err = process.communicate(timeout=PATIENCE_SEC)

        assert (process.returncode, err) == (0, "")

    def test_a_group_that_is_not_there(self, command: CommandLine) -> None:
        """One line says so."""
        done = command("top", "web")

        assert done.returncode == 1
        assert re.match(r"cgctl: group '\S*web' is not there", done.stderr)

    def test_on_a_terminal(self, in_a_group: CommandLine) -> None:
        """The table stays in its place, and ^C ends it."""
        ours, theirs = pty.openpty()
        try:
            env = in_a_group.env | {"TERM": "xterm"}
            process = in_a_group.start("top", "-d", "100ms", stdout=theirs, stderr=subprocess.PIPE, env=env)
            os.close(theirs)
            seen = b""
            while b"web" not in seen:
                assert select.select([ours], [], [], PATIENCE_SEC)[0], seen
                seen += os.read(ours, 65536)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE_SEC)
        finally:
            os.close(ours)

        assert b"\x1b[?1049h" in seen  # the terminal's other screen
        assert (process.returncode, err) == (0, "")


@pytest.fixture
def _machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in memory, of its own."""
    monkeypatch.setenv("CGCTL_FAKE", "v2")
    monkeypatch.delenv("CGCTL_BASE", raising=False)
    in_memory._machines.clear()
    yield
    in_memory._machines.clear()


@pytest.mark.usefixtures("_machine")
class TestInMemory:
    """Where time passes as fast as it is looked."""

    def test_one_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        """It does not go on for ever."""
        main(["create", "web", "memory=64M", "cpu=1", "pids=5"])
        machine = in_memory.machine()
        assert machine is not None
        task = machine.kernel.spawn("/sys/fs/cgroup/web")
        task.burn("10s")
        task.allocate("10M")
        status = main(["top", "-d", "2s"])

        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert status == 0
        assert rows == [_HEADINGS, ["web", "100.0%", "10.0M", "1", "0B", "0B"]]

    def test_without_a_controller(self, capsys: pytest.CaptureFixture[str]) -> None:
        """What is not known is not shown as nothing."""
        main(["create", "web", "pids=5"])
        main(["top"])

        assert capsys.readouterr().out.splitlines()[1].split() == ["web", "0.0%", "-", "0", "0B", "0B"]

    @pytest.mark.parametrize("delay", ["0", "often"])
    def test_nonsense(self, delay: str, capsys: pytest.CaptureFixture[str]) -> None:
        """It is said what is wrong."""
        assert main(["top", "-d", delay]) in {1, 2}
        assert f"--delay{'=' if delay == 'often' else ' '}" in capsys.readouterr().err
