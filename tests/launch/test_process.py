"""Process against subprocess.Popen, side by side, on the real kernel."""

from __future__ import annotations

import ctypes
import errno
import gc
import io
import os
import re
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import TYPE_CHECKING, Any

import pytest

from cgctl.errors import LaunchError, SpecError, TimeoutExpired
from cgctl.launch.client import helper
from cgctl.launch.start import popen
from tests.launch.test_helper import (
    KILLED,
    Place,
    Shared,
    alive,
    fds,
    in_child,
    no_fd_left,
    place_fixture,
    run,
    stack_fixture,
    start,
    until,
)
from tests.require import skip_unless

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.host

__all__ = ["place_fixture", "stack_fixture"]  # what pytest finds here

# Everything that a program can see of what it inherited, in words that compare. readline sets COLUMNS and LINES behind
# os.environ's back, and os.environ is what we pass on.
PROBE = r"""
grep -E '^(Uid|Gid|Groups|Umask|SigBlk|SigIgn|Cap...|Cpus_allowed|NoNewPrivs|Seccomp):' /proc/self/status
cat /proc/self/limits
pwd -P
env | grep -vE '^(_|COLUMNS|LINES)=' | sort
ls -l /proc/self/fd | sed 's/.*:[0-9][0-9] //; s/\[.*//; s/proc.[0-9]*/proc/'
cut -d' ' -f7,19,40,41 /proc/$$/stat
[ "$(cut -d' ' -f5 /proc/$$/stat)" = $$ ] && echo leads its process group
[ "$(cut -d' ' -f6 /proc/$$/stat)" = $$ ] && echo leads its session
readlink /proc/$$/root /proc/$$/ns/uts /proc/$$/ns/mnt
echo $PPID
"""


def probe(place: Place, **keywords: Any) -> tuple[str, str]:
    """Look at what a program gets: from subprocess, and from us."""
    argv = ["/bin/sh", "-c", PROBE]
    expected = subprocess.run(argv, stdout=PIPE, errors="surrogateescape", check=False, **keywords).stdout
    if "group" in keywords:
        keywords["group_id"] = keywords.pop("group")
    # glibc's posix_spawn, which subprocess uses since 3.13, leaves its own two signals (32 and 33) ignored.
    expected = re.sub(r"(?<=SigIgn:\t)\w+", lambda mask: f"{int(mask[0], 16) & ~(3 << 31):016x}", expected)
    return expected, run(argv, place, leaf=Shared(), errors="surrogateescape", **keywords)[1]


def _prctl(option: int, value: int) -> None:
    assert ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0


def _chroot() -> None:
    os.chroot("/")
    os.chdir("/usr")


