"""Killing: test_kill.c."""

from __future__ import annotations

from tests.selftests.conftest import Make
from tests.selftests.machines import Machine, said


def test_simple(machine: Machine, make: Make) -> None:
    """All processes of a group are killed at once."""
    group = make()
    pids = [machine.start(group) for _ in range(5)]
    group.kill()

    assert machine.wait(lambda: not any(map(machine.alive, pids)))
    assert said(group, "cgroup.events", "populated") == 0


def test_tree(machine: Machine, make: Make) -> None:
    """With them go those of all groups below, and nobody else's."""
    top, beside = make(), make()
    below = [top.group(name).create() for name in "ab"]
    deep = below[0].group("c").create()
    pids = [machine.start(group) for group in (*below, deep)]
    spared = machine.start(beside)
    top.kill()

    assert machine.wait(lambda: not any(map(machine.alive, pids)))
    assert machine.alive(spared)


def test_children(machine: Machine, make: Make) -> None:
    """Who was forked in it is killed too."""
    group = make()
    parent = machine.start(group)
    pids = [parent, *(machine.fork(parent) for _ in range(4))]
    assert sorted(group.pids()) == sorted(pids)
    group.kill()

    assert machine.wait(lambda: not any(map(machine.alive, pids)))
