"""Sandboxes of an ordinary user: a user namespace gives the right to all the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cgctl.errors import LaunchError, UnsupportedError
from cgctl.launch.sandbox import Mount, Sandbox, Veth
from cgctl.launch.start import popen
from tests.launch.test_helper import Shared, in_child
from tests.require import skip_unless

pytestmark = pytest.mark.host

USER = 12345
ALL = ["user", "pid", "mnt", "ipc", "uts", "net", "cgroup", "time"]


@pytest.fixture(autouse=True)
def _possible() -> None:
    """Skip where root cannot become an ordinary user who can run this Python."""
    python = Path(sys.executable).resolve()
    reachable = all(parent.stat().st_mode & 0o001 for parent in python.parents)
    why = "only root can become another user" if os.geteuid() != 0 else f"{python} is not for other users"
    skip_unless("rootless", None if os.geteuid() == 0 and reachable else why)


def rootless(act: Callable[[], object]) -> None:
    """Do something as an ordinary user, in a process of its own."""

    def become() -> None:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
        os.chdir("/")
        act()

    in_child(become)


def run(argv: list[str], sandbox: Sandbox, **whose: Any) -> tuple[int | None, str]:
    """Run a program in no group but the caller's."""
    with popen(argv, leaf=Shared(), sandbox=sandbox, stdout=-1, stderr=-2, text=True, **whose) as process:
        output, _ = process.communicate(timeout=60)
    return process.returncode, output


def test_everything() -> None:
    """All namespaces, a root of its own, a host name, shifted clocks, and the user is root inside."""

    def act() -> None:
        sandbox = Sandbox(namespaces=ALL, root="/", hostname="mine", time_offsets={"boottime": "7d"}, tmp="1M")
        script = (
            "id -u; hostname; cat /proc/self/uid_map /proc/self/setgroups; touch /tmp/x; ls /proc | grep -c '^[0-9]'"
        )
        status, output = run(["sh", "-c", script], sandbox)

        assert status == 0, output
        assert output.split()[:6] == ["0", "mine", "0", str(USER), "1", "deny"]

    rootless(act)


def test_groups_cannot_be_dropped() -> None:
    """Nobody inside may leave a group that denies something (CVE-2014-8989)."""

    def act() -> None:
        script = "import os\ntry: os.setgroups([0])\nexcept PermissionError: print('refused')"
        assert run(["/usr/bin/env", "python3", "-c", script], Sandbox(namespaces=["user"]))[1] == "refused\n"

    rootless(act)


def test_a_reaper() -> None:
    """The reaper works the same."""

    def act() -> None:
        assert run(["sh", "-c", "echo $$; exit 3"], Sandbox(namespaces=["user"], init=True)) == (3, "2\n")

    rootless(act)


@pytest.mark.parametrize(
    ("sandbox", "error", "message"),
    [
        (Sandbox(namespaces=["uts"]), LaunchError, r"clone.*: EPERM .*add the user namespace"),
        (Sandbox(root="/"), LaunchError, r"clone.*: EPERM .*add the user namespace"),
        (Sandbox(uid_map=(0, 0, 1), gid_map=(0, 0, 1)), (LaunchError, UnsupportedError), r"subuid|uidmap|newuidmap"),
        (Sandbox(namespaces=["user"], network=Veth(address="10.0.0.2/24")), LaunchError, r"EPERM .*CAP_NET_ADMIN"),
        (
            Sandbox(namespaces=["user"], mounts=[Mount("/proc", type="proc")]),
            LaunchError,
            r"EPERM .*proc takes a pid namespace too",
        ),
    ],
)
def test_what_cannot_be_had(sandbox: Sandbox, error: type[Exception], message: str) -> None:
    """Says what is in the way."""

    def act() -> None:
        with pytest.raises(error, match=message):
            run(["true"], sandbox)

    rootless(act)
