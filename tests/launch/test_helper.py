"""The helper process and its client, on this machine's real kernel: no mocks.

Groups are made below the caller's own cgroup in each hierarchy, and nothing else is touched. Whatever joins a group,
installs a filter or dies is a child of the test's.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import secrets
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cgctl.errors import LaunchError
from cgctl.launch import children, client
from cgctl.launch.client import helper
from cgctl.launch.process import Process
from cgctl.launch.spawn import Inherited, Spawn, encode, hint
from cgctl.launch.start import popen
from cgctl.marks import OWNER
from cgctl.owner.mark import EPHEMERAL, own
from tests.require import skip_unless

pytestmark = pytest.mark.host

KILLED = -signal.SIGKILL
CONTROLLERS = ("memory", "pids", "freezer")


# --- groups ---------------------------------------------------------------------------------------------------------


def own_groups() -> dict[str, Path]:
    """Find the caller's own directory in v2's hierarchy (``""``) and in those of some v1 controllers."""
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        mount, _, filesystem = line.partition(" - ")
        kind, _, options = filesystem.split(" ", 2)
        root, mount_point = mount.split()[3:5]
        if kind == "cgroup2":
            mounts[""] = (root, mount_point)
        elif kind == "cgroup":
            mounts |= dict.fromkeys({*options.split(",")} & {*CONTROLLERS}, (root, mount_point))
    found = {}
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in mounts:
                root, mount_point = mounts[controller]
                relative = path if root == "/" else path.removeprefix(root)
                found[controller] = Path(f"{mount_point}/{relative.strip('/')}")
    return found


class Place:
    """One group, in each hierarchy that this machine has; it is a leaf as :class:`Process` wants one."""

    stats: Any = None
    oom_killed = False

    def __init__(self, stack: ExitStack, *, guarded: bool = False, below: Place | None = None) -> None:
        name = f"cgctl-t-{secrets.token_hex(4)}"
        parents = own_groups() if below is None else below.directories
        self.directories: dict[str, Path] = {controller: parent / name for controller, parent in parents.items()}
        self.v2 = self.directories.get("")
        mark = own(EPHEMERAL)
        self.token = helper().guard(mark, [str(path) for path in self.directories.values()]) if guarded else None
        self.finished = 0
        for path in self.directories.values():
            path.mkdir()
            os.setxattr(path, OWNER, mark)
            stack.callback(self.remove, path)
        self.into = self.into_procs = None
        if self.v2 is not None:
            self.into = self._open(stack, self.v2, os.O_PATH | os.O_DIRECTORY)
            self.into_procs = self._open(stack, self.v2 / "cgroup.procs", os.O_WRONLY)
        self.join = [
            self._open(stack, path / "cgroup.procs", os.O_WRONLY) for name, path in self.directories.items() if name
        ]

    @staticmethod
    def _open(stack: ExitStack, path: Path, flags: int) -> int:
        fd = os.open(path, flags | os.O_CLOEXEC)
        stack.callback(os.close, fd)
        return fd

    @staticmethod
    def remove(path: Path) -> None:
        """Remove one of its directories, if it is there."""
        if path.exists():
            remove(path)

    def fds(self) -> dict[str, Any]:
        """Give the keywords of popen that start a program here."""
        return {"into": self.into, "into_procs": self.into_procs, "join": self.join}

    def pids(self) -> set[int]:
        """Give the processes in any of its directories."""
        return {pid for path in self.directories.values() for pid in members(path)}

    def gone(self) -> bool:
        """Tell whether no directory of it is left."""
        return not any(path.exists() for path in self.directories.values())

    def kill(self) -> None:
        """Kill the whole tree."""
        for path in self.directories.values():
            kill(path)

    def finish(self) -> None:
        """Kill what is left."""
        self.finished += 1
        self.kill()


class Shared:
    """The leaf of a program that is not alone in its group: nothing happens to the others."""

    stats: Any = None
    oom_killed = False

    def kill(self) -> None:
        """Kill nobody."""

    def finish(self) -> None:
        """Kill nobody."""


def members(path: Path) -> set[int]:
    """Read the processes of one group."""
    try:
        return {int(pid) for pid in (path / "cgroup.procs").read_text(encoding="ascii").split()}
    except OSError:
        return set()


def kill(path: Path) -> None:
    """Kill what is in one of our own groups."""
    with suppress(OSError):
        (path / "freezer.state").write_text("THAWED", encoding="ascii")
    for pid in members(path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def remove(path: Path) -> None:
    """Empty and remove one of our own groups, and those below it."""
    for child in path.iterdir():
        if child.is_dir():
            remove(child)
    assert until(lambda: removed(path)), f"{path} cannot be removed: {members(path)}"


def removed(path: Path) -> bool:
    """Try to remove a group."""
    kill(path)
    with suppress(OSError):
        path.rmdir()
    return not path.exists()


@pytest.fixture(name="stack")
def stack_fixture() -> Iterator[ExitStack]:
    """Whatever must be undone after a test, even when it fails."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(name="place")
