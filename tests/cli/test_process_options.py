"""How a command is started: its environment, user and resource limits."""

from __future__ import annotations

import grp
import os
import pwd
import resource
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cgctl.cli.process_options import environment, process_options, started_how


def _how(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    @click.command()
    @process_options
    def probe(**flags: Any) -> None:
        found.update(started_how(flags, None))
        assert flags == {}

    result = CliRunner().invoke(probe, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return found


class TestEnvironment:
    """-e and --env-file."""

    def test_order(self, tmp_path: Path) -> None:
        """Words go before files, files before what cgctl has, and later before earlier."""
        file = tmp_path / "env"
        file.write_text("# a comment\n\nA=file\nB=file with = and  blanks \nOWN\nNOT_THERE\n")

        found = environment({"OWN": "own", "A": "own", "C": "own"}, [str(file)], ["A=one", "A=word", "C", "D="])

        assert found == {"OWN": "own", "A": "word", "B": "file with = and  blanks ", "C": "own", "D": ""}

    @pytest.mark.parametrize("word", ["=x", "", "A B=c"])
    def test_refuses(self, word: str) -> None:
        """A variable must have a name."""
        with pytest.raises(click.UsageError, match="is not NAME=VALUE"):
            environment({}, [], [word])

    def test_a_bad_line_is_named(self, tmp_path: Path) -> None:
        """A bad line of a file is named by its number."""
        file = tmp_path / "env"
        file.write_text("A=1\nB C\n")

        with pytest.raises(click.UsageError, match="line 2"):
            environment({}, [str(file)], [])

    def test_no_file(self) -> None:
        """A file that is not there is a usage error."""
        with pytest.raises(click.UsageError, match="does not exist"):
            _how("--env-file", "/nonexistent")


class TestUlimit:
    """--ulimit."""

    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("nofile=100:200", {"nofile": (100, 200)}),
            ("nofile=100", {"nofile": (100, 100)}),
            ("core=0:-1", {"core": (0, resource.RLIM_INFINITY)}),
            ("core=unlimited", {"core": (resource.RLIM_INFINITY, resource.RLIM_INFINITY)}),
        ],
    )
    def test_means(self, word: str, expected: dict[str, tuple[int, int]]) -> None:
        """The soft limit, and the hard one, which is the same by default."""
        assert _how("--ulimit", word)["rlimits"] == expected

    @pytest.mark.parametrize("word", ["nofile", "nosuch=1", "=1", "nofile=x", "nofile=2:1", "nofile=-1:1", "nofile=1:"])
    def test_refuses(self, word: str) -> None:
        """What is no limit is refused."""
        with pytest.raises(click.UsageError, match="--ulimit"):
            _how("--ulimit", word)


class TestUser:
    """--user."""

    def test_by_name(self) -> None:
        """A name brings the user's own group and supplementary groups along."""
        entry = pwd.getpwnam("nobody")

        found = _how("-u", "nobody")

        groups = tuple(os.getgrouplist("nobody", entry.pw_gid))
        assert (found["user"], found["group"], found["extra_groups"]) == (entry.pw_uid, entry.pw_gid, groups)
        assert _how("-u", str(entry.pw_uid)) == found

    def test_with_a_group(self) -> None:
        """With a group, it is the only one; numbers need not be known."""
        name = grp.getgrgid(0).gr_name

        assert _how("-u", "12345:54321") | {"env": {}} == {
            "env": {},
            "cwd": None,
            "rlimits": {},
            "user": 12345,
            "group": 54321,
            "extra_groups": (),
        }
        assert _how("-u", f"nobody:{name}")["group"] == name

    @pytest.mark.parametrize("word", ["", ":", "nobody:", ":0", "no-such-user", "4123456"])
    def test_refuses(self, word: str) -> None:
        """An unknown user, or none, is refused: nothing runs with groups that nobody chose."""
        with pytest.raises(click.UsageError, match="--user"):
            _how("-u", word)

    def test_by_default(self) -> None:
        """Nothing is said of the user then."""
        assert "user" not in _how()
