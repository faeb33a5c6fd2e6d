"""From what is wanted to an ordered list of steps: pure, and the only place that knows the order.

The planner reads nothing. It is asked what it :func:`needs`, the edge reads that into a
:class:`Snapshot`, and once nothing more is needed, :func:`plan` returns the steps::

    snapshot = Snapshot()
    while paths := needs(request, snapshot):
        snapshot = snapshot.merged(read(paths))
    steps = plan(request, snapshot)

Planning against a satisfied snapshot yields no step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from cgctl.controllers import PRESENCE, SYMBOLS
from cgctl.errors import UnsupportedError
from cgctl.layout import Hierarchy, Layout
from cgctl.plan import settings, tree
from cgctl.plan.place import Place
from cgctl.plan.snapshot import GONE, Snapshot
from cgctl.plan.steps import Chown, Mkdir, Plan, Retry, Rmdir, Signal, Step, Write
from cgctl.plan.tree import (
    enabled_for,
    require_available,
    steps_v1,
    steps_v2,
    wants_v1,
    wants_v2,
)

__all__ = [
    "GONE",
    "Chown",
    "Mkdir",
    "Place",
    "Plan",
    "Request",
    "Retry",
    "Rmdir",
    "Signal",
    "Snapshot",
    "Step",
    "Write",
    "lasting",
    "needs",
    "plan",
]


@attrs.frozen(kw_only=True)
class Request:
    """What is wanted of one group.

    Attributes:
        layout: the machine.
        places: where the group is to be, one a hierarchy.
        specs: controller → spec; the spec may name nothing and so only ask for the controller.
        caller: the pid whose descendants may be moved out of the way, on v2.
        evacuate: whether everybody may be.
    """

    layout: Layout
    places: tuple[Place, ...]
    specs: Mapping[str, Any]
    caller: int = 0
    evacuate: bool = False
    _by_label: Mapping[str, Place] = attrs.field(init=False, eq=False, repr=False)

    @_by_label.default
    def _labelled(self) -> Mapping[str, Place]:
        return {place.hierarchy.label: place for place in self.places}

    def find(self, hierarchy: Hierarchy) -> Place:
        """Return the group's place in a hierarchy.

        Raises:
            UnsupportedError: it has none there.
        """
        place = self._by_label.get(hierarchy.label)
        if place is None:
            reason = f"{hierarchy.mount_point} cannot be written here; mount it read-write, or run as its owner"
            raise UnsupportedError(f"a group in hierarchy {hierarchy.label!r}", reason)
        return place


def needs(request: Request, snapshot: Snapshot) -> frozenset[str]:
    """Return the paths to be read before :func:`plan` can answer; none when it can."""
    return frozenset(path for path in _wanted(request, snapshot) if not snapshot.known(path))


def lasting(request: Request, snapshot: Snapshot) -> dict[str, bytes | int]:
    """Return what was read that will read the same next time: which files this kernel has, and that v1 counts all."""
    counting = (tree.hierarchical(place.hierarchy) for place in request.places if place.hierarchy.version == 1)
    found = {path: snapshot.values[path] for path in counting if snapshot.text(path) == tree.COUNTS_ALL}
    return found | {
        path: snapshot.values[path]
        for name in request.specs
        for place, path in settings.probes(request.layout.controller(name), request.layout, request.find)
        if snapshot.known(path) and snapshot.text(place.marker(place.base)) is not None
    }


def plan(request: Request, snapshot: Snapshot) -> Plan:
    """Return the steps that make the group be there and hold what is wanted.

    Raises:
        UnsupportedError: this layout cannot have it.
        SpecError: the settings contradict each other, or what the group holds.
    """
    for place in request.places:
        require_available(place, snapshot, enabled_for(request.specs, place.hierarchy.controllers))
    writes = [
        step
        for name, spec in request.specs.items()
        for step in settings.writes(request.layout.controller(name), spec, request.layout, snapshot, request.find)
    ]
    for name in request.specs:
        _require(request.layout, name)
    written = frozenset(write.path for write in writes)
    steps: list[Step] = []
    for place in request.places:
        if place.hierarchy.version == 1:
            steps.extend(steps_v1(place, snapshot, written))
        else:
            controllers = enabled_for(request.specs, place.hierarchy.controllers)
            steps.extend(
                steps_v2(
                    place,
                    snapshot,
                    controllers,
                    request.caller,
                    evacuate=request.evacuate,
                    threaded=_threaded(request),
                )
            )
    return Plan((*steps, *writes))


def _wanted(request: Request, snapshot: Snapshot) -> Iterator[str]:
    for place in request.places:
        if place.hierarchy.version == 1:
            yield from wants_v1(place, snapshot)
        else:
            controllers = enabled_for(request.specs, place.hierarchy.controllers)
            yield from wants_v2(place, snapshot, controllers, threaded=_threaded(request))
    for name, spec in request.specs.items():
        controller = request.layout.controller(name)
        if controller.looks:
            looked = tuple(controller.looks(spec, snapshot.values))
            yield from looked
            if not all(snapshot.known(path) for path in looked):
                continue
            spec = settings.resolved(controller, spec, snapshot)  # noqa: PLW2901 - the same, in numbers
        if any(settings.clashes(controller, spec, request.layout)):
            yield SYMBOLS
        rows = settings.asked(controller, spec)
        home = next((selected[0] for row in rows if (selected := request.layout.select(row))), None)
        if home is None or not snapshot.known(request.find(home).marker()):
            continue
        if request.find(home).there(snapshot):
            yield from settings.files(rows, request.layout, request.find)
        else:
            for place, path in settings.probes(controller, request.layout, request.find):
                # Of a directory that is not there itself nothing can be learnt.
                yield from () if snapshot.known(path) else (place.marker(place.base), path)


def _threaded(request: Request) -> bool:
    core = request.specs.get("core")
    return core is not None and core.type == "threaded"


def _require(layout: Layout, name: str) -> None:
    if PRESENCE[name].everywhere or any(layout.locate(each) for each in (name, *PRESENCE[name].v1)):
        return
    reason = f"it is in no mounted hierarchy (mounted: {layout}); mount it, or boot with cgroup_enable={name}"
    raise UnsupportedError(f"controller {name}", reason)