def place_fixture(stack: ExitStack) -> Place:
    """A group of our own."""
    groups = own_groups()
    usable = [path for path in groups.values() if os.access(path, os.W_OK)]
    skip_unless("host", None if groups and len(usable) == len(groups) else f"no right to make groups in {groups}")
    helper()  # so that its descriptors are not taken for a test's
    assert until(collected)
    return Place(stack)


@pytest.fixture(name="v2")
def v2_fixture(place: Place) -> Path:
    """The directory of our group in v2's hierarchy."""
    skip_unless("host", None if place.v2 is not None else "there is no v2 hierarchy")
    assert place.v2 is not None
    return place.v2


def v1(place: Place, controller: str) -> Path:
    """Give the directory of our group in the hierarchy of a v1 controller."""
    skip_unless("v1", None if controller in place.directories else f"{controller} is not a v1 controller here")
    return place.directories[controller]


# --- helpers of the tests -------------------------------------------------------------------------------------------


def until(condition: Callable[[], bool], timeout: float = 3.0) -> bool:
    """Wait for something that has no way to tell."""
    deadline, pause = time.monotonic() + timeout, 0.001
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return True


def in_child(function: Callable[[], object]) -> None:
    """Run a function in a forked process, and fail if it failed there."""
    with forked(function) as (pid, errors):
        report = errors.read()
        _, status = os.waitpid(pid, 0)
    assert report == ""
    assert os.waitstatus_to_exitcode(status) == 0


@contextmanager
def forked(function: Callable[[], object]) -> Iterator[tuple[int, Any]]:
    """Run a function in a forked process: its pid, and what it says on failure."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            function()
            status = 0
        except BaseException:  # noqa: BLE001 - pytest.fail among them
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, encoding="utf-8") as errors:
        yield pid, errors


def fds() -> dict[str, str]:
    """Give this process's descriptors, but for those of the helper."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


@contextmanager
def no_fd_left() -> Iterator[None]:
    """Check that a block leaves no descriptor open; what earlier tests left for the collector does not count."""
    gc.collect()
    before = fds()
    yield
    gc.collect()
    after = fds()
    assert {fd: after[fd] for fd in after.keys() - before.keys()} == {}


def collected() -> bool:
    """Tell whether all that nobody waits for has been waited for."""
    client._collect()
    return not (client._late or children.abandoned() or client._retired)


