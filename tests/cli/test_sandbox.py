"""``cgctl run`` with a view of its own, and ``cgctl ns``: as the library, by docker's flags."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import cgctl
from cgctl.cli.sandbox_options import sandbox_of, sandbox_options
from tests.cli.conftest import CommandLine

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A root directory with a few programs."""
    programs = ["bash", "ls", "ps", "hostname", "readlink", "cat", "id", "touch"]
    return cgctl.Rootfs.build(tmp_path_factory.mktemp("root") / "app", programs, extra=["nss"]).path


def _sandbox(*arguments: str) -> cgctl.Sandbox:
    found: list[cgctl.Sandbox] = []

    @click.command()
    @sandbox_options
    def probe(**flags: Any) -> None:
        found.append(sandbox_of(flags))
        assert flags == {}

    result = CliRunner().invoke(probe, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return found[0]


class TestFlags:
    """What the flags mean to the library."""

    @pytest.mark.parametrize(
        ("arguments", "keywords"),
        [
            ("", {}),
            ("--rootfs x --chroot", {"root": "x", "chroot": True}),
            ("--rootfs x --read-only", {"root": "x", "read_only": True}),
            ("--hostname h --domainname d", {"hostname": "h", "domainname": "d"}),
            ("--namespaces all", {"namespaces": "all"}),
            ("--namespaces pid,mnt --ipc private", {"namespaces": ["pid", "mnt", "ipc"]}),
            ("--namespaces all --pid host --userns host", {"namespaces": "cgroup,ipc,mnt,net,time,uts"}),
            ("--uts private --cgroupns private", {"namespaces": ["uts", "cgroup"]}),
            ("--network none", {"network": "none"}),
            (
                "--network veth --ip 10.0.0.2/24 --gateway 10.0.0.1",
                {"network": cgctl.Veth(address="10.0.0.2/24", gateway="10.0.0.1")},
            ),
            ("--rootfs x --overlay", {"root": "x", "overlay": True}),
            ("--rootfs x --overlay-dir d", {"root": "x", "overlay": "d"}),
            (
                "--time-offset boottime=+7d --time-offset monotonic=-1s",
                {"time_offsets": {"boottime": "7d", "monotonic": -1}},
            ),
            ("--uid-map 0:100:5 --gid-map 0:200:5", {"uid_map": (0, 100, 5), "gid_map": (0, 200, 5)}),
            ("--init", {"init": True}),
            ("--cap-add NET_RAW --cap-add cap_chown", {"capabilities": ["CHOWN", "NET_RAW"]}),
            ("--cap-add ALL", {"capabilities": "all"}),
            ("--init --security-opt seccomp=unconfined", {"init": True, "seccomp": "unconfined"}),
            ("--security-opt seccomp=strict", {"seccomp": "strict"}),
            ("--security-opt no-new-privileges", {"no_new_privs": True}),
            ("--init --security-opt no-new-privileges:false", {"init": True, "no_new_privs": False}),
            ("-v /a:/b:ro,noexec", {"mounts": [cgctl.Mount("/b", "/a", read_only=True, noexec=True)]}),
            (
                "-v a:/b:suid,dev,norec",
                {"mounts": [cgctl.Mount("/b", "a", nosuid=False, nodev=False, recursive=False)]},
            ),
            (
                "--tmpfs /t:size=1m,mode=700,noexec",
                {"mounts": [cgctl.Mount("/t", type="tmpfs", size="1M", mode=0o700, noexec=True)]},
            ),
        ],
    )
    def test_meaning(self, arguments: str, keywords: dict[str, Any]) -> None:
        """Each is a field of the sandbox."""
        assert _sandbox(*arguments.split()) == cgctl.Sandbox(**keywords)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("-v /a", "is not SRC:DST"),
            ("-v /a:/b:ro:x", "is not SRC:DST"),
            ("-v /a:/b:fast", "there is no option 'fast'; they are dev, noexec"),
            ("-v /a:b", "target='b': not an absolute path"),
            ("--tmpfs /t:speed=1", "there is no option 'speed'"),
            ("--tmpfs /t:mode=9", "is not octal"),
            ("--tmpfs /t:size=big", "not a size"),
            ("--time-offset 7d", "is not CLOCK=OFFSET"),
            ("--uid-map 0:1", "is not INSIDE:OUTSIDE:COUNT"),
            ("--uid-map 0:1:1", "uid_map and gid_map go together"),
            ("--namespaces nonsense", "there is none of the kind 'nonsense'"),
            ("--hostname x --uts host", "--uts host: another flag takes a new uts namespace"),
            ("--cap-add FLY", "there is none of the name 'FLY'"),
            ("--security-opt seccomp=x.json", "is neither seccomp=default|strict|unconfined nor no-new-privileges"),
            ("--security-opt apparmor=x", "is neither seccomp="),
            ("--security-opt no-new-privileges=maybe", "is neither seccomp="),
            ("--security-opt seccomp=default --security-opt no-new-privileges=false", "with no_new_privs=False"),
            ("--chroot", "chroot=True without root"),
            ("--network veth", "--network veth takes --ip"),
            ("--ip 10.0.0.2/24", "--ip takes --network veth"),
            ("--overlay --overlay-dir x --rootfs /", "either thrown away or kept"),
            ("--overlay", "overlay takes a root"),
        ],
    )
    def test_nonsense(self, command: CommandLine, arguments: str, message: str) -> None:
        """125 and one line."""
        done = command("run", *arguments.split(), "true")

        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (125, "", 1)
        assert message in done.stderr
        assert command.left() == []


