"""New groups of a machine are alike, but for their names: what was worked out for one holds for the next.

Of a group that is nowhere yet, the plan is a function of the specs and of what was read of the groups above. So it is
worked out for a stand-in, remembered, and brought to the place where it is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import ENOENT
from typing import Any, Final

import attrs

from cgctl.errors import CgctlError
from cgctl.layout import Layout
from cgctl.plan import Place, Plan, Request, Snapshot, Step, needs, plan
from cgctl.plan.remembering import remembered
from cgctl.plan.settings import where_accounted

__all__ = ["for_new"]

_STAND_IN: Final = "new"
_PATHS: Final = ("path", "instead", "undo_path")

Where = tuple[tuple[str, str, tuple[str, ...]], ...]
"""Of each place: the hierarchy's label, the base, and the name without its last component."""
Facts = frozenset[tuple[str, bytes | int]]


@attrs.frozen
class _Recipe:
    """Steps for a stand-in.

    Attributes:
        steps: what makes each of them, given the group's directories.
    """

    steps: tuple[Callable[[tuple[str, ...]], Step], ...]

    def at(self, directories: tuple[str, ...]) -> Plan:
        """Return the plan for a group that has these directories."""
        return Plan(tuple([make(directories) for make in self.steps]))


def for_new(request: Request, snapshot: Snapshot) -> frozenset[str] | Plan | None:
    """Return what is still to be read, or the plan; ``None`` if the group is not new, or cannot be had."""
    places = request.places
    if not all(place.parts and snapshot.missing(place.marker()) for place in places):
        return None
    # Who is in the groups above is true this once, and a kernel's symbols are too many to compare.
    if any(path.startswith("/proc/") for path in snapshot.values):
        return None
    directories = tuple(place.directory for place in places)
    own = tuple(f"{directory}/" for directory in directories)
    facts = frozenset((path, value) for path, value in snapshot.values.items() if not path.startswith(own))
    where = tuple((place.hierarchy.label, place.base, place.parts[:-1]) for place in places)
    try:
        answer = _worked_out(
            request.layout,
            where,
            # Specs that differ in what may be dropped alone are equal.
            tuple((name, spec, where_accounted(spec)) for name, spec in request.specs.items()),
            request.caller,
            facts,
            evacuate=request.evacuate,
        )
    except CgctlError:  # to be raised again with the group's own name
        return None
    return answer.at(directories) if isinstance(answer, _Recipe) else answer


@remembered
def _worked_out(
    layout: Layout,
    where: Where,
    specs: tuple[tuple[str, Any, frozenset[str]], ...],
    caller: int,
    facts: Facts,
    *,
    evacuate: bool,
) -> frozenset[str] | _Recipe:
    places = tuple(
        Place(hierarchy=home, base=base, parts=(*above, _STAND_IN))
        for label, base, above in where
        if (home := layout.hierarchy(label))
    )
    request = Request(
        layout=layout, places=places, specs={name: spec for name, spec, _ in specs}, caller=caller, evacuate=evacuate
    )
    own = tuple(f"{place.directory}/" for place in places)
    snapshot = Snapshot({**dict(facts), **{place.marker(): ENOENT for place in places}})
    while paths := needs(request, snapshot):
        if others := frozenset(path for path in paths if not path.startswith(own)):
            return others
        snapshot = snapshot.merged(dict.fromkeys(paths, ENOENT))
    return _Recipe(tuple(_maker(step, places) for step in plan(request, snapshot)))


def _maker(step: Any, places: tuple[Place, ...]) -> Callable[[tuple[str, ...]], Step]:
    """Return what makes a step for a group that has other directories."""
    kind, values = type(step), {each.name: getattr(step, each.name) for each in attrs.fields(type(step))}
    for index, place in enumerate(places):
        below = f"{place.directory}/"
        own = {
            name: values.pop(name).removeprefix(place.directory)
            for name in _PATHS
            if f"{values.get(name, '')}/".startswith(below)
        }
        if own:
            return lambda directories: kind(**{name: directories[index] + path for name, path in own.items()}, **values)
    return lambda _directories: step
