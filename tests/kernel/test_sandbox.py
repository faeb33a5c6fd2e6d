"""Sandboxes: each program has its own view, its own files, and its own privileges."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import cgctl
from tests.kernel import lacks, payloads
from tests.kernel.conftest import ready
from tests.kernel.enclosed import PYTHON, TRY, Root, make_root
from tests.kernel.pace import SLOWNESS, eventually

pytestmark = pytest.mark.host

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A root directory."""
    return make_root(tmp_path / "root")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A directory that keeps the changes of an overlay."""
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept"


def own(kind: str) -> str:
    """Name a namespace of this process."""
    return os.readlink(f"/proc/self/ns/{kind}")


def say(*argv: str, **keywords: Any) -> str:
    """Run a program and return its output."""
    done = cgctl.run(argv, capture_output=True, text=True, **keywords)
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout).strip()


class TestNamespaces:
    """Each kind, and all at once."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_one(self, kind: str) -> None:
        """The program has its own of this kind, and ours of all others."""
        inside = say("readlink", *(f"/proc/self/ns/{each}" for each in KINDS), namespaces=[kind]).split()

        assert [each for each, name in zip(KINDS, inside, strict=True) if name != own(each)] == [kind]

    def test_all(self, root: Root) -> None:
        """With a map of one id, a root directory, and limits."""
        facts = root.facts(
            "names = [os.readlink(f'/proc/self/ns/{each}') for each in sys.argv[1:]]\n"
            "print(json.dumps([*names, os.getpid(), os.getuid()]))",
            *KINDS,
            namespaces="all",
            pids=20,
        )

        assert all(name != own(kind) for kind, name in zip(KINDS, facts, strict=False))
        assert facts[-2:] == [1, 0]

    def test_names(self) -> None:
        """A host name and a domain of its own."""
        before = os.uname().nodename

        assert say("uname", "-n", hostname="test01", domainname="test.example") == "test01"
        assert say("cat", "/proc/sys/kernel/domainname", domainname="test.example") == "test.example"
        assert os.uname().nodename == before

    def test_processes(self, root: Root) -> None:
        """PID 1 is the program, and nobody else is there."""
        pids = root.facts("print(json.dumps([os.getpid(), [name for name in os.listdir('/proc') if name.isdigit()]]))")

        assert pids == [1, ["1"]]

    def test_processes_without_a_root(self) -> None:
        """A pid and a mount namespace alone bring a fresh /proc too."""
        assert say("sh", "-c", "echo $$; ls -d /proc/[0-9]* | wc -l", namespaces=["pid", "mnt"]).split()[0] == "1"

    @pytest.mark.parametrize("how", [{"namespaces": ["net"]}, {"network": "none"}])
    def test_network(self, how: dict[str, Any]) -> None:
        """Nothing but the loopback device, which is up."""
        script = (
            "import socket; socket.socket().bind(('127.0.0.1', 0)); print(*(name for _, name in socket.if_nameindex()))"
        )

        assert say(*payloads.python(script), **how) == "lo"

    def test_network_of_the_host(self) -> None:
        """All namespaces but this one."""
        assert say("readlink", "/proc/self/ns/net", namespaces="all", network="host") == own("net")

    def test_clocks(self) -> None:
        """They are shifted by as much as was asked, forth and back, and by nothing for us."""
        script = "import time; print(time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic())"
        boottime, monotonic = time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()
        words = say(*payloads.python(script), time_offsets={"boottime": "+7d", "monotonic": -0.5}).split()
        slack = 20 * SLOWNESS

        assert 7 * 86400 - 1 <= float(words[0]) - boottime <= 7 * 86400 + slack
        assert -0.5 <= float(words[1]) - monotonic <= slack - 0.5
        assert say("cat", "/proc/uptime", time_offsets={"boottime": "7d"}) > "600000"

    def test_cgroups(self) -> None:
        """The group of the program is the root of what it sees."""
        paths = {
            line.rpartition(":")[2]
            for line in say("cat", "/proc/self/cgroup", namespaces=["cgroup"], pids=9).splitlines()
        }

        assert "/" in paths
        assert not any("cgctl" in path for path in paths)

    def test_users(self) -> None:
        """By default the caller's own id is root's inside."""
        assert say("sh", "-c", "id -u; cat /proc/self/uid_map", namespaces=["user"]).split() == [
            "0",
            "0",
            str(os.geteuid()),
            "1",
        ]

    def test_maps(self, tmp_path: Path) -> None:
        """With ranges, ids inside are others outside; who is root inside is not outside."""
        tmp_path.chmod(0o755)
        (tmp_path / "shared").mkdir(mode=0o777)
        (tmp_path / "shared").chmod(0o777)
        for parent in (tmp_path, *tmp_path.parents[:-2]):
            if parent.stat().st_uid == os.geteuid():
                parent.chmod(parent.stat().st_mode | 0o11)
        maps = {"uid_map": [(0, 100_000, 1000)], "gid_map": [(0, 200_000, 1000)]}
        script = f"id -u; id -g; touch {tmp_path}/shared/x"
        assert say("sh", "-c", script, user=5, group=6, **maps).split() == ["5", "6"]
        made = (tmp_path / "shared/x").stat()

        assert (made.st_uid, made.st_gid) == (100_005, 200_006)
        assert say("id", "-u", **maps) == "0"


