"""From files to limits and statistics, over all hierarchies that a group lives in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from errno import ENODEV
from typing import Any, Final

import attrs

from cgctl.controllers import CONTROLLERS, PRESENCE, Controller, Limits, Side, Stats
from cgctl.errors import SpecError
from cgctl.filesystem import Filesystem, is_there
from cgctl.gathering import File, Places, Reading, Table, absent, gather, require, settings_table, statistics_table
from cgctl.layout import UNIFIED, Layout
from cgctl.names import parse_file
from cgctl.plan import Place
from cgctl.remembering import remembered, shared

__all__ = ["controllers_in", "decoded", "find_file", "read_limits", "read_stats"]

_NONE: Final[Mapping[str, str]] = {}


def controllers_in(filesystem: Filesystem, layout: Layout, places: Places) -> tuple[str, ...]:
    """Return the names of the controllers that a group has, in the order of the table."""
    unified = places.get(UNIFIED)
    enabled = b"" if unified is None else filesystem.read(unified.file("cgroup.controllers"))
    return _controllers(layout, tuple(places), enabled)


@remembered
def _controllers(layout: Layout, labels: tuple[str, ...], enabled: bytes) -> tuple[str, ...]:
    """Return the controllers of a group that is in these hierarchies, given what v2 has enabled for it."""
    found: set[str] = set(enabled.decode().split())
    for hierarchy in layout.hierarchies:
        if hierarchy.label not in labels:
            continue
        if hierarchy.label == UNIFIED:
            everywhere = tuple(name for name, presence in PRESENCE.items() if presence.everywhere)
            # One that v1 has as well may be there, where the group need not be.
            table = settings_table(layout, labels, everywhere)
            found.update(controller.name for controller, readings in table.controllers if readings)
            found.update(hierarchy.implicit)
        else:
            here = {*hierarchy.controllers}
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
    table = settings_table(layout, tuple(places), controllers_in(filesystem, layout, places))
    answers = gather(filesystem, places, table)
    held = answers.values()
    if ENODEV in held or not any(isinstance(answer, bytes) for answer in held):
        require(filesystem, places)
    texts = {
        file: answer.decode("utf-8", "surrogateescape") for file, answer in answers.items() if isinstance(answer, bytes)
    }
    return Limits(
        **{
            controller.name: _held(controller, readings, tuple([texts.get(reading.file) for reading in readings]))
            for controller, readings in table.controllers
        }
    )


@shared
def _held(controller: Controller, readings: tuple[Reading, ...], texts: tuple[str | None, ...]) -> Any:
    """Return the spec that a controller's files hold; ``None`` for settings that this kernel or version has not.

    Most groups hold the same of most controllers, so it is not worked out for each.
    """
    here = [(reading, text) for reading, text in zip(readings, texts, strict=True) if text is not None]
    by_name = {reading.side.file: text for reading, text in here}
    return controller.join({reading.attribute: reading.side.codec.decode(text, by_name) for reading, text in here})


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
    table = statistics_table(layout, tuple(places), wanted or tuple(CONTROLLERS))
    return decoded(filesystem, places, table, gather(filesystem, places, table))


def decoded(filesystem: Filesystem, places: Places, table: Table, answers: dict[File, bytes | int]) -> Stats:
    """Return what was told, by the files of a table and what each has answered."""
    reader = _Reader(filesystem, places, answers)
    told = {controller.name: reader.read(controller, readings) for controller, readings in table.controllers}
    if not any(told.values()):
        # Nothing at all: either the group has none of these controllers, or it has gone.
        require(filesystem, places)
    return Stats(**told)


class _Reader:
    """Makes statistics of what was read; what depends on that it reads itself."""

    def __init__(self, filesystem: Filesystem, places: Places, answers: dict[File, bytes | int]) -> None:
        self._filesystem = filesystem
        self._places = places
        self._texts = {file: self._told(file, answer) for file, answer in answers.items()}
        self._names: dict[str, str | None] = {}

    def read(self, controller: Controller, readings: tuple[Reading, ...]) -> Any:
        """Return the statistics of a controller; ``None`` if the group has none of it."""
        told: dict[str, Any] = {}
        texts = self._texts
        for reading in readings:
            text = texts[reading.file]
            if text is not None:
                value = self._value(reading, text) if reading.decode is None else reading.decode(text, _NONE)
                if value is not None:
                    told[reading.attribute] = value
        # Every v2 group tells of pressure; that alone does not make it one with this controller.
        if not told.keys() - {"pressure"}:
            return None
        stats = controller.join_stats(told)
        return controller.named(stats, self._name) if controller.named else stats

    def _name(self, number: str) -> str | None:
        """Return the name of a block device in ``/dev``."""
        if number not in self._names:
            lines = (self._text(f"/sys/dev/block/{number}/uevent") or "").splitlines()
            names = (line.partition("=")[2] for line in lines if line.startswith("DEVNAME="))
            self._names[number] = next(names, None)
        return self._names[number]

    def _value(self, reading: Reading, text: str) -> Any:
        side, texts = reading.side, {reading.side.file: text}
        texts |= {name: more for name, file in reading.also if (more := self._texts[file]) is not None}
        value = side.codec.decode(text, texts)
        if not side.sum or value is None:
            return value
        place = self._places[reading.file[0]]
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

    def _told(self, file: File, answer: bytes | int) -> str | None:
        """Return the text of a file that was to be read; ``None`` if there is none."""
        if isinstance(answer, bytes):
            return answer.decode()
        label, root, name = file
        place = self._places[label]
        path = f"{place.hierarchy.mount_point if root else place.directory}/{name}"
        if absent(path, answer):
            self._look(answer)
            return None
        return self._text(path)  # which says what is wrong

    def _text(self, path: str) -> str | None:
        try:
            return self._filesystem.read(path).decode()
        except OSError as error:
            if not absent(path, error.errno or 0):
                raise
            self._look(error.errno)
            return None

    def _look(self, refused: int | None) -> None:
        if refused == ENODEV:  # it was removed between the opening and the reading
            require(self._filesystem, self._places)

    def _below(self, directory: str) -> Iterable[str]:
        try:
            # To count costs less than to list, and mostly there are none.
            names = self._filesystem.listdir(directory) if self._filesystem.count(directory) else []
        except OSError:
            return
        for name in names:
            yield f"{directory}/{name}"
            yield from self._below(f"{directory}/{name}")


def _plus(a: int | None, b: int | None) -> int | None:
    return a if b is None else b if a is None else a + b
