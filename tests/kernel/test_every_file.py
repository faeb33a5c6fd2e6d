"""Every interface file that this kernel has is a row, is used by a verb, or is left out for a reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import cgctl
from cgctl.controllers import CONTROLLERS
from cgctl.controllers._left_out import reason_without_row
from tests.kernel import lacks
from tests.kernel.conftest import Make

pytestmark = pytest.mark.host


def _rows() -> set[str]:
    """Return the files that rows are read from or written to, on this machine."""
    layout = cgctl.System.detect().layout
    return {
        name
        for controller in map(layout.controller, CONTROLLERS)
        for row in (*controller.settings, *controller.readings)
        for side in (row.v1, row.v2)
        if side
        for name in (side.file, *side.also)
    }


def _files(directory: str) -> set[str]:
    return {entry.name for entry in os.scandir(directory) if entry.is_file()}


def test_every_file_has_its_place() -> None:
    """No file of a new group with all controllers, nor of a hierarchy's root, is one that nobody thought of."""
    roots = {file for directory in lacks.hierarchies().values() for file in _files(directory)}
    there = lacks.files(1) | lacks.files(2) | roots
    unknown = sorted(file for file in there - _rows() if reason_without_row(file) is None)

    assert "cgroup.procs" in there
    assert unknown == [], "give these a row, or a line with the reason in controllers/_left_out.py"


def test_every_file_can_be_read(make: Make) -> None:
    """``group.read`` reaches each readable file of a group by its name alone, in whichever hierarchy it is."""
    specs = {name: controller.spec() for name, controller in CONTROLLERS.items() if lacks.version_of(name)}
    group = make(**specs)
    files = {
        entry.name
        for path in group.paths().values()
        for entry in os.scandir(path)
        if entry.is_file() and os.access(entry.path, os.R_OK) and entry.stat().st_mode & 0o444
    }

    assert "cgroup.procs" in files
    for file in sorted(files):
        expected = [_text(Path(path, file)) for path in group.paths().values() if Path(path, file).exists()]
        assert _read(group, file) in expected, file


def _text(path: Path) -> str | int:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        return error.errno or 0


def _read(group: cgctl.Group, file: str) -> str | int:
    try:
        return group.read(file)
    except cgctl.StepError as error:
        return error.errno or 0


def test_files_that_no_row_has_can_be_written(make: Make) -> None:
    """So does ``group.write``: a setting that cgctl has no word for is set all the same."""
    if "cpu.weight.nice" in lacks.files(2):
        group, file, text = make(cpu=cgctl.Cpu()), "cpu.weight.nice", "5"
    elif "cpuset.memory_migrate" in lacks.files(1):
        group, file, text = make(cpuset=cgctl.Cpuset()), "cpuset.memory_migrate", "1"
    else:
        group, file, text = make(), "cgroup.max.depth", "3"
        lacks.require("v2")
    group.write(file, text)

    assert group.read(file) == f"{text}\n"


@pytest.mark.parametrize(
    "file",
    [
        *("", "memory", "memory.", ".max", "memory.max/", "/memory.max", "../memory.max", "memory./../x", "memory..x"),
        *(
            "memory.max\n",
            "memory.max\0",
            "memory max",
            "sub/memory.max",
            "nosuch.max",
            "x" * 300,
            "memory." + "x" * 300,
        ),
        *(None, 1, b"memory.max"),
    ],
)
def test_paths_are_refused(file: str) -> None:
    """What is no interface file's name is nonsense, whether the group is there or not."""
    group = cgctl.Group("cgctl-nobody")
    for verb in (lambda: group.read(file), lambda: group.write(file, "1")):
        with pytest.raises(cgctl.SpecError, match="interface file"):
            verb()


def test_files_that_are_not_there(make: Make) -> None:
    """A name that could be a file's is looked for, and is not there."""
    with pytest.raises(cgctl.StepError, match=r"memory\.nosuch.*ENOENT"):
        make().read("memory.nosuch")
