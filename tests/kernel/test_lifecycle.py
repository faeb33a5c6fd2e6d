"""The verbs of a group, from before it is made until after it is gone."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import cgctl
from cgctl import Group
from tests.kernel import lacks, payloads, scripts
from tests.kernel.conftest import Make, Start
from tests.kernel.inside import where
from tests.kernel.pace import DEAD_SEC, PATIENCE_SEC, eventually

pytestmark = pytest.mark.host


class TestExistence:
    """Making and removing."""

    def test_nothing_is_done_until_create(self, name: str) -> None:
        """A Group is an object only: no attribute and no question makes it."""
        group = Group(name, pids=5)
        paths = group.paths()

        assert not group.exists()
        assert paths
        assert not any(map(os.path.exists, paths.values()))

    def test_create_and_remove(self, name: str) -> None:
        """After create its directories are there, as foretold; after remove they are not."""
        group = Group(name, pids=5)
        foretold = group.paths()
        assert group.create() is group
        assert group.exists()
        assert group.paths() == foretold
        assert all(map(os.path.isdir, foretold.values()))
        group.remove()

        assert not group.exists()
        assert not any(map(os.path.exists, foretold.values()))

    def test_the_same_name_everywhere(self, make: Make) -> None:
        """A group has the same path in every hierarchy, and is always in the v2 one, or in v1's freezer."""
        group = make(**{name: spec for name, spec in (("pids", 5), ("cpu", 1)) if lacks.version_of(name)})
        paths = group.paths()

        assert {Path(path).name for path in paths.values()} == {group.name}
        assert {"unified", "freezer"} & set(paths)

    def test_exists_already(self, make: Make) -> None:
        """A second group of the name is refused, and the first one left as it was; ``exist_ok`` takes it over."""
        group = make(pids=5)
        with pytest.raises(cgctl.GroupExistsError, match=r"choose another name, or pass exist_ok=True"):
            Group(group.name, pids=7).create()
        assert group.limits().pids == cgctl.Pids(max=5)
        same = Group(group.name, pids=7, exist_ok=True).create()

        assert same.limits().pids == group.limits().pids == cgctl.Pids(max=7)

    def test_parents_are_made_and_removed(self, name: str, make: Make) -> None:
        """Missing parents are made on the way, and go with the group; one that others use stays."""
        group = make(name=f"{name}/a/b", pids=5)
        other = make(name=f"{name}/c", pids=5)
        top = Group(name)
        group.remove()
        assert [child.name.rpartition("/")[2] for child in top.children()] == ["c"]
        other.remove()

        assert not top.exists()

    def test_remove_takes_all_below(self, make: Make) -> None:
        """Groups below go with it."""
        group = make(pids=5)
        child = make(name="a/b", parent=group, pids=3)
        group.remove()

        assert not child.exists()

    def test_remove_waits_for_the_dying(self, make: Make, start: Start) -> None:
        """A group whose last process was just killed can be removed at once."""
        group = make()
        process = start(payloads.SLEEPER)
        group.add(process)
        process.kill()
        group.remove()

        assert not group.exists()

    def test_create_again(self, make: Make) -> None:
        """A Group object can make its group again after it was removed."""
        group = make(pids=5)
        group.remove()
        group.create()

        assert group.exists()

    def test_update_adds_a_controller(self, make: Make, start: Start) -> None:
        """A controller that the group was made without is added, and its processes join."""
        lacks.require("pids", "memory")
        group = make(memory="256M")
        process = start(payloads.SLEEPER)
        group.add(process)
        limits = group.update(pids=7)
        stats = group.stats("pids").pids

        assert limits.pids == cgctl.Pids(max=7)
        assert stats is not None
        assert stats.current == 1

    @pytest.mark.parametrize(
        "verb",
        [
            Group.limits,
            Group.stats,
            Group.update,
            Group.remove,
            Group.pids,
            Group.processes,
            Group.kill,
            Group.freeze,
            Group.thaw,
            Group.wait_empty,
            Group.children,
            lambda group: list(group.walk()),
            lambda group: group.read("cgroup.procs"),
            lambda group: group.write("cgroup.procs", "0"),
            lambda group: group.add(os.getpid()),
            lambda group: group.run(["true"]),
            lambda group: group.popen(["true"]),
        ],
    )
    def test_verbs_without_a_group(self, verb: Callable[[Group], Any], name: str) -> None:
        """A verb on a group that is not there raises GroupNotFoundError, and says what to do."""
        with pytest.raises(cgctl.GroupNotFoundError, match=r"is not there .*create\(\) it, or check the name"):
            verb(Group(name))


