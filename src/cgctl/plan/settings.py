"""Between a controller's spec and the texts of its files, for one group on one layout."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import attrs

from cgctl.controllers import CONTROLLERS, CORE, SYMBOLS, Clash, Controller, Row, Side
from cgctl.errors import SpecError, UnsupportedError
from cgctl.layout import Hierarchy, Layout
from cgctl.plan.order import ordered
from cgctl.plan.place import Place
from cgctl.plan.snapshot import Snapshot
from cgctl.plan.steps import SETTLE, Write
from cgctl.remembering import remembered

__all__ = ["Find", "asked", "clashes", "files", "held_spec", "probes", "resolved", "where_accounted", "writes"]

Find = Callable[[Hierarchy], Place]
"""How to get from a hierarchy to the group's place in it."""
Target = tuple[Hierarchy, Side]
"""Where a row's file is."""


@remembered
def asked(controller: Controller, spec: Any) -> tuple[Row, ...]:
    """Return the rows of the settings that a spec names."""
    values = controller.split(spec)
    return tuple(row for row in controller.settings if values.get(row.attribute) is not None)


@remembered
def _clashing(controller: Controller, layout: Layout) -> tuple[tuple[str, Clash], ...]:
    """Return the settings that some kernels do not keep, because of what is mounted here."""
    return tuple(
        (row.attribute, selected[1].clash)
        for row in controller.settings
        if (selected := layout.select(row))
        and selected[1].clash
        and any(layout.locate(name) for name in selected[1].clash.controllers)
    )


def clashes(controller: Controller, spec: Any, layout: Layout) -> Iterator[tuple[str, Clash]]:
    """Yield those settings among them that a spec switches on."""
    if clashing := _clashing(controller, layout):
        values = controller.split(spec)
        yield from ((attribute, clash) for attribute, clash in clashing if values.get(attribute))


def resolved(controller: Controller, spec: Any, snapshot: Snapshot) -> Any:
    """Return a spec with numbers in place of the devices that it names by path.

    Raises:
        UnsupportedError: a path is no device, and lies on none.
    """
    return controller.resolved(spec, snapshot.values) if controller.resolved else spec


def files(rows: tuple[Row, ...], layout: Layout, find: Find) -> Iterator[str]:
    """Yield the paths of the files that rows are read from, and of those that move along with them."""
    for row in rows:
        selected = layout.select(row)
        if selected:
            home, side = selected
            for name in (side.file, *side.also):
                yield find(home).file(name)


@remembered
def optional(controller: Controller, layout: Layout) -> tuple[tuple[Hierarchy, str], ...]:
    """Return the v1 files of a controller that this kernel may lack: hierarchy and file."""
    return tuple(
        (home, side.file)
        for row in controller.settings
        if (selected := layout.select(row))
        for home, side in [selected]
        if home.version == 1 and side.optional
    )


def probes(controller: Controller, layout: Layout, find: Find) -> Iterator[tuple[Place, str]]:
    """Yield the paths that tell whether this kernel has the optional v1 files of a group still to be made, with places.

    v1's root has these files as every group has; on v2 it has not, so there only trying tells.
    """
    for home, file in optional(controller, layout):
        place = find(home)
        yield place, place.file(file, place.base)


def where_accounted(spec: Any) -> frozenset[str]:
    """Return the settings that a spec drops where the kernel has no file for them."""
    found: frozenset[str] = getattr(spec, "where_accounted", frozenset())
    return found


def held_spec(controller: Controller, layout: Layout, snapshot: Snapshot, find: Find) -> Any:
    """Return what the kernel holds; ``None`` for settings that this kernel or version has not."""
    return controller.join(_Held(controller, layout, snapshot, find).values)


