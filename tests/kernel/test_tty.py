"""Terminals of programs' own: theirs to control jobs with, the caller's to type and to look at."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import cgctl
from tests.cli.conftest import CommandLine
from tests.kernel.enclosed import Root, make_root
from tests.kernel.pace import SLOWNESS
from tests.kernel.payloads import python
from tests.leaks import PREFIX

pytestmark = pytest.mark.host

STREAMS = "print(*(os.isatty(fd) for fd in range(3)), os.ttyname(0), os.tcgetpgrp(0) == os.getpgrp())"
SCREEN = struct.pack("HHHH", 33, 77, 0, 0)
WAIT_SEC = 20 * SLOWNESS


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A root directory."""
    return make_root(tmp_path / "root")


class TestLibrary:
    """``tty=True``."""

    @pytest.mark.parametrize("kinds", ["cgroup,ipc,mnt,net,pid,time,uts", "all"], ids=["root", "mapped"])
    @pytest.mark.parametrize("init", [False, True])
    def test_is_the_sandboxes(self, root: Root, kinds: str, *, init: bool) -> None:
        """All three streams are the first terminal of its own /dev/pts, and it is in the foreground there."""
        done = root.run(f"import os\n{STREAMS}", tty=True, namespaces=kinds, init=init)

        assert (done.stdout, done.stderr, done.returncode) == ("True True True /dev/pts/0 True\n", None, 0)

    def test_without_a_root(self) -> None:
        """It is one of the machine's then."""
        done = cgctl.run(python(f"import os; {STREAMS}"), tty=True, capture_output=True, text=True)

        assert done.stdout.startswith("True True True /dev/pts/")

    def test_files_stay(self, tmp_path: Path) -> None:
        """A stream that is given a file is that file, and the terminal can be opened all the same."""
        with (tmp_path / "out").open("wb") as out:
            script = "import os; print(os.isatty(1), flush=True); os.write(os.open('/dev/tty', os.O_RDWR), b'there')"
            with cgctl.popen(python(script), tty=True, stdout=out) as process:
                assert process.terminal is not None
                assert process.terminal.read() == b"there"

        assert (tmp_path / "out").read_text() == "False\n"

    def test_typed(self) -> None:
        """Input is typed: it is echoed, and ^D ends it."""
        done = cgctl.run(["cat"], tty=True, input="one\n\x04", capture_output=True, text=True)

        # The echo may come before or after; the terminal makes a line's end of two characters.
        assert sorted(done.stdout.split()) == ["one", "one"]
        assert done.returncode == 0

    def test_interrupted(self) -> None:
        """^C ends who is in the foreground."""
        with cgctl.popen(["cat"], tty=True, namespaces=["uts"]) as process:
            assert process.terminal is not None
            process.terminal.write(b"\x03")

            assert process.wait(WAIT_SEC) == -signal.SIGINT

    def test_job_control(self, root: Root) -> None:
        """A shell puts its jobs into the foreground and takes it back."""
        script = "set -m; python() { :; }; sh -c 'ps -o pgid=,tpgid= -p $$' | cat; ps -o pgid=,tpgid= -p $$"
        done = cgctl.run(["bash", "-c", script], tty=True, capture_output=True, text=True, root="/", namespaces="pid")
        job, shell = (line.split() for line in done.stdout.splitlines())
        del root

        assert job[0] == job[1] != shell[0] == shell[1]

    def test_belongs_to_the_user(self, root: Root) -> None:
        """Who the program becomes can open it again."""
        script = "import os\nprint(os.fstat(0).st_uid, os.close(os.open(os.ttyname(0), os.O_RDWR)))"

        assert root.run(script, tty=True, user=12345, group=12345).stdout == "12345 None\n"

    def test_much(self) -> None:
        """More than a terminal holds comes through, up to the end."""
        script = "import sys; sys.stdout.write('x' * 300_000 + 'end')"

        assert cgctl.run(python(script), tty=True, capture_output=True, text=True).stdout == "x" * 300_000 + "end"

    @pytest.mark.parametrize("bufsize", [-1, 0])
    def test_files_of_it(self, bufsize: int) -> None:
        """The caller's ends are files, that are at their end when the program is."""
        with cgctl.popen(["cat"], tty=True, stdin=-1, stdout=-1, bufsize=bufsize) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"x\n\x04")
            process.stdin.flush()

            assert process.stdout.read() == b"x\r\nx\r\n"

    def test_relayed(self) -> None:
        """Unless it is captured, what is typed here goes there, and what it writes is written here."""
        script = "import cgctl; cgctl.run(['cat'], tty=True, check=True)"
        done = subprocess.run([sys.executable, "-c", script], input=b"one\n", capture_output=True, check=False)

        assert (sorted(done.stdout.split()), done.stderr, done.returncode) == ([b"one", b"one"], b"", 0)

    def test_timeout(self) -> None:
        """What was written until then is there."""
        script = "import time; print('begun', flush=True); time.sleep(999)"
        done = cgctl.run(python(script), tty=True, capture_output=True, text=True, timeout=1 * SLOWNESS)

        assert (done.timed_out, done.stdout) == (True, "begun\n")

    def test_refused(self, root: Root) -> None:
        """A session is what it belongs to, and a root without terminals has none."""
        with pytest.raises(cgctl.SpecError, match="tty=True with new_session=False"):
            cgctl.run(["true"], tty=True, new_session=False)
        with pytest.raises(cgctl.LaunchError, match=r"ENOENT .*'/dev/ptmx'; a mount namespace brings a /dev"):
            cgctl.run(["true"], tty=True, root=root.path, chroot=True)

    def test_nothing_is_left(self) -> None:
        """No descriptor stays, whether it could be started or not."""
        cgctl.run(["true"], tty=True, capture_output=True)
        before = os.listdir("/proc/self/fd")
        cgctl.run(["true"], tty=True, capture_output=True)
        with pytest.raises(cgctl.LaunchError):
            cgctl.run(["/nowhere"], tty=True)

        assert os.listdir("/proc/self/fd") == before


