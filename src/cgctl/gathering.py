"""A group's files, read together: which they are is worked out once for all groups in the same hierarchies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from errno import EBADMSG, ENOSYS, EOPNOTSUPP, EPERM
from typing import Any, Final

import attrs

from cgctl.bpf import is_attached
from cgctl.controllers import Controller, Row, Side
from cgctl.filesystem import Filesystem, read_each
from cgctl.layout import Layout
from cgctl.plan import GONE, Place
from cgctl.remembering import remembered

__all__ = [
    "Places",
    "Reading",
    "Table",
    "absent",
    "gather",
    "narrowed",
    "require",
    "settings_table",
    "statistics_table",
]

Places = Mapping[str, Place]
"""Hierarchy label → the group's place in it, for hierarchies in which it is."""
File = tuple[str, bool, str]
"""Hierarchy label, whether it is the file of the hierarchy's root, and its name there."""

_ABSENT: Final = GONE | {EOPNOTSUPP}
_HIDDEN: Final = _ABSENT | {EPERM, ENOSYS, EBADMSG}


@attrs.frozen(eq=False)
class Reading:
    """One attribute, and where it is read.

    Attributes:
        attribute: its name.
        file: where it is.
        side: what that means.
        also: other files that this takes: the row's name for it, and the file.
        decode: what makes a value of the text; ``None`` where it takes more than the text.
    """

    attribute: str
    file: File
    side: Side
    also: tuple[tuple[str, File], ...]
    decode: Callable[[str, Mapping[str, str]], Any] | None


@attrs.frozen(eq=False)
class Table:
    """What is read of a group.

    Attributes:
        controllers: what is read of each.
        files: the names of all files by directory: hierarchy label, whether it is the hierarchy's root, names.
    """

    controllers: tuple[tuple[Controller, tuple[Reading, ...]], ...]
    files: tuple[tuple[str, bool, tuple[str, ...]], ...]


@remembered
def statistics_table(layout: Layout, labels: tuple[str, ...], names: tuple[str, ...]) -> Table:
    """Return what the statistics of these controllers are read from, of a group that is in these hierarchies."""
    found = []
    for name in names:
        controller = layout.controller(name)
        sides = [(row, _side_in(row, layout, labels)) for row in controller.readings]
        found.append((controller, [_reading(layout, row, *side) for row, side in sides if side]))
    return _table(found)


def narrowed(table: Table, wanted: Mapping[str, Collection[str]]) -> Table:
    """Return as much of a table as it takes for some attributes of each controller."""
    return _table(
        [
            (controller, [reading for reading in readings if reading.attribute in wanted[controller.name]])
            for controller, readings in table.controllers
        ]
    )


@remembered
def settings_table(layout: Layout, labels: tuple[str, ...], names: tuple[str, ...]) -> Table:
    """Return what the settings of these controllers are read from, of a group that is in these hierarchies."""
    found = []
    for name in names:
        controller = layout.controller(name)
        sides = [(row, layout.select(row)) for row in controller.settings]
        here = [(row, home.label, side) for row, selected in sides if selected for home, side in [selected]]
        found.append((controller, [_reading(layout, *each) for each in here if each[1] in labels]))
    return _table(found)


def _side_in(row: Row, layout: Layout, labels: tuple[str, ...]) -> tuple[str, Side] | None:
    for version in (row.prefer, 3 - row.prefer):
        side = row.side(version)
        home = layout.locate(side.controller) if side else None
        if side and home and home.label in labels and home.version == version:
            return home.label, side
    return None


def _reading(layout: Layout, row: Row, label: str, side: Side) -> Reading:
    home = layout.hierarchy(label)
    assert home is not None, "a label is one of the layout's"  # noqa: S101

    def file(name: str) -> File:
        return label, side.root, home.file("", name)[1:]

    also = tuple((name, file(name)) for name in side.also)
    return Reading(row.attribute, file(side.file), side, also, None if also or side.sum else side.codec.decode)


def _table(found: list[tuple[Controller, list[Reading]]]) -> Table:
    by_directory: dict[tuple[str, bool], dict[str, None]] = {}
    for _, readings in found:
        for reading in readings:
            for label, root, name in (reading.file, *(file for _, file in reading.also)):
                by_directory.setdefault((label, root), {})[name] = None
    return Table(
        tuple((controller, tuple(readings)) for controller, readings in found),
        tuple((label, root, tuple(names)) for (label, root), names in by_directory.items()),
    )


def gather(filesystem: Filesystem, places: Places, table: Table) -> dict[File, bytes | int]:
    """Read all files of a table; return the content, or the errno, of each."""
    found: dict[File, bytes | int] = {}
    for label, root, names in table.files:
        place = places[label]
        directory = place.hierarchy.mount_point if root else place.directory
        for name, answer in zip(names, read_each(filesystem, directory, names), strict=True):
            found[label, root, name] = answer
    return found


def absent(path: str, number: int) -> bool:
    """Tell whether a refusal to be read says that there is no such file here.

    A file that this kernel has not, or has switched off (EOPNOTSUPP: no pressure accounting); who may not look at
    attached programs is told nothing of them.
    """
    return number in (_HIDDEN if is_attached(path) else _ABSENT)


def require(filesystem: Filesystem, places: Places) -> None:
    """Look whether a group is still there, in any hierarchy.

    Raises:
        OSError: it is not.
    """
    refused = None
    for place in places.values():
        try:
            filesystem.read(place.marker())
        except OSError as error:
            refused = error
        else:
            return
    if refused is not None:
        raise refused
