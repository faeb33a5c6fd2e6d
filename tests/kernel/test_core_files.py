"""The files that every v2 group has: state, events, and the size of its subtree."""

from __future__ import annotations

from typing import Any

import pytest

import cgctl
from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make, Start
from tests.kernel.pace import DEAD_SEC, eventually

pytestmark = pytest.mark.host


@pytest.fixture(autouse=True)
def _v2() -> None:
    """Skip where no v2 hierarchy is mounted."""
    lacks.require("v2")


def test_procs(make: Make, start: Start) -> None:
    """``cgroup.procs`` takes a pid and lists it."""
    group = make()
    process = start(payloads.SLEEPER)
    group.write("cgroup.procs", str(process.pid))

    assert group.read("cgroup.procs") == f"{process.pid}\n"


def test_kill_file(make: Make, start: Start) -> None:
    """``cgroup.kill`` kills what is in the v2 group."""
    lacks.require("cgroup.kill")
    group = make()
    process = start(payloads.STUBBORN)
    group.add(process)
    group.write("cgroup.kill", "1")

    assert process.wait(DEAD_SEC) == -9


def test_events_tell(make: Make, start: Start) -> None:
    """``cgroup.events`` says populated and frozen, and freeze and thaw change it."""
    group = make()
    assert group.read("cgroup.events") == "populated 0\nfrozen 0\n"
    group.add(start(payloads.SLEEPER))
    group.freeze()
    assert group.read("cgroup.events") == "populated 1\nfrozen 1\n"
    assert group.read("cgroup.freeze") == "1\n"
    group.thaw()

    assert eventually(lambda: group.read("cgroup.events") == "populated 1\nfrozen 0\n")


@pytest.mark.parametrize(
    ("file", "data", "errno"), [("cgroup.freeze", "2", "ERANGE"), ("cgroup.max.depth", "-1", "ERANGE")]
)
def test_refused(file: str, data: str, errno: str, make: Make) -> None:
    """Values out of range are refused with the kernel's errno."""
    with pytest.raises(cgctl.StepError, match=errno):
        make().write(file, data)


def test_threaded_groups(make: Make) -> None:
    """A group whose children are threaded still can be asked for its processes, limits, statistics, and be removed."""
    group = make()
    child = make(name="child", parent=group)
    child.write("cgroup.type", "threaded")
    core = group.stats("core").core

    assert core is not None
    assert core.type == "domain threaded"
    assert (group.pids(), child.pids()) == ([], [])
    group.kill()
    assert child.limits().core is not None
    with pytest.raises(cgctl.StepError, match="EINVAL"):
        child.write("cgroup.type", "domain")
    group.remove()
    assert not child.exists()


def test_no_process_for_an_invalid_domain(make: Make, start: Start) -> None:
    """A sibling of a threaded group takes no process, and the error says of which type it is."""
    group = make()
    make(name="threaded", parent=group).write("cgroup.type", "threaded")
    sibling = make(name="sibling", parent=group)
    process = start(payloads.SLEEPER)
    with pytest.raises(cgctl.StepError, match=r"EOPNOTSUPP .*type is 'domain invalid', which takes no process"):
        sibling.add(process)
    process.kill()


@pytest.mark.parametrize(
    ("limits", "file"),
    [({"max_depth": 0}, "cgroup.max.depth 0"), ({"max_descendants": 0}, "cgroup.max.descendants 0")],
)
def test_no_more_groups(limits: dict[str, Any], file: str, make: Make) -> None:
    """Beyond the depth or number allowed, create is refused; the error says by what, and nothing is left behind."""
    group = make(core=cgctl.Core(**limits))
    with pytest.raises(cgctl.StepError, match=r"mkdir .*: EAGAIN ") as caught:
        group.group("one").create()

    assert file in caught.value.hint
    assert "raise it or remove groups" in caught.value.hint
    assert group.children() == []


def test_part_of_a_path_is_taken_back(make: Make) -> None:
    """Of a path that goes too deep, the part that could be made is removed again."""
    group = make(core=cgctl.Core(max_depth=1))
    with pytest.raises(cgctl.StepError, match="EAGAIN"):
        group.group("one/two").create()

    assert group.children() == []


def test_descendants_are_counted(make: Make) -> None:
    """``nr_descendants`` is how many groups are below."""
    group = make()
    make(name="a/b", parent=group)
    core = group.stats("core").core

    assert core is not None
    assert core.nr_descendants == 2


def test_pressure_can_be_switched_off(make: Make) -> None:
    """Without pressure accounting, the statistics lack pressure and nothing else."""
    lacks.require("cgroup.pressure")
    beside = {"memory": cgctl.Memory()} if lacks.version_of("memory") == 2 else {}
    group = make(core=cgctl.Core(pressure=False), **beside)
    stats = group.stats()
    told = group.update(core=cgctl.Core(pressure=True)).core, group.stats()

    assert stats.cpu is not None
    assert stats.cpu.pressure is None
    assert stats.cpu.usage_usec is not None
    for name in beside:
        assert getattr(stats, name).pressure is None
        assert getattr(told[1], name).pressure is not None
    assert told[1].cpu is not None
    assert told[1].cpu.pressure is not None