class Screen:
    """A terminal, with ``cgctl`` in the foreground of it.

    Attributes:
        ours: the end that a person would sit at.
        seen: what has been written there.
    """

    def __init__(self, *arguments: str) -> None:
        self.ours, self.theirs = pty.openpty()
        os.set_inheritable(self.ours, False)
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, SCREEN)
        self.before = termios.tcgetattr(self.theirs)
        self.seen = b""
        cgctl_command = CommandLine(f"{PREFIX}base")
        script = (
            "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
            " os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            [*python(script), *cgctl_command.argv("run", "--tty", *arguments)],
            env=cgctl_command.env,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
        )

    def type(self, data: bytes) -> None:
        """Type something."""
        os.write(self.ours, data)

    def wait(self, wanted: bytes) -> None:
        """Wait until something is to be read, and go on from there."""
        deadline = time.monotonic() + WAIT_SEC
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, self.seen
            if select.select([self.ours], [], [], left)[0]:
                self.seen += os.read(self.ours, 4096)
        self.seen = self.seen.partition(wanted)[2]

    def close(self) -> None:
        """End it, and close both ends."""
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def screen() -> Iterator[Screen]:
    """A shell in a sandbox, on a terminal of 33 lines and 77 columns."""
    screen = Screen("--rootfs", "/", "--namespaces", "all", "--", "bash", "--norc", "-i")
    try:
        screen.type(b"PS1='read''y> '; stty size\r")
        screen.wait(b"33 77")
        screen.wait(b"ready> ")
        yield screen
    finally:
        screen.close()


class TestCommandLine:
    """``cgctl run --tty`` on a terminal."""

    def test_goes_with_the_window(self, screen: Screen) -> None:
        """A new size is the program's too, which is told of it."""
        screen.type(b"trap 'echo chan''ged $(stty size)' WINCH\r")
        screen.wait(b"ready> ")
        fcntl.ioctl(screen.ours, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 99, 0, 0))
        screen.type(b"\r")
        screen.wait(b"changed 44 99")

    def test_keys(self, screen: Screen) -> None:
        """^C is the program's, not cgctl's; ^Z stops a job, and fg goes on with it."""
        screen.type(b"sh -c 'echo run\"\"ning; exec sleep 1000'\r")
        screen.wait(b"running")
        screen.type(b"\x1a")
        screen.wait(b"Stopped")
        screen.wait(b"ready> ")
        screen.type(b"fg\r")
        screen.wait(b"exec sleep 1000'")
        screen.type(b"\x03")
        screen.wait(b"ready> ")
        screen.type(b"echo sta''tus $?\r")
        screen.wait(b"status 130")

        assert screen.process.poll() is None

    def test_is_as_it_was(self, screen: Screen) -> None:
        """While it runs the terminal is raw; afterwards it is what it was, and the status is the program's."""
        assert termios.tcgetattr(screen.theirs) != screen.before
        screen.type(b"exit 7\r")

        assert screen.process.wait(WAIT_SEC) == 7
        assert termios.tcgetattr(screen.theirs) == screen.before

    def test_killed(self, screen: Screen) -> None:
        """When cgctl is told to end, so is the program, and the terminal is what it was."""
        screen.type(b'exec sh -c \'trap "exit 3" TERM; echo do""ne; sleep 1000 & wait\'\r')
        screen.wait(b"done")
        screen.process.terminate()

        assert screen.process.wait(WAIT_SEC) == 3
        assert termios.tcgetattr(screen.theirs) == screen.before

    def test_without_a_terminal(self) -> None:
        """Input is typed, and its end is told."""
        command = CommandLine(f"{PREFIX}base")
        done = command("run", "--tty", "--", "cat", input="one\n")

        assert (sorted(done.stdout.split()), done.stderr, done.returncode) == (["one", "one"], "", 0)
