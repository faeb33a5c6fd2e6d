"""Every row of the statistics, on this kernel: its file is there, and its numbers mean what they say."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

import cgctl
from cgctl.controllers import CONTROLLERS, Row
from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make, Start, ready
from tests.kernel.pace import eventually

pytestmark = pytest.mark.host

ROWS = [
    pytest.param(controller, row, id=f"{controller}.{row.attribute}")
    for controller, each in CONTROLLERS.items()
    for row in each.of(lacks.huge_pages()).readings
]


def _all_here() -> dict[str, Any]:
    here: dict[str, Any] = {name: each.spec() for name, each in CONTROLLERS.items() if lacks.version_of(name)}
    return here | ({"net": cgctl.Net(accounting=True)} if lacks.FEATURES["net"].probe() else {})


@pytest.mark.parametrize(("controller", "row"), ROWS)
def test_file_is_there(controller: str, row: Row, make: Make) -> None:
    """A row's file is there in a new group, and gives a value; or the table of lacks excuses it."""
    group = make(**_all_here())
    value = _told(getattr(group.stats(), controller, None), row.attribute)
    paths = group.paths()
    sides = [
        (side, directory)
        for version, side in ((2, row.v2), (1, row.v1))
        for label, directory in paths.items()
        if side and (label == "unified") == (version == 2) and _lives(side.controller, label, directory)
    ]
    for side, directory in sides[:1]:
        is_program, place = side.file.startswith("@"), _root(directory) if side.root else directory
        there = lacks.FEATURES["net"].probe() if is_program else Path(place, side.file).exists()
        assert there or is_program or lacks.is_excused(side.file), (
            f"{side.file} is neither there nor in the table of lacks"
        )
        assert value is not None or not there or lacks.is_excused_key(row.attribute)
    assert value is None or sides


def _told(stats: Any, attribute: str) -> Any:
    name, _, size = attribute.partition(".")
    return getattr(stats.pages.get(size) if size and stats else stats, name, None)


def _root(directory: str) -> str:
    """Return the root of the hierarchy that a directory is in."""
    return max((path for path in lacks.hierarchies().values() if directory.startswith(f"{path}/")), key=len)


def _lives(controller: str, label: str, directory: str) -> bool:
    if label != "unified":
        return controller in label.split(",")
    return (
        controller == "cgroup"
        or controller in Path(directory, "cgroup.controllers").read_text(encoding="utf-8").split()
    )


def test_memory_in_use_is_counted(make: Make) -> None:
    """Current, peak and anonymous memory count what a process touches."""
    lacks.require("memory")
    group = make(memory="256M")
    done = group.run(payloads.hog(50))
    with ready(group.popen(payloads.hog(30, 600), stdout=subprocess.PIPE)):
        # The kernel adds up memory.stat every two seconds, or when enough has changed.
        eventually(lambda: _anon(group) >= 30 << 20)
        memory = group.stats("memory").memory

    assert memory is not None
    assert memory.current is not None
    assert memory.stat is not None
    assert memory.current >= 30 << 20
    assert (memory.stat.anon or 0) >= 30 << 20
    assert done.stats.memory is not None
    assert done.stats.memory.peak is None or done.stats.memory.peak >= 50 << 20


def _anon(group: cgctl.Group) -> int:
    memory = group.stats("memory").memory
    return (memory.stat.anon or 0) if memory and memory.stat else 0


def test_tasks_are_counted(make: Make, start: Start) -> None:
    """``pids.current`` counts what is in the group and below."""
    lacks.require("pids")
    group = make(pids=100)
    child = make(name="child", parent=group, pids=50)
    child.add(start(payloads.SLEEPER))
    child.add(start(payloads.SLEEPER))
    pids = group.stats("pids").pids

    assert pids is not None
    assert pids.current == 2
    assert pids.peak in (2, None)


def test_processor_time_is_counted(make: Make) -> None:
    """Usage is what the program itself saw, within a tenth."""
    lacks.require("cpu")
    group = make(cpu=cgctl.Cpu())
    done = group.run(payloads.spinner(0.5), capture_output=True, text=True)
    used = float(done.stdout.split()[1])

    assert done.stats.cpu is not None
    assert done.stats.cpu.usage_usec is not None
    assert used * 0.9e6 <= done.stats.cpu.usage_usec <= used * 2e6 + 2e6


def test_throttling_is_counted(make: Make) -> None:
    """A group that is held back by its quota says so."""
    lacks.require("cpu")
    group = make(cpu=0.1)
    group.run(payloads.spinner(0.6), capture_output=True)
    cpu = group.stats("cpu").cpu

    assert cpu is not None
    assert (cpu.nr_throttled or 0) > 0
    assert (cpu.throttled_usec or 0) > 0


def test_only_what_is_asked_is_read(make: Make) -> None:
    """``stats("pids")`` reads pids alone; an unknown name is nonsense."""
    lacks.require("pids")
    group = make(pids=5)
    stats = group.stats("pids")

    assert stats.pids is not None
    assert (stats.memory, stats.cpu, stats.core) == (None, None, None)
    with pytest.raises(cgctl.SpecError, match="blkio"):
        group.stats("blkio")


def test_populated_and_frozen(make: Make, start: Start) -> None:
    """The core statistics tell whether somebody is in, and whether it is frozen."""
    lacks.require("v2")
    group = make()
    empty = group.stats("core").core
    group.add(start(payloads.SLEEPER))
    group.freeze()
    frozen = group.stats("core").core
    group.thaw()

    assert empty is not None
    assert frozen is not None
    assert (empty.populated, empty.frozen) == (0, 0)
    assert (frozen.populated, frozen.frozen) == (1, 1)
    assert eventually(lambda: (core := group.stats("core").core) is not None and core.frozen == 0)