def writes(controller: Controller, spec: Any, layout: Layout, snapshot: Snapshot, find: Find) -> Iterator[Write]:
    """Yield the writes that make a group hold a spec, in an order that the kernel takes; none if it does.

    Raises:
        UnsupportedError: a setting cannot be expressed here.
        SpecError: the settings contradict what the group holds.
    """
    spec = resolved(controller, spec, snapshot)
    targets = {row.attribute: _select(controller, layout, row) for row in asked(controller, spec)}
    _require_rows(controller, spec, layout, snapshot)
    if not targets:
        return
    droppable = where_accounted(spec)
    held = _Held(controller, layout, snapshot, find)
    values = held.values
    wanted = SimpleNamespace(**{row.attribute: values.get(row.attribute) for row in controller.settings})
    asked_for = controller.split(spec)
    for name in targets:
        setattr(wanted, name, _merged(values.get(name), asked_for[name]))
    _consistent(controller, wanted, targets)

    texts: dict[str, str] = {}
    sides: dict[str, tuple[str, Hierarchy, Side]] = {}
    for attribute, (home, side) in _touched(controller, layout, targets, wanted).items():
        if not held.has(side):
            if attribute in targets and attribute not in droppable and not held.has_instead(side):
                raise _absent(controller, find(home), side, attribute)
            continue
        text = side.codec.encode(getattr(wanted, attribute), wanted)
        if texts.get(side.file, text) != text:
            raise _conflict(controller, wanted, sides[side.file][0], attribute, side)
        sides[side.file] = attribute, home, side
        texts[side.file] = text
    pending = _pending(texts, sides, targets, held, layout.page_size)
    changed = {name: text for name, text in texts.items() if pending[name]}
    version = max(home.version for home, _ in targets.values())
    for name in ordered(controller.name, version, held.texts, changed):
        attribute, home, side = sides[name]
        for line in pending[name]:
            file, data = side.codec.route(name, line)
            yield Write(
                path=find(home).file(file),
                data=data.encode(),
                feature=f"{controller.name}.{attribute}",
                since=side.since,
                absent=side.absent,
                missing_ok=side.optional and attribute in droppable,
                retry=attrs.evolve(SETTLE, errno=side.passing) if side.passing else None,
                undo=_undo(attribute, values.get(attribute), wanted, sides.values()),
                expect=line.encode() if side.verified else None,
                instead=find(home).file(side.instead) if side.instead else "",
                because=_because(f"{controller.name}.{attribute}", getattr(wanted, attribute)),
            )


def _pending(
    texts: Mapping[str, str],
    sides: Mapping[str, tuple[str, Hierarchy, Side]],
    targets: Collection[str],
    held: _Held,
    page_size: int,
) -> dict[str, tuple[str, ...]]:
    """Return what is still to be written to each file."""
    values, pending = held.values, {}
    # A setting that is not in force (the weight of an idle group) is written, whatever its file reads.
    for name, text in texts.items():
        attribute, _, side = sides[name]
        known = held.text(side) if values.get(attribute) is not None else None
        pending[name] = side.codec.pending(known, text, page_size)
    others = {name for name, (_, _, side) in sides.items() if not side.verified and pending[name]}
    for name in sides.keys() - others:
        attribute, _, side = sides[name]
        if side.verified and attribute not in targets:  # it only has to hold as it did
            pending[name] = (texts[name],) if others and side.codec.stands(held.text(side) or "") else ()
    return pending


def _undo(attribute: str, before: Any, wanted: Any, sides: Iterable[tuple[str, Hierarchy, Side]]) -> bytes | None:
    """Return what takes a write back, where one of those that go with it may be taken and not hold."""
    found = {name: side for name, _, side in sides}
    if before is None or not any(side.verified for side in found.values()):
        return None
    return found[attribute].codec.encode(before, wanted).encode()


def _shown(value: Any) -> str:
    """Write a value for the reader of a plan."""
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _because(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} of {key} = {each}" for key, each in value.items())
    return f"{name} = {_shown(value)}"


def _merged(held: Any, asked: Any) -> Any:
    """Return what is wanted of a setting: of one for each device, those that are not named stay as they are."""
    return {**held, **asked} if isinstance(held, Mapping) and isinstance(asked, Mapping) else asked


@attrs.frozen(slots=False)
class _Held:
    """What a controller's files read in a group, or will read once it is made."""

    controller: Controller
    layout: Layout
    snapshot: Snapshot
    find: Find

    def text(self, side: Side) -> str | None:
        """Return a file's text; ``None`` if it is absent, or inherited from a parent and so not known yet."""
        if self._made(side):
            return self.snapshot.text(self._place(side).file(side.file))
        return side.default if self.has(side) else None

    def has(self, side: Side) -> bool:
        """Tell whether the kernel has the file, as far as is known before trying."""
        place = self._place(side)
        if self._made(side):
            return not self.snapshot.missing(place.file(side.file))
        # v2's root lacks what every other group has; v1's does not.
        return place.hierarchy.version != 1 or not self.snapshot.missing(place.file(side.file, place.base))

    def has_instead(self, side: Side) -> bool:
        """Tell whether the kernel has another file that does for this one."""
        return bool(side.instead) and self.has(attrs.evolve(side, file=side.instead))

    @cached_property
    def texts(self) -> dict[str, str]:
        """The texts of all files that are known, by file name."""
        known = {side.file: self.text(side) for _, side in self._sides()}
        return {name: text for name, text in known.items() if text is not None}

    @cached_property
    def values(self) -> dict[str, Any]:
        """The settings, by attribute."""
        texts = self.texts
        return {
            row.attribute: side.codec.decode(texts[side.file], texts)
            for row, side in self._sides()
            if side.file in texts
        }

    def _made(self, side: Side) -> bool:
        """Tell whether the group is there and has the controller already, and so its files."""
        place = self._place(side)
        if not place.there(self.snapshot):
            return False
        if place.hierarchy.version == 1 or side.controller == CORE or not place.parts:
            return True
        above = place.marker(place.chain[-2])
        return not self.snapshot.known(above) or side.controller in self.snapshot.words(above)

    def _sides(self) -> Iterator[tuple[Row, Side]]:
        for row in self.controller.settings:
            selected = self.layout.select(row)
            if selected:
                yield row, selected[1]

    def _place(self, side: Side) -> Place:
        home = self.layout.locate(side.controller)
        assert home is not None, "a side is only used where its controller is"  # noqa: S101
        return self.find(home)


