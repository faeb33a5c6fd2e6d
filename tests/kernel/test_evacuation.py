"""v2: the caller's own group takes controllers only once it is empty, so its processes move to a leaf, and back."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest

import cgctl
from cgctl.owner.orphans import prune
from tests.kernel import lacks, scripts
from tests.kernel.conftest import Make
from tests.kernel.pace import eventually

pytestmark = pytest.mark.host


@pytest.fixture(autouse=True)
def _v2() -> None:
    """Skip where the v2 hierarchy has no controllers, and where systemd would have to be asked."""
    lacks.require("v2 pids", "v2 memory", "no systemd")


@pytest.fixture
def home(name: str, make: Make) -> str:
    """Make a group of the script's own, below the root, with controllers to give on."""
    make(name=f"/{name}", pids=cgctl.Pids(), memory=cgctl.Memory())
    return f"/{name}"


_ENTER = """
home = cgctl.Group(sys.argv[1]).paths()["unified"]
enter(home)

def look():
    enabled = sorted(read(f"{home}/cgroup.subtree_control").split())
    below = sorted(name for name in os.listdir(home) if os.path.isdir(f"{home}/{name}"))
    return {"where": where()[""], "enabled": enabled, "below": below}
"""


def _run(script: str, home: str, **env: str) -> dict[str, Any]:
    return scripts.run(_ENTER + textwrap.dedent(script), home, env={"CGCTL_BASE": "", **env})


def test_out_and_back(home: str) -> None:
    """The first group that needs a controller sends the caller to ``supervisor``; the last one's end brings it home."""
    facts = _run(
        """
        first = cgctl.Group("a", pids=5).create()
        tell(first=look())
        second = cgctl.Group("b", memory="64M").create()
        tell(second=look())
        first.remove()
        tell(third=look())
        second.remove()
        tell(last=look())
        """,
        home,
    )

    assert facts["first"] == {"where": f"{home}/supervisor", "enabled": ["pids"], "below": ["a", "supervisor"]}
    assert facts["second"]["below"] == ["a", "b", "supervisor"]
    assert facts["second"]["enabled"] == ["memory", "pids"]
    assert facts["third"]["where"] == f"{home}/supervisor"
    assert facts["last"] == {"where": home, "enabled": [], "below": []}


def test_children_move_along(home: str) -> None:
    """The caller's own children, and theirs, move along, and back."""
    facts = _run(
        """
        child = start(payloads.FAMILY)
        group = cgctl.Group("a", pids=5).create()
        tell(out=where(child.pid)[""])
        group.remove()
        tell(back=where(child.pid)[""])
        for pid in read(f"{home}/cgroup.procs").split():
            if "cgctl.launch.helper" not in read(f"/proc/{pid}/cmdline") and int(pid) != os.getpid():
                os.kill(int(pid), signal.SIGKILL)
        child.communicate()
        """,
        home,
    )

    assert (facts["out"], facts["back"]) == (f"{home}/supervisor", home)


def test_without_a_controller_nobody_moves(home: str) -> None:
    """A group that needs no controller is just made."""
    facts = _run(
        """
        group = cgctl.Group("a").create()
        tell(look=look())
        group.remove()
        """,
        home,
    )

    assert facts["look"] == {"where": home, "enabled": [], "below": ["a"]}


def test_with(home: str) -> None:
    """A block goes in from wherever the caller is, and the caller is home after it."""
    facts = _run(
        """
        with cgctl.Group("a", pids=50) as group:
            tell(inside=look())
            with cgctl.Group("b", pids=40):
                tell(nested=where()[""])
            tell(back=where()[""])
        tell(after=look())
        """,
        home,
    )

    assert facts["inside"]["where"] == f"{home}/a"
    assert facts["nested"] == f"{home}/a/b"
    assert facts["back"].startswith(f"{home}/a")
    assert facts["after"] == {"where": home, "enabled": [], "below": []}


def test_run(home: str) -> None:
    """One-shot runs work from there, several in a row, and the caller is home after each."""
    facts = _run(
        """
        for _ in range(3):
            done = cgctl.run(payloads.fork_bomb(50), pids=10, memory="64M", capture_output=True)
            assert json.loads(done.stdout)["forks"] == 9, done
        tell(after=look())
        """,
        home,
    )

    assert facts["after"] == {"where": home, "enabled": [], "below": []}


def test_the_base_stays_the_same(home: str) -> None:
    """From ``supervisor``, groups go beside it, not below; and it is no group of ours to be listed as one."""
    facts = _run(
        """
        first = cgctl.Group("a", pids=5).create()
        second = cgctl.Group("b", pids=5).create()
        tell(path=second.paths()["unified"], groups=[group.name for group in cgctl.System.detect().groups()])
        second.remove()
        first.remove()
        """,
        home,
    )

    assert facts["path"].endswith(f"{home}/b")
    assert [name.rpartition("/")[2] for name in facts["groups"]] in (["a", "b"], ["a", "b", "supervisor"])