def alive(pid: int) -> bool:
    """Tell whether there is such a process, and it is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def start(argv: list[str], place: Place, **keywords: Any) -> Process:
    """Start a program in a group."""
    return popen(argv, **{"leaf": place, **place.fds(), **keywords})


def run(argv: list[str], place: Place, **keywords: Any) -> tuple[int | None, str]:
    """Run a program in a group: its exit status and output."""
    with start(argv, place, stdout=-1, text=True, **keywords) as process:
        output, _ = process.communicate(timeout=20)
    return process.returncode, output


def refuse_syscall(number: int, error: int) -> None:
    """Install a seccomp filter in this process, for good, that lets one system call fail."""
    libc = ctypes.CDLL(None, use_errno=True)
    ret, load, jump_equal = 0x06, 0x20, 0x15
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (load, 0, 0, 0),  # seccomp_data.nr
            (jump_equal, 0, 1, number),
            (ret, 0, 0, 0x0005_0000 | error),  # SECCOMP_RET_ERRNO
            (ret, 0, 0, 0x7FFF_0000),  # SECCOMP_RET_ALLOW
        )
    )
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer))
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, header, 0, 0) == 0, os.strerror(ctypes.get_errno())  # PR_SET_SECCOMP, by filter


# --- the pure part --------------------------------------------------------------------------------------------------

INHERITED = Inherited(
    cwd=9,
    umask=0o22,
    rlimits=((7, 1024, 4096), (3, 1, 2)),
    nice=0,
    scheduler=(0, 0),
    affinity=(0,),
    blocked=(),
    ignored=(1,),
)


class TestEncode:
    """What goes over the wire."""

    def test_descriptors_become_indices(self) -> None:
        """A number of the caller's means nothing to the helper."""
        message, sent = encode(
            Spawn(argv=(b"x",), executables=(b"/x",), env=(), stdin=None, into=20, join=(21, 22), pass_fds=(30,)),
            INHERITED,
        )

        assert sent == (9, 1, 2, 30, 20, 21, 22)
        assert message["base"] == 0
        assert message["stdio"] == [None, 1, 2]
        assert message["pass_fds"] == [(3, 30)]
        assert message["into"] == 4
        assert message["join"] == [5, 6]

    def test_what_is_asked_goes_over_what_is_inherited(self) -> None:
        """A limit that was asked for replaces the caller's, and so does the umask."""
        message, _ = encode(
            Spawn(argv=(b"x",), executables=(b"/x",), env=(), rlimits=((7, 5, 5),), umask=0o77), INHERITED
        )

        assert message["rlimits"] == [(7, 5, 5), (3, 1, 2)]
        assert message["umask"] == 0o77

    @pytest.mark.parametrize(
        ("step", "number", "words"),
        [
            ("exec", errno.ENOENT, "'/x' was not found"),
            ("exec", errno.EACCES, "'/x' is not executable"),
            ("clone3", errno.EAGAIN, "pids.max"),
            ("clone3", errno.EBUSY, "use a group below it"),
            ("join", errno.ENODEV, "/x: the group was removed"),
            ("chdir", errno.ENOENT, "'/x'"),
        ],
    )
    def test_hints(self, step: str, number: int, words: str) -> None:
        """A refusal comes with its probable cause."""
        assert words in hint(step, number, "/x")


# --- being born in a group ------------------------------------------------------------------------------------------


