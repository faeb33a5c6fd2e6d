"""Where a group is: one directory in each hierarchy that it lives in."""

from __future__ import annotations

from itertools import accumulate

import attrs

from cgctl.layout import Hierarchy
from cgctl.plan.snapshot import Snapshot

__all__ = ["Place"]


@attrs.frozen(kw_only=True)
class Place:
    """A group in one hierarchy.

    Attributes:
        hierarchy: the tree.
        base: the directory from which groups are counted; it is there already.
        parts: the group's name below it, one component each.
        directory: the group's directory.
    """

    hierarchy: Hierarchy
    base: str
    parts: tuple[str, ...]
    directory: str = attrs.field(init=False, eq=False, repr=False)

    @directory.default
    def _directory(self) -> str:
        return "/".join((self.base, *self.parts))

    @property
    def chain(self) -> tuple[str, ...]:
        """The directories from the base down to the group, both included."""
        return tuple(accumulate(self.parts, "{}/{}".format, initial=self.base))

    def file(self, name: str, directory: str | None = None) -> str:
        """Return the path of an interface file, of this group or of another directory of its chain."""
        directory = directory or self.directory
        return self.hierarchy.file(directory, name) if self.hierarchy.noprefix else f"{directory}/{name}"

    def marker(self, directory: str | None = None) -> str:
        """Return a small file that is there exactly when the group is."""
        name = "cgroup.subtree_control" if self.hierarchy.version == 2 else "notify_on_release"  # noqa: PLR2004
        return f"{directory or self.directory}/{name}"

    def there(self, snapshot: Snapshot, directory: str | None = None) -> bool:
        """Tell whether a directory of the chain was there."""
        return not snapshot.missing(self.marker(directory))
