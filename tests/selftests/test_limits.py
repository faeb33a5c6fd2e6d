"""Limits: test_pids.c, test_memcontrol.c, test_cpu.c."""

from __future__ import annotations

from errno import EAGAIN

import pytest

import cgctl
from tests.selftests.conftest import Make
from tests.selftests.machines import Machine, said


def test_pids_max(machine: Machine, make: Make) -> None:
    """At the limit no fork works; one more than it may be moved in."""
    group = make("pids", pids=2)
    parent = machine.start(group)
    machine.fork(parent)
    with pytest.raises(BlockingIOError) as caught:
        machine.fork(parent)
    assert caught.value.errno == EAGAIN
    machine.start(group)

    assert int(group.read("pids.current")) == 3


def test_pids_events(machine: Machine, make: Make) -> None:
    """A refused fork is counted: where the limit is and above it, or before 6.12 where the fork was."""
    top = make("pids", pids=2)
    below = top.group("a", pids=100).create()
    parent = machine.start(below)
    machine.fork(parent)
    with pytest.raises(BlockingIOError):
        machine.fork(parent)
    counted = [said(group, "pids.events", "max") for group in (top, below)]

    assert counted in ([1, 0], [0, 1])


def test_memory_max(machine: Machine, make: Make) -> None:
    """Who goes beyond the limit is killed, and that is counted; who does not lives."""
    group = make("memory", memory="48M")

    assert not machine.hog(group, 8)
    assert machine.hog(group, 96)
    assert said(group, "memory.events", "oom_kill") >= 1


def test_memory_max_above(machine: Machine, make: Make) -> None:
    """A limit above holds below, and what it does is counted upwards alone."""
    top = make("memory", memory="48M")
    below = top.group("a", memory="200M").create()

    assert machine.hog(below, 96)
    assert said(top, "memory.events", "oom_kill") >= 1


def test_memory_oom_group(machine: Machine, make: Make) -> None:
    """With memory.oom.group all processes of the group are killed together."""
    group = make("memory", memory="48M")
    group.write("memory.oom.group", "1")
    beside = machine.start(group)

    assert machine.hog(group, 96)
    assert machine.wait(lambda: not machine.alive(beside))


def test_memory_high(machine: Machine, make: Make) -> None:
    """Beyond memory.high nobody is killed, and it is counted."""
    group = make("memory", memory="200M")
    group.write("memory.high", str(30 << 20))

    assert not machine.hog(group, 31)
    assert said(group, "memory.events", "high") >= 1
    assert said(group, "memory.events", "oom_kill") == 0


@pytest.mark.slow
def test_cpu_weights(machine: Machine, make: Make) -> None:
    """On a processor that all want, groups get in proportion to their weights."""
    groups = [make("cpu") for _ in range(3)]
    for group, weight in zip(groups, (50, 100, 150), strict=True):
        group.update(cpu=cgctl.Cpu(weight=weight))
    used = machine.spin(groups, 5)

    for index, share in enumerate((1 / 6, 2 / 6, 3 / 6)):
        assert used[index] / sum(used) == pytest.approx(share, rel=0.35)


@pytest.mark.slow
def test_cpu_max(machine: Machine, make: Make) -> None:
    """A group gets no more than its quota; that it is throttled is counted."""
    group = make("cpu", cpu=0.2)
    (used,) = machine.spin([group], 3)

    assert used == pytest.approx(0.6, rel=0.35)
    assert said(group, "cpu.stat", "nr_throttled") > 0
