"""``cgctl rootfs``: root directories from the command line."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import cgctl

ARGV = (sys.executable, "-m", "cgctl.cli", "rootfs")


def rootfs(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of it."""
    return subprocess.run([*ARGV, *arguments], check=False, capture_output=True, text=True, timeout=60)


class TestBuild:
    """``cgctl rootfs build``."""

    def test_makes_what_the_library_makes(self, tmp_path: Path) -> None:
        """The same files, and one line of what came out; no bar where there is no terminal."""
        done = rootfs("build", f"{tmp_path}/cli", "sh", "/bin/ls", "--extra", "nss")
        made = cgctl.Rootfs.build(tmp_path / "library", ["sh", "/bin/ls"], extra=["nss"])

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{tmp_path}/cli: ")
        assert cgctl.Rootfs.at(tmp_path / "cli").entries == made.entries

    def test_json(self, tmp_path: Path) -> None:
        """Every entry, for programs."""
        facts = json.loads(rootfs("build", "--json", f"{tmp_path}/cli", "ls").stdout)
        made = cgctl.Rootfs.at(tmp_path / "cli")

        assert facts["size"] == made.size
        assert [entry["path"] for entry in facts["entries"]] == [entry.path for entry in made.entries]
        assert json.loads(rootfs("tree", "--json", f"{tmp_path}/cli").stdout) == facts

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["app", "no-such-program"], "there is no program 'no-such-program'"),
            (["app", "--extra", "nonsense"], "extra 'nonsense' is neither a path nor one of"),
            (["no/such/app", "ls"], "cannot be made"),
        ],
    )
    def test_nonsense(self, tmp_path: Path, arguments: list[str], message: str) -> None:
        """One line, and nothing made."""
        done = rootfs("build", f"{tmp_path}/{arguments[0]}", *arguments[1:])

        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert message in done.stderr
        assert list(tmp_path.iterdir()) == []

    def test_a_bar_on_a_terminal(self, tmp_path: Path) -> None:
        """It says how many bytes are copied."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        environment = os.environ | {"TERM": "xterm"}
        command = [*ARGV, "build", f"{tmp_path}/app", "bash"]
        with subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, env=environment) as process:
            os.close(theirs)
            shown = _read_all(ours)
        os.close(ours)

        assert process.returncode == 0
        assert "MB" in shown


class TestTree:
    """``cgctl rootfs tree``."""

    def test_draws(self, tmp_path: Path) -> None:
        """What the library draws."""
        made = cgctl.Rootfs.build(tmp_path / "app", ["ls"])

        assert rootfs("tree", made.path).stdout == made.tree() + "\n"

    def test_not_there(self, tmp_path: Path) -> None:
        """One line."""
        done = rootfs("tree", f"{tmp_path}/app")

        assert (done.returncode, done.stderr) == (1, f"cgctl: {tmp_path}/app is not a directory\n")


def _read_all(fd: int) -> str:
    data = b""
    while True:
        try:
            more = os.read(fd, 1 << 16)
        except OSError:  # EIO: the other end is closed
            more = b""
        if not more:
            return data.decode(errors="replace")
        data += more
