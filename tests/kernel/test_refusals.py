"""Nonsense, absent things and refusals: the right class, a message with value, rule and remedy; nothing left behind.

That nothing is left, in any hierarchy, is checked after every test (``tidy``).
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import cgctl
from cgctl import Group, System
from cgctl.filesystem.kernel import KernelFilesystem
from tests.kernel import lacks, payloads, scripts
from tests.kernel.conftest import Make, Start, ready

pytestmark = pytest.mark.host


class TestNonsense:
    """What no kernel could do is refused by the constructor."""

    @pytest.mark.parametrize(
        ("keywords", "text"),
        [
            ({"memory": "10Q"}, r"memory='10Q': not a size; give bytes, or a number with K, M"),
            ({"memory": "-1"}, r"memory='-1': not a size; give bytes"),
            ({"memory": -1}, r"memory=-1: out of range; .*MAX means no limit"),
            ({"memory": math.nan}, r"memory=nan: not a size; give an int of bytes"),
            ({"memory": 2**64}, r"memory=18446744073709551616: out of range; sizes are bytes from 0 to 2\*\*64-1"),
            ({"memory": ""}, r"memory='': not a size; give"),
            ({"memory": True}, r"memory=True: not a size; give"),
            ({"cpu": 0}, r"cpu\.max=0: must be above 0; give CPUs such as 0\.5"),
            ({"cpu": -0.5}, r"cpu\.max=-0\.5: must be above 0; give"),
            ({"cpu": math.nan}, r"cpu\.max=nan: not an amount of CPU; give"),
            ({"cpu": math.inf}, r"cpu\.max=inf: not an amount of CPU; give .* or MAX"),
            ({"cpu": "much"}, r"cpu\.max='much': not an amount of CPU; give"),
            ({"pids": -1}, r"pids\.max=-1: out of range; the kernel takes 0 to 4194304"),
            ({"pids": 1.5}, r"pids\.max=1\.5: not a whole number; give an int from 0 to"),
            ({"pids": "many"}, r"pids\.max='many': not a whole number; give"),
            ({"cpuset": "0-"}, r"cpuset\.cpus: .*'0-'"),
            ({"cpuset": [-1]}, r"cpuset\.cpus: .*-1"),
            ({"nonsense": 1}, r"nonsense=: there is no such controller; cgctl has core, cpuset, cpu, memory, "),
            ({"on_exit": "shoot"}, r"on_exit='shoot': not a way to leave; give 'kill', 'wait' or 'keep'"),
            ({"parent": "top"}, r"parent='top': not a Group; give Group\("),
        ],
        ids=lambda value: next(iter(value.items()), "") if isinstance(value, dict) else "",
    )
    def test_values(self, keywords: dict[str, Any], text: str, name: str) -> None:
        """The message names the value, says the rule, and what to give."""
        with pytest.raises(cgctl.SpecError, match=text) as caught:
            Group(name, **keywords)

        assert isinstance(caught.value, ValueError)

    @pytest.mark.parametrize(
        ("bad", "rule"),
        [
            ("../x", r"'\.\.' is not a name; groups go below the base only"),
            ("a/../../x", r"'\.\.' is not a name"),
            (".", r"'\.' is not a name"),
            ("a\0b", r"NUL or a newline, which the kernel refuses; leave it out"),
            ("a\nb", r"NUL or a newline, which the kernel refuses; leave it out"),
            ("a/", r"empty component; write it without double or trailing '/'"),
            ("a//b", r"empty component"),
            ("", r"empty component"),
            ("x" * 300, r"longer than 255 bytes; shorten it"),
            ("ü" * 150, r"longer than 255 bytes; shorten it"),
            ("memory.max", r"'memory\.max' is, or could become, the name of an interface file; choose"),
            ("cgroup.procs", r"'cgroup\.procs' is, or could become, the name of an interface file"),
            ("a/tasks", r"'tasks' is, or could become, the name of an interface file"),
            ("supervisor", r"'supervisor' is the leaf that cgctl itself makes; choose another name"),
            (7, r"7: not a string; give a name such as 'web'"),
            (None, r"None: not a string"),
        ],
        ids=lambda value: repr(value)[:12],
    )
    def test_names(self, bad: Any, rule: str) -> None:
        """A name that cannot be one is refused, with the rule."""
        with pytest.raises(cgctl.SpecError, match=rule):
            Group(bad, pids=5)

    def test_absolute_with_parent(self, name: str) -> None:
        """An absolute name has no parent."""
        with pytest.raises(cgctl.SpecError, match="an absolute name has no parent; give one of them"):
            Group(f"/{name}", parent=Group(name))

    @pytest.mark.parametrize("pid", [0, -5, "x", None, True, 1.5])
    def test_pids(self, pid: Any, make: Make) -> None:
        """What is no process cannot be added: 0 would be the caller."""
        with pytest.raises(cgctl.SpecError, match=r"not a process; give a pid of 1 or more \(os\.getpid\(\)\)"):
            make().add(pid)

    @pytest.mark.parametrize("timeout", ["soon", -1, math.nan, "5 fortnights"])
    def test_timeouts(self, timeout: Any, make: Make) -> None:
        """What is no time span is refused, by run, kill, freeze and wait_empty alike."""
        group = make()
        calls: list[Callable[[], Any]] = [
            lambda: cgctl.run(["true"], timeout=timeout),
            lambda: group.kill(timeout=timeout),
            lambda: group.freeze(timeout=timeout),
            lambda: group.wait_empty(timeout=timeout),
        ]
        for call in calls:
            with pytest.raises(cgctl.SpecError, match=r"not a time span; give seconds"):
                call()


class TestPrograms:
    """Programs that cannot be started."""

    @pytest.mark.parametrize(
        ("argv", "rule"),
        [
            ([], "argv is empty"),
            ("true", "list"),
            (b"true", "list"),
            ([1], "argument"),
            (["a\0b"], "NUL"),
            ([None], "argument"),
        ],
        ids=repr,
    )
    def test_nonsense(self, argv: Any, rule: str) -> None:
        """What is no list of arguments is refused before anything is made."""
        with pytest.raises(cgctl.SpecError, match=rule):
            cgctl.run(argv, pids=5)

    @pytest.mark.parametrize(
        ("program", "errno"),
        [
            ("/nonexistent/program", "ENOENT"),
            ("no-such-program-anywhere", "ENOENT"),
            ("/etc/passwd", "EACCES"),
            ("/", "EACCES"),
        ],
    )
    def test_cannot_be_executed(self, program: str, errno: str) -> None:
        """LaunchError names the errno, the step and the program."""
        with pytest.raises(cgctl.LaunchError, match=rf"^exec: {errno} ") as caught:
            cgctl.run([program], pids=5)

        assert program in str(caught.value)
        assert isinstance(caught.value, OSError)

    def test_no_such_directory(self, tmp_path: Path) -> None:
        """A working directory that is not there is an error that names it."""
        with pytest.raises(cgctl.LaunchError, match=r"ENOENT.*nowhere"):
            cgctl.run(["true"], cwd=tmp_path / "nowhere", pids=5)

    def test_unknown_keyword(self) -> None:
        """A keyword that there is not is refused, with those that there are."""
        with pytest.raises(cgctl.SpecError, match=r"bogus=: there is no such keyword; controllers are core,"):
            cgctl.run(["true"], bogus=1)  # type: ignore[call-arg]

    @pytest.mark.parametrize("keywords", [{"input": b"x", "stdin": -1}, {"capture_output": True, "stdout": -1}])
    def test_contradictions(self, keywords: dict[str, Any]) -> None:
        """Two arguments that say different things are refused."""
        with pytest.raises(cgctl.SpecError):
            cgctl.run(["true"], **keywords)


class TestKernel:
    """What the kernel refuses."""

    def test_a_dead_process(self, make: Make) -> None:
        """A process that has ended is ESRCH, and the hint says so."""
        process = subprocess.Popen(["true"])
        process.wait()
        with pytest.raises(cgctl.StepError, match=r"ESRCH .*it has ended"):
            make().add(process.pid)

    def test_processors_that_there_are_not(self, name: str) -> None:
        """A CPU beyond this machine's is ERANGE, with a hint where to look."""
        lacks.require("cpuset")
        with pytest.raises(cgctl.StepError, match=r"ERANGE .*see /sys/devices/system/cpu/possible"):
            Group(name, cpuset="0-4095").create()

        assert not Group(name).exists()

    def test_cpuset_outside_of_the_parents(self, make: Make) -> None:
        """A v1 cpuset that is not within its parent's is refused, and the hint says what that has."""
        lacks.require("v1 cpuset", "two processors")
        parent = make(cpuset="0")
        with pytest.raises(cgctl.StepError, match=r"EACCES .*must lie within its parent's \(0\); ask for a part of it"):
            parent.group("child", cpuset="1").create()

        assert parent.children() == []

    def test_quota_above_the_parents(self, make: Make) -> None:
        """A v1 quota above the parent's is refused, and the hint says what that is."""
        lacks.require("v1 cpu")
        parent = make(cpu=0.5)
        with pytest.raises(cgctl.StepError, match=r"EINVAL .*the parent's quota \(50000 of 100000 us\).*ask for less"):
            parent.group("child", cpu=1.0).create()

        assert parent.children() == []

    def test_quota_above_the_parents_on_v2(self, make: Make) -> None:
        """A v2 quota may be above the parent's: the lower one holds."""
        lacks.require("v2 cpu")
        parent = make(cpu=0.5)
        child = make(name="child", parent=parent, cpu=1.0)

        assert child.limits().cpu is not None

    def test_limit_below_what_is_in_use(self, make: Make) -> None:
        """On v1, a limit below what cannot be reclaimed is EBUSY, and the hint says how much that is."""
        lacks.require("v1 memory")
        group = make(memory="100M")
        with (
            ready(group.popen(payloads.hog(50, 600), stdout=subprocess.PIPE)),
            pytest.raises(cgctl.StepError, match=r"EBUSY .*uses \d+ bytes and cannot be reclaimed below"),
        ):
            group.update(memory="4M")

        memory = group.limits().memory
        assert memory is not None
        assert memory.max == 100 << 20

    def test_swap_without_memory(self, name: str) -> None:
        """A v1 limit of swap alone cannot be expressed, and the error says how it can."""
        lacks.require("v1 memory", "swap accounting")
        with pytest.raises(cgctl.UnsupportedError, match=r"limits memory and swap together .*set max too"):
            Group(name, memory=cgctl.Memory(swap_max=10 << 20)).create()

    def test_burst_above_the_quota(self, name: str) -> None:
        """A burst above the quota contradicts it: SpecError, before anything is made."""
        lacks.require("cpu")
        with pytest.raises(cgctl.SpecError, match=r"more than the quota of 50000 us a period; give at most that"):
            Group(name, cpu=cgctl.Cpu(max=0.5, burst_usec=60_000)).create()


