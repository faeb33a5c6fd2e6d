"""The rules of the tree: test_core.c."""

from __future__ import annotations

import pytest

import cgctl
from tests.selftests.conftest import Make
from tests.selftests.machines import Machine, said


def _populated(group: cgctl.Group) -> int:
    return said(group, "cgroup.events", "populated")


def _threads(group: cgctl.Group) -> list[int]:
    return list(map(int, group.read("cgroup.threads").split()))


def test_populated(machine: Machine, make: Make) -> None:
    """A group is populated as long as there is somebody in it or anywhere below."""
    top = make()
    middle = top.group("b").create()
    bottom, beside = middle.group("c").create(), middle.group("d").create()
    assert [_populated(group) for group in (top, middle, bottom, beside)] == [0, 0, 0, 0]
    pid = machine.start(bottom)
    assert [_populated(group) for group in (top, middle, bottom, beside)] == [1, 1, 1, 0]
    machine.kill(pid)

    assert machine.wait(lambda: [_populated(group) for group in (top, middle, bottom, beside)] == [0, 0, 0, 0])


def test_no_controllers_beside_processes(machine: Machine, make: Make) -> None:
    """A domain controller cannot be enabled where somebody is."""
    group = make("memory", memory="64M")
    machine.start(group)
    with pytest.raises(cgctl.StepError) as caught:
        group.write("cgroup.subtree_control", "+memory")

    assert caught.value.errno == 16


def test_controllers_come_from_above(make: Make) -> None:
    """What the group above has not given on cannot be enabled, and what is used below cannot be taken back."""
    top = make("memory", memory="64M")
    middle = top.group("b").create()
    with pytest.raises(cgctl.StepError) as caught:
        middle.write("cgroup.subtree_control", "+memory")
    assert caught.value.errno == 2
    top.write("cgroup.subtree_control", "+memory")
    middle.write("cgroup.subtree_control", "+memory")
    with pytest.raises(cgctl.StepError) as caught:
        top.write("cgroup.subtree_control", "-memory")

    assert caught.value.errno == 16


def test_a_threaded_child_makes_a_domain(make: Make) -> None:
    """The group above threaded ones is a threaded domain, and what is beside them is invalid."""
    top = make()
    threaded, beside = top.group("a").create(), top.group("b").create()
    threaded.write("cgroup.type", "threaded")

    assert (top.read("cgroup.type"), threaded.read("cgroup.type")) == ("domain threaded\n", "threaded\n")
    assert beside.read("cgroup.type") == "domain invalid\n"


def test_nobody_in_an_invalid_domain(machine: Machine, make: Make) -> None:
    """An invalid group takes no process and no controllers; what is made in a threaded group is invalid too."""
    top = make()
    threaded = top.group("a").create()
    threaded.write("cgroup.type", "threaded")
    below, elsewhere = threaded.group("c").create(), make()
    assert below.read("cgroup.type") == "domain invalid\n"
    pid = machine.start(elsewhere)
    with pytest.raises(cgctl.StepError) as caught:
        below.write("cgroup.procs", str(pid))

    assert caught.value.errno == 95


def test_processes_move_whole(machine: Machine, make: Make) -> None:
    """A process is moved with all its threads."""
    first, second = make(), make()
    pid = machine.start(first, threads=3)
    assert sorted(_threads(first)) == sorted(machine.threads(pid))
    second.add(pid)

    assert (_threads(first), sorted(_threads(second))) == ([], sorted(machine.threads(pid)))


def test_threads_move_within_their_domain(machine: Machine, make: Make) -> None:
    """A thread is moved to a threaded group of its domain, and to no other."""
    top, other = make(), make()
    left, right, strange = top.group("a").create(), top.group("b").create(), other.group("c").create()
    for group in (left, right, strange):
        group.write("cgroup.type", "threaded")
    pid = machine.start(top, threads=3)
    _, second, third = machine.threads(pid)
    left.write("cgroup.threads", str(second))
    right.write("cgroup.threads", str(third))
    assert (_threads(top), _threads(left), _threads(right)) == ([pid], [second], [third])
    with pytest.raises(cgctl.StepError) as caught:
        strange.write("cgroup.threads", str(second))

    assert caught.value.errno == 95


def test_a_group_in_use_stays(machine: Machine, make: Make) -> None:
    """A group with a process is not removed; when it has ended, it is."""
    group = make()
    pid = machine.start(group)
    with pytest.raises(cgctl.CgctlError):
        group.remove()
    machine.kill(pid)
    assert machine.wait(lambda: not machine.alive(pid) and not _populated(group))
    group.remove()

    assert not group.exists()