class TestShared:
    """What the namespaces are for: two programs, and what one has of the other."""

    def test_system_v_memory(self) -> None:
        """A's shared memory cannot be opened by B: neither System V's nor POSIX's."""
        make = "import ctypes; libc = ctypes.CDLL(None); print(libc.shmget(4711, 4096, 0o1600))"
        attach = "import ctypes; libc = ctypes.CDLL(None); print(libc.shmget(4711, 0, 0))"
        assert int(say(*payloads.python(make), namespaces=["ipc"])) >= 0

        assert say(*payloads.python(attach), namespaces=["ipc"]) == "-1"
        assert say(*payloads.python(attach)) == "-1"

    def test_posix_memory(self, root: Root) -> None:
        """A's /dev/shm is not B's, nor ours."""
        name = f"cgctl-{os.getpid()}"
        script = (
            f"path = '/dev/shm/{name}'; was = os.path.exists(path); open(path, 'x').close(); print(json.dumps(was))"
        )

        assert [root.facts(script), root.facts(script)] == [False, False]
        assert not os.path.exists(f"/dev/shm/{name}")

    def test_mounts(self, root: Root) -> None:
        """What is mounted on /mnt for one is seen by no other."""
        script = "open('/mnt/x', 'x').close(); print(json.dumps(sorted(os.listdir('/mnt'))))"
        mounts = [cgctl.Mount("/mnt", type="tmpfs", size="1M")]

        assert [root.facts(script, mounts=mounts), root.facts(script, mounts=mounts)] == [["x"], ["x"]]
        assert os.listdir(root.path / "mnt") == []
        assert str(root.path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")


class TestFiles:
    """The program's own root."""

    def test_nothing_above(self, root: Root) -> None:
        """``cd ..`` ad infinitum stays inside."""
        script = "[os.chdir('..') for _ in range(100)]; print(json.dumps([os.getcwd(), sorted(os.listdir('.'))]))"
        cwd, names = root.facts(script)

        assert cwd == "/"
        assert names == sorted(os.listdir(root.path))

    def test_the_hosts_tree(self, tmp_path: Path) -> None:
        """root="/" is the host's, mounted anew, and can be made read-only, with all that is mounted below."""
        (tmp_path / "here").touch()
        script = f"ls {tmp_path}; touch {tmp_path}/there; touch /dev/shm/ours"
        done = cgctl.run(["sh", "-c", script], root="/", read_only=True, capture_output=True, text=True)

        assert done.stdout == "here\n"
        assert done.stderr.count("Read-only file system") == 1  # /dev is the program's own
        assert os.listdir(tmp_path) == ["here"]

    def test_read_only(self, root: Root) -> None:
        """Nothing can be changed in a read-only root, but in what is mounted there."""
        script = TRY + "print(json.dumps([attempt(open, f'{place}/x', 'x') for place in ('', '/tmp', '/mnt', '/etc')]))"
        mounts = [cgctl.Mount("/mnt", type="tmpfs")]

        assert root.facts(script, read_only=True, tmp="1M", mounts=mounts) == ["EROFS", "done", "done", "EROFS"]
        assert root.facts(script) == ["done"] * 4

    def test_devices(self, root: Root) -> None:
        """Its own /dev has what every program expects, and nothing of the machine's."""
        script = (
            "os.write(os.open('/dev/null', os.O_WRONLY), b'x')\n"
            "zero = os.read(os.open('/dev/zero', os.O_RDONLY), 3) == bytes(3)\n"
            "pty = os.ttyname(os.openpty()[1])\n"
            "os.chdir('/dev'); links = {name: os.readlink(name) for name in os.listdir() if os.path.islink(name)}\n"
            "print(json.dumps([sorted(os.listdir('/dev')), zero, pty, links]))"
        )
        names, zero, pty, links = root.facts(script)

        nodes = ["full", "mqueue", "null", "pts", "random", "shm", "tty", "urandom", "zero"]
        assert names == sorted([*nodes, "fd", "ptmx", "stderr", "stdin", "stdout"])
        assert (zero, pty) == (True, "/dev/pts/0")
        assert links["fd"] == "/proc/self/fd"

    @pytest.mark.parametrize("recursive", [True, False])
    def test_binds(self, root: Root, tmp_path: Path, *, recursive: bool) -> None:
        """Directories and files of outside, writable or not, where asked."""
        shared = tmp_path / "shared"
        (shared / "sub").mkdir(parents=True)
        (shared / "sub/tool").write_text("#!/bin/sh\necho ran\n")
        (shared / "sub/tool").chmod(0o755)
        (tmp_path / "file").write_text("of outside")
        (root.path / "etc/file").touch()
        (root.path / "mnt/data").mkdir()
        script = (
            TRY + "import subprocess\n"
            "print(json.dumps([open('/etc/file').read(),"
            "attempt(open, '/mnt/data/x', 'w'), attempt(open, '/tmp/x', 'w'),"
            "attempt(subprocess.run, ['/mnt/data/sub/tool']), attempt(subprocess.check_output, ['/tmp/sub/tool'])]))"
        )
        facts = root.facts(
            script,
            mounts=[
                cgctl.Mount("/etc/file", tmp_path / "file", read_only=True),
                cgctl.Mount("/mnt/data", str(shared), read_only=True, noexec=True, recursive=recursive),
                cgctl.Mount("/tmp", str(shared), recursive=recursive),
            ],
        )

        assert facts == ["of outside", "EROFS", "done", "EACCES", "done"]
        assert (shared / "x").exists()

    def test_mounts_within_mounts(self, root: Root, tmp_path: Path) -> None:
        """Where something was mounted for the program, mount points are made."""
        (tmp_path / "file").write_text("y")
        mounts = [
            cgctl.Mount("/tmp", type="tmpfs"),
            cgctl.Mount("/tmp/deep", type="tmpfs", size="1M"),
            cgctl.Mount("/tmp/deep/file", tmp_path / "file"),
        ]

        assert root.facts("print(json.dumps(open('/tmp/deep/file').read()))", mounts=mounts) == "y"

    @pytest.mark.parametrize("kind", ["proc", "sysfs", "mqueue", "cgroup2", "devpts", "tmpfs"])
    def test_kinds(self, root: Root, kind: str) -> None:
        """Every kind of file system that is offered."""
        script = (
            "print(json.dumps([line.split()[2] for line in open('/proc/self/mounts') if line.split()[1] == '/mnt']))"
        )

        assert root.facts(script, mounts=[cgctl.Mount("/mnt", type=kind)]) == [kind]

    def test_plain_chroot(self, root: Root, tmp_path: Path) -> None:
        """chroot=True changes the root and nothing else: no mount namespace, no mounts."""
        app = cgctl.Rootfs.build(tmp_path / "app", ["sh", "ls", "readlink"])
        words = say("/bin/sh", "-c", "cd ..; ls -d dev etc mnt; ls /proc", root=app, chroot=True).split()

        assert words == ["dev", "etc", "mnt"]
        assert root.facts("print(json.dumps(os.readlink('/proc/self/root')))", chroot=True) == "/"

    def test_directories(self, root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It runs in the root's ``/``, or where cwd says inside; without a root, where the caller is."""
        script = "print(json.dumps(os.getcwd()))"
        monkeypatch.chdir(tmp_path)

        assert [root.facts(script), root.facts(script, cwd="/etc"), root.facts(script, cwd="etc")] == [
            "/",
            "/etc",
            "/etc",
        ]
        assert say("pwd", namespaces=["mnt"]) == str(tmp_path)
        assert say("pwd", namespaces=["mnt"], cwd="root") == str(tmp_path / "root")
        assert say("pwd", namespaces=["uts"]) == str(tmp_path)

    def test_a_relative_root(self, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is taken from the caller's directory, as a source is."""
        monkeypatch.chdir(root.path.parent)
        mounts = [cgctl.Mount("/mnt", "root/etc")]

        assert root.facts("print(json.dumps(os.listdir('/mnt')))", root="root", mounts=mounts) == []


class TestOverlays:
    """Changes in a root that do not change it."""

    SCRIPT = (
        "open('/new', 'x').close(); os.rmdir('/mnt'); open('/etc/kept', 'a').write('x')\n"
        "print(json.dumps([os.path.exists('/new'), os.path.exists('/mnt'), open('/etc/kept').read()]))"
    )

    @pytest.mark.parametrize("kinds", [["mnt", "pid"], "all"])
    def test_thrown_away(self, root: Root, kinds: Any) -> None:
        """The program sees them, and nobody else ever does."""
        lacks.require("overlayfs")
        if kinds == "all":
            lacks.require("overlayfs in user namespaces")
        before = sorted(os.listdir(root.path))

        assert root.facts(self.SCRIPT, overlay=True, namespaces=kinds) == [True, False, "x"]
        assert root.facts(self.SCRIPT, overlay=True, namespaces=kinds) == [True, False, "x"]
        assert sorted(os.listdir(root.path)) == before
        assert str(root.path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")

    def test_kept(self, root: Root, kept: Path) -> None:
        """In a directory, for the next one."""
        lacks.require("overlayfs")
        script = "open('/etc/kept', 'a').write('x'); print(json.dumps(open('/etc/kept').read()))"

        assert [root.facts(script, overlay=str(kept)) for _ in range(2)] == ["x", "xx"]
        assert (kept / "upper/etc/kept").read_text() == "xx"
        assert os.listdir(root.path / "etc") == []

    def test_size(self, root: Root) -> None:
        """What is thrown away is in memory, and no more than was allowed."""
        lacks.require("overlayfs")
        fill = TRY + (
            "def fill():\n"
            "    fd = os.open('/x', os.O_CREAT | os.O_WRONLY)\n"
            "    for _ in range(8): os.write(fd, bytes(1 << 20))\n"
            "print(json.dumps(attempt(fill)))"
        )
        assert root.facts(fill, overlay=True, overlay_size="2M") == "ENOSPC"
        assert root.facts(fill, overlay=True) == "done"

    def test_nowhere(self, root: Root) -> None:
        """A directory that is not there is named."""
        with pytest.raises(cgctl.LaunchError, match=r"mount -t overlay .*: ENOENT .*'/no/such'"):
            root.run("", overlay="/no/such")


class TestJoining:
    """Namespaces that are there."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_one(self, kind: str) -> None:
        """By process id, by path, and by what is open."""
        with ready(cgctl.popen(payloads.SLEEPER, namespaces=[kind], stdout=subprocess.PIPE)) as process:
            path = f"/proc/{process.pid}/ns/{kind}"
            with open(path, "rb") as file:
                for what in (process.pid, path, file):
                    assert say("readlink", f"/proc/self/ns/{kind}", join={kind: what}) == os.readlink(path)

    def test_all(self, root: Root) -> None:
        """With the files of the other, and its processes, but without its privileges or ours."""
        argv = [PYTHON, "-I", "-S", "-c", "import time; print('ready', flush=True); time.sleep(600)"]
        how: dict[str, Any] = {"root": root.path, "mounts": root.mounts, "namespaces": "all", "hostname": "inner"}
        with ready(cgctl.popen(argv, stdout=subprocess.PIPE, **how)) as process:
            script = (
                "import os; print(os.uname().nodename, sorted(os.listdir('/')), os.getpid() > 1, os.getuid(),"
                "[line for line in open('/proc/self/status') if line.startswith('CapEff')])"
            )
            joined = dict.fromkeys(KINDS, process.pid)
            said = say(PYTHON, "-I", "-S", "-c", script, join=joined, env={})

        names = sorted(os.listdir(root.path))
        assert said == f"inner {names} True 0 ['CapEff:\\t0000000000000000\\n']"

    @pytest.mark.parametrize(
        ("join", "message"),
        [
            ({"net": 99_999_999}, r"join the net namespace: ENOENT"),
            ({"net": "/no/such"}, r"join the net namespace: ENOENT .*'/no/such'"),
            ({"net": "/etc/passwd"}, r"setns: EINVAL"),
            ({"net": "/proc/self/ns/uts"}, r"setns: EINVAL"),
        ],
    )
    def test_what_is_none(self, join: dict[str, Any], message: str) -> None:
        """What is no namespace, or one of another kind."""
        with pytest.raises(cgctl.LaunchError, match=message):
            cgctl.run(["true"], join=join)


def _interfaces() -> set[tuple[int, str]]:
    """Those of this machine; one of an earlier test's may be there for a moment still."""
    return set(socket.if_nameindex())


class TestVeth:
    """An interface of the program's own."""

    def test_reaches_the_other_end(self) -> None:
        """Its own eth0 with its address reaches the caller's end; both are gone with it."""
        lacks.require("veth")
        before = _interfaces()
        script = (
            "import socket, sys; sys.stdin.readline(); s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.settimeout(30); s.sendto(b'ping', ('10.213.7.1', 5005))\n"
            "print(s.recv(99), s.getsockname()[0], *(name for _, name in socket.if_nameindex()))"
        )
        veth = cgctl.Veth(address="10.213.7.2/24", gateway="10.213.7.1")
        streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with (
            cgctl.popen(payloads.python(script), namespaces=["net", "user"], network=veth, **streams) as process,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            server.bind(("10.213.7.1", 5005))
            server.settimeout(30 * SLOWNESS)
            process.stdin.write("go\n")
            process.stdin.flush()
            data, client = server.recvfrom(99)
            server.sendto(data + b"!", client)

            assert (data, client[0]) == (b"ping", "10.213.7.2")
            assert process.stdout.read().split()[::2] == ["b'ping!'", "lo"]
        assert eventually(lambda: not _interfaces() - before)

    def test_ping(self, root: Root) -> None:
        """With CAP_NET_RAW, ping works."""
        lacks.require("veth", "ping")
        veth = cgctl.Veth(address="10.213.8.2/24", gateway="10.213.8.1")
        done = cgctl.run(
            ["ping", "-c", "1", "-W", "30", "10.213.8.1"],
            root=root.path, mounts=root.mounts, namespaces="all", network=veth, capabilities=["NET_RAW"],
            capture_output=True, text=True, env={"PATH": "/bin:/usr/bin"},
        )  # fmt: skip

        assert " 0% packet loss" in done.stdout

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"bridge": "no-such"}, r"ENODEV .*there is no bridge 'no-such'"),
            ({"host_name": "lo"}, r"EEXIST .*another host_name"),
        ],
    )
    def test_refused(self, keywords: dict[str, Any], message: str) -> None:
        """What is wrong is named, and no interface is left."""
        lacks.require("veth")
        before = _interfaces()
        with pytest.raises(cgctl.LaunchError, match=message):
            cgctl.run(["true"], network=cgctl.Veth(address="10.213.9.2/24", **keywords))
        assert eventually(lambda: not _interfaces() - before)


class TestInit:
    """``init=True``: PID 1 is a reaper."""

    def test_is_there(self, root: Root) -> None:
        """The program is PID 2, and its parent PID 1."""
        assert root.facts("print(json.dumps([os.getpid(), os.getppid()]))", init=True) == [2, 1]

    @pytest.mark.parametrize(
        ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9), ("kill -15 $$", -15)]
    )
    def test_tells_the_true_status(self, script: str, status: int) -> None:
        """Exit statuses and signals alike."""
        assert cgctl.run(["sh", "-c", script], init=True).returncode == status

    def test_forwards_signals(self) -> None:
        """What is sent to the process reaches the program."""
        script = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done"
        with cgctl.popen(["sh", "-c", script], init=True, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGTERM)

            assert process.wait() == 42

    def test_reaps_orphans(self, root: Root) -> None:
        """Who is left by its parent leaves no zombie."""
        script = (
            "import time\n"
            "for _ in range(5):\n"
            "    if os.fork() == 0:\n"
            "        if os.fork() == 0: os._exit(0)\n"
            "        os._exit(0)\n"
            "    os.wait()\n"
            "deadline = time.monotonic() + 20\n"
            "def others(): return [name for name in os.listdir('/proc') if name.isdigit() and int(name) > 2]\n"
            "while others() and time.monotonic() < deadline: time.sleep(0.01)\n"
            "print(json.dumps(others()))"
        )

        assert root.facts(script, init=True) == []

    def test_takes_all_with_it(self) -> None:
        """When the program ends, so does what it left behind, whatever it does to stay."""
        done = cgctl.run(payloads.daemoniser(), namespaces=["pid"], init=True, capture_output=True, text=True)

        assert done.returncode == 0
        assert done.wall_usec < 30_000_000 * SLOWNESS

    def test_killed(self) -> None:
        """A timeout kills PID 1, and says so."""
        done = cgctl.run(payloads.SLEEPER, init=True, timeout=0.5 * SLOWNESS, stdout=subprocess.DEVNULL)

        assert (done.returncode, done.timed_out) == (-9, True)

    def test_a_program_that_is_not_there(self) -> None:
        """Is the same error as ever."""
        with pytest.raises(cgctl.LaunchError, match="exec: ENOENT"):
            cgctl.run(["no-such-program"], init=True)


