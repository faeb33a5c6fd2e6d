"""Rows: one setting or statistic, with its file in v1 and its file in v2 side by side.

A row is the only place that knows an interface file's name. Writer, reader, fake, documentation and
tests are all driven by the same rows; a side that is ``None`` cannot be expressed there, and asking
for it raises :class:`cgctl.UnsupportedError` with the row's ``reason``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from cgctl.controllers._codec import Codec
from cgctl.controllers._presence import PRESENCE
from cgctl.controllers._values import Values
from cgctl.remembering import shared

__all__ = ["CORE", "SIZE", "SYMBOLS", "Clash", "Controller", "Read", "Row", "Side"]

_WORDS: Final = frozenset({int, float, str})

Read = Mapping[str, bytes | int]
"""What was read: path → content, or the errno."""

SIZE: Final = "SIZE"
"""In the attribute and the files of a row: there is one for each size of huge pages, which takes this place."""
_SIZE: Final = re.compile(r"[0-9]+[KMG]B")

CORE = "cgroup"
"""The name under which every v2 hierarchy has the core interface files, whatever its controllers."""

SYMBOLS = "/proc/kallsyms"
"""Where a kernel names its functions."""


@attrs.frozen(kw_only=True)
class Clash:
    """What some kernels do not do where a v1 controller is mounted.

    Attributes:
        controllers: those of v1.
        symbol: the function that tells such a kernel.
        reason: what happens, and what to do.
        since: the release in which it is mended.
    """

    controllers: tuple[str, ...]
    symbol: str
    reason: str
    since: str

    def spoils(self, symbols: bytes | int | None) -> bool:
        """Tell whether the kernel with these symbols is one of them."""
        return isinstance(symbols, bytes) and f" {self.symbol}\n".encode() in symbols


@attrs.frozen(kw_only=True, eq=False)
class Side:
    """One row in one version.

    Attributes:
        controller: the kernel's controller in whose hierarchy the file is (``cpuacct`` is one of its own on v1).
        file: the interface file; a name that begins with ``@`` is a program attached to the group (:mod:`cgctl.bpf`).
        codec: what its text means.
        default: what a new group's file reads.
        also: other files that the codec reads, and that change with this setting.
        instead: the group's file that may be there in this one's place, or beside it; the setting cannot be had only
            where neither is.
        absent: why the file may be absent, and what to do, if there is more to be said than that.
        optional: the kernel may be built or booted without this file (swap accounting).
        since: the release that first has the file.
        sum: the kernel counts where it happened only, so the subtree has to be summed up.
        root: the file is in the hierarchy's root alone, and tells of the machine.
        verified: the kernel may take a value and then say that it does not hold, so it is read back; also when what
            `also` leads here from changes, if it held before.
        passing: the errno of a refusal that may pass: a group below that was just removed counts for a moment longer.
        clash: what keeps it from working where a v1 controller is mounted beside it.
    """

    controller: str
    file: str
    codec: Codec
    default: str | None = None
    also: tuple[str, ...] = ()
    instead: str = ""
    absent: str = ""
    optional: bool = False
    since: str | None = None
    sum: bool = False
    root: bool = False
    verified: bool = False
    passing: int | None = None
    clash: Clash | None = None

    def of(self, size: str) -> Side:
        """Return the side of one size of huge pages."""
        also = tuple(name.replace(SIZE, size) for name in self.also)
        return attrs.evolve(self, file=self.file.replace(SIZE, size), also=also)


@attrs.frozen(kw_only=True, eq=False)
class Row:
    """One attribute of a spec or of the statistics.

    Attributes:
        attribute: its name in the spec or statistics class; ``a.b`` is an attribute of a part.
        v1: its file in a v1 hierarchy.
        v2: its file in a v2 hierarchy.
        prefer: which version is used where both have their side.
        values: what the setting takes, as its spec's attribute does; a statistic takes nothing.
        unit: of its numbers, or what it is; a setting's is that of its values.
        reason: why a missing side is missing.
        lossy: how the two sides differ in meaning, with the formula and its source; empty when exact.
    """

    attribute: str
    v1: Side | None
    v2: Side | None
    prefer: int = 2
    values: Values[Any] | None = None
    unit: str = attrs.field()
    reason: str = ""
    lossy: str = ""

    @unit.default
    def _unit(self) -> str:
        return self.values.unit if self.values else ""

    def side(self, version: int) -> Side | None:
        """Return the side of one version."""
        return self.v2 if version == 2 else self.v1  # noqa: PLR2004

    def matches(self, attribute: str) -> bool:
        """Tell whether the row is that of an attribute, for one of the sizes where it is for each of them."""
        before, size, after = self.attribute.partition(SIZE)
        if not size:
            return attribute == before
        fits = attribute.startswith(before) and attribute.endswith(after)
        return fits and _SIZE.fullmatch(attribute[len(before) : len(attribute) - len(after)]) is not None

    def of(self, size: str) -> Row:
        """Return the row of one size of huge pages."""
        v1, v2 = (side and side.of(size) for side in (self.v1, self.v2))
        return attrs.evolve(self, attribute=self.attribute.replace(SIZE, size), v1=v1, v2=v2)


@attrs.frozen(kw_only=True, eq=False)
class Controller:
    """One controller: what can be asked of it and what it tells.

    Attributes:
        name: its keyword, and its name in the kernel.
        spec: the class of what can be asked.
        stats: the class of what it tells.
        settings: one row for each attribute of *spec*, or for each part that :attr:`parts` makes of it.
        readings: one row for each attribute of *stats*, likewise.
        domain: whether a threaded v2 group cannot have it.
        flat: whether v1 keeps its limits in the group alone: those below it are not held by them.
        parts: spec → attribute of a row → value, where rows are not attributes of the spec.
        whole: the way back, from the values of the rows that are there, for settings.
        whole_stats: likewise, for statistics.
        looks: what is to be read before a spec can be expressed here, because it names devices by path: the paths,
            given what was read so far (path → content or errno). Asked again until all of them are known.
        resolved: the spec with numbers in place of paths, from what was read.
        named: the statistics with names beside the numbers of devices, given what tells the name of a block device.
    """

    name: str
    spec: type[Any]
    stats: type[Any]
    settings: tuple[Row, ...]
    readings: tuple[Row, ...]
    domain: bool = True
    flat: bool = False
    parts: Callable[[Any], Mapping[str, Any]] | None = None
    whole: Callable[[Mapping[str, Any]], Any] | None = None
    whole_stats: Callable[[Mapping[str, Any]], Any] | None = None
    looks: Callable[[Any, Read], Iterable[str]] | None = None
    resolved: Callable[[Any, Read], Any] | None = None
    named: Callable[[Any, Callable[[str], str | None]], Any] | None = None

    @property
    def v1(self) -> tuple[str, ...]:
        """The controllers of v1 that serve it, in the order of need."""
        return PRESENCE[self.name].v1

    @property
    def everywhere(self) -> bool:
        """Whether every v2 group has it, without a controller that is to be enabled."""
        return PRESENCE[self.name].everywhere

    def row(self, attribute: str) -> Row:
        """Return the settings row of an attribute."""
        return next(row for row in self.settings if row.matches(attribute))

    def of(self, sizes: tuple[str, ...]) -> Controller:
        """Return the controller with its rows for these sizes of huge pages."""
        if not any(SIZE in row.attribute for row in (*self.settings, *self.readings)):
            return self
        settings, readings = (
            tuple(
                each for row in rows for each in ([row.of(size) for size in sizes] if SIZE in row.attribute else [row])
            )
            for rows in (self.settings, self.readings)
        )
        return attrs.evolve(self, settings=settings, readings=readings)

    def parse(self, value: Any) -> Any:
        """Turn a keyword's value, spec or shorthand, into a spec."""
        if isinstance(value, self.spec):
            return value
        return _from_word(self.spec, type(value), value) if type(value) in _WORDS else self.spec.shorthand(value)

    def split(self, spec: Any) -> Mapping[str, Any]:
        """Return what a spec says of each row: attribute → value, ``None`` to leave it."""
        return (
            self.parts(spec) if self.parts else {row.attribute: getattr(spec, row.attribute) for row in self.settings}
        )

    def join(self, values: Mapping[str, Any]) -> Any:
        """Make a spec of what is held, by row."""
        return self.whole(values) if self.whole else self.spec(**values)

    def join_stats(self, values: Mapping[str, Any]) -> Any:
        """Make the statistics of what was read, by row."""
        return self.whole_stats(values) if self.whole_stats else self.stats(**values)


@shared
def _from_word(spec: type[Any], kind: type[Any], value: float | str) -> Any:
    """Make a spec of a shorthand: most groups of a program are given the same few."""
    del kind  # 1 and 1.0 are equal, and not the same
    return spec.shorthand(value)