class TestRun:
    """The classic demonstration, by the command line alone."""

    def test_everything(self, command: CommandLine, app: str) -> None:
        """Its own name, processes, files and namespaces; and ``cd ..`` leads nowhere."""
        script = "hostname; cat /proc/uptime; cd ..; cd ..; pwd; readlink /proc/self/ns/*; ps -e -o pid=,comm=; true"
        flags = ["--rootfs", app, "--namespaces", "all", "--hostname", "test01", "-m", "512m", "--cpus", "1"]
        flags += ["--time-offset", "boottime=+7d"]
        done = command("run", *flags, "bash", "-c", script)
        name, uptime, place, *rest = done.stdout.splitlines()

        assert (done.returncode, done.stderr, name, place) == (0, "", "test01", "/")
        assert float(uptime.split()[0]) > 7 * 86_400
        assert not {os.readlink(f"/proc/self/ns/{kind}") for kind in os.listdir("/proc/self/ns")} & {*rest}
        assert [line.split() for line in rest[-2:]] == [["1", "bash"], [rest[-1].split()[0], "ps"]]
        assert command.left() == []

    def test_files(self, command: CommandLine, app: str, tmp_path: Path) -> None:
        """Volumes, a tmpfs, a root that cannot be changed."""
        (tmp_path / "x").write_text("of outside\n")
        script = "cat /mnt/x; touch /mnt/y; touch /tmp/z && ls /tmp; touch /z"
        done = command(
            *("run", "--rootfs", app, "--read-only", "--tmpfs", "/tmp:size=1m", "-v", f"{tmp_path}:/mnt:ro"),
            *("bash", "-c", script),
        )

        assert done.stdout == "of outside\nz\n"
        assert done.stderr.count("Read-only file system") == 2

    def test_users_of_the_root(self, command: CommandLine, app: str) -> None:
        """Names are those of the root's own /etc/passwd."""
        passwd = Path(app, "etc/passwd")
        before = passwd.read_text()
        passwd.write_text(before + "inhabitant:x:4321:4322::/:/bin/bash\n")
        try:
            done = command("run", "--rootfs", app, "-u", "inhabitant", "id")
            assert done.stdout.startswith("uid=4321(inhabitant) gid=4322")
            assert "there is no user 'somebody' in" in command("run", "--rootfs", app, "-u", "somebody", "id").stderr
        finally:
            passwd.write_text(before)

    @pytest.mark.parametrize("flags", [["--pid", "private", "--init"], ["--uts", "private"]])
    def test_signals(self, command: CommandLine, flags: list[str]) -> None:
        """What is sent to cgctl reaches the command, whichever session that has."""
        script = "trap 'exit 42' INT; echo ready; while :; do sleep 0.05; done"
        with command.start("run", *flags, "sh", "-c", script) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)

            assert process.wait(30) == 42
        assert command.left() == []

    def test_not_found(self, command: CommandLine, app: str) -> None:
        """127 in there too; what goes wrong before is 125."""
        assert command("run", "--rootfs", app, "no-such-program").returncode == 127
        done = command("run", "--rootfs", f"{app}/bin/bash", "ls")

        assert (done.returncode, done.stderr.count("\n")) == (125, 1)
        assert "is not a directory; a root is one" in done.stderr


