"""New groups of a machine are alike, but for their names: what was worked out for one holds for the next.

Of a group that is nowhere yet, the plan is a function of the specs and of what was read of the groups above. So it is
worked out for a stand-in, remembered, and brought to the place where it is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import ENOENT
from functools import partial
from typing import Any, Final

import attrs

from cgctl.errors import CgctlError
from cgctl.layout import Layout
from cgctl.plan import Place, Plan, Request, Snapshot, Step, needs, plan
from cgctl.plan.settings import where_accounted
from cgctl.remembering import remembered

__all__ = ["for_new"]

_STAND_IN: Final = "new"
_PATHS: Final = ("path", "instead", "undo_path")

Where = tuple[tuple[str, str, tuple[str, ...]], ...]
"""Of each place: the hierarchy's label, the base, and the name without its last component."""
Specs = tuple[tuple[str, Any, frozenset[str]], ...]
"""Of each controller: its name, the spec, and which settings may be dropped."""
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
    for place in places:
        if not place.parts or not snapshot.missing(place.marker()):
            return None
    where = tuple([(place.hierarchy.label, place.base, place.parts[:-1]) for place in places])
    # Specs that differ in what may be dropped alone are equal.
    specs = tuple([(name, spec, where_accounted(spec)) for name, spec in request.specs.items()])
    directories = tuple([place.directory for place in places])
    own = tuple([f"{directory}/" for directory in directories])
    facts = []
    for path, value in snapshot.values.items():
        # Who is in the groups above is true this once, and a kernel's symbols are too many to compare.
        if path.startswith("/proc/"):
            return None
        if not path.startswith(own):
            facts.append((path, value))
    try:
        answer = _worked_out(request.layout, where, specs, request.caller, frozenset(facts), evacuate=request.evacuate)
    except CgctlError:  # to be raised again with the group's own name
        return None
    return answer.at(directories) if isinstance(answer, _Recipe) else answer


@remembered
def _worked_out(
    layout: Layout,
    where: Where,
    specs: Specs,
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
    for index, place in enumerate(places):
        below = f"{place.directory}/"
        own = tuple(
            (name, getattr(step, name).removeprefix(place.directory))
            for name in _PATHS
            if f"{getattr(step, name, '')}/".startswith(below)
        )
        if own:
            return partial(_copied, step, index, own)
    return lambda _directories: step


def _copied(step: Step, index: int, own: tuple[tuple[str, str], ...], directories: tuple[str, ...]) -> Step:
    """Return a step for another group; making one anew, of a dozen attributes, would take several times as long."""
    copy = object.__new__(type(step))
    values = copy.__dict__
    values.update(step.__dict__)
    for name, path in own:
        values[name] = directories[index] + path
    return copy