class TestFidelity:
    """A program gets what subprocess.Popen would give it."""

    @pytest.mark.parametrize(
        "keywords",
        [
            {},
            {"cwd": "/usr/bin"},
            {"cwd": b"/usr"},
            {"cwd": Path("..")},
            {"env": {"PATH": "/bin:/usr/bin", "A": "b=c", b"D": b"\xff"}},
            {"umask": 0o027},
            {"umask": 0},
            {"start_new_session": True},
            {"process_group": 0},
            {"stdin": DEVNULL, "stderr": DEVNULL},
            {"stderr": STDOUT},
            {"stdin": PIPE, "stderr": PIPE},
        ],
        ids=str,
    )
    def test_by_keyword(self, place: Place, keywords: dict[str, Any]) -> None:
        """What was asked for."""
        expected, found = probe(place, **keywords)

        assert found.splitlines() == expected.splitlines()

    @pytest.mark.parametrize(
        "keywords",
        [
            {"user": 65534},
            {"user": "nobody", "group": 65534, "extra_groups": [1, 2]},
            {"group": "daemon", "extra_groups": ["bin"]},
            {"extra_groups": []},
        ],
        ids=str,
    )
    def test_by_user(self, place: Place, keywords: dict[str, Any]) -> None:
        """Who to be; names are the caller's."""
        skip_unless("root", None if os.getuid() == 0 else "only root can become somebody else")
        expected, found = probe(place, **keywords, cwd="/")

        assert found.splitlines() == expected.splitlines()

    @pytest.mark.parametrize(
        "change",
        [
            lambda: os.umask(0o077),
            lambda: os.chdir("/usr/bin"),
            lambda: os.environ.update(CGCTL_PROBE="changed"),
            lambda: os.environ.pop("HOME", None),
            lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300)),
            lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
            lambda: resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 22)),
            lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}),
            lambda: os.nice(5),
            lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
            lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGRTMAX}),
            lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
            lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
            lambda: signal.signal(signal.SIGUSR2, lambda *_: None),
            lambda: os.setpgid(0, 0),
            os.setsid,
            lambda: os.setgroups([7, 8, 9]),
            lambda: os.setresgid(65534, 65534, 65534),
            lambda: _prctl(38, 1),  # PR_SET_NO_NEW_PRIVS
            lambda: _prctl(24, 13),  # PR_CAPBSET_DROP, CAP_NET_RAW
            lambda: os.close(0),
            lambda: os.dup2(1, 77, inheritable=True),
            _chroot,
        ],
        ids=[
            "umask", "cwd", "env", "unsetenv", "nofile", "core", "stack", "affinity", "nice", "batch", "blocked",
            "nohup", "ignored-int", "handled", "process-group", "session", "groups", "gid", "no-new-privs",
            "capability", "closed-stdin", "inheritable", "chroot",
        ],
    )  # fmt: skip
    def test_by_inheritance(self, place: Place, change: Callable[[], object]) -> None:
        """What the caller has become after its helper was started."""

        def child() -> None:
            run(["true"], place, leaf=Shared())
            change()
            expected, found = probe(place)
            assert found.splitlines() == expected.splitlines()

        skip_unless("root", None if os.getuid() == 0 else "some of these need root")
        in_child(child)

    def test_the_calling_threads_own(self, place: Place) -> None:
        """Signal mask and affinity belong to a thread."""
        cpu = min(os.sched_getaffinity(0))
        results: list[tuple[str, str]] = []

        def work() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
            os.sched_setaffinity(0, {cpu})
            results.append(probe(place))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

        assert results[0][0] == results[0][1]
        assert probe(place)[1] != results[0][1]

    def test_pass_fds(self, place: Place) -> None:
        """0, 1, 2 and what was passed, under its own number; nothing else."""
        reading, writing = os.pipe()
        high = os.dup2(writing, 200, inheritable=False)
        passed = (writing, high, writing)

        status, output = run(["ls", "/proc/self/fd"], place, pass_fds=passed)
        assert status == 0
        assert {*map(int, output.split())} > {0, 1, 2, writing, 200}
        assert len(output.split()) == 6  # with that of ls itself

        assert run(["bash", "-c", "echo a >&200"], place, pass_fds=passed)[0] == 0
        assert os.read(reading, 9) == b"a\n"
        for fd in (reading, writing, high):
            os.close(fd)

    def test_pass_fds_crosswise(self, place: Place) -> None:
        """Numbers that the helper uses itself do not get mixed up."""
        pipes = [os.pipe() for _ in range(12)]
        passed = [fd for pair in pipes for fd in pair]
        script = "for fd in /proc/$$/fd/*; do to=$(readlink $fd) && echo ${fd##*/} $to; done"

        _, output = run(["sh", "-c", script], place, pass_fds=passed[::-1])

        links = dict(line.split(maxsplit=1) for line in output.splitlines())
        assert {fd: links[str(fd)] for fd in passed} == {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in passed}
        for fd in passed:
            os.close(fd)

    def test_pass_fds_above_the_helpers_limit(self, place: Place) -> None:
        """The caller may have raised its limit."""

        def child() -> None:
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
            run(["true"], place, leaf=Shared())
            resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
            os.dup2(1, 400)
            status, output = run(["sh", "-c", "ulimit -n; readlink /proc/$$/fd/400"], place, pass_fds=[400])
            assert (status, output.split("\n")[0]) == (0, "500")

        in_child(child)

    def test_stdio_swapped(self, place: Place) -> None:
        """As in a shell's 3>&1 1>&2 2>&3."""
        one, two = os.pipe(), os.pipe()
        saved = os.dup(1), os.dup(2)
        os.dup2(one[1], 1)
        os.dup2(two[1], 2)
        try:
            process = start(["sh", "-c", "echo out; echo err >&2"], place, stdout=2, stderr=1)
            process.wait(10)
        finally:
            for number, fd in zip((1, 2), saved, strict=True):
                os.dup2(fd, number)
                os.close(fd)

        assert (os.read(one[0], 99), os.read(two[0], 99)) == (b"err\n", b"out\n")
        for fd in (*one, *two):
            os.close(fd)

    def test_rlimits(self, place: Place) -> None:
        """By name or number, soft and hard or both at once."""
        limits = {"nofile": (100, 200), resource.RLIMIT_CORE: 0, "RLIMIT_FSIZE": 1 << 20}

        assert run(["sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -f"], place, rlimits=limits) == (
            0,
            "100\n200\n0\n2048\n",
        )

    def test_the_path_is_the_childs(self, place: Place, tmp_path: Path) -> None:
        """As with subprocess, PATH is that of env."""
        (tmp_path / "mine").write_text("#!/bin/sh\necho mine\n", encoding="ascii")
        (tmp_path / "mine").chmod(0o755)

        assert run(["mine"], place, env={"PATH": f"/nonexistent:{tmp_path}"}) == (0, "mine\n")
        assert run(["./mine"], place, cwd=tmp_path) == (0, "mine\n")

    def test_a_megabyte_of_arguments(self, place: Place) -> None:
        """More than a message holds."""
        env = {f"V{number}": "x" * 1000 for number in range(500)}
        argv = ["sh", "-c", "echo $#; env | grep -c ^V", "sh", *("y" * 1000 for _ in range(500))]

        assert run(argv, place, env={"PATH": os.environ["PATH"], **env}) == (0, "500\n500\n")


