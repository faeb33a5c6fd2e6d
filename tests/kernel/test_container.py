"""In containers, made by hand as their runtimes do: each case is recognised, told, and works where it can."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

import cgctl
from tests.kernel import lacks, scripts
from tests.kernel.conftest import Make

pytestmark = pytest.mark.host

_ATTEMPT = """
def attempt(**controllers):
    try:
        done = cgctl.run(payloads.hog(256), capture_output=True, **controllers)
    except cgctl.CgctlError as error:
        tell(kind=type(error).__name__, text=str(error))
    else:
        tell(kind="none", oom=done.oom_killed, returncode=done.returncode)

def doctor():
    done = subprocess.run([sys.executable, "-m", "cgctl", "doctor", "--json"], capture_output=True, text=True)
    facts = json.loads(done.stdout)
    found = {finding["name"]: finding for finding in facts["findings"]}
    tell(status=done.returncode, case=found["case"]["found"])
    tell(missing={name: [one["reason"], one["fix"]] for name, one in found.items() if not one["ok"]})
"""
_MOUNT = """
subprocess.run(["umount", "-l", sys.argv[1]], check=True)
subprocess.run(["mount", "-t", "cgroup2", "none", sys.argv[1]], check=True)
"""


@pytest.fixture(autouse=True)
def _v2() -> None:
    """Skip where the v2 hierarchy has no controllers, and where systemd would have to be asked."""
    lacks.require("v2 memory", "no systemd", "mount namespace")


@pytest.fixture
def outer(name: str, make: Make) -> str:
    """Make the container's group: 160 MiB, in which Python has room."""
    return make(name=f"/{name}", memory="160M", pids=cgctl.Pids()).paths()["unified"]


def _inside(outer: str, script: str, *container: str, **env: str) -> dict[str, Any]:
    """Run a script in the group, in namespaces that are made there."""
    root = lacks.hierarchies()["v2"]
    inner = scripts.PRELUDE + _ATTEMPT + textwrap.dedent(script)
    words = container or ("unshare", "--cgroup", "--mount", "--propagation", "private")
    return scripts.run(
        """
        enter(sys.argv[1])
        os.execvp(sys.argv[4], [*sys.argv[4:], sys.executable, "-W", "error", "-c", sys.argv[3], sys.argv[2]])
        """,
        outer,
        root,
        inner,
        *words,
        env={"CGCTL_BASE": "", **env},
    )


def test_own_namespace(outer: str) -> None:
    """In a cgroup namespace of its own with its tree mounted, groups go below its root; the outer limit holds."""
    facts = _inside(outer, _MOUNT + "attempt(memory='512M'); doctor()")

    assert (facts["kind"], facts["oom"], facts["returncode"]) == ("none", True, -9)
    # The script itself is in the doctor's group, which so is not the doctor's alone.
    assert facts["status"] == 1
    assert "a cgroup namespace of its own" in facts["case"]


def test_full_of_processes(outer: str) -> None:
    """With others' processes in its root, that is said, with the remedy; they are moved if that is asked for."""
    script = _MOUNT + textwrap.dedent(
        """
        other = os.fork()
        if other == 0:
            os.setsid()
            if os.fork(): os._exit(0)
            os.execvp("sleep", ["sleep", "600"])
        os.waitpid(other, 0)
        attempt(memory="512M")
        doctor()
        left = [int(pid) for pid in read(sys.argv[1] + "/cgroup.procs").split()]
        for pid in left:
            if pid != os.getpid() and "sleep" in read(f"/proc/{pid}/comm"): os.kill(pid, signal.SIGKILL)
        """
    )
    refused = _inside(outer, script)
    evacuated = _inside(outer, script, CGCTL_EVACUATE="1")

    assert refused["kind"] == "UnsupportedError"
    assert "CGCTL_EVACUATE=1" in refused["text"]
    assert refused["status"] == 1
    assert "an own cgroup that others are in, too" in refused["case"]
    assert "(sleep)" in refused["missing"]["place: others in it"][0]
    assert "CGCTL_EVACUATE=1" in refused["missing"]["place: others in it"][1]
    assert (evacuated["kind"], evacuated["oom"], evacuated["status"]) == ("none", True, 0)


def test_read_only(outer: str) -> None:
    """A read-only tree is said to be one, with what to give to the container's runtime."""
    remount = 'subprocess.run(["mount", "-o", "remount,bind,ro", sys.argv[1]], check=True)\n'
    facts = _inside(outer, _MOUNT + remount + "attempt(memory='16M'); doctor()")

    assert facts["kind"] == "UnsupportedError"
    assert "is mounted read-only" in facts["text"]
    assert "podman run --security-opt unmask=/sys/fs/cgroup" in facts["text"]
    assert facts["status"] == 1
    assert "a read-only cgroup filesystem" in facts["case"]


def test_outside_of_the_tree(outer: str) -> None:
    """In a cgroup namespace that still sees the machine's tree, that is said, with both ways out."""
    facts = _inside(outer, "attempt(memory='16M'); doctor()")

    assert facts["kind"] == "UnsupportedError"
    assert "is outside of what is mounted" in facts["text"]
    assert "--cgroupns=host" in facts["text"]
    assert facts["status"] == 1
    assert "the own cgroup is outside of what is mounted" in facts["case"]


@pytest.mark.parametrize("writable", [True, False])
def test_bubblewrap(outer: str, writable: bool) -> None:  # noqa: FBT001
    """The same in a container of bubblewrap's, with its group bound to where the tree is looked for."""
    lacks.require("bubblewrap")
    container = (
        *(shutil.which("bwrap") or "", "--unshare-cgroup", "--dev-bind", "/", "/", "--proc", "/proc"),
        *("--bind" if writable else "--ro-bind", outer, lacks.hierarchies()["v2"]),
    )
    facts = _inside(outer, "attempt(memory='512M'); doctor()", *container, CGCTL_EVACUATE="1")

    if writable:
        assert (facts["kind"], facts["oom"], facts["status"]) == ("none", True, 0)
    else:
        assert "is mounted read-only" in facts["text"]
        assert "a read-only cgroup filesystem" in facts["case"]


def test_the_outer_group_is_as_it_was(outer: str) -> None:
    """After that, the container's group is empty, with its controllers off."""
    _inside(outer, _MOUNT + "attempt(memory='16M')")

    assert not [path for path in Path(outer).iterdir() if path.is_dir()]
    assert Path(outer, "cgroup.subtree_control").read_text(encoding="ascii").split() == []
    assert subprocess.run(["cat", f"{outer}/cgroup.procs"], capture_output=True, check=True).stdout == b""