class TestGroups:
    """Where the child is when it becomes the program."""

    @pytest.mark.parametrize("self_join", [False, True])
    def test_is_in_all_hierarchies(self, place: Place, *, self_join: bool) -> None:
        """From its first instruction on, whichever way it came in."""
        status, output = run(["cat", "/proc/self/cgroup"], place, self_join=self_join)

        name = next(iter(place.directories.values())).name
        inside = {line.split(":")[1] for line in output.splitlines() if line.endswith(f"/{name}")}
        assert status == 0
        assert inside == set(place.directories)

    @pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
    def test_where_clone3_is_refused(self, place: Place, error: int) -> None:
        """A seccomp filter such as docker's: the child joins by itself."""

        def child() -> None:
            refuse_syscall(435, error)
            self.test_is_in_all_hierarchies(place, self_join=False)

        in_child(child)

    def test_is_the_callers_own_child(self, place: Place) -> None:
        """Not the helper's."""
        assert run(["sh", "-c", "echo $PPID"], place) == (0, f"{os.getpid()}\n")

    def test_a_full_group(self, place: Place) -> None:
        """EAGAIN from a pids limit is an error that says so."""
        limit = next(path / "pids.max" for path in place.directories.values() if (path / "pids.max").exists())
        limit.write_text("0", encoding="ascii")
        pids = place.directories.get("pids")

        if pids is None:
            with pytest.raises(LaunchError, match=r"^clone3 into .*: EAGAIN .*pids.max"):
                run(["true"], place)
        else:
            # A v1 join is not refused, as by the kernel's documentation; but the program can fork no more.
            assert run(["sh", "-c", "(true)"], place)[0] != 0

    def test_a_removed_group(self, place: Place, v2: Path) -> None:
        """The group may go while the launch is under way."""
        v2.rmdir()

        with pytest.raises(LaunchError, match=rf"^clone3 into {v2}.*: ENO(DEV|ENT) .*; the group was removed"):
            run(["true"], place)
        with pytest.raises(LaunchError, match=rf"^join: ENODEV .*{v2}/cgroup.procs.*: the group was removed"):
            run(["true"], place, self_join=True)

    def test_a_removed_v1_group(self, place: Place) -> None:
        """The step and the group are named."""
        pids = v1(place, "pids")
        pids.rmdir()

        with pytest.raises(LaunchError, match=rf"^join: ENODEV .*{pids}"):
            run(["true"], place)

    def test_not_a_group(self, place: Place, tmp_path: Path) -> None:
        """A descriptor of some other directory."""
        fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
        try:
            with pytest.raises(LaunchError, match=r"^clone3 into .*: EBADF"):
                run(["true"], place, into=fd)
        finally:
            os.close(fd)

    def test_a_frozen_group(self, place: Place, v2: Path) -> None:
        """What is born frozen never gets to exec: the launch is given up, and nothing of it is left."""
        (v2 / "cgroup.freeze").write_text("1", encoding="ascii")

        with pytest.raises(LaunchError, match=r"^wait for exec: ETIMEDOUT .*frozen"):
            run(["true"], place, timeout=0.2)

        assert until(lambda: not place.pids())
        assert children._abandoned == []

    def test_a_frozen_v1_group(self, place: Place) -> None:
        """There it can die only after a thaw, and is collected at a later launch."""
        state = v1(place, "freezer") / "freezer.state"
        state.write_text("FROZEN", encoding="ascii")

        with pytest.raises(LaunchError, match=r"^wait for exec: ETIMEDOUT .*frozen"):
            run(["true"], place, timeout=0.2)
        assert len(children._abandoned) == 1
        state.write_text("THAWED", encoding="ascii")

        assert until(lambda: not place.pids())
        assert run(["true"], place)[0] == 0
        assert children._abandoned == []

    def test_killed_before_birth(self, place: Place, v2: Path) -> None:
        """Some kernels kill whoever is born into a group that was killed once: an outcome of its own, no error."""
        (v2 / "cgroup.kill").write_text("1", encoding="ascii")

        process = start(["true"], place)

        assert process.born == (process.returncode is None)
        if process.born:  # this kernel is free of it
            assert process.wait(10) == 0
            return
        assert process.returncode == KILLED
        assert place.finished == 0
        process.discard()
        assert place.finished == 0
        assert run(["sh", "-c", "exit 7"], place, self_join=True)[0] == 7

    def test_killed_before_birth_and_waited_for(self, place: Place, v2: Path) -> None:
        """Who does not care gets a process that was killed."""
        (v2 / "cgroup.kill").write_text("1", encoding="ascii")

        process = start(["true"], place)

        assert process.wait(10) == (0 if process.born else KILLED)
        assert place.finished == 1


# --- the helper itself ----------------------------------------------------------------------------------------------