def _touched(controller: Controller, layout: Layout, targets: Mapping[str, Target], wanted: Any) -> dict[str, Target]:
    """Return the settings whose files are to be looked at: those asked for, and those that move along."""
    touched = dict(targets)
    along = {name for _, side in touched.values() for name in side.also}
    taken = {side.file for _, side in touched.values()}
    for row in controller.settings:
        selected = layout.select(row)
        if selected and selected[1].file in along - taken and getattr(wanted, row.attribute) is not None:
            touched[row.attribute] = selected
            taken.add(selected[1].file)
    return touched


def _require_rows(controller: Controller, spec: Any, layout: Layout, snapshot: Snapshot) -> None:
    """Refuse what this kernel would take and not do, and sizes of huge pages that this machine does not have."""
    for name, clash in clashes(controller, spec, layout):
        if clash.spoils(snapshot.values.get(SYMBOLS)):
            raise UnsupportedError(f"{controller.name}.{name}", clash.reason, clash.since)
    rows = {row.attribute for row in controller.settings}
    for attribute, value in controller.split(spec).items():
        if value is not None and attribute not in rows:
            row = CONTROLLERS[controller.name].row(attribute)
            _select(controller, layout, attrs.evolve(row, attribute=attribute))
            reason = f"this machine has no huge pages of this size (it has: {' '.join(layout.huge_pages) or 'none'})"
            raise UnsupportedError(f"{controller.name}.{attribute}", reason)


def _select(controller: Controller, layout: Layout, row: Row) -> tuple[Hierarchy, Side]:
    selected = layout.select(row)
    if selected:
        return selected
    feature = f"{controller.name}.{row.attribute}"
    if row.reason and (controller.everywhere or any(layout.locate(name) for name in (controller.name, *controller.v1))):
        raise UnsupportedError(feature, row.reason)
    name = row.v1.controller if controller.everywhere and row.v1 else controller.name
    reason = (
        f"controller {name!r} is in no mounted hierarchy (mounted: {layout});"
        f" mount it, or {'a v2 hierarchy' if controller.everywhere else f'boot with cgroup_enable={controller.name}'}"
    )
    raise UnsupportedError(feature, reason)


def _absent(controller: Controller, place: Place, side: Side, attribute: str) -> UnsupportedError:
    feature = f"{controller.name}.{attribute}"
    if place.directory == place.hierarchy.mount_point:
        return UnsupportedError(feature, f"the root group has no {side.file}; make a group below it")
    if ".swap" in side.file or ".memsw" in side.file:
        return UnsupportedError(feature, f"this kernel does not account swap (no {side.file}); boot with swapaccount=1")
    return UnsupportedError(feature, side.absent or f"this kernel has no {side.file}", side.since)


def _conflict(controller: Controller, wanted: Any, one: str, other: str, side: Side) -> SpecError:
    values = " with ".join(f"{controller.name}.{name}={getattr(wanted, name)}" for name in (other, one))
    return SpecError(f"{values}: both are {side.file} here; set one of them")


def _consistent(controller: Controller, wanted: Any, targets: Mapping[str, Any]) -> None:
    """Refuse what the kernel would refuse of settings that are each right by themselves."""
    if controller.name != "cpu":
        return
    if "weight" in targets and wanted.idle:
        msg = f"cpu.weight={wanted.weight}: the group is idle (cpu.idle=1) and has no weight; set idle=False with it"
        raise SpecError(msg)
    from cgctl.controllers.cpu import check_burst  # noqa: PLC0415 - it is imported by who asks for it

    check_burst(wanted)