class TestTree:
    """Groups below groups."""

    def test_children_and_walk(self, make: Make) -> None:
        """Children are those directly below; walk yields all, parents first."""
        group = make(pids=9)
        for name in ("a", "b", "b/c"):
            make(name=name, parent=group, pids=5)

        assert [child.name for child in group.children()] == [f"{_full(group)}/{name}" for name in ("a", "b")]
        assert [below.name for below in group.walk()] == [f"{_full(group)}/{name}" for name in ("a", "b", "b/c")]

    def test_found_groups_are_groups(self, make: Make) -> None:
        """What children returns has the verbs of a group."""
        group = make(pids=9)
        make(name="a", parent=group, pids=5)
        child = group.children()[0]

        assert child.limits().pids == cgctl.Pids(max=5)
        assert set(child.paths()) == set(group.paths())
        child.remove()
        assert group.children() == []

    def test_group(self, make: Make) -> None:
        """``group`` names one below, which create makes."""
        above = make(pids=9)
        below = above.group("x", pids=3).create()

        assert below.exists()
        assert [Path(path).parent for path in below.paths().values()] == [
            Path(above.paths()[label]) for label in below.paths()
        ]


def _full(group: Group) -> str:
    return group.address.name


class TestPlan:
    """What would be done."""

    def test_before_and_after(self, make: Make, name: str) -> None:
        """A plan makes nothing; once it was carried out there is nothing left to do."""
        group = Group(name, pids=5)
        plan = group.plan()
        assert not group.exists()
        make(name=name, pids=5)

        assert len(plan) > 0
        assert str(plan).startswith("#!/bin/sh\nset -e\nmkdir ")
        assert len(group.plan()) == 0


class TestFiles:
    """Interface files as they are."""

    def test_read_and_write(self, make: Make) -> None:
        """What is written is what is read."""
        lacks.require("pids")
        group = make(pids=5)
        group.write("pids.max", "6")

        assert group.read("pids.max") == "6\n"

    def test_controller_decides_the_hierarchy(self, make: Make) -> None:
        """A file is looked up where its controller is, and v2's own in the v2 hierarchy."""
        lacks.require("pids", "v2")
        group = make(pids=5)

        assert group.read("cgroup.type") == "domain\n"
        assert group.read("pids.current") == "0\n"

    @pytest.mark.parametrize("file", ["../pids.max", "a/b.c", "procs", "", "/etc/passwd", ".x"])
    def test_names_only(self, file: str, make: Make) -> None:
        """A path is no interface file's name."""
        with pytest.raises(cgctl.SpecError, match=r"not a name such as 'memory\.max'"):
            make().read(file)

    def test_no_such_file(self, make: Make) -> None:
        """A file that is not there raises StepError with ENOENT; it is not made."""
        group = make()
        with pytest.raises(cgctl.StepError, match="ENOENT"):
            group.read("cgroup.nonsense")
        with pytest.raises(cgctl.StepError, match="ENOENT"):
            group.write("cgroup.nonsense", "1")

    def test_refused_value(self, make: Make) -> None:
        """The kernel's refusal is told with its errno and the step."""
        lacks.require("pids")
        with pytest.raises(cgctl.StepError, match=r"write b'-1' to .*/pids\.max: EINVAL Invalid argument") as caught:
            make(pids=5).write("pids.max", b"-1")

        assert isinstance(caught.value, OSError)