class TestHelper:
    """One per process, and transparent."""

    def test_is_one(self) -> None:
        """Whoever asks."""
        assert helper() is helper()

    def test_is_small(self, place: Place) -> None:
        """At most 12 MiB, most of them shared with every other Python."""
        run(["true"], place)

        status = Path(f"/proc/{helper().pid}/status").read_text(encoding="utf-8")
        assert int(status.partition("VmRSS:")[2].split()[0]) < 12 << 10

    def test_ignores_what_a_terminal_sends(self, place: Place) -> None:
        """A ^C is for the payload."""
        pid = helper().pid
        run(["true"], place)
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP, signal.SIGTERM):
            os.kill(pid, number)

        assert run(["true"], place)[0] == 0
        assert helper().pid == pid

    def test_ignores_it_from_the_start(self, place: Place) -> None:
        """There is no moment in which a ^C would end it, and leave what it guards."""

        def child() -> None:
            pid = helper().pid
            for _ in range(20):
                os.kill(pid, signal.SIGINT)
                time.sleep(0.001)
            assert run(["true"], place)[0] == 0
            assert helper().pid == pid

        in_child(child)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE])
    def test_the_payload_does_not(self, place: Place, number: int) -> None:
        """What the helper ignores is back to its default in the child."""
        with start(["sleep", "60"], place) as process:
            process.send_signal(number)
            assert process.wait(10) == -number

    def test_is_replaced_when_it_dies(self, place: Place) -> None:
        """Nobody notices."""
        for _ in range(3):
            old = helper()
            run(["true"], place)
            os.kill(old.pid, signal.SIGKILL)

            assert run(["sh", "-c", "exit 3"], place)[0] == 3
            assert helper().pid != old.pid
        assert until(collected)

    def test_a_handle_of_a_dead_one_goes_on(self, place: Place) -> None:
        """Also for who kept it."""
        old = helper()
        os.kill(old.pid, signal.SIGKILL)
        request = Spawn(argv=(b"true",), executables=(b"/bin/true",), env=(), into=place.into, join=tuple(place.join))

        made = old.spawn(request, timeout=10)

        assert children.reap(made.pidfd, block=True) == 0
        os.close(made.pidfd)

    def test_survives_the_end_of_the_thread_that_started_it(self, place: Place) -> None:
        """The kernel's idea of a parent is a thread."""

        def child() -> None:
            done: list[Any] = []
            thread = threading.Thread(target=lambda: done.append(start(["sleep", "60"], place)))
            thread.start()
            thread.join()
            pid = helper().pid
            assert done[0].poll() is None
            assert run(["sh", "-c", "exit 4"], place)[0] == 4
            assert helper().pid == pid
            done[0].kill()
            assert done[0].wait(10) == KILLED

        in_child(child)

    def test_a_forked_process_has_its_own(self, place: Place) -> None:
        """And closes what it inherited of its parent's."""
        parent = helper()
        run(["true"], place)
        before = {*fds().values()}

        def child() -> None:
            assert parent._channel.fileno() == -1
            assert len({*fds().values()} & before & {link for link in before if link.startswith("socket")}) <= 1
            assert run(["sh", "-c", "exit 5"], place)[0] == 5
            assert helper().pid != parent.pid

        in_child(child)
        assert run(["true"], place)[0] == 0
        assert helper() is parent

    def test_fork_while_another_thread_launches(self, place: Place) -> None:
        """No lock of the parent's is held for ever in the child."""
        stop = threading.Event()

        def busy() -> None:
            while not stop.is_set():
                assert run(["true"], place, leaf=Shared())[0] == 0

        threads = [threading.Thread(target=busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                in_child(lambda: run(["true"], place, leaf=Shared()))
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def test_other_credentials_need_another(self, place: Place) -> None:
        """Who gives up privileges must not have children that keep them."""

        def child() -> None:
            pid = helper().pid
            os.setgroups([12345])
            os.setresgid(65534, 65534, 65534)
            assert run(["sh", "-c", "id -g; id -G"], place) == (0, "65534\n65534 12345\n")
            assert helper().pid != pid

        skip_unless("root", None if os.getuid() == 0 else "only root can become somebody else")
        in_child(child)

    def test_other_namespaces_need_another(self, place: Place) -> None:
        """A child has its parent's host name."""

        def child() -> None:
            run(["true"], place)
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.unshare(0x0400_0000) == 0  # CLONE_NEWUTS
            assert libc.sethostname(b"elsewhere", 9) == 0
            assert run(["uname", "-n"], place) == (0, "elsewhere\n")

        skip_unless("root", None if os.getuid() == 0 else "only root can make a uts namespace")
        in_child(child)

    def test_goes_home(self, place: Place, stack: ExitStack) -> None:
        """A caller inside a group has its helper outside."""
        home = Place(stack)

        def child() -> None:
            for fd in (*place.join, place.into_procs):
                if fd is not None:
                    os.write(fd, b"0")
            pid = helper(lambda: [os.dup(fd) for fd in (*home.join, home.into_procs) if fd is not None]).pid
            assert until(lambda: pid in home.pids())
            assert all(pid in members(path) for path in home.directories.values())
            assert run(["true"], place, leaf=Shared())[0] == 0
            os.kill(pid, signal.SIGKILL)
            run(["true"], place, leaf=Shared())  # the next one goes there too
            assert until(lambda: helper().pid in home.pids())
            assert pid != helper().pid

        in_child(child)
        assert until(lambda: not home.pids())

    def test_a_stopped_one_does_not_hang_its_caller(self, place: Place, tmp_path: Path) -> None:
        """Every wait has an end."""

        def child() -> None:
            run(["true"], place)
            os.kill(helper().pid, signal.SIGSTOP)
            with pytest.raises(LaunchError, match=r"^ask the launch helper: ETIMEDOUT .*is it stopped"):
                run(["sh", "-c", f"echo ran > {tmp_path}/ran"], place, timeout=0.2)
            os.kill(helper().pid, signal.SIGCONT)
            assert run(["true"], place)[0] == 0
            # Nothing was made of the first request.
            assert not (tmp_path / "ran").exists()
            assert until(collected)
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
            assert children == [str(helper().pid)]

        in_child(child)

    def test_nonsense_does_not_end_it(self, place: Place) -> None:
        """A message that it does not understand is passed over."""
        handle = helper()
        run(["true"], place)
        handle._send(("spawn", {}, 0, 0), (), children.Deadline(1))
        handle._send(("what",), (0, 1), children.Deadline(1))
        handle._send((), (), children.Deadline(1))

        assert run(["true"], place)[0] == 0
        assert helper() is handle

    def test_has_no_descriptor_too_many(self, place: Place) -> None:
        """However launches end."""
        pid = helper().pid

        def count() -> int:
            return len(os.listdir(f"/proc/{pid}/fd"))

        run(["true"], place)
        before = count()
        for _ in range(5):
            run(["true"], place)
            with pytest.raises(LaunchError):
                run(["/nonexistent"], place)
            with pytest.raises(LaunchError):
                run(["true"], place, into=0)
        assert helper().pid == pid
        assert until(lambda: count() == before)

    def test_has_no_right_beyond_its_callers(self) -> None:
        """It stays in the caller's session and process group, so that the terminal is the payload's too."""
        pid = helper().pid

        assert os.getsid(pid) == os.getsid(0)
        assert os.getpgid(pid) == os.getpgid(0)

    def test_without_an_interpreter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An embedding program has no sys.executable."""

        def child() -> None:
            monkeypatch.setattr(sys, "executable", "")
            with pytest.raises(LaunchError, match=r"^start the launch helper: ENOENT .*sys.executable"):
                helper()

        in_child(child)

    def test_too_many_descriptors(self, place: Place) -> None:
        """A message takes 253."""
        with pytest.raises(LaunchError, match="EMFILE"):
            run(["true"], place, join=(*place.join,) * 100)


class TestThreads:
    """Launches at the same time."""

    def test_eight_threads(self, place: Place) -> None:
        """50 launches each, of which none hangs and none leaks."""
        run(["true"], place)
        failures: list[object] = []

        def work(number: int) -> None:
            for turn in range(50):
                status, output = run(["sh", "-c", f"echo {number} {turn}; exit {turn}"], place, leaf=Shared())
                if (status, output) != (turn, f"{number} {turn}\n"):
                    failures.append((number, turn, status, output))

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(8)]
        with no_fd_left():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)

        assert not any(thread.is_alive() for thread in threads)
        assert failures == []

    def test_first_launch_in_all_threads_at_once(self, place: Place) -> None:
        """One helper is started, not eight."""

        def child() -> None:
            pids = set()
            barrier = threading.Barrier(8)

            def work() -> None:
                barrier.wait()
                run(["true"], place, leaf=Shared())
                pids.add(helper().pid)

            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(pids) == 1

        in_child(child)


# --- when the caller ends -------------------------------------------------------------------------------------------

# Escapes whatever goes by sessions or process groups.
DAEMON = "setsid sh -c 'sleep 300 & sleep 300' & echo ready; sleep 300"


class TestGuard:
    """Ephemeral groups are gone with their caller, however it ends."""

    @pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
    def test_everything_goes(self, stack: ExitStack, place: Place, end: int | None) -> None:
        """The group, those below it, and all that is in them, within a second."""
        del place
        made = _guarded_run(stack, end, lambda place: start(["sh", "-c", DAEMON], place, stdout=-1))

        assert until(made.gone, 1.0), made.pids()

    def test_before_the_group_is_made(self, stack: ExitStack, place: Place) -> None:
        """A path that was announced and never made is no trouble, nor is a message that nobody has read yet."""
        del place
        made = _guarded_run(stack, signal.SIGKILL, lambda _: None)

        assert until(made.gone, 1.0)

    def test_frozen(self, stack: ExitStack, place: Place) -> None:
        """Frozen processes die too, on either version."""
        v1(place, "freezer")

        def freeze(place: Place) -> None:
            start(["sh", "-c", DAEMON], place, stdout=-1)
            (place.directories["freezer"] / "freezer.state").write_text("FROZEN", encoding="ascii")
            if place.v2 is not None:
                (place.v2 / "cgroup.freeze").write_text("1", encoding="ascii")

        made = _guarded_run(stack, signal.SIGKILL, freeze)

        assert until(made.gone, 1.0), made.pids()

    def test_below(self, stack: ExitStack, place: Place) -> None:
        """Groups below the guarded one need no guard of their own."""
        del place

        def nest(place: Place) -> None:
            below = Place(stack, below=place)
            start(["sh", "-c", DAEMON], below, stdout=-1)

        made = _guarded_run(stack, signal.SIGKILL, nest)

        assert until(made.gone, 1.0), made.pids()

    def test_only_in_v1(self, stack: ExitStack, place: Place) -> None:
        """Where there is no v2 hierarchy, the freezer holds still what is killed one by one."""
        v1(place, "freezer")

        def bomb(place: Place) -> None:
            start(["sh", "-c", "while :; do sleep 300 & sleep 0.001; done"], place, into=None, into_procs=None)

        made = _guarded_run(stack, signal.SIGKILL, bomb)

        assert until(made.gone, 1.0), made.pids()

    def test_released(self, stack: ExitStack, place: Place) -> None:
        """A group that was made to last is left alone."""
        del place

        def release(place: Place) -> None:
            assert place.token is not None
            client.release(place.token)
            client.release(place.token)  # twice is once
            start(["sleep", "300"], place)

        made = _guarded_run(stack, signal.SIGKILL, release)

        assert not until(made.gone, 0.3)
        assert made.pids()

    def test_by_a_later_helper(self, stack: ExitStack, place: Place) -> None:
        """The one that takes over takes over the guard."""
        del place

        def replace(place: Place) -> None:
            run(["true"], place)
            os.kill(helper().pid, signal.SIGKILL)
            start(["sh", "-c", DAEMON], place, stdout=-1)

        made = _guarded_run(stack, signal.SIGKILL, replace)

        assert until(made.gone, 1.0), made.pids()

    def test_by_a_retired_helper(self, stack: ExitStack, place: Place) -> None:
        """Who gives up privileges leaves the clean-up to the helper that has them still."""
        del place
        skip_unless("root", None if os.getuid() == 0 else "only root can become somebody else")

        def drop(place: Place) -> None:
            start(["sh", "-c", DAEMON], place, stdout=-1)
            pid = helper().pid
            os.setgroups([12345])
            run(["true"], place, leaf=Shared())
            assert helper().pid != pid

        made = _guarded_run(stack, signal.SIGKILL, drop)

        assert until(made.gone, 1.0), made.pids()

    def test_a_retired_helper_ends_with_its_last_guard(self, place: Place) -> None:
        """It is of no more use then."""

        def child() -> None:
            old = helper()
            token = old.guard(own(EPHEMERAL), ["/nonexistent"])
            os.setpgid(0, 0)
            assert helper() is not old
            assert not until(lambda: not alive(old.pid), 0.1)
            client.release(token)
            assert until(lambda: not alive(old.pid))

        del place
        in_child(child)

    def test_never_a_root(self, place: Place, tmp_path: Path) -> None:
        """A path that is no group is not touched, whoever asks for it, nor is what is below it."""
        # As /tmp is: the sign of a group that is yet to be marked.
        sticky, below = tmp_path / "sticky", tmp_path / "sticky" / "empty"
        below.mkdir(parents=True)
        sticky.chmod(0o1777)

        def child() -> None:
            helper().guard(own(EPHEMERAL), ["/", str(sticky), "/sys/fs/cgroup", os.getcwd()])
            time.sleep(0.05)

        with forked(child) as (pid, errors):
            assert errors.read() == ""
            os.waitpid(pid, 0)
        assert not until(lambda: not below.is_dir(), 0.3)
        assert run(["true"], place)[0] == 0

    def test_helpers_end(self, place: Place) -> None:
        """At once, when there is nothing to guard."""
        reading, writing = os.pipe()

        def child() -> None:
            run(["true"], place)
            os.write(writing, b"%d" % helper().pid)

        in_child(child)
        os.close(writing)
        pid = int(os.read(reading, 100))
        os.close(reading)

        assert until(lambda: not alive(pid), 1.0)

    @pytest.mark.slow
    def test_at_any_moment(self, stack: ExitStack, place: Place) -> None:
        """200 callers, each killed while it launches: nothing of them is left."""
        del place
        for turn in range(200):

            def launch(place: Place) -> None:
                while True:
                    start(["sh", "-c", DAEMON], place, stdout=-1)

            made = _guarded_run(stack, signal.SIGKILL, launch, after=turn % 40 / 1000)

            assert until(made.gone, 1.0), (turn, made.pids())


class _Remote:
    """A place that a child process made."""

    def __init__(self, directories: list[Path]) -> None:
        self.directories = directories

    def gone(self) -> bool:
        """Tell whether no directory of it is left."""
        return not any(path.exists() for path in self.directories)

    def pids(self) -> set[int]:
        """Give the processes in any of its directories."""
        return {pid for path in self.directories if path.exists() for pid in members(path)}


def _guarded_run(
    stack: ExitStack, end: int | None, act: Callable[[Place], object], after: float | None = None
) -> _Remote:
    """Let a child make a guarded group and act in it; it ends by a signal, or by itself."""
    reading, writing = os.pipe()

    def child() -> None:
        place = Place(ExitStack(), guarded=True)
        os.write(writing, ":".join(map(str, place.directories.values())).encode() + b"\n")
        made = act(place)
        os.write(writing, b"acted\n")
        if end is not None:
            time.sleep(60)
        del made

    with forked(child) as (pid, errors):
        os.close(writing)
        with open(reading, encoding="utf-8") as told:
            directories = [Path(path) for path in told.readline().strip().split(":")]
            for path in directories:
                stack.callback(Place.remove, path)
            if after is not None:
                time.sleep(after)
            elif end is not None:
                assert told.readline() == "acted\n", errors.read()
        if end is not None:
            os.kill(pid, end)
        os.waitpid(pid, 0)
    return _Remote(directories)
