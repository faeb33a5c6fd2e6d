"""An ordinary user in a session, outside of the user's own systemd; and controllers that it does not delegate."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import here
from tests.kernel import lacks
from tests.kernel.pace import eventually
from tests.require import skip_unless
from tests.systemd.conftest import IS_ROOT, USER, Run

_DROP_IN = Path("/etc/systemd/system/user@.service.d")
_ATTEMPT = """
try:
    with cgctl.Group(sys.argv[1], io={"/dev/vdb": "10M"}, cpu=0.5, cpuset="0", join=False) as group:
        tell(held=[group.read(name) for name in ("cpuset.cpus", "cpu.max", "io.max")])
except cgctl.CgctlError as error:
    tell(kind=type(error).__name__, text=str(error))
"""


@pytest.fixture(autouse=True)
def _root() -> None:
    """Skip where the tests are not root's, or the user's systemd has no v2 controllers to give."""
    skip_unless("root on v2", None if IS_ROOT else "root alone can start a session, and write a drop-in")
    skip_unless("root on v2", None if "memory" in lacks.v2_controllers() else here.why_not("memory") or "v1 has memory")


@pytest.fixture
def drop_in() -> Iterator[Path]:
    """The directory of drop-ins for users' systemds, which are as they were afterwards."""
    yield _DROP_IN
    subprocess.run(["rm", "-rf", _DROP_IN], check=True)
    _restart()


def _restart() -> None:
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "restart", f"user@{USER}.service"], check=True)
    assert eventually(Path(f"/run/user/{USER}/bus").exists)


def test_session(run: Run) -> None:
    """From a session, which is root's, the user gets a scope below the user's own systemd, and limits hold."""
    facts = run(
        """
        before = where()
        done = cgctl.run(payloads.hog(64), memory="32M", pids=20, capture_output=True)
        tell(oom=done.oom_killed, uid=os.getuid(), before=before, after=where())
        """,
        user=True,
    )

    assert (facts["oom"], facts["uid"]) == (True, USER)
    assert facts["before"][""].startswith("/system.slice/")
    assert facts["after"][""].startswith(f"/user.slice/user-{USER}.slice/user@{USER}.service/cgctl.slice/cgctl-")


def test_no_systemd_of_the_user(run: Run) -> None:
    """Where the user's systemd does not run, the error says how to have it."""
    facts = run(
        """
        os.environ["XDG_RUNTIME_DIR"] = "/run/user/nobody"
        try:
            cgctl.run(["true"], memory="32M")
        except cgctl.UnsupportedError as error:
            tell(text=str(error))
        """,
        user=True,
    )

    assert "no systemd of user tester can be reached (/run/user/nobody/bus: No such file or directory" in facts["text"]
    assert "loginctl enable-linger tester" in facts["text"]


def test_drop_in(run: Run, drop_in: Path) -> None:
    """A controller that is not delegated is refused with a command for root; after that, it works."""
    drop_in.mkdir()
    (drop_in / "less.conf").write_text("[Service]\nDelegate=\nDelegate=memory pids\n", encoding="ascii")
    _restart()
    before = run(_ATTEMPT, user=True)
    assert before["kind"] == "UnsupportedError"
    assert "(it has: memory pids)" in before["text"]
    (drop_in / "less.conf").unlink()

    command = before["text"].partition("as root: ")[2].partition(", which")[0]
    subprocess.run(["sh", "-ec", command], check=True)
    assert eventually(Path(f"/run/user/{USER}/bus").exists)
    after = run(_ATTEMPT, user=True)

    assert (drop_in / "delegate.conf").read_text(encoding="ascii") == "[Service]\nDelegate=cpu cpuset io memory pids\n"
    cpus, quota, rates = after["held"]
    assert (cpus, quota) == ("0\n", "50000 100000\n")
    assert "rbps=10485760 wbps=10485760" in rates
