"""Freezing: test_freezer.c, but for what it shows of tracing and of vfork: those are not in memory."""

from __future__ import annotations

import pytest

import cgctl
from tests.kernel.pace import PATIENCE_SEC
from tests.selftests.conftest import Make
from tests.selftests.machines import Machine, said


def _frozen(group: cgctl.Group) -> bool:
    return said(group, "cgroup.events", "frozen") == 1


def test_simple(machine: Machine, make: Make) -> None:
    """A group says that it is frozen once all its processes are, and that it is not when it is thawed."""
    group = make()
    for _ in range(5):
        machine.start(group)
    group.freeze()
    assert machine.wait(lambda: _frozen(group))
    group.thaw()

    assert machine.wait(lambda: not _frozen(group))


def test_tree(machine: Machine, make: Make) -> None:
    """What is frozen above is frozen below, and a group that was frozen by itself stays so when all else is thawed."""
    top = make()
    below = [top.group(name).create() for name in "abc"]
    deep = below[0].group("d").create()
    for group in (*below, deep):
        machine.start(group)
    below[1].freeze()
    top.freeze()
    assert machine.wait(lambda: all(map(_frozen, (top, *below, deep))))
    top.thaw()
    assert machine.wait(lambda: not any(map(_frozen, (top, below[0], below[2], deep))))

    assert _frozen(below[1])


def test_what_is_made_in_a_frozen_group(machine: Machine, make: Make) -> None:
    """A group made below a frozen one is frozen, and so is who comes into it."""
    top = make()
    top.freeze()
    below = top.group("a").create()
    machine.start(below)
    assert machine.wait(lambda: _frozen(below))
    top.thaw()

    assert machine.wait(lambda: not _frozen(below))


def test_moves(machine: Machine, make: Make) -> None:
    """Between a frozen and an unfrozen group a process takes on the state of where it is."""
    frozen, running = make(), make()
    pid = machine.start(running)
    frozen.freeze()
    frozen.add(pid)
    assert machine.wait(lambda: _frozen(frozen))
    running.add(pid)

    assert machine.wait(lambda: not _frozen(running))
    assert machine.wait(lambda: _frozen(frozen))


def test_the_frozen_die(machine: Machine, make: Make) -> None:
    """A frozen process can be killed, and the group that it leaves is frozen and empty."""
    group = make()
    pid = machine.start(group)
    group.freeze()
    machine.kill(pid)
    assert machine.wait(lambda: not machine.alive(pid))

    assert machine.wait(lambda: not said(group, "cgroup.events", "populated"))
    assert _frozen(group)


@pytest.mark.parametrize(
    ("numbers", "frozen", "thawed"),
    [
        ((15,), -15, -15),
        ((3,), None, -3),
        ((3, 9), -9, -9),
        ((17, 18), None, None),
        ((10, 9), -10, -10),
    ],
    ids=str,
)
def test_signals(
    make: Make, machine: Machine, numbers: tuple[int, ...], frozen: int | None, thawed: int | None
) -> None:
    """What ends a process ends it, frozen or not, the first of several; one with a core waits."""
    group = make()
    process = group.popen(["sleep", "1000"])
    assert machine.wait(lambda: group.pids() == [process.pid])
    group.freeze()
    for number in numbers:
        process.send_signal(number)
    assert _status(process, ends=frozen is not None) == frozen
    group.thaw()
    assert _status(process, ends=thawed is not None) == thawed
    process.kill()
    process.wait(PATIENCE_SEC)


def _status(process: cgctl.Process, *, ends: bool) -> int | None:
    try:
        return process.wait(PATIENCE_SEC if ends else 0.2)
    except cgctl.TimeoutExpired:
        return None