class TestAbsent:
    """What is not there."""

    def test_controller(self, name: str) -> None:
        """A controller that is mounted nowhere is UnsupportedError, with what is mounted and how to get it."""
        system = _without("memory")
        with pytest.raises(
            cgctl.UnsupportedError, match=r"'memory' is in no mounted hierarchy \(mounted: .*mount it, or boot"
        ):
            Group(name, memory="64M", pids=5, system=system).create()
        with pytest.raises(cgctl.UnsupportedError, match=r"controller memory .*in no mounted hierarchy"):
            Group(name, memory=cgctl.Memory(), system=system).create()

    def test_run_without_the_controller(self) -> None:
        """Nothing runs unlimited: without the controller, the program is not started."""
        with pytest.raises(cgctl.UnsupportedError, match="no mounted hierarchy"):
            cgctl.run(["false"], memory="64M", system=_without("memory"))

    def test_statistics_without_the_controller(self, name: str) -> None:
        """What a group has not is ``None`` in limits and statistics."""
        system = _without("memory")
        with Group(name, pids=5, system=system, join=False) as group:
            assert group.limits().memory is None
            memory = group.stats("memory").memory
            assert memory is None or memory.current is None


def _without(controller: str) -> System:
    """Return this machine as if a controller were mounted nowhere."""
    system = System.detect()
    hierarchies = tuple(
        attrs.evolve(hierarchy, controllers=tuple(name for name in hierarchy.controllers if name != controller))
        for hierarchy in system.layout.hierarchies
        if hierarchy.label != controller
    )
    return System(KernelFilesystem(), attrs.evolve(system.layout, hierarchies=hierarchies), system.base)