class TestErrors:
    """What cannot be started."""

    @pytest.mark.parametrize(
        ("argv", "keywords", "message"),
        [
            (["nosuch"], {}, r"^exec: ENOENT .*'nosuch'"),
            (["/no/such"], {}, r"^exec: ENOENT .*'/no/such'"),
            (["/etc/passwd"], {}, r"^exec: EACCES .*'/etc/passwd' is not executable"),
            (["/etc"], {}, r"^exec: EACCES"),
            (["true"], {"cwd": "/no/such"}, r"^chdir: ENOENT .*'/no/such'"),
            (["true"], {"cwd": "/etc/passwd"}, r"^chdir: ENOTDIR"),
            (["true"], {"env": {"PATH": "/nonexistent"}}, r"^exec: ENOENT .*'true'"),
            (["true"], {"rlimits": {99: 5}}, r"^setrlimit: EINVAL"),
            (["true"], {"process_group": 999999}, r"^setpgid: E(PERM|SRCH)"),
            (["true", "x" * (1 << 18)], {}, r"^exec: E2BIG"),
            (["true"], {"pass_fds": [987]}, r"^ask the launch helper: EBADF"),
        ],
    )
    def test_launch_error(self, place: Place, argv: list[str], keywords: dict[str, Any], message: str) -> None:
        """The step, the errno and the thing are named, and nothing is left."""
        with no_fd_left(), pytest.raises(LaunchError, match=message):
            run(argv, place, **keywords)
        assert until(lambda: not place.pids())
        assert place.finished == 0

    def test_a_program_that_is_not_one(self, place: Place, tmp_path: Path) -> None:
        """ENOEXEC is not papered over with a shell."""
        (tmp_path / "x").write_text("nothing", encoding="ascii")
        (tmp_path / "x").chmod(0o755)

        with pytest.raises(LaunchError) as caught:
            run([str(tmp_path / "x")], place)
        assert caught.value.errno == errno.ENOEXEC

    def test_not_executable_beats_not_found(self, place: Place, tmp_path: Path) -> None:
        """As execvp has it."""
        (tmp_path / "x").touch()

        with pytest.raises(LaunchError) as caught:
            run(["x"], place, env={"PATH": f"/nonexistent:{tmp_path}:/nonexistent"})
        assert caught.value.errno == errno.EACCES

    @pytest.mark.parametrize(
        ("argv", "keywords", "message"),
        [
            ("ls -l", {}, r"pass a list, or \['sh', '-c', 'ls -l'\]"),
            (b"ls", {}, "pass a list"),
            (Path("ls"), {}, "pass a list"),
            ([], {}, "argv is empty"),
            (["a\0b"], {}, "NUL"),
            (["a", 5], {}, "an argument must be a string, bytes or a path, not 5"),
            (["true"], {"cwd": "a\0b"}, "NUL"),
            (["true"], {"env": {"A=B": "c"}}, "illegal environment variable name"),
            (["true"], {"env": {"A": 5}}, "must be a string"),
            (["true"], {"user": "no such user"}, "there is no user 'no such user'"),
            (["true"], {"group_id": "no such group"}, "there is no group"),
            (["true"], {"rlimits": {"nosuch": 5}}, "there is no resource limit 'nosuch'"),
            (["true"], {"stdin": STDOUT}, "STDOUT is for stderr only"),
            (["true"], {"pass_fds": [-1]}, "not a file descriptor"),
        ],
    )
    def test_spec_error(self, place: Place, argv: Any, keywords: dict[str, Any], message: str) -> None:
        """Nonsense is refused before anything is tried."""
        with no_fd_left(), pytest.raises(SpecError, match=message):
            start(argv, place, **keywords)


