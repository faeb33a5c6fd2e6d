"""``cgctl run``, on the real kernel."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import cgctl
from tests.cli.conftest import EAT, CommandLine, state

pytestmark = pytest.mark.host


class TestExitStatus:
    """Docker's, and timeout(1)'s for the time."""

    @pytest.mark.parametrize(
        ("script", "status"),
        [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)],
    )
    def test_of_the_command(self, command: CommandLine, script: str, status: int) -> None:
        """The command's own, and 128+n for signal n; nothing is said of it, and nothing is left."""
        done = command("run", "sh", "-c", script)

        assert (done.returncode, done.stdout, done.stderr) == (status, "", "")
        assert command.left() == []

    def test_not_found(self, command: CommandLine) -> None:
        """127: there is no such program."""
        for program in ("no-such-program", "/no/such/program"):
            done = command("run", "-m", "64m", program)

            assert done.returncode == 127
            assert done.stderr.startswith("cgctl: exec: ENOENT")
            assert done.stderr.count("\n") == 1
        assert command.left() == []

    def test_not_executable(self, command: CommandLine, tmp_path: Path) -> None:
        """126: it is not executable, or nothing that could be executed."""
        (tmp_path / "plain").write_text("x")
        (tmp_path / "nonsense").write_bytes(b"\0\1\2")
        (tmp_path / "nonsense").chmod(0o755)
        for program in ("plain", "nonsense", ""):
            done = command("run", f"{tmp_path}/{program}")

            assert (done.returncode, done.stderr.count("\n")) == (126, 1)
        assert command.left() == []

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--no-such-flag", "true"], "no such option '--no-such-flag'; see cgctl run --help"),
            ([], "missing argument"),
            (["-m", "lots", "true"], "not a size"),
            (["-m", "1g", "--memory-swap", "1m", "true"], "is below memory"),
            (["--timeout", "soon", "true"], "--timeout='soon': not a time span"),
            (["--stop-timeout", "-1", "true"], "--stop-timeout='-1': not a time span"),
            (["--name", "../x", "true"], "is not a name"),
            (["--name", "/x", "--parent", "y", "true"], "an absolute name has no parent"),
            (["--parent", "..", "true"], "is not a name"),
            (["-w", "/no/such/directory", "true"], "chdir: ENOENT"),
            (["-u", "no-such-user", "true"], "there is no such user"),
            (["-u", "0:no-such-group", "true"], "there is no group 'no-such-group'"),
            (["--ulimit", "x", "true"], "is not NAME=SOFT[:HARD]"),
            (["--env-file", "/no/such/file", "true"], "does not exist"),
            (["--cpuset-cpus", "1000000", "true"], "cpuset.cpus"),
            (["--limit", "core=1", "true"], "there is no shorthand"),
        ],
    )
    def test_cgctl_failed(self, command: CommandLine, arguments: list[str], message: str) -> None:
        """125 and one line: what was asked is nonsense, or cannot be had."""
        done = command("run", *arguments)

        assert (done.returncode, done.stdout) == (125, "")
        assert done.stderr.startswith("cgctl: ")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
        assert command.left() == []

    def test_timeout(self, command: CommandLine) -> None:
        """124: its time was over; it had SIGTERM, and so the chance to end by itself."""
        done = command("run", "--timeout", "300ms", "sh", "-c", "trap 'echo ended; exit 0' TERM; sleep 60 & wait")

        assert (done.returncode, done.stdout) == (124, "ended\n")
        assert done.stderr.startswith("cgctl: timed out after")
        assert command.left() == []

    @pytest.mark.parametrize("grace", ["0", "100ms"])
    def test_timeout_of_a_stubborn_one(self, command: CommandLine, grace: str) -> None:
        """One that does not end at SIGTERM is killed, with all that it started."""
        stubborn = "trap '' TERM; sleep 60 & while :; do sleep 60; done"

        done = command("run", "--timeout", "200ms", "--stop-timeout", grace, "sh", "-c", stubborn)

        assert done.returncode == 124
        assert command.left() == []

    def test_ends_in_time(self, command: CommandLine) -> None:
        """One that ends before is not said to have timed out."""
        assert command("run", "--timeout", "30", "sh", "-c", "exit 4").returncode == 4