class TestMeanwhile:
    """What others do between two calls."""

    @pytest.mark.usefixtures("swept")
    @pytest.mark.parametrize(
        "verb",
        [
            Group.limits,
            Group.stats,
            Group.pids,
            Group.kill,
            Group.remove,
            Group.children,
            lambda group: group.update(pids=7),
            lambda group: group.read("pids.max"),
            lambda group: group.write("pids.max", "3"),
            lambda group: group.add(os.getppid()),
            lambda group: group.run(["true"]),
        ],
    )
    def test_vanished(self, verb: Callable[[Group], Any], make: Make) -> None:
        """A group that somebody removes by hand is GroupNotFoundError from then on."""
        group = make(pids=5)
        for path in group.paths().values():
            os.rmdir(path)
        with pytest.raises(cgctl.GroupNotFoundError):
            verb(group)
        assert not group.exists()

    def test_vanished_in_one_hierarchy(self, make: Make) -> None:
        """A group that somebody removed in one hierarchy only can still be asked and removed."""
        lacks.require("pids", "v2", "no v2 pids")
        group = make(pids=5)
        os.rmdir(group.paths()["pids"])

        assert group.limits().pids is None
        assert group.pids() == []
        group.remove()

    def test_parent_vanished(self, make: Make) -> None:
        """Below a parent that somebody removed, the parent is made again."""
        parent = make(pids=9)
        child = parent.group("child", pids=5)
        for path in parent.paths().values():
            os.rmdir(path)
        child.create()
        child.remove()

        assert not child.exists()

    def test_busy(self, make: Make, start: Start) -> None:
        """Remove of a group that holds a process is EBUSY, with the pids and what to do; the group stays."""
        group = make(pids=5)
        process = start(payloads.SLEEPER)
        group.add(process)
        with pytest.raises(
            cgctl.StepError, match=r"rmdir .*EBUSY .*holds processes \[\d+\]; kill\(\) it first, or move them"
        ) as caught:
            group.remove()

        assert str(process.pid) in caught.value.hint
        assert group.exists()

    def test_busy_with_the_caller(self, name: str) -> None:
        """If it is the caller that is in the way, the error says so."""
        facts = scripts.run(
            """
            group = cgctl.Group(sys.argv[1], pids=50).create()
            homes = cgctl.current().paths()
            group.add(os.getpid())
            try:
                group.remove()
            except cgctl.StepError as error:
                tell(error=str(error))
            enter(*(homes[label] for label in group.paths()))
            group.remove()
            """,
            name,
        )

        assert "(the caller is one of them)" in facts["error"]