class TestProcess:
    """The object, as subprocess.Popen has it."""

    @pytest.mark.parametrize("status", [0, 1, 77, 255])
    def test_exit_status(self, place: Place, status: int) -> None:
        """As the program gave it."""
        process = start(["sh", "-c", f"exit {status}"], place)

        assert process.wait(10) == status
        assert process.returncode == process.poll() == process.wait() == status
        assert place.finished == 1

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1, signal.SIGSEGV])
    def test_ended_by_a_signal(self, place: Place, number: int) -> None:
        """Negative, core dump or not."""
        process = start(["sleep", "60"], place, rlimits={"core": 0})
        assert process.poll() is None
        process.send_signal(number)

        assert process.wait(10) == -number

    def test_attributes(self, place: Place) -> None:
        """What it is, and what it runs in."""
        argv = ["sleep", "60"]
        with start(argv, place, group="mine") as process:
            assert process.args is argv
            assert process.group == "mine"
            assert process.born
            assert process.pid in place.pids()
            assert process.returncode is None
            assert (process.stdin, process.stdout, process.stderr) == (None, None, None)
            assert f"pid: {process.pid}" in repr(process)
            process.terminate()
        assert process.returncode == -signal.SIGTERM

    def test_fileno(self, place: Place) -> None:
        """The pidfd tells event loops."""
        process = start(["cat"], place, stdin=PIPE)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        assert poll.poll(0) == []
        process.stdin.close()  # type: ignore[union-attr]

        assert poll.poll(10_000) == [(process.fileno(), select.POLLIN)]
        assert process.wait() == 0
        with pytest.raises(ValueError, match=r"^the pidfd is closed"):
            process.fileno()
        assert os.get_inheritable(0) in {True, False}

    def test_wait_times_out(self, place: Place) -> None:
        """As subprocess's does, and can be called again."""
        with start(["sleep", "60"], place) as process:
            with pytest.raises(TimeoutExpired) as caught:
                process.wait(0.05)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0)
            assert (caught.value.cmd, caught.value.timeout) == (["sleep", "60"], 0.05)
            assert place.finished == 0
            process.kill()
            assert process.wait(10) == KILLED

    def test_kill_is_for_the_whole_tree(self, place: Place) -> None:
        """Sessions or not."""
        process = start(["sh", "-c", "setsid sleep 300 & echo $!; sleep 300"], place, stdout=PIPE)
        daemon = int(process.stdout.readline())  # type: ignore[union-attr]
        process.kill()

        assert process.wait(10) == KILLED
        assert until(lambda: not alive(daemon))
        process.kill()
        process.terminate()
        process.stdout.close()  # type: ignore[union-attr]

    def test_many_threads_wait(self, place: Place) -> None:
        """All get the status, the leaf is told once, and nobody returns before it is done."""
        done = threading.Event()
        results: list[object] = []

        class Slow(Shared):
            finished = 0

            def finish(self) -> None:
                self.finished += 1
                time.sleep(0.1)
                done.set()

        leaf = Slow()
        process = start(["sh", "-c", "read x; exit 6"], place, stdin=PIPE, leaf=leaf)

        def work() -> None:
            results.append((process.wait(), done.is_set()))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        process.stdin.close()  # type: ignore[union-attr]
        while not done.is_set():
            assert process.poll() in {None, 6}
        for thread in threads:
            thread.join()

        assert results == [(6, True)] * 8
        assert leaf.finished == 1

    def test_finish_may_fail(self, place: Place) -> None:
        """The error is told once, and the status is known."""

        class Broken(Shared):
            def finish(self) -> None:
                raise RuntimeError("broken leaf")

        process = start(["true"], place, leaf=Broken())
        with pytest.raises(RuntimeError, match="broken leaf"):
            process.wait(10)
        assert process.wait(10) == 0

    def test_reaped_by_another(self, place: Place) -> None:
        """Somebody waits for any child: the status is lost, as with subprocess."""
        process = start(["sh", "-c", "exit 5"], place)
        os.waitid(os.P_PID, process.pid, os.WEXITED)

        assert process.wait(10) == 0

    def test_in_a_forked_process(self, place: Place) -> None:
        """It is not its child's to wait for, and leaving the block does nothing there."""
        with start(["sleep", "60"], place) as process:

            def child() -> None:
                assert process.poll() is None
                process.kill()
                process.__exit__(None, None, None)

            in_child(child)
            assert process.poll() is None
            assert place.finished == 0
            process.kill()

            def later() -> None:
                with pytest.raises(ChildProcessError, match="was started by another process"):
                    process.wait(10)

            in_child(later)

    def test_dropped_while_it_runs(self, place: Place) -> None:
        """A warning, as subprocess has it, and no zombie afterwards."""
        process = start(["sleep", "0.1"], place, leaf=Shared())
        pid = process.pid
        with pytest.warns(ResourceWarning, match=f"process {pid} is still running"):  # noqa: PT031
            del process
            gc.collect()
        assert until(lambda: not alive(pid))
        run(["true"], place)
        assert not os.path.exists(f"/proc/{pid}")

    def test_interrupted(self, place: Place) -> None:
        """A ^C that the payload ignores ends it all the same."""
        with pytest.raises(KeyboardInterrupt), start(["sleep", "60"], place) as process:
            raise KeyboardInterrupt
        assert process.returncode == KILLED

    def test_sigchld_ignored(self, place: Place) -> None:
        """No status then, but no hang either."""

        def child() -> None:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            assert run(["sh", "-c", "echo x; exit 3"], place) == (0, "x\n")

        in_child(child)


