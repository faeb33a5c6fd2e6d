"""From files to limits and statistics, over all hierarchies that a group lives in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from errno import EBADMSG, ENODEV, ENOSYS, EOPNOTSUPP, EPERM
from typing import Any, Final

import attrs

from cgctl.bpf import is_attached
from cgctl.controllers import CONTROLLERS, PRESENCE, Controller, Limits, Row, Side, Stats
from cgctl.errors import SpecError
from cgctl.filesystem import Filesystem, is_there, read_all
from cgctl.layout import UNIFIED, Layout
from cgctl.names import parse_file
from cgctl.plan import GONE, Place, Snapshot
from cgctl.plan.remembering import remembered
from cgctl.plan.settings import files, held_spec

__all__ = ["controllers_in", "find_file", "read_limits", "read_stats"]

_ABSENT: Final = GONE | {EOPNOTSUPP}
_HIDDEN: Final = _ABSENT | {EPERM, ENOSYS, EBADMSG}

Places = Mapping[str, Place]
"""Hierarchy label → the group's place in it, for hierarchies in which it is."""


def controllers_in(filesystem: Filesystem, layout: Layout, places: Places) -> tuple[str, ...]:
    """Return the names of the controllers that a group has, in the order of the table."""
    found: set[str] = set()
    for label, place in places.items():
        if label == UNIFIED:
            everywhere = (CONTROLLERS[name] for name, presence in PRESENCE.items() if presence.everywhere)
            # One that v1 has as well may be there, where the group need not be.
            found.update(
                controller.name for controller in everywhere if _present(controller, layout, tuple(places)).settings
            )
            found.update(filesystem.read(place.file("cgroup.controllers")).decode().split())
            found.update(place.hierarchy.implicit)
        else:
            here = {*place.hierarchy.controllers}
            found.update(name for name, presence in PRESENCE.items() if here.intersection(presence.v1))
    return tuple(name for name in CONTROLLERS if name in found)


def find_file(filesystem: Filesystem, layout: Layout, places: Places, name: str) -> str:
    """Return the path of an interface file of a group: in its controller's hierarchy, in v2's, or wherever it is.

    Raises:
        SpecError: it is no interface file's name.
    """
    home = layout.locate(parse_file(name))
    labels = [*([home.label] if home else []), UNIFIED, *places]
    paths = [places[label].file(name) for label in dict.fromkeys(labels) if label in places]
    # A controller that is in v1 has files in v2 all the same: cpu.stat, memory.pressure.
    return next((path for path in paths if is_there(filesystem, path)), paths[0])


def read_limits(filesystem: Filesystem, layout: Layout, places: Places) -> Limits:
    """Return what the kernel holds of each controller that the group has."""
    specs = {}
    answers: set[bytes | int] = set()
    for name in controllers_in(filesystem, layout, places):
        controller = _present(layout.controller(name), layout, tuple(places))
        snapshot = Snapshot(read_all(filesystem, files(controller.settings, layout, lambda home: places[home.label])))
        specs[name] = held_spec(controller, layout, snapshot, lambda home: places[home.label])
        answers.update(snapshot.values.values())
    if ENODEV in answers or not any(isinstance(answer, bytes) for answer in answers):
        _require(filesystem, places)
    return Limits(**specs)


def _require(filesystem: Filesystem, places: Places) -> None:
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


@remembered
def _present(controller: Controller, layout: Layout, labels: tuple[str, ...]) -> Controller:
    """Return a controller with the rows of the settings whose files are in a hierarchy in which the group is."""
    rows = (row for row in controller.settings if (found := layout.select(row)) and found[0].label in labels)
    return attrs.evolve(controller, settings=tuple(rows))


