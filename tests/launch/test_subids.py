"""Ranges of ids for an ordinary user: what ``/etc/subuid`` and ``/etc/subgid`` give is mapped by setuid programs."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cgctl.errors import UnsupportedError
from cgctl.launch.sandbox import IdMap, Sandbox
from tests.launch.test_helper import in_child
from tests.launch.test_rootless import run
from tests.require import skip_unless

_ENOUGH = 1000  # ids; who has a line usually has 65536


class User(NamedTuple):
    """An ordinary user, and the first ids of its ranges."""

    uid: int
    gid: int
    users: int
    groups: int

    @property
    def uid_map(self) -> list[IdMap]:
        """Itself as root, and its range from 1 on."""
        return [(0, self.uid, 1), (1, self.users, _ENOUGH)]

    @property
    def gid_map(self) -> list[IdMap]:
        """The same of groups."""
        return [(0, self.gid, 1), (1, self.groups, _ENOUGH)]

    def do(self, act: Callable[[], object]) -> None:
        """Do something as this user, in a process of its own."""

        def become() -> None:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(self.gid, self.gid, self.gid)
                os.setresuid(self.uid, self.uid, self.uid)
            os.chdir("/")
            act()

        in_child(become)


def _ranges(path: str) -> dict[str, int]:
    """Read whose ranges begin where, of those that are long enough; the first of each."""
    try:
        lines = [line.split(":") for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return {}
    return {name: int(first) for name, first, count in reversed(lines) if int(count) >= _ENOUGH}


def _found() -> User | str:
    """Find a user that we are or, as root, can become; or say what there is not."""
    for program in ("newuidmap", "newgidmap"):
        if shutil.which(program) is None:
            return f"{program} is not installed (package uidmap)"
    users, groups = _ranges("/etc/subuid"), _ranges("/etc/subgid")
    for entry in pwd.getpwall():
        fits = entry.pw_uid == os.geteuid() or (os.geteuid() == 0 and entry.pw_uid != 0)
        if fits and entry.pw_name in users and entry.pw_name in groups:
            return User(entry.pw_uid, entry.pw_gid, users[entry.pw_name], groups[entry.pw_name])
    return "no user that this process is or can become has ranges in /etc/subuid and /etc/subgid"


@pytest.fixture
def user() -> User:
    """An ordinary user with ranges of its own."""
    found = _found()
    skip_unless("subids", found if isinstance(found, str) else None)
    assert isinstance(found, User)
    return found


def test_ranges(user: User) -> None:
    """All ids of the range are there inside, groups may be changed, and outside they are the range's."""
    script = (
        "import os\n"
        "print(*open('/proc/self/uid_map'), *open('/proc/self/gid_map'), *open('/proc/self/setgroups'))\n"
        "os.setgroups([7, 8])\n"
        "os.setresgid(6, 6, 6)\n"
        "os.setresuid(5, 5, 5)\n"
        "print(os.getuid(), os.getgid(), os.getgroups())\n"
    )

    def act() -> None:
        sandbox = Sandbox(uid_map=user.uid_map, gid_map=user.gid_map, capabilities=["SETUID", "SETGID"])
        status, output = run(["/usr/bin/env", "python3", "-c", script], sandbox)

        assert status == 0, output
        numbers = [*user.uid_map, *user.gid_map]
        assert output.split()[:13] == [*(str(number) for each in numbers for number in each), "allow"]
        assert output.splitlines()[-1] == "5 6 [7, 8]"

    user.do(act)


def test_outside(user: User, tmp_path: Path) -> None:
    """What a user inside makes belongs outside to an id of the range."""
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == pwd.getpwuid(os.geteuid()).pw_name and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)

    def act() -> None:
        sandbox = Sandbox(uid_map=user.uid_map, gid_map=user.gid_map)
        argv = ["/usr/bin/touch", str(place / "made")]
        assert run(argv, sandbox, user=5, group_id=6, extra_groups=[7]) == (0, "")

    user.do(act)

    made = (place / "made").stat()
    assert (made.st_uid, made.st_gid) == (user.users + 4, user.groups + 5)


def test_with_files(user: User) -> None:
    """A root of its own, all namespaces, and a user of the range in it."""

    def act() -> None:
        sandbox = Sandbox(namespaces="all", root="/", tmp="1M", uid_map=user.uid_map, gid_map=user.gid_map)
        script = "id -u; id -g; echo x >/tmp/x && ls -n /tmp/x"
        status, output = run(["sh", "-c", script], sandbox, user=5, group_id=6)

        assert status == 0, output
        assert output.split()[:2] == ["5", "6"]
        assert output.splitlines()[-1].split()[2:4] == ["5", "6"]

    user.do(act)


@pytest.mark.parametrize("kind", ["uid", "gid"])
def test_of_others(user: User, kind: str) -> None:
    """The program refuses what is in no line of the user's, and says so; nothing is started."""

    def act() -> None:
        roots = [(0, 0, 1)]
        sandbox = Sandbox(
            uid_map=roots if kind == "uid" else user.uid_map, gid_map=roots if kind == "gid" else user.gid_map
        )
        with pytest.raises(UnsupportedError, match=rf"new{kind}map: .*not allowed.*; /etc/sub{kind} has the ranges"):
            run(["true"], sandbox)

    user.do(act)