class TestLimits:
    """They hold."""

    def test_out_of_memory(self, command: CommandLine) -> None:
        """137, and a line that says why, with the limit and the peak."""
        done = command("run", "-m", "50M", *EAT)

        assert done.returncode == 137
        assert done.stderr == "cgctl: out of memory: limit 50.0M, peak 50.0M; the kernel killed a process of it\n"
        assert command.left() == []

    def test_out_of_memory_of_a_child(self, command: CommandLine) -> None:
        """The line is there also when the command itself went on."""
        done = command("run", "-m", "50M", "sh", "-c", '"$@"; exit 5', "sh", *EAT)

        assert done.returncode == 5
        assert "out of memory: limit 50.0M" in done.stderr

    def test_out_of_memory_in_a_named_group(self, command: CommandLine) -> None:
        """A group with a name has its limit as well."""
        done = command("run", "--name", "job", "-m", "50M", *EAT)

        assert done.returncode == 137
        assert "out of memory: limit 50.0M" in done.stderr
        assert command.left() == []

    def test_what_the_kernel_holds(self, command: CommandLine) -> None:
        """While the command runs, the kernel holds what the flags say."""
        flags = ["--name", "job", "-m", "64m", "--cpus", "0.5", "--cpu-weight", "200", "--pids-limit", "16"]

        done = command("run", *flags, *command.argv("stat", "--limits", "--json", "job"))

        limits = json.loads(done.stdout)["limits"]
        assert limits["memory"]["max"] == 64 << 20
        assert limits["cpu"]["max"] == 0.5
        assert limits["cpu"]["weight"] == 200
        assert limits["pids"]["max"] == 16
        assert command.left() == []

    def test_pids(self, command: CommandLine) -> None:
        """Forks beyond the limit are refused."""
        done = command("run", "--pids-limit", "3", "--stats", "sh", "-c", "sleep 1 & sleep 1 & sleep 1 & sleep 1 & :")

        assert done.returncode != 0
        assert "limit 3" in done.stderr

    @pytest.mark.parametrize(("flags", "status"), [([], 0), (["--device", "kvm"], 1), (["--device", "kmsg:r"], 0)])
    def test_device(self, command: CommandLine, flags: list[str], status: int) -> None:
        """With --device the command has docker's default devices and those that are named, and no others."""
        code = "open('/dev/null').close(); open('/dev/kmsg').close()"
        done = command("run", *flags, sys.executable, "-c", code)

        assert done.returncode == status
        assert ("Operation not permitted: '/dev/kmsg'" in done.stderr) == (status == 1)


class TestSurroundings:
    """What the command finds."""

    def test_input_and_output_are_inherited(self, command: CommandLine) -> None:
        """The command reads what cgctl was given, and its two outputs stay apart."""
        done = command("run", "sh", "-c", "cat; echo error >&2", input="text\n")

        assert (done.stdout, done.stderr) == ("text\n", "error\n")

    def test_options_after_the_command_are_its_own(self, command: CommandLine) -> None:
        """So is a second --, with and without one before the command."""
        assert command("run", "printf", "%s ", "-m", "--", "--json").stdout == "-m -- --json "
        assert command("run", "--", "printf", "%s ", "-m", "--", "--json").stdout == "-m -- --json "

    def test_environment_and_directory(self, command: CommandLine, tmp_path: Path) -> None:
        """Variables are added to cgctl's own."""
        (tmp_path / "env").write_text("A=file\nB=file\n")
        flags = ["-e", "A=word", "--env-file", f"{tmp_path}/env", "-w", str(tmp_path)]

        done = command("run", *flags, "sh", "-c", 'echo "$A $B $CGCTL_BASE"; pwd')

        assert done.stdout == f"word file /{command.base}\n{tmp_path}\n"

    def test_ulimit(self, command: CommandLine) -> None:
        """Resource limits, the soft and the hard one."""
        done = command("run", "--ulimit", "nofile=100:200", "sh", "-c", "ulimit -Sn; ulimit -Hn")

        assert done.stdout == "100\n200\n"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
    def test_user(self, command: CommandLine) -> None:
        """Another user, and none of root's groups."""
        assert command("run", "-u", "12345:54321", "id", "-u").stdout == "12345\n"
        assert command("run", "-u", "12345:54321", "id", "-G").stdout == "54321\n"
        assert command("run", "-u", "nobody", "id", "-un").stdout == "nobody\n"

    def test_what_is_left_behind_is_killed(self, command: CommandLine) -> None:
        """A background process does not outlive the command, nor keep cgctl waiting."""
        done = command("run", "sh", "-c", "sleep 60 & echo $!")

        assert state(int(done.stdout)) == "ended"
        assert command.left() == []