def read_stats(filesystem: Filesystem, layout: Layout, places: Places, names: Iterable[str]) -> Stats:
    """Return what the kernel tells of these controllers, or of all when none is named.

    Raises:
        SpecError: a name is no controller's.
    """
    wanted = tuple(names)
    for name in wanted:
        if name not in CONTROLLERS:
            msg = f"stats({name!r}): there is no such controller; cgctl has {', '.join(CONTROLLERS)}"
            raise SpecError(msg)
    reader = _Reader(filesystem, layout, places, tuple(places))
    told = {name: reader.read(layout.controller(name)) for name in wanted or CONTROLLERS}
    if not any(told.values()):
        # Nothing at all: either the group has none of these controllers, or it has gone.
        _require(filesystem, places)
    return Stats(**told)


@remembered
def _readings(controller: Controller, layout: Layout, labels: tuple[str, ...]) -> tuple[tuple[str, str, Side], ...]:
    """Return what is read of a group that is in these hierarchies: attribute, the hierarchy's label, and the file."""
    return tuple(
        (row.attribute, *found) for row in controller.readings if (found := _side_in(row, layout, labels)) is not None
    )


def _side_in(row: Row, layout: Layout, labels: tuple[str, ...]) -> tuple[str, Side] | None:
    for version in (row.prefer, 3 - row.prefer):
        side = row.side(version)
        home = layout.locate(side.controller) if side else None
        if side and home and home.label in labels and home.version == version:
            return home.label, side
    return None


@attrs.frozen
class _Reader:
    filesystem: Filesystem
    layout: Layout
    places: Places
    labels: tuple[str, ...]
    texts: dict[str, str | None] = attrs.field(factory=dict)

    def read(self, controller: Controller) -> Any:
        told: dict[str, Any] = {}
        for attribute, label, side in _readings(controller, self.layout, self.labels):
            place = self.places[label]
            text = self._text(place.file(side.file, place.hierarchy.mount_point if side.root else None))
            if text is not None:
                value = self._value(place, side, text) if side.also or side.sum else side.codec.decode(text, {})
                if value is not None:
                    told[attribute] = value
        # Every v2 group tells of pressure; that alone does not make it one with this controller.
        if not told.keys() - {"pressure"}:
            return None
        stats = controller.join_stats(told)
        return controller.named(stats, self._name) if controller.named else stats

    def _name(self, number: str) -> str | None:
        """Return the name of a block device in ``/dev``."""
        text = self._text(f"/sys/dev/block/{number}/uevent") or ""
        return next((line.partition("=")[2] for line in text.splitlines() if line.startswith("DEVNAME=")), None)

    def _value(self, place: Place, side: Side, text: str) -> Any:
        value = self._one(place, place.directory, side, text)
        if not side.sum or value is None:
            return value
        for directory in self._below(place.directory):
            below = self._text(place.file(side.file, directory))
            if below is not None:
                more = self._one(place, directory, side, below)
                value = attrs.evolve(value, oom_kill=_plus(value.oom_kill, more.oom_kill))
        return value

    def _one(self, place: Place, directory: str, side: Side, text: str) -> Any:
        texts = {side.file: text}
        for name in side.also:
            more = self._text(place.file(name, directory))
            if more is not None:
                texts[name] = more
        return side.codec.decode(text, texts)

    def _text(self, path: str) -> str | None:
        try:
            return self.texts[path]
        except KeyError:
            pass
        try:
            text = self.filesystem.read(path).decode()
        except OSError as error:
            # A file that this kernel has not, or has switched off (EOPNOTSUPP: no pressure accounting); who may not
            # look at attached programs is told nothing of them.
            if error.errno not in (_HIDDEN if is_attached(path) else _ABSENT):
                raise
            if error.errno == ENODEV:  # it was removed between the opening and the reading
                _require(self.filesystem, self.places)
            text = None
        self.texts[path] = text
        return text

    def _below(self, directory: str) -> Iterable[str]:
        try:
            names = self.filesystem.listdir(directory)
        except OSError:
            return
        for name in names:
            yield f"{directory}/{name}"
            yield from self._below(f"{directory}/{name}")


def _plus(a: int | None, b: int | None) -> int | None:
    return a if b is None else b if a is None else a + b
