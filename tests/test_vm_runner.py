"""The machines themselves: what goes in, what comes out, and that each is what it was asked to be."""

from __future__ import annotations

import functools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.require import skip_unless
from tests.vm import catalog
from tests.vm.project import TREE

pytestmark = pytest.mark.vm

# v1's memory and cpuset are compiled out of Debian's kernels from 6.12 on; misc came between 5.10 and 6.1.
_OLD, _NEW = ("5.10", "6.1"), ("6.12", "6.18", "7.3")
_EVERYWHERE = {"blkio", "devices", "freezer", "hugetlb", "perf_event", "pids", "rdma"}


@pytest.fixture(autouse=True)
def _qemu() -> None:
    missing = shutil.which("qemu-system-x86_64") is None
    skip_unless("vm", "qemu-system-x86_64 is not installed (tests/vm/host-packages.txt)" if missing else None)


def run(*argv: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a machine, as a user of the runner does; once more if the emulation broke the kernel."""
    prepare(tuple(options))
    done = runner(*options, "--", *argv)
    return runner(*options, "--", *argv) if b"Oops: int3" in done.stderr else done


@functools.cache
def prepare(options: tuple[str, ...]) -> None:
    """Have the machine made, once: else what the runner says of that would be in the command's stderr."""
    runner("--prepare", *options)


def runner(*words: str) -> subprocess.CompletedProcess[bytes]:
    """Run the runner."""
    line = [sys.executable, "-m", "tests.vm", *words]
    return subprocess.run(line, cwd=TREE, capture_output=True, check=False, timeout=600)


def on(kernel: str, layout: str) -> tuple[str, ...]:
    """Make the options that choose a machine."""
    return ("--kernel", kernel, "--cgroup", layout)


PLACES = [
    on("6.12", "v2"),
    (*on("6.12", "v2"), "--user"),
    on("6.12", "systemd"),
    (*on("6.12", "systemd"), "--user"),
]


@pytest.mark.parametrize("options", PLACES, ids=" ".join)
def test_output_and_status(options: Sequence[str]) -> None:
    """What a command writes and how it ends comes back, whoever starts it."""
    done = run("sh", "-c", "echo out; echo err >&2; exit 77", options=options)

    assert (done.returncode, done.stdout, done.stderr) == (77, b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("argv", "status", "stdout", "stderr"),
    [
        (["true"], 0, b"", b""),
        (["sh", "-c", "kill -KILL $$"], 137, b"", b""),
        (["sh", "-c", "kill -TERM $$"], 143, b"", b""),
        (["sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr"], 0, b"out\n", b"err\n"),
        (
            ["printf", "%s|", "a b", "$HOME", "%n", "", "'", '"', "\\", "$$", "-x"],
            0,
            b"a b|$HOME|%n||'|\"|\\|$$|-x|",
            b"",
        ),
        (["sh", "-c", "sleep 60 & echo left behind"], 0, b"left behind\n", b""),
        (["nosuch"], 127, b"", b"tests.vm: nosuch: not found\n"),
        (["/etc/passwd"], 126, b"", b"tests.vm: /etc/passwd: not executable\n"),
    ],
)
@pytest.mark.parametrize("options", [PLACES[0], PLACES[-1]], ids=" ".join)
def test_command(options: Sequence[str], argv: list[str], status: int, stdout: bytes, stderr: bytes) -> None:
    """All that a command may be and do comes back unchanged, by our own init and by a user's systemd."""
    done = run(*argv, options=options)

    assert (status, stdout, stderr) == (done.returncode, done.stdout, done.stderr)


def test_big_output() -> None:
    """Twenty megabytes arrive whole, in order, before the status."""
    done = run("seq", "2500000")

    assert done.returncode == 0
    assert [done.stdout.split(maxsplit=1)[0], done.stdout[-8:].strip()] == [b"1", b"2500000"]
    assert done.stdout.count(b"\n") == 2500000


def test_timeout() -> None:
    """After the time given, the status is 124 and what was written until then is there."""
    done = run("sh", "-c", "echo before; sleep 60", options=["--timeout", "2"])

    assert (done.returncode, done.stdout) == (124, b"before\n")


def test_machine_goes_away() -> None:
    """A machine that ends before its command does is 125, with the console's last words."""
    done = run("poweroff", "-f")

    assert done.returncode == 125
    assert b"reboot: Power down" in done.stderr


def test_machine_does_not_come_up() -> None:
    """A machine that does not get to its command is 125, with the console's last words."""
    done = run("true", options=["--append", "panic_on_oops=1 init=/nosuch rdinit=/nosuch root=/dev/nosuch"])

    assert done.returncode == 125
    assert b"Kernel panic" in done.stderr


def test_two_at_once() -> None:
    """Machines of one kind run beside each other."""
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda number: run("sh", "-c", f"sleep 1; echo {number}; exit {number}"), (3, 4)))

    assert [(one.returncode, one.stdout) for one in done] == [(3, b"3\n"), (4, b"4\n")]


