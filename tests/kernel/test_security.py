"""What a program in a sandbox must not be able to do, each a lesson that some launcher has learned the hard way."""

from __future__ import annotations

import json
import os
import pickle
import pty
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import cgctl
from cgctl.launch.helper.kernel import write_proc
from tests.kernel import lacks
from tests.kernel.enclosed import PYTHON, TRY, Root, make_root
from tests.kernel.pace import DEAD_SEC, SLOWNESS, eventually
from tests.leaks import PREFIX, groups

pytestmark = pytest.mark.host

ALL_BUT_USER = ["pid", "mnt", "ipc", "uts", "net", "cgroup", "time"]
VIEWS = pytest.mark.parametrize("kinds", [ALL_BUT_USER, "all"], ids=["root", "mapped"])
ALL_ZERO = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0, "NoNewPrivs": 1}
STATUS = """
wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
lines = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({name: int(lines[name], 16) for name in wanted}))
"""


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A root directory."""
    return make_root(tmp_path / "root")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside."""
    (tmp_path / "secret").write_text("of outside")
    return tmp_path / "secret"


@contextmanager
def leaked(path: str, number: int) -> Iterator[int]:
    """Open a directory as a descriptor that children inherit, if nobody prevents it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.dup2(fd, number, inheritable=True)
        yield number
    finally:
        os.close(fd)
        os.close(number)


class TestDescriptors:
    """CVE-2024-21626, and launchers that leave descriptors open."""

    @VIEWS
    @pytest.mark.parametrize("init", [False, True])
    def test_none_is_inherited(self, root: Root, kinds: Any, *, init: bool) -> None:
        """Only 0, 1 and 2 are open in there, in PID 1 as in the program."""
        script = "print(json.dumps([sorted(map(int, os.listdir('/proc/self/fd')))[:-1]]))"
        with leaked("/", 50):
            assert root.facts(script, namespaces=kinds, init=init) == [[0, 1, 2]]

    def test_those_that_were_asked_for(self, root: Root) -> None:
        """pass_fds, and nothing else."""
        reading, writing = os.pipe()
        try:
            assert root.facts(f"print(json.dumps(os.fstat({writing}).st_mode >> 12))", pass_fds=[writing]) == 1
        finally:
            os.close(reading)
            os.close(writing)

    def test_directories_of_outside(self, root: Root) -> None:
        """A working directory cannot be one that a descriptor of the launcher stands for."""
        with leaked("/", 50):
            for number in (*range(3, 20), 50):
                with pytest.raises(cgctl.LaunchError, match=r"^chdir: (ENOENT|ENOTDIR|EACCES) "):
                    root.run("", cwd=f"/proc/self/fd/{number}")

    @VIEWS
    @pytest.mark.parametrize("chroot", [False, True])
    def test_escapes(self, root: Root, secret: Path, kinds: Any, *, chroot: bool) -> None:
        """Neither descriptors, nor a second chroot, nor dots, lead to where the root is not."""
        script = TRY + (
            "for fd in range(256): attempt(os.fchdir, fd)\n"
            "os.makedirs('/tmp/deeper', exist_ok=True)\n"
            "second = attempt(os.chroot, '/tmp/deeper')\n"
            "for _ in range(50): os.chdir('..')\n"
            "places = [*sys.argv[1:], sys.argv[1][1:], '/proc/1/root' + sys.argv[1], '/proc/self/root' + sys.argv[1],"
            " '/proc/1/cwd' + sys.argv[1]]\n"
            "print(json.dumps([second, [attempt(open, place) for place in places]]))"
        )
        with leaked(str(secret.parent), 50):
            second, found = root.facts(script, str(secret), namespaces=kinds, chroot=chroot)

        assert second == "EPERM"
        assert set(found) <= {"ENOENT", "EACCES"}


class TestRoots:
    """Roots that somebody hostile has prepared (CVE-2025-31133 and its kin)."""

    @pytest.mark.parametrize("place", ["proc", "dev"])
    @pytest.mark.parametrize("target", ["/tmp", "tmp", "../../..", "/proc/self/cwd"])
    def test_links_in_our_places(self, root: Root, place: str, target: str) -> None:
        """A link where /proc or /dev belongs is refused."""
        (root.path / place).rmdir()
        (root.path / place).symlink_to(target)
        with pytest.raises(cgctl.LaunchError, match=rf"ELOOP .*'/{place}' in the root is a link"):
            root.run("")

    def test_links_on_the_way(self, root: Root, tmp_path: Path) -> None:
        """A target that leads out by a link ends within the root."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (root.path / "up").symlink_to(outside)
        (root.path / "dots").symlink_to("../../../../../../../../../../mnt")
        script = "open('/mnt/here', 'x').close(); print(json.dumps(os.listdir('/mnt')))"
        with pytest.raises(cgctl.LaunchError, match="ENOENT"):
            root.run("", mounts=[cgctl.Mount("/up", type="tmpfs")])

        assert root.facts(script, mounts=[cgctl.Mount("/dots", type="tmpfs")]) == ["here"]
        assert os.listdir(outside) == []

    def test_magic_links(self, root: Root, tmp_path: Path) -> None:
        """Those of /proc are no way out."""
        (root.path / "magic").symlink_to("/proc/self/cwd")
        with pytest.raises(cgctl.LaunchError, match="ELOOP"):
            root.run("", mounts=[cgctl.Mount("/magic", type="tmpfs")])
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")

    def test_files_that_are_none_of_procs(self, tmp_path: Path) -> None:
        """What is written to /proc is written nowhere else: a file in its place stays as it is (CVE-2025-52881)."""
        (tmp_path / "uid_map").write_text("x")
        (tmp_path / "link").symlink_to("/proc/self/oom_score_adj")
        with pytest.raises(OSError, match="Invalid cross-device link"):
            write_proc(bytes(tmp_path / "uid_map"), b"0 0 1")
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            write_proc(bytes(tmp_path / "link"), b"0")
        write_proc(b"/proc/self/oom_score_adj", Path("/proc/self/oom_score_adj").read_bytes())

        assert (tmp_path / "uid_map").read_text() == "x"

    def test_devices_that_are_none(self, root: Root) -> None:
        """What is in the root's own /dev is covered, not used."""
        (root.path / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
        before = Path("/proc/sys/kernel/core_pattern").read_bytes()
        root.facts("print(json.dumps(open('/dev/null', 'w').write('x')))")

        assert Path("/proc/sys/kernel/core_pattern").read_bytes() == before


class TestPrivileges:
    """Capabilities, users and groups."""

    @VIEWS
    @pytest.mark.parametrize("user", [None, 12345])
    def test_none(self, root: Root, kinds: Any, user: int | None) -> None:
        """All five sets are empty, and exec gains nothing (CVE-2022-24769)."""
        maps = {"uid_map": [(0, 0, 20_000)], "gid_map": [(0, 0, 20_000)]} if kinds == "all" else {}
        how = {} if user is None else {"user": user, "group": user}

        assert root.facts(STATUS, namespaces=kinds, **how, **maps) == ALL_ZERO

    def test_in_pid_1(self, root: Root) -> None:
        """The reaper has but the right to signal the program, whoever that has become."""
        facts = root.facts(STATUS.replace("/proc/self/", "/proc/1/"), init=True)

        assert facts == ALL_ZERO | {"CapPrm": 1 << 5, "CapEff": 1 << 5}

    @pytest.mark.parametrize("user", [None, 12345])
    def test_those_that_were_asked_for(self, root: Root, user: int | None) -> None:
        """They are kept, by an ordinary user too; none of the others is."""
        how = {} if user is None else {"user": user, "group": user}
        facts = root.facts(STATUS, capabilities=["NET_RAW", "cap_chown"], **how)
        mask = 1 << 13 | 1 << 0

        assert (facts["CapPrm"], facts["CapEff"], facts["CapBnd"]) == (mask, mask, mask)
        assert facts["CapInh"] == facts["CapAmb"] == (0 if user is None else mask)

    def test_outside_of_sandboxes(self) -> None:
        """A run that asks for no view keeps what the caller has."""
        script = "import json\n" + STATUS
        done = cgctl.run([PYTHON, "-I", "-S", "-c", script], capture_output=True, text=True)
        own = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)

        assert json.loads(done.stdout)["CapEff"] == int(own["CapEff"], 16)

    def test_groups(self, root: Root) -> None:
        """Supplementary groups are the caller's no more."""
        before = os.getgroups()
        os.setgroups([0, 4242])
        try:
            assert root.facts("print(json.dumps(os.getgroups()))") == []
        finally:
            os.setgroups(before)

    @VIEWS
    def test_what_they_were_for(self, root: Root, kinds: Any) -> None:
        """No mount, no device, no group, no host name: EPERM each."""
        script = TRY + (
            "print(json.dumps([attempt(syscall, 'mount', b'none', b'/mnt', b'tmpfs', 0, None),"
            "attempt(syscall, 'mount', b'none', b'/mnt', b'cgroup', 0, b'memory'),"
            "attempt(os.mknod, '/tmp/disk', 0o60600, os.makedev(254, 0)),"
            "attempt(syscall, 'umount', b'/proc/sys'), attempt(os.setgroups, [0]),"
            "attempt(syscall, 'sethostname', b'x', 1), attempt(syscall, 'unshare', 0x20000)]))"
        )

        assert set(root.facts(script, namespaces=kinds)) == {"EPERM"}


