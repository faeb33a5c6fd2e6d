"""Whom a kill is for: the group's, and of the caller's own cgroup those who are in it in every hierarchy."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import pytest

from cgctl.errors import SpecError
from cgctl.killing import kill
from cgctl.plan import Place
from tests.unit.machine import HYBRID
from tests.unit.test_execute import Recorder

_ME, _HELPER = os.getpid(), 400
_UNIFIED, _CPU, _FREEZER = (HYBRID.locate(name) for name in ("cgroup", "cpu", "freezer"))


class _Machine(Recorder):
    """One whose processes die when they are killed."""

    def __init__(self, members: dict[str, list[int]], **more: Any) -> None:
        self.members = members
        self.killed: list[int] = []
        super().__init__(**more)

    def read(self, path: str) -> bytes:
        """Return a file; the processes of a group are those of it that live."""
        directory, _, name = path.rpartition("/")
        if name == "cgroup.procs":
            return "".join(f"{pid}\n" for pid in self.members.get(directory, []) if pid not in self.killed).encode()
        return super().read(path)

    def signal(self, pid: int, number: int) -> None:
        """Die."""
        assert number == 9
        self.killed.append(pid)


def _place(home: Any, *parts: str, base: str = "") -> Place:
    return Place(hierarchy=home, base=home.mount_point + base, parts=parts)


def _killed(machine: _Machine, *places: Place, companions: Collection[int] = ()) -> list[int]:
    kill(machine, {place.hierarchy.label: place for place in places}, timeout=5, name="p1", companions=companions)
    return sorted(machine.killed)


def test_the_own_group_is_who_is_in_it_everywhere() -> None:
    """A root that the own cgroup is in one hierarchy does not make everybody on the machine one of it."""
    everybody = [1, 300, 301, _HELPER, 500, _ME]
    machine = _Machine({"/v2/own": [300, 301, _HELPER, _ME], "/v1/cpu,cpuacct": everybody, "/v1/freezer": everybody})
    places = _place(_UNIFIED, base="/own"), _place(_CPU), _place(_FREEZER)

    assert _killed(machine, *places, companions=[_HELPER]) == [300, 301]
    assert [call for call in machine.calls if call.startswith("write")] == []


def test_of_the_own_group_only_processes_are_killed() -> None:
    """Also from outside, neither ``cgroup.kill`` nor the freezer is used on what may be others' elsewhere."""
    machine = _Machine({"/v2/own": [300, 301], "/v1/freezer": [300, 500]})

    assert _killed(machine, _place(_UNIFIED, base="/own"), _place(_FREEZER)) == [300]
    assert [call for call in machine.calls if call.startswith("write")] == []


def test_of_a_named_group_everybody() -> None:
    """A process that somebody moved, so that it is in one hierarchy's group only, is killed as well."""
    machine = _Machine({"/v1/cpu,cpuacct/p1": [300], "/v1/freezer/p1": [301]})

    assert _killed(machine, _place(_CPU, "p1"), _place(_FREEZER, "p1")) == [300, 301]
    writes = [call for call in machine.calls if call.startswith("write")]
    assert writes == ["write /v1/freezer/p1/freezer.state FROZEN", "write /v1/freezer/p1/freezer.state THAWED"]


def test_what_is_frozen_from_above_is_moved_out_once_the_signal_waits() -> None:
    """On v1 no signal reaches the frozen, so those who are killed are let out, to above the highest frozen group."""
    files = {"/v1/freezer/a/freezer.self_freezing": b"1\n", "/v1/freezer/a/b/freezer.self_freezing": b"0\n"}
    machine = _Machine({"/v1/freezer/a/b/c": [300]}, files=files)

    assert _killed(machine, _place(_FREEZER, "a", "b", "c")) == [300]
    assert [call for call in machine.calls if "procs" in call] == ["write /v1/freezer/cgroup.procs 300"]


def test_never_the_whole_machine() -> None:
    """The root of every hierarchy is not killed."""
    machine = _Machine({"/v2": [1, _ME], "/v1/cpu,cpuacct": [1, _ME]})
    with pytest.raises(SpecError, match=r"kill group 'p1': it is the root of every hierarchy \(unified, cpu,cpuacct\)"):
        _killed(machine, _place(_UNIFIED), _place(_CPU))

    assert machine.killed == []
