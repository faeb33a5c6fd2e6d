"""Groups that are given to a user: what he then may do, and what not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import cgctl
from tests.kernel import lacks, scripts
from tests.kernel.conftest import Make

pytestmark = pytest.mark.host

_NOBODY = 65534

# What a user does in a group that is his: arguments are the group's name, and whether there are limits in v2.
_AS_USER = """
import traceback
limits = {"memory": "64M", "pids": 30} if sys.argv[2] == "limits" else {}
less = {"memory": "32M", "pids": 10} if limits else {}
group = cgctl.Group(f"/{sys.argv[1]}", **limits).create()
group.delegate(65534)
group.limits(), group.stats()  # whatever is imported for that: this interpreter may not be the user's to read
pid = os.fork()
if pid == 0:
    status = 1
    try:
        group.add(os.getpid())
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        below = cgctl.Group("below", **less).create()
        tell(paths=below.paths(), held=str(below.limits()))
        worker = os.fork()
        if worker == 0:
            signal.pause()
        below.add(worker)
        tell(moved=below.pids() == [worker])
        below.kill()
        os.waitpid(worker, 0)
        for name, attempt in {
            "lift": lambda: group.update(**{"memory": "1G"} if limits else {"core": cgctl.Core(max_depth=5)}),
            "give": lambda: group.delegate(0),
        }.items():
            try:
                attempt()
                tell(**{name: "done"})
            except cgctl.CgctlError as error:
                tell(**{name: failure(error)})
        try:
            enter(os.path.dirname(group.paths()["unified"]))
            tell(out="done")
        except OSError as error:
            tell(out=error.errno)
        if limits:
            done, fine = (below.run(payloads.hog(size), stdout=subprocess.DEVNULL) for size in (48, 8))
            tell(killed=done.oom_killed, fine=fine.returncode)
        below.remove()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)
_, status = os.waitpid(pid, 0)
tell(status=status, limits=str(group.limits()))
group.kill()
group.remove()
"""


def test_a_user_below(name: str) -> None:
    """The user makes groups and moves his processes between them; he cannot change the group, leave it or give it."""
    lacks.require("v2")
    facts = scripts.run(_AS_USER, name, "none", env={"CGCTL_BASE": ""})

    assert facts["status"] == 0
    assert facts["paths"]["unified"].endswith(f"/{name}/below")
    assert facts["moved"]
    assert "EACCES" in facts["lift"][1]
    assert "this user may not change" in facts["lift"][1]
    assert "EPERM" in facts["give"][1]
    assert "only root gives a group away" in facts["give"][1]
    assert facts["out"] == 13


def test_limits_below(name: str) -> None:
    """The user limits his own, and they are held to it; the limit above is not his to lift."""
    lacks.require("v2 memory", "v2 pids", "a machine of its own")
    facts = scripts.run(_AS_USER, name, "limits", env={"CGCTL_BASE": ""})

    assert facts["status"] == 0
    assert f"max={32 << 20}" in facts["held"]
    assert f"max={64 << 20}" in facts["limits"]
    assert (facts["killed"], facts["fine"]) == (True, 0)
    assert "EACCES" in facts["lift"][1]
    assert facts["out"] == 13


def test_what_is_given(make: Make) -> None:
    """The directory and the files that the kernel names, and no limit; and it can be taken back."""
    lacks.require("v2")
    group = make()
    directory = Path(group.paths()["unified"])
    named = Path("/sys/kernel/cgroup/delegate").read_text(encoding="utf-8").split()
    group.delegate(_NOBODY, 0)
    given = {path.name for path in directory.iterdir() if path.stat().st_uid == _NOBODY}

    assert given == {name for name in named if (directory / name).exists()}
    assert {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} <= given
    assert (directory.stat().st_uid, directory.stat().st_gid) == (_NOBODY, 0)
    group.delegate("root")
    assert {path.stat().st_uid for path in (directory, *directory.iterdir())} == {0}


def test_not_on_v1(make: Make) -> None:
    """A group that is in v1 only is not given away."""
    lacks.require("no v2")
    with pytest.raises(cgctl.UnsupportedError, match="v1 has no safe delegation"):
        make().delegate(0)


@pytest.mark.parametrize("user", ["no such user", -1, True, None, 1.5, 2**32, "x" * 300, "a\0b"])
def test_no_user(user: Any, make: Make) -> None:
    """What is no user is nonsense, and nothing is given."""
    group = make()
    with pytest.raises(cgctl.SpecError, match=r"delegate\(.*there is no such user; give the name of one, or a uid"):
        group.delegate(user)
    assert {os.stat(path).st_uid for path in group.paths().values()} == {0}


@pytest.mark.parametrize("owners", ["no such group", -1, True, 1.5])
def test_no_group_of_users(owners: Any, make: Make) -> None:
    """The same for groups of users."""
    with pytest.raises(cgctl.SpecError, match=r"there is no such group of users; give the name of one, or a gid"):
        make().delegate(0, owners)