class TestProgram:
    """What a sandbox says of the program itself."""

    def test_is_the_sandboxes(self, root: Root) -> None:
        """Its user, groups, mask and resource limits, whoever runs it."""
        sandbox = cgctl.Sandbox(
            root=root.path, mounts=root.mounts, user=12345, group=12346, extra_groups=[7], umask=0o77,
            rlimits={"nofile": 64, "core": (0, 0)},
        )  # fmt: skip
        script = (
            "import os, resource; mask = os.umask(0); print(os.getresuid(), os.getresgid(), os.getgroups(), oct(mask),"
            " *(resource.getrlimit(each) for each in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)))"
        )

        assert say(PYTHON, "-I", "-S", "-c", script, sandbox=sandbox) == (
            "(12345, 12345, 12345) (12346, 12346, 12346) [7] 0o77 (64, 64) (0, 0)"
        )
        assert say(
            PYTHON, "-I", "-S", "-c", script, sandbox=sandbox, user=5, umask=0o22, rlimits={"nofile": 32}
        ).startswith("(5, 5, 5) (12346, 12346, 12346) [7] 0o22 (32, 32) (0, 0)")


class TestLimits:
    """Groups and namespaces together."""

    @pytest.mark.parametrize("kinds", [["pid", "mnt"], "all"])
    def test_memory(self, root: Root, kinds: Any) -> None:
        """A hog is stopped at its limit, also with its own view of the groups, and the result says so."""
        lacks.require("memory")
        done = root.run("x = bytearray(200 << 20)", namespaces=kinds, memory="64M")

        assert (done.returncode, done.oom_killed) == (-9, True)
        assert done.stats.memory is not None
        assert (done.stats.memory.peak or 0) <= 64 << 20

    def test_pids(self) -> None:
        """So is a fork bomb."""
        lacks.require("pids")
        done = cgctl.run(payloads.fork_bomb(50), namespaces="all", pids=10, capture_output=True)

        assert b'"errno": %d' % errno.EAGAIN in done.stdout

    def test_in_a_group(self, make: Any) -> None:
        """A sandbox in a group that is there has a leaf as every run; the group stays as it is."""
        group = make(pids=20)
        done = group.run(["cat", "/proc/self/cgroup"], namespaces="all", capture_output=True, text=True)

        assert group.name not in done.stdout
        assert group.children() == []