class TestProc:
    """What /proc says of the machine, and lets change."""

    @VIEWS
    def test_read_only(self, root: Root, kinds: Any) -> None:
        """What is of the whole machine cannot be written."""
        paths = ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity"]
        there = [path for path in paths if os.path.exists(path)]
        script = TRY + "print(json.dumps([attempt(open, path, 'w') for path in sys.argv[1:]]))"

        assert set(root.facts(script, *there, namespaces=kinds)) <= {"EROFS", "EACCES"}

    @VIEWS
    def test_masked(self, root: Root, kinds: Any) -> None:
        """What says too much is empty, and stays so."""
        script = TRY + (
            "def read(path): return os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(9).decode()\n"
            "print(json.dumps([[bool(read(path)), attempt(syscall, 'umount', path.encode())]"
            " for path in sys.argv[1:] if os.path.exists(path)]))"
        )
        facts = root.facts(script, *(path for path in cgctl.Sandbox().masked), namespaces=kinds)

        assert facts
        assert {tuple(each) for each in facts} == {(False, "EPERM")}

    def test_the_executable_of_pid_1(self, root: Root) -> None:
        """The interpreter that the reaper runs cannot be opened by it (CVE-2019-5736)."""
        script = TRY + "print(json.dumps([attempt(os.open, f'/proc/1/{name}', os.O_RDWR) for name in ('exe', 'mem')]))"

        assert set(root.facts(script, init=True)) <= {"EACCES", "EPERM"}

    def test_hidden_outside(self) -> None:
        """Where mounts hide a part of /proc, a user namespace can have none of its own, and is told why."""
        lacks.require("mount namespace")
        script = (
            "import cgctl, sys\n"
            "try: cgctl.run(['true'], namespaces='all')\n"
            "except cgctl.LaunchError as error: print(error)\n"
            "cgctl.run(['true'], namespaces=['user', 'mnt'], check=True)"
        )
        command = 'mount -t tmpfs none /proc/fs && exec "$@"'
        argv = ["unshare", "-m", "sh", "-c", command, "sh", sys.executable, "-c", script]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60 * SLOWNESS)

        assert (done.returncode, done.stderr) == (0, "")
        assert "EPERM" in done.stdout
        assert "proc can be mounted only if nothing of the one outside is hidden by mounts" in done.stdout

    @pytest.mark.parametrize(("kinds", "works"), [(["user", "mnt"], False), (["user", "mnt", "net"], True)])
    def test_sysfs_in_a_user_namespace(self, root: Root, kinds: list[str], *, works: bool) -> None:
        """It takes a network namespace, and says so."""
        mounts = [cgctl.Mount("/sys", type="sysfs", read_only=True)]
        if works:
            assert root.facts("print(json.dumps(os.listdir('/sys/class/net')))", namespaces=kinds, mounts=mounts) == [
                "lo"
            ]
        else:
            with pytest.raises(cgctl.LaunchError, match=r"mount -t sysfs .*: EPERM .*sysfs takes a net namespace too"):
                root.run("", namespaces=kinds, mounts=mounts)