class TestGroup:
    """Where it runs."""

    def test_name_that_is_taken(self, command: CommandLine) -> None:
        """A group of that name must not be there: it is somebody else's."""
        group = command.group("job").create()

        done = command("run", "--name", "job", "true")

        assert (done.returncode, group.exists()) == (125, True)
        assert "is there already" in done.stderr

    def test_parent(self, command: CommandLine) -> None:
        """The group is made below another, which stays."""
        command.group("above").create()

        done = command("run", "--parent", "above", "cat", "/proc/self/cgroup")

        assert f"/{command.base}/above/cgctl-" in done.stdout
        assert command.left() == [command.base, f"{command.base}/above"]


class TestReport:
    """--stats, --json and --report."""

    def test_stats(self, command: CommandLine) -> None:
        """A few lines on stderr, for a person."""
        done = command("run", "-m", "64m", "--pids-limit", "8", "--stats", "sh", "-c", "echo out; exit 3")

        lines = done.stderr.splitlines()
        assert done.stdout == "out\n"
        assert lines[0].startswith("cgctl: exit status 3 after ")
        assert [line.split(":")[1] for line in lines[1:]] == [" cpu", " memory", " pids"]

    def test_json(self, command: CommandLine) -> None:
        """The same and more on stderr, for programs."""
        done = command("run", "--name", "job", "-m", "64m", "--json", "sh", "-c", "kill -9 $$")

        facts = json.loads(done.stderr)
        assert facts["command"] == ["sh", "-c", "kill -9 $$"]
        assert (facts["exit_status"], facts["returncode"], facts["signal"]) == (137, -9, "SIGKILL")
        assert (facts["oom_killed"], facts["timed_out"], facts["group"]) == (False, False, "job")
        assert facts["limits"]["memory"]["max"] == 64 << 20
        assert 0 < facts["stats"]["memory"]["peak"] <= 64 << 20
        assert facts["wall_usec"] > 0

    def test_report(self, command: CommandLine, tmp_path: Path) -> None:
        """To a file, beside which stderr stays the command's own."""
        done = command("run", "--report", f"{tmp_path}/report", "sh", "-c", "echo error >&2")

        assert done.stderr == "error\n"
        assert json.loads((tmp_path / "report").read_text())["exit_status"] == 0

    def test_report_that_cannot_be_written(self, command: CommandLine) -> None:
        """It is complained about; the command has run, and its exit status stays."""
        done = command("run", "--report", "/no/such/report", "sh", "-c", "exit 4")

        assert done.returncode == 4
        assert done.stderr == "cgctl: --report /no/such/report: No such file or directory\n"


def test_as_a_module(command: CommandLine) -> None:
    """``python -m cgctl`` is the same."""
    command.env["PYTHONPATH"] = os.pathsep.join(sys.path)
    argv = command.argv("run", "sh", "-c", "exit 7")

    assert cgctl.run([*argv[:2], "cgctl", *argv[3:]], env=command.env).returncode == 7