class TestRefusals:
    """What cannot be had says which step it was, why, and what to do; nothing is left."""

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"root": "/no/such"}, r"mount --rbind /no/such .*: ENOENT .*there is no directory '/no/such'"),
            ({"root": "/etc/passwd"}, r"mount --rbind /etc/passwd .*: ENOTDIR .*; '/etc/passwd' is not a directory"),
            ({"root": "/no/such", "chroot": True}, r"cd /no/such: ENOENT .*there is no directory"),
            ({"time_offsets": {"boottime": "-20000d"}}, r"unshare --time .*: ERANGE .*smaller offset"),
            (
                {"uid_map": (0, 0, 2), "gid_map": (0, 0, 1), "user": 7},
                r"setuid: EINVAL .*; the user namespace has no such id; give uid_map",
            ),
            ({"namespaces": ["mnt"], "cwd": "/no/such"}, r"chdir: ENOENT"),
        ],
    )
    def test_a_step_fails(self, keywords: dict[str, Any], message: str) -> None:
        """The error names the step as a person would type it."""
        with pytest.raises(cgctl.LaunchError, match=message):
            cgctl.run(["true"], **keywords)

    @pytest.mark.parametrize(
        ("mount", "message"),
        [
            (cgctl.Mount("/no/such", type="tmpfs"), r"mount -t tmpfs .*: ENOENT .*the root has no '/no/such'"),
            (cgctl.Mount("/mnt", "/no/such"), r"mount --rbind .*: ENOENT .*there is no '/no/such' outside"),
            (cgctl.Mount("/mnt", "/etc/passwd"), r"mount --rbind .*: EINVAL .*a file on a file"),
        ],
    )
    def test_a_mount_fails(self, root: Root, mount: cgctl.Mount, message: str) -> None:
        """So does a mount."""
        with pytest.raises(cgctl.LaunchError, match=message):
            root.run("", mounts=[mount])

    @pytest.mark.parametrize("missing", ["proc", "dev"])
    def test_no_mount_point(self, root: Root, missing: str) -> None:
        """A root without /proc or /dev says how to get one."""
        (root.path / missing).rmdir()
        with pytest.raises(cgctl.LaunchError, match=rf"ENOENT .*the root has no '/{missing}'; make it \(cgctl.Rootfs"):
            root.run("")

    def test_nothing_is_left(self, root: Root) -> None:
        """Half-way failures leave no mount, process or descriptor."""
        cgctl.run(["true"])
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with pytest.raises(cgctl.LaunchError):
                root.run("", mounts=[cgctl.Mount("/no/such", type="tmpfs")], init=True, namespaces="all")

        assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert str(root.path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