class TestEnter:
    """``cgctl enter``."""

    def test_by_group_and_by_pid(self, command: CommandLine, app: str) -> None:
        """In all namespaces, the files and the group of a command that runs."""
        flags = ["--rootfs", app, "--namespaces", "all", "--hostname", "test01", "--name", "inhabited", "-m", "64m"]
        script = "echo ready; while :; do read -t 1; done"
        with command.start("run", *flags, "bash", "-c", script, stdin=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                pid = command.group("inhabited").pids()[0]
                kinds = sorted(os.listdir("/proc/self/ns"))
                ask = ["bash", "-c", "hostname; readlink /proc/self/ns/*"]
                expected = ["test01", *(os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds)]
                for target in ("inhabited", str(pid)):
                    done = command("enter", target, "--", *ask)
                    assert (done.returncode, done.stderr) == (0, "")
                    assert done.stdout.splitlines() == expected
                assert command("enter", "inhabited", "no-such-program").returncode == 127
                assert command("enter", "inhabited", "bash", "-c", "kill -9 $$").returncode == 137
                assert command("enter", "inhabited", "--").returncode == 125
            finally:
                process.terminate()
                process.communicate(timeout=30)
        assert command.left() == []

    @pytest.mark.parametrize("target", ["no-such-group", "99999999"])
    def test_nonsense(self, command: CommandLine, target: str) -> None:
        """125 and one line."""
        done = command("enter", target, "true")

        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (125, "", 1)


class TestNs:
    """``cgctl ns``."""

    def test_own(self, command: CommandLine) -> None:
        """What ls -l /proc/PID/ns says, of cgctl itself and of a process."""
        facts = {each["kind"]: each for each in json.loads(command("ns", "--json", str(os.getpid())).stdout)}

        for kind, each in facts.items():
            assert f"{kind}:[{each['inode']}]" == os.readlink(f"/proc/self/ns/{kind}")
            assert os.getpid() in each["members"]
            assert each["shared"]
        assert command("ns").stdout.splitlines()[0].split() == ["KIND", "NAMESPACE", "OWNER", "PROCESSES"]

    def test_of_a_sandbox(self) -> None:
        """All are others, and belong to a user namespace of ours."""
        with cgctl.popen(["sleep", "60"], namespaces="all") as process:
            found = {each.kind: each for each in cgctl.namespaces(process.pid)}
            process.kill()

        assert set(found) == set(cgctl.Sandbox(namespaces="all").kinds)
        assert not any(each.shared for each in found.values())
        assert {each.members for each in found.values()} == {(process.pid,)}
        assert found["net"].user_namespace == found["user"].inode
        assert found["net"].owner == os.geteuid()

    @pytest.mark.parametrize("pid", ["0", "99999999"])
    def test_nonsense(self, command: CommandLine, pid: str) -> None:
        """One line."""
        done = command("ns", pid)

        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
