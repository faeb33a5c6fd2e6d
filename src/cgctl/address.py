"""Where one group is, or would be: its places in the hierarchies of a machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from cgctl.controllers import CORE, PRESENCE
from cgctl.errors import GroupNotFoundError, UnsupportedError
from cgctl.layout import Hierarchy, Layout
from cgctl.plan import Place
from cgctl.remembering import remembered
from cgctl.system import Base, System

__all__ = ["Address"]


@attrs.frozen
class Address:
    """A group's name below a base: the same relative path in every hierarchy.

    Attributes:
        system: the machine.
        base: where groups go there.
        parts: the group's name, one component each.
    """

    system: System
    base: Base
    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        """The group's name, as a message shows it."""
        return "/".join((*self.base.parts, *self.parts)) or "."

    def below(self) -> Base:
        """Return this group as the base of others."""
        return attrs.evolve(self.base, parts=(*self.base.parts, *self.parts), origin=f"group {self.name!r}")

    def place(self, hierarchy: Hierarchy) -> Place:
        """Return the group's place in a hierarchy.

        Raises:
            UnsupportedError: no group can be made there.
        """
        directory = self.base.directories.get(hierarchy.label)
        if directory is None:
            reason = self.base.refused.get(hierarchy.label, f"{hierarchy.label!r} is not mounted")
            raise UnsupportedError(f"a group in hierarchy {hierarchy.label!r}", reason)
        return Place(hierarchy=hierarchy, base=directory, parts=(*self.base.parts, *self.parts))

    def planned(self, specs: Mapping[str, Any]) -> tuple[Place, ...]:
        """Return where a group of these controllers lives (rule 3).

        In the v1 hierarchies whose controllers it uses; in the v2 hierarchy wherever there is one that it may write,
        else in v1's ``freezer``, and in ``cpuacct`` when CPU usage is asked for.

        Raises:
            UnsupportedError: no group can be made in one of them.
        """
        layout = self.system.layout
        directory = self.base.directories.get(layout.unified.label) if layout.unified else None
        on_v2 = directory is not None and self.system.filesystem.writable(directory)
        homes = _homes(layout, tuple(specs), on_v2=on_v2)
        if not homes:
            reason = "neither a v2 hierarchy nor v1's freezer is mounted; mount one of them"
            raise UnsupportedError("groups without a controller", reason)
        return tuple([self.place(home) for home in homes])

    def existing(self) -> dict[str, Place]:
        """Return the places in which the group is there: hierarchy label → place."""
        found = {}
        parts = (*self.base.parts, *self.parts)
        exists, way = self.system.filesystem.exists, "".join(f"/{part}" for part in parts)
        directories = self.base.directories
        for hierarchy in self.system.layout.hierarchies:
            directory = directories.get(hierarchy.label)
            if directory is not None and not hierarchy.name and exists(directory + way):
                found[hierarchy.label] = Place(hierarchy=hierarchy, base=directory, parts=parts)
        return found

    def nearest(self) -> dict[str, str]:
        """Return where the group's processes belong in each hierarchy: hierarchy label → directory.

        That is the group or, in a hierarchy in which it is not, the nearest group above it, below the base: a limit
        on a group is one on all below it, whatever their own controllers.
        """
        found = {}
        for hierarchy in self._hierarchies():
            for directory in reversed(self.place(hierarchy).chain[1:]):
                if self.system.filesystem.exists(directory):
                    found[hierarchy.label] = directory
                    break
        return found

    def above(self) -> Iterator[Address]:
        """Yield the addresses of the groups above, below the base, nearest first."""
        base = attrs.evolve(self.base, parts=())
        parts = (*self.base.parts, *self.parts)
        for depth in range(len(parts) - 1, 0, -1):
            yield Address(self.system, base, parts[:depth])

    def require(self) -> dict[str, Place]:
        """Return the places in which the group is there, at least one.

        Raises:
            GroupNotFoundError: there is none.
        """
        places = self.existing()
        if not places:
            first = next(iter(self.base.directories.values()), "no hierarchy")
            msg = (
                f"group {self.name!r} is not there (looked below {first} and in all other hierarchies; base:"
                f" {self.base.origin}); create() it, or check the name"
            )
            raise GroupNotFoundError(msg)
        return places

    def _hierarchies(self) -> Iterator[Hierarchy]:
        """Yield those in which groups are made."""
        for hierarchy in self.system.layout.hierarchies:
            if hierarchy.label in self.base.directories and not hierarchy.name:
                yield hierarchy


@remembered
def _homes(layout: Layout, controllers: tuple[str, ...], *, on_v2: bool) -> tuple[Hierarchy, ...]:
    """Return the hierarchies in which a group of these controllers lives."""
    names = [each for name in controllers for each in (name, *PRESENCE[name].v1)]
    if on_v2:
        names.append(CORE)
    else:
        names.append("freezer")
        names.extend(["cpuacct"] if "cpu" in controllers else [])
    homes = {home.label: home for name in names if (home := layout.locate(name))}
    if not homes and layout.unified:
        # There is nowhere else to go: it is for this one to say why it cannot be had.
        return (layout.unified,)
    return tuple(homes.values())