def test_killed_runner() -> None:
    """A SIGKILL of the runner takes QEMU with it."""
    prepare(())
    line = [sys.executable, "-m", "tests.vm", "--", "sleep", "60"]
    process = subprocess.Popen(line, cwd=TREE)
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    deadline = time.monotonic() + 120
    while not (found := _words(children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    pidfd = os.pidfd_open(int(found[0]))
    process.kill()
    process.wait()

    assert select.select([pidfd], [], [], 5)[0]


def _words(path: str) -> list[str]:
    with open(path, encoding="ascii") as file:
        return file.read().split()


def test_tree() -> None:
    """The command finds the project's tree as it stands, and a cgctl with its entry points."""
    code = (
        "import importlib.metadata as m, importlib.util as u, os; "
        "print(os.getcwd(), os.path.exists('pyproject.toml'), os.path.exists('.git'), "
        "u.find_spec('cgctl').submodule_search_locations[0], m.entry_points(group='console_scripts')['cgctl'].value)"
    )
    done = run("python3", "-W", "error", "-c", code)

    assert (done.stdout, done.stderr) == (b"/work True False /work/src/cgctl cgctl.cli:main\n", b"")


def test_environment() -> None:
    """Variables are set, passed on where they are set here, and left out where they are not."""
    options = ["--env", "GIVEN=a $b", "--env", "PATH", "--env", "CGCTL_NO_SUCH", *on("6.12", "systemd")]
    done = run("sh", "-c", 'echo "$GIVEN|$PATH|${CGCTL_NO_SUCH-unset}|$CGCTL_VM_KERNEL"', options=options)

    assert f"a $b|{os.environ['PATH']}|unset|6.12\n".encode() == done.stdout


@pytest.mark.parametrize("kernel", catalog.KERNELS)
def test_clock_and_random_numbers(kernel: str) -> None:
    """Restored machines know the time, and do not draw the same numbers."""
    command = ("python3", "-c", "import time, uuid; print(time.time(), uuid.uuid4())")
    drawn = [run(*command, options=on(kernel, "v2")).stdout.split() for _ in range(2)]

    assert abs(time.time() - float(drawn[-1][0])) < 5
    assert len({number for _, number in drawn}) == 2


def test_hardware() -> None:
    """Processors, nodes, memory, swap and the scratch disk are what was asked for."""
    options = ["--cpus", "4", "--nodes", "2", "--memory", "768", "--swap", "64M"]
    command = "nproc; cat /sys/devices/system/node/online /sys/block/vdb/size; swapon --show=SIZE --noheadings --bytes"
    done = run("sh", "-c", command, options=options)

    assert [b"4", b"0-1", str((256 << 20) // 512).encode(), str((64 << 20) - 4096).encode()] == done.stdout.split()


@pytest.mark.parametrize("kernel", catalog.KERNELS)
def test_modules(kernel: str) -> None:
    """The modules that tests want are at hand on every kernel."""
    modules = "null_blk loop scsi_debug bfq cls_cgroup sch_htb"
    done = run("sh", "-c", f"for module in {modules}; do modprobe $module || exit; done", options=on(kernel, "v2"))

    assert (done.returncode, done.stderr) == (0, b"")


@functools.cache
def mounts(kernel: str, layout: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Read a machine's cgroup mounts, directory → (file system, options); check that it is that kernel."""
    done = run("sh", "-c", "uname -r; cat /proc/mounts", options=on(kernel, layout))
    release, *lines = done.stdout.decode().splitlines()
    assert release.startswith(f"{kernel}.")
    fields = [line.split() for line in lines]
    return {
        path: (kind, frozenset(words.split(","))) for _, path, kind, words, *_ in fields if kind.startswith("cgroup")
    }


@pytest.mark.parametrize("layout", catalog.LAYOUTS)
@pytest.mark.parametrize("kernel", catalog.KERNELS)
def test_layout(kernel: str, layout: str) -> None:
    """The mount table is that of the layout, with every v1 controller that the kernel has."""
    found = mounts(kernel, layout)
    v1 = {path.removeprefix("/sys/fs/cgroup/") for path, (kind, _) in found.items() if kind == "cgroup"}
    v2 = {path for path, (kind, _) in found.items() if kind == "cgroup2"}

    if layout in ("v2", "systemd"):
        assert (set(), {"/sys/fs/cgroup"}) == (v1, v2)
        return
    together = (
        {"cpu", "cpuacct", "net_cls", "net_prio"} if layout == "v1-separate" else {"cpu,cpuacct", "net_cls,net_prio"}
    )
    old = {"memory", "cpuset"} if kernel in _OLD else set()
    assert _EVERYWHERE | together | old | ({"misc"} if kernel != "5.10" else set()) | {"systemd"} == v1
    assert ({"/sys/fs/cgroup/unified"} if "hybrid" in layout else set()) == v2
    assert all(set(path.split(",")) <= found[f"/sys/fs/cgroup/{path}"][1] for path in v1 - {"systemd"})


_WHERE = """
import json, os
from pathlib import Path
line = [line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")][0]
own = Path("/sys/fs/cgroup" + line[3:])
(own / "probe").mkdir()
told = {"own": str(own), "me": os.getpid(), "uid": os.getuid(), "owner": own.stat().st_uid}
told["pids"] = [int(pid) for pid in (own / "cgroup.procs").read_text().split()]
told["bus"] = os.path.exists("/run/dbus/system_bus_socket")
told["user_bus"] = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
told["controllers"] = (own / "cgroup.controllers").read_text().split()
print(json.dumps(told))
"""


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("kernel", catalog.KERNELS)
def test_systemd_unit(kernel: str, *, user: bool) -> None:
    """Under systemd the command is the only process of a delegated unit, in which it may make groups."""
    options = [*on(kernel, "systemd"), *(["--user"] if user else [])]
    done = run("python3", "-c", _WHERE, options=options)
    assert (done.returncode, done.stderr) == (0, b"")
    told = json.loads(done.stdout)

    assert [told["me"]] == told["pids"]
    assert told["bus"]
    if user:
        manager = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service"
        assert f"{manager}/app.slice/cgctl-command.service" == told["own"]
        assert (told["uid"], told["owner"], told["user_bus"]) == (1000, 1000, "unix:path=/run/user/1000/bus")
        assert {"cpu", "memory", "pids"} == set(told["controllers"])
    else:
        assert told["own"] == "/sys/fs/cgroup/system.slice/cgctl-command.service"
        assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(told["controllers"])


def test_ordinary_user() -> None:
    """Without systemd, the ordinary user owns the tree and nothing of the hierarchies."""
    done = run(
        "sh", "-c", "id -u; touch probe && echo tree; mkdir /sys/fs/cgroup/probe || echo refused", options=["--user"]
    )

    assert done.stdout.split() == [b"1000", b"tree", b"refused"]


def test_out_of_memory() -> None:
    """A command that eats all memory is killed, and the machine lives to say so."""
    assert run("tail", "/dev/zero", options=["--memory", "512"]).returncode == 128 + signal.SIGKILL