class TestReadOnly:
    """A cgroup filesystem that is mounted read-only, as in most containers."""

    @pytest.mark.parametrize(
        "what",
        [
            "cgctl.Group(sys.argv[1], pids=5).create()",
            "cgctl.Group('/' + sys.argv[1], pids=5).create()",
            "cgctl.Group(sys.argv[1]).__enter__()",
            "cgctl.run(['echo', 'it ran'], pids=5)",
            "cgctl.run(['echo', 'it ran'])",
        ],
    )
    def test_refused(self, what: str, name: str) -> None:
        """Making a group is refused with the cause and the remedy, and nothing runs; reading goes on."""
        lacks.require("mount namespace")
        facts = scripts.run(
            f"""
            with open("/proc/self/mountinfo") as file:
                lines = file.read().splitlines()
            for line in lines:
                before, after = line.split(" - ")
                if after.split()[0] in ("cgroup", "cgroup2"):
                    # Ours alone: what is done to our copy of the mount cannot come through to others.
                    assert not any(word.startswith(("shared:", "master:")) for word in before.split()[6:]), line
                    subprocess.run(["mount", "-o", "remount,bind,ro", before.split()[4]], check=True)
            try:
                {what}
            except cgctl.UnsupportedError as error:
                tell(error=str(error))
            current = cgctl.current()
            tell(inside=os.getpid() in current.pids(), core=current.stats().core is not None)
            """,
            name,
            unshare=True,
        )

        assert "mounted read-only" in facts["error"]
        assert "remount it" in facts["error"]
        assert facts["inside"]