class TestCommunicate:
    """Input and output at once."""

    @pytest.mark.parametrize("size", [0, 1, 1 << 16, 1 << 20])
    def test_both_ways(self, place: Place, size: int) -> None:
        """A megabyte there and back."""
        data = os.urandom(size)
        with start(["cat"], place, stdin=PIPE, stdout=PIPE) as process:
            assert process.communicate(data, timeout=20) == (data, None)
        assert process.returncode == 0

    def test_both_outputs(self, place: Place) -> None:
        """Neither waits for the other."""
        script = "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; exit 2"
        with start(["sh", "-c", script], place, stdout=PIPE, stderr=PIPE) as process:
            out, err = process.communicate(timeout=20)
        assert (len(out), len(err), process.returncode) == (300000, 300000, 2)

    def test_nothing_to_read(self, place: Place) -> None:
        """Then it is a wait."""
        assert start(["true"], place).communicate(timeout=20) == (None, None)

    def test_a_program_that_does_not_read(self, place: Place) -> None:
        """EPIPE is no error."""
        with start(["sh", "-c", "exec <&-; echo x"], place, stdin=PIPE, stdout=PIPE) as process:
            assert process.communicate(b"x" * (1 << 20), timeout=20) == (b"x\n", None)

    def test_input_of_any_kind(self, place: Place) -> None:
        """Whatever is bytes in memory, counted in bytes."""
        import array  # noqa: PLC0415

        with start(["cat"], place, stdin=PIPE, stdout=PIPE) as process:
            assert len(process.communicate(array.array("i", range(100)), timeout=20)[0]) == 400

    def test_what_is_left_behind_does_not_hold_it_up(self, place: Place) -> None:
        """A daemon that keeps the pipe open is killed when the payload ends."""
        began = time.monotonic()
        status, output = run(["sh", "-c", "sleep 60 & echo x"], place)

        assert (status, output) == (0, "x\n")
        assert time.monotonic() - began < 5
        assert place.finished == 1

    def test_timeout_and_again(self, place: Place) -> None:
        """What was read is kept, and what was not sent is still sent."""
        data = b"x" * (1 << 20)
        with start(["sh", "-c", "echo early; sleep 0.3; cat"], place, stdin=PIPE, stdout=PIPE) as process:
            with pytest.raises(TimeoutExpired) as caught:
                process.communicate(data, timeout=0.15)
            assert caught.value.output == b"early\n"
            with pytest.raises(ValueError, match="cannot send input after"):
                process.communicate(b"more")
            assert process.communicate(timeout=20) == (b"early\n" + data, None)

    def test_timeout_then_kill(self, place: Place) -> None:
        """As the documentation of subprocess has it."""
        with start(["sh", "-c", "echo x; sleep 60"], place, stdout=PIPE) as process:
            with pytest.raises(TimeoutExpired):
                process.communicate(timeout=0.1)
            process.kill()
            assert process.communicate(timeout=10) == (b"x\n", None)
        assert process.returncode == KILLED

    @pytest.mark.parametrize(
        "keywords",
        [
            {"text": True},
            {"encoding": "latin-1"},
            {"encoding": "utf-16-le"},
            {"errors": "replace"},
            {"text": True, "bufsize": 1},
            {"bufsize": 0},
            {"bufsize": 4096},
        ],
        ids=str,
    )
    def test_text(self, place: Place, keywords: dict[str, Any]) -> None:
        """Modes and newlines, side by side."""
        is_text = keywords.keys() & {"text", "encoding", "errors"}
        data: Any = "a\r\nä\rb\n" if is_text else b"a\r\n\xff"
        argv = ["sh", "-c", "cat; printf '\\r\\n' >&2"]
        keywords |= {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}

        with subprocess.Popen(argv, **keywords) as theirs, start(argv, place, **keywords) as ours:
            if keywords.get("encoding") != "utf-16-le":
                assert ours.communicate(data, 20) == theirs.communicate(data, 20)
            else:
                assert ours.communicate(data, 20)[0] == theirs.communicate(data, 20)[0] == "a\nä\nb\n"
            assert type(ours.stdin) is type(theirs.stdin)
            assert type(ours.stdout) is type(theirs.stdout)

    def test_by_hand(self, place: Place) -> None:
        """Line by line, with a line-buffered pipe."""
        with start(["cat"], place, stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
            assert isinstance(process.stdin, io.TextIOWrapper)
            assert process.stdout is not None
            for line in ("one\n", "zwei\n"):
                process.stdin.write(line)
                assert process.stdout.readline() == line
        assert process.returncode == 0

    def test_files(self, place: Place, tmp_path: Path) -> None:
        """File objects and descriptors."""
        (tmp_path / "in").write_bytes(b"hello")
        with open(tmp_path / "in", "rb") as stdin, open(tmp_path / "out", "wb") as stdout:
            assert start(["cat"], place, stdin=stdin, stdout=stdout.fileno()).wait(10) == 0
        assert (tmp_path / "out").read_bytes() == b"hello"


class TestLeaks:
    """Nothing is left of a launch."""

    def test_descriptors(self, place: Place) -> None:
        """However it ended."""
        run(["true"], place)
        with no_fd_left():
            for _ in range(20):
                start(["true"], place).wait(10)
                with start(["cat"], place, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
                    process.communicate(b"x", timeout=10)
                assert _ended(start(["true"], place, leaf=Shared()).pid)

    def test_everything_is_close_on_exec(self, place: Place) -> None:
        """Another library's fork and exec gets nothing of ours."""
        with start(["sleep", "60"], place, stdin=PIPE, stdout=PIPE) as process:
            shown = subprocess.run(["ls", "/proc/self/fd"], stdout=PIPE, close_fds=False, check=True).stdout.split()
            inheritable = {fd for fd in fds() if os.path.exists(f"/proc/self/fd/{fd}") and os.get_inheritable(int(fd))}
            assert len(shown) <= len(inheritable | {"0", "1", "2"}) + 1
            assert helper()._channel.fileno() not in map(int, inheritable)
            process.kill()

    def test_interpreter_exit(self, tmp_path: Path) -> None:
        """A program that just ends has nothing to complain about, and its helper ends with it."""
        script = (
            "from cgctl.launch.start import popen\n"
            "from cgctl.launch.client import helper\n"
            "class Leaf:\n"
            "    def kill(self): pass\n"
            "    def finish(self): pass\n"
            "popen(['true'], leaf=Leaf()).wait()\n"
            "print(helper().pid)\n"
        )
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", script],
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip

        assert (done.returncode, done.stderr) == (0, "")
        assert until(lambda: not alive(int(done.stdout)))


def test_a_large_caller_pays_no_more(place: Place) -> None:
    """The child is a copy of the helper, not of the caller: no page tables of a gigabyte are copied."""

    def child() -> None:
        small = _median(place)
        ballast = bytearray(1 << 30)
        ballast[::4096] = b"x" * len(ballast[::4096])
        assert _median(place) < 3 * small + 0.005

    in_child(child)


def _ended(pid: int) -> bool:
    return until(lambda: not alive(pid))


def _median(place: Place) -> float:
    times = []
    for _ in range(30):
        began = time.perf_counter()
        popen(["/bin/true"], leaf=Shared(), **place.fds()).wait(10)
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]