class TestProcesses:
    """Who is in a group."""

    def test_add(self, make: Make, start: Start) -> None:
        """A pid, a psutil process and a Popen are all processes; pids and processes find them."""
        lacks.require("pids")
        group = make(pids=9)
        members = [start(payloads.SLEEPER) for _ in range(3)]
        group.add(members[0].pid)
        group.add(psutil.Process(members[1].pid))
        group.add(members[2])
        pids = sorted(member.pid for member in members)

        assert group.pids() == pids
        assert sorted(process.pid for process in group.processes()) == pids
        assert all(group.address.name in str(where(pid).values()) for pid in pids)

    def test_pids_are_of_the_whole_tree(self, make: Make, start: Start) -> None:
        """Processes in groups below count too."""
        group = make()
        child = make(name="child", parent=group)
        process = start(payloads.SLEEPER)
        child.add(process)

        assert group.pids() == child.pids() == [process.pid]

    def test_add_moves_in_every_hierarchy(self, make: Make, start: Start) -> None:
        """A process is moved in each hierarchy that the group is in, and stays where it was in the others."""
        group = make(pids=9)
        process = start(payloads.SLEEPER)
        before = where(process.pid)
        group.add(process)
        after = where(process.pid)
        moved = {label for label in before if before[label] != after[label]}

        assert {label or "unified" for label in moved} == set(group.paths())

    def test_wait_empty(self, make: Make, start: Start) -> None:
        """It returns once the last one has ended; before, its timeout is subprocess's TimeoutExpired."""
        group = make()
        group.wait_empty(timeout=0)
        process = start(payloads.SLEEPER)
        group.add(process)
        with pytest.raises(subprocess.TimeoutExpired):
            group.wait_empty(timeout="50ms")
        process.kill()
        process.wait()
        group.wait_empty(timeout=PATIENCE_SEC)

        assert group.pids() == []

    def test_kill(self, make: Make, start: Start) -> None:
        """All processes die, those in groups below and those that ignore SIGTERM too; the group stays."""
        group = make(pids=20)
        child = make(name="child", parent=group, pids=9)
        members = [start(payloads.SLEEPER), start(payloads.STUBBORN)]
        for member in members:
            child.add(member)
        group.kill()

        assert group.pids() == []
        assert [member.wait(DEAD_SEC) for member in members] == [-9, -9]
        assert child.exists()

    def test_kill_of_an_empty_group(self, make: Make) -> None:
        """Nobody to kill is fine."""
        make().kill()

    def test_kill_of_a_frozen_group(self, make: Make, start: Start) -> None:
        """A frozen process is killed all the same."""
        lacks.require("freezer")
        group = make()
        process = start(payloads.SLEEPER)
        group.add(process)
        group.freeze()
        group.kill()

        assert process.wait(DEAD_SEC) == -9

    def test_kill_outruns_forks(self, make: Make) -> None:
        """Processes that fork and end all the time do not get away."""
        lacks.require("pids")
        group = make(pids=40)
        forker = payloads.python("import os\nos.setsid()\nwhile True:\n if os.fork(): os._exit(0)\n")
        process = subprocess.Popen(payloads.SLEEPER, stdout=subprocess.DEVNULL)
        running = group.popen(forker)
        process.kill()
        process.wait()
        group.kill()
        running.wait()

        assert group.pids() == []

    def test_freeze_and_thaw(self, make: Make, start: Start) -> None:
        """A frozen process uses no processor time; thawed, it goes on."""
        lacks.require("freezer")
        group = make()
        process = psutil.Process(start(payloads.spinner(600)).pid)
        group.add(process)
        group.freeze()
        before = _used(process)
        time.sleep(0.1)
        assert _used(process) == before
        group.thaw()

        assert eventually(lambda: _used(process) > before)

    def test_freeze_of_those_below(self, make: Make, start: Start) -> None:
        """Groups below freeze along, and thaw along."""
        lacks.require("freezer")
        group = make()
        child = make(name="child", parent=group)
        process = psutil.Process(start(payloads.spinner(600)).pid)
        child.add(process)
        group.freeze()
        before = _used(process)
        time.sleep(0.1)
        assert _used(process) == before
        group.thaw()

        assert eventually(lambda: _used(process) > before)

    def test_freeze_twice(self, make: Make) -> None:
        """Freezing what is frozen, and thawing what is not, is fine; an empty group can be frozen."""
        lacks.require("freezer")
        group = make()
        group.thaw()
        group.freeze()
        group.freeze()
        group.thaw()

    def test_freeze_with_the_caller_inside(self, name: str) -> None:
        """Freeze refuses while its caller is inside: nobody would thaw it."""
        facts = scripts.run(
            """
            with cgctl.Group(sys.argv[1]) as group:
                try:
                    group.freeze()
                except cgctl.SpecError as error:
                    tell(error=str(error), pid=os.getpid())
            """,
            name,
        )

        assert facts["error"].startswith(f"freeze group '{name}': the caller (pid {facts['pid']}) is inside")
        assert "freeze it from outside" in facts["error"]

    def test_kill_spares_the_caller(self, name: str) -> None:
        """Kill from inside kills all others."""
        facts = scripts.run(
            """
            with cgctl.Group(sys.argv[1]) as group:
                others = [start(payloads.SLEEPER), start(payloads.STUBBORN)]
                group.kill()
                tell(left=group.pids() == [os.getpid()], codes=[other.wait() for other in others])
                for other in others:
                    other.stdout.close()
            """,
            name,
        )

        assert facts == {"left": True, "codes": [-9, -9]}


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


class TestReclaim:
    """Taking memory back."""

    def test_reclaim(self, make: Make) -> None:
        """Page cache that is not in use is given back."""
        lacks.require("memory.reclaim")
        group = make(memory="256M")
        reader = payloads.python("import sys; open(sys.executable, 'rb').read(); sys.stdout.write('x')")
        group.run(reader, stdout=subprocess.DEVNULL)
        try:
            group.reclaim("64K")
        except cgctl.StepError as error:
            assert "EAGAIN" in str(error)  # noqa: PT017 - there may be nothing to take: it says so

    def test_not_on_v1(self, make: Make) -> None:
        """v1 cannot, and says what to do instead."""
        lacks.require("v1 memory")
        with pytest.raises(cgctl.UnsupportedError, match=r"memory\.force_empty takes all"):
            make(memory="64M").reclaim("1M")

    def test_before_5_19(self, make: Make) -> None:
        """An older kernel has no such file, and the error says since when there is one."""
        lacks.require("v2 memory", "no memory.reclaim")
        with pytest.raises(cgctl.UnsupportedError, match=r"since Linux 5\.19"):
            make(memory="64M").reclaim("1M")