def test_others_are_not_moved(home: str) -> None:
    """If the group holds a process that is not the caller's, that is an error that names it; nothing has changed."""
    facts = _run(
        """
        other = os.fork()
        if other == 0:
            os.setsid()
            grandchild = os.fork()
            if grandchild:
                print(json.dumps({"foreign": grandchild}), flush=True)
                os._exit(0)
            time.sleep(600)
        os.waitpid(other, 0)
        while True:
            procs = read(f"{home}/cgroup.procs").split()
            if len(procs) == 2:
                break
        try:
            cgctl.Group("a", pids=5).create()
        except cgctl.UnsupportedError as error:
            tell(error=str(error))
        tell(look=look())
        os.environ["CGCTL_EVACUATE"] = "1"
        group = cgctl.Group("a", pids=5).create()
        tell(evacuated=look())
        group.remove()
        for pid in procs:
            if int(pid) != os.getpid():
                os.kill(int(pid), signal.SIGKILL)
        tell(after=look()["where"])
        """,
        home,
    )

    assert str(facts["foreign"]) in facts["error"]
    assert "CGCTL_EVACUATE=1" in facts["error"]
    assert facts["look"] == {"where": home, "enabled": [], "below": []}
    assert facts["evacuated"]["where"] == f"{home}/supervisor"
    assert facts["after"] == home


def test_a_controller_that_was_not_given_on(name: str, make: Make) -> None:
    """A controller that the group above does not give on is an error that says where to enable it."""
    make(name=f"/{name}/x", memory=cgctl.Memory())
    facts = _run(
        """
        try:
            cgctl.Group("a", pids=5).create()
        except cgctl.UnsupportedError as error:
            tell(error=str(error))
        tell(look=look())
        """,
        f"/{name}/x",
    )

    assert "controller 'pids' is not enabled in the group above" in facts["error"]
    assert "subtree_control" in facts["error"]
    assert facts["look"] == {"where": f"/{name}/x", "enabled": [], "below": []}


def test_failure_brings_everybody_home(home: str) -> None:
    """If the kernel refuses a later step, controllers are off again and everybody is home."""
    facts = _run(
        """
        with open(f"{home}/cgroup.max.descendants", "w") as file:
            file.write("1")
        try:
            cgctl.Group("a", pids=5).create()
        except cgctl.StepError as error:
            tell(error=str(error))
        tell(look=look())
        """,
        home,
    )

    assert "EAGAIN" in facts["error"]
    assert facts["look"] == {"where": home, "enabled": [], "below": []}


def test_killed_in_the_supervisor(home: str) -> None:
    """After a caller was killed, its next incarnation can start from the same group."""
    script = """
        group = cgctl.Group("a", pids=5, join=False)
        group.__enter__()
        tell(look=look())
        os.kill(os.getpid(), signal.SIGKILL)
        """
    with scripts.start(_ENTER + textwrap.dedent(script), home, env={"CGCTL_BASE": ""}) as process:
        process.communicate()
    facts = _run(
        """
        done = cgctl.run(payloads.fork_bomb(50), pids=10, capture_output=True)
        tell(**json.loads(done.stdout), after=look())
        """,
        home,
    )

    assert facts["forks"] == 9
    assert facts["after"] == {"where": home, "enabled": [], "below": []}


@pytest.mark.parametrize("both", [False, True], ids=["alone", "with its helper"])
def test_killed_with_memory_enabled(home: str, both: bool) -> None:  # noqa: FBT001 - both are shown
    """The controllers of a killed caller go off again, and its leaf goes: by its helper, or by ``--prune``."""
    script = """
        import cgctl.guarding
        cgctl.Group("a", memory="64M", join=False).__enter__()
        tell(look=look(), home=home, helper=cgctl.guarding.own_helper().pid)
        time.sleep(600)
        """
    with scripts.start(_ENTER + textwrap.dedent(script), home, env={"CGCTL_BASE": ""}) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        for pid in [facts["helper"], process.pid] if both else [process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.communicate()
    assert facts["look"] == {"where": f"{home}/supervisor", "enabled": ["memory"], "below": ["a", "supervisor"]}

    if both:
        system = cgctl.System.detect()
        found = prune(system.filesystem, [os.path.dirname(facts["home"])])
        assert {each.lifetime for each in found if each.removed} == {"ephemeral", "supervisor"}

    control = Path(facts["home"], "cgroup.subtree_control")
    assert eventually(lambda: not control.read_text(encoding="utf-8").strip())
    assert eventually(lambda: not any(path.is_dir() for path in Path(facts["home"]).iterdir()))