class TestTerminal:
    """Whoever started us shares its terminal with the program (CVE-2017-5226)."""

    def test_typing_for_the_user(self) -> None:
        """A program cannot push characters into the caller's terminal."""
        typing = "import fcntl\nprint(json.dumps(attempt(fcntl.ioctl, 0, 0x5412, b'x')))"
        script = f"import json, os, sys\n{TRY}{typing}"
        ours, theirs = pty.openpty()
        # The caller has a session of its own, whose terminal this is.
        caller = (
            "import cgctl, fcntl, os, sys, termios\n"
            "os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
            "done = cgctl.run(sys.argv[1:], namespaces='all', stdout=-1, text=True)\n"
            "sys.stderr.write(done.stdout)"
        )
        argv = [sys.executable, "-c", caller, PYTHON, "-I", "-S", "-c", script]
        try:
            done = subprocess.run(argv, stdin=theirs, stderr=subprocess.PIPE, check=False, timeout=60 * SLOWNESS)
            os.set_blocking(ours, False)
            with pytest.raises(BlockingIOError):
                os.read(ours, 1)
        finally:
            os.close(ours)
            os.close(theirs)

        assert json.loads(done.stderr) in {"EPERM", "EIO", "ENOTTY"}


class TestGroups:
    """Limits and the processes under them."""

    def test_limits_are_above_the_view(self, root: Root) -> None:
        """Who sees its group as the root cannot raise the limit that is on it (CVE-2023-25809)."""
        lacks.require("v2 memory")
        script = (
            TRY + "path = '/sys/fs/cgroup/memory.max'\n"
            "told = [attempt(lambda: open(path).read()), attempt(lambda: open(path, 'w').write('max'))]\n"
            "print(json.dumps([os.path.exists(path), *told]), flush=True)\n"
            "x = bytearray(200 << 20)"
        )
        mounts = [cgctl.Mount("/sys/fs/cgroup", type="cgroup2")]
        (root.path / "sys/fs/cgroup").mkdir(parents=True)
        done = root.run("import json, os, sys\n" + script, namespaces=ALL_BUT_USER, memory="64M", mounts=mounts)

        # Where the controller is given on to the view's root, what is written there limits nobody else.
        assert json.loads(done.stdout) in ([True, "done", "done"], [False, "ENOENT", "EACCES"])
        assert (done.returncode, done.oom_killed) == (-9, True)

    def test_v1_is_not_there(self, root: Root) -> None:
        """No release_agent is in reach (CVE-2022-0492)."""
        script = "print(json.dumps([line for line in open('/proc/self/mounts') if ' cgroup ' in line]))"

        assert root.facts(script) == []

    def test_memory_of_a_tmpfs(self, root: Root) -> None:
        """What is written there is limited by its size, and counts as memory."""
        script = TRY + (
            "def fill():\n"
            "    with open('/tmp/x', 'wb', 0) as file:\n"
            "        for _ in range(48): os.write(file.fileno(), bytes(1 << 20))\n"
            "print(json.dumps(attempt(fill)))"
        )
        assert root.facts(script, tmp="8M") == "ENOSPC"
        lacks.require("memory")
        done = root.run("import json, os, sys\n" + script, tmp="64M", memory="32M")
        assert (done.returncode, done.oom_killed) == (-9, True)

    def test_output_is_only_output(self, root: Root) -> None:
        """A program that writes nonsense everywhere changes nothing but its own output."""
        script = "import os\nfor fd in range(99):\n    try: os.write(fd, b'E2\\0exec\\0x')\n    except OSError: pass\n"
        done = root.run(script + "os._exit(3)", init=True)

        assert done.returncode == 3

    @pytest.mark.slow
    def test_dies_with_the_caller(self, tmp_path: Path) -> None:
        """A caller that is killed at any moment leaves no process and no group, 200 times."""
        root = make_root(tmp_path / "root")
        mark = f"{PREFIX}doomed"
        script = (
            "import cgctl, sys, pickle\n"
            "keywords = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
            "print('begun', flush=True)\n"
            "while True: cgctl.run(['sh', '-c', 'setsid sleep 1000 & sleep 0.002'], **keywords)"
        )
        environment = os.environ | {"CGCTL_BASE": f"/{mark}"}
        keywords = {"root": str(root.path), "mounts": root.mounts, "namespaces": "all", "init": True, "pids": 30}
        argv = [sys.executable, "-c", script, pickle.dumps(keywords).hex()]
        for _ in range(200):
            with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment) as caller:
                assert caller.stdout is not None
                caller.stdout.readline()
                try:
                    caller.wait(random.random() * 0.2)  # noqa: S311 - any moment
                except subprocess.TimeoutExpired:
                    caller.kill()
            assert eventually(lambda: not groups(mark), 10 * DEAD_SEC), groups(mark)
