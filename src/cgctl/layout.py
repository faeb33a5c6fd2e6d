"""Which controller lives in which hierarchy, of which version: pure parsers of what the kernel says.

Version is a property of a hierarchy. A machine with v1 controllers beside a cgroup2 mount is the normal
case; one with a single version is the special one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from posixpath import join, normpath
from typing import Final

import attrs

from cgctl.controllers import CONTROLLERS, CORE, PRESENCE, Controller, Row, Side
from cgctl.formats import FormatError, format_huge_page, parse_words
from cgctl.mounts import Mount

__all__ = [
    "UNIFIED",
    "Hierarchy",
    "Layout",
    "Membership",
    "parse_membership",
]

UNIFIED: Final = "unified"
"""The label of the v2 hierarchy, which has no name of its own."""
_V1_OPTIONS: Final = frozenset(
    {"rw", "ro", "none", "all", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "seclabel"}
    | {"favordynmods", "nofavordynmods"}
)
_HUGE_PAGES: Final = re.compile(r"hugepages-([0-9]+)kB", re.ASCII)


@attrs.frozen(kw_only=True)
class Membership:
    """One line of ``/proc/PID/cgroup``: where a process is, in one hierarchy.

    Attributes:
        controllers: the v1 hierarchy's controllers, or ``("name=…",)``; empty for v2.
        path: the group, relative to the reader's cgroup namespace; may begin with ``/..`` when outside.
        deleted: the group was removed while the process (a zombie) was in it.
    """

    controllers: tuple[str, ...]
    path: str
    deleted: bool = False

    @property
    def label(self) -> str:
        """The hierarchy's name, as :attr:`Hierarchy.label`."""
        return ",".join(self.controllers) or UNIFIED


@attrs.frozen(kw_only=True)
class Hierarchy:
    """One mounted tree of groups.

    Attributes:
        version: 1 or 2.
        controllers: v1: those bound to it; v2: those available at its visible root.
        implicit: v2: those that every group has unasked, and that it does not name.
        mount_point: where its visible root is.
        root: the group that is mounted there, as ``/proc/PID/cgroup`` names it.
        name: of a named v1 hierarchy (``systemd``), else empty.
        read_only: whether the mount refuses writing.
        noprefix: a v1 mount whose files lack the controller's prefix (``cpus`` for ``cpuset.cpus``).
        device: ``major:minor`` of its filesystem.
        label: how ``/proc/PID/cgroup`` names it: ``memory``, ``cpu,cpuacct``, ``name=systemd``; v2 is ``unified``.
    """

    version: int
    controllers: tuple[str, ...]
    mount_point: str
    implicit: tuple[str, ...] = ()
    root: str = "/"
    name: str = ""
    read_only: bool = False
    noprefix: bool = False
    device: str = ""
    label: str = attrs.field(init=False, eq=False, repr=False)

    @label.default
    def _label(self) -> str:
        if self.version == 2:  # noqa: PLR2004
            return UNIFIED
        return f"name={self.name}" if self.name else ",".join(self.controllers)

    def directory(self, path: str) -> str | None:
        """Return the directory of a group named as in ``/proc/PID/cgroup``; ``None`` if it is not under this mount."""
        if path.split("/")[1:2] == [".."]:
            return None
        above = "" if self.root == "/" else self.root
        if path != above and not path.startswith(f"{above}/"):
            return None
        return normpath(join(self.mount_point, path[len(above) :].lstrip("/")))

    def file(self, directory: str, name: str) -> str:
        """Return the path of an interface file in one of this hierarchy's directories."""
        if self.noprefix and name.split(".", 1)[0] in self.controllers:
            name = name.split(".", 1)[1]
        return f"{directory}/{name}"


@attrs.frozen(cache_hash=True)
class Layout:
    """All hierarchies of a machine, as one process sees them. What it was asked once, it remembers.

    Attributes:
        hierarchies: in mount order.
        page_size: bytes of a page, to which sizes are rounded.
        huge_pages: the sizes of huge pages, as the kernel spells them in its files: ``2MB``.
        unified: the v2 hierarchy, if one is mounted.
    """

    hierarchies: tuple[Hierarchy, ...]
    page_size: int = 4096
    huge_pages: tuple[str, ...] = ()
    unified: Hierarchy | None = attrs.field(init=False, eq=False, repr=False)
    _homes: dict[str, Hierarchy | None] = attrs.field(init=False, eq=False, repr=False, factory=dict)
    _controllers: dict[str, Controller] = attrs.field(init=False, eq=False, repr=False, factory=dict)
    _selected: dict[Row, tuple[Hierarchy, Side] | None] = attrs.field(init=False, eq=False, repr=False, factory=dict)

    @unified.default
    def _unified(self) -> Hierarchy | None:
        return next((h for h in self.hierarchies if h.label == UNIFIED), None)

    @classmethod
    def parse(
        cls,
        mounts: Iterable[Mount],
        controllers: Mapping[str, str],
        page_size: int = 4096,
        huge_pages: Iterable[str] = (),
    ) -> Layout:
        """Make a layout of mounts and of what ``cgroup.controllers`` says at each cgroup2 mount point.

        Args:
            mounts: all of them, in order.
            controllers: mount point → the text of ``cgroup.controllers``.
            page_size: bytes of a page.
            huge_pages: the names in ``/sys/kernel/mm/hugepages``.
        """
        best: dict[tuple[str, ...] | str, Mount] = {}
        # What is mounted later at the same place hides what was there.
        for mount in {mount.mount_point: mount for mount in mounts}.values():
            if mount.filesystem not in {"cgroup", "cgroup2"}:
                continue
            key = UNIFIED if mount.filesystem == "cgroup2" else _bound(mount)
            # A hierarchy can be mounted several times; the mount that shows and allows most is the one to use.
            if key not in best or _rank(mount) < _rank(best[key]):
                best[key] = mount
        bound = {controller for mount in best.values() for controller in _bound(mount)}
        implicit = tuple(name for name, each in PRESENCE.items() if each.implicit and name not in bound)
        return cls(
            tuple(_hierarchy(mount, controllers.get(mount.mount_point, ""), implicit) for mount in best.values()),
            page_size,
            tuple(size for _, size in sorted(_huge_page(name) for name in huge_pages)),
        )

    def __str__(self) -> str:
        found = (f"{h.label} (v{h.version}: {' '.join(h.controllers) or 'none'})" for h in self.hierarchies)
        return ", ".join(found) or "none"

    def locate(self, controller: str) -> Hierarchy | None:
        """Return the hierarchy where a controller is; ``cgroup`` stands for v2's core files."""
        try:
            return self._homes[controller]
        except KeyError:
            return self._homes.setdefault(controller, self._locate(controller))

    def _locate(self, controller: str) -> Hierarchy | None:
        if controller == CORE:
            return self.unified
        return next((h for h in self.hierarchies if controller in {*h.controllers, *h.implicit} and not h.name), None)

    def controller(self, name: str) -> Controller:
        """Return a controller with the rows that it has on this machine: those of its sizes of huge pages."""
        try:
            return self._controllers[name]
        except KeyError:
            return self._controllers.setdefault(name, CONTROLLERS[name].of(self.huge_pages))

    def hierarchy(self, label: str) -> Hierarchy | None:
        """Return the hierarchy of a label."""
        wanted = frozenset(label.split(","))
        return next((h for h in self.hierarchies if frozenset(h.label.split(",")) == wanted), None)

    def select(self, row: Row) -> tuple[Hierarchy, Side] | None:
        """Return where a row's file is on this machine, or ``None`` where it cannot be expressed.

        v2 goes first, unless the row says otherwise: its core files tell the same as v1's, on hybrid machines too.
        """
        try:
            return self._selected[row]
        except KeyError:
            return self._selected.setdefault(row, self._select(row))

    def _select(self, row: Row) -> tuple[Hierarchy, Side] | None:
        for version in (row.prefer, 3 - row.prefer):
            side = row.side(version)
            home = self.locate(side.controller) if side else None
            if side and home and home.version == version:
                return home, side
        return None


def parse_membership(text: str) -> tuple[Membership, ...]:
    """Read ``/proc/PID/cgroup``.

    At most two colons separate: group names may contain more. v2 marks a removed group by ``(deleted)``.

    Raises:
        FormatError: a line has fewer than three fields.
    """
    found = []
    for line in text.splitlines():
        try:
            number, controllers, path = line.split(":", 2)
        except ValueError:
            msg = f"not a line of /proc/PID/cgroup: {line!r}"
            raise FormatError(msg) from None
        names = tuple(controllers.split(",")) if controllers else ()
        deleted = number == "0" and path.endswith(" (deleted)")
        found.append(
            Membership(controllers=names, path=path.removesuffix(" (deleted)") if deleted else path, deleted=deleted)
        )
    return tuple(found)


def _bound(mount: Mount) -> tuple[str, ...]:
    return tuple(
        option
        for option in mount.super_options
        if option not in _V1_OPTIONS and not option.startswith("release_agent=")
    )


def _rank(mount: Mount) -> tuple[bool, int]:
    return mount.read_only, len(mount.root)


def _huge_page(name: str) -> tuple[int, str]:
    """Read a name such as ``hugepages-2048kB``; return the size in bytes, and as the files of hugetlb spell it."""
    match = _HUGE_PAGES.fullmatch(name)
    if match is None:
        msg = f"not a size of huge pages: {name!r}"
        raise FormatError(msg)
    size = int(match[1]) << 10
    return size, format_huge_page(size)


def _hierarchy(mount: Mount, controllers: str, implicit: tuple[str, ...]) -> Hierarchy:
    if mount.filesystem == "cgroup2":
        return Hierarchy(
            version=2,
            controllers=parse_words(controllers),
            mount_point=mount.mount_point,
            implicit=implicit,
            root=mount.root,
            read_only=mount.read_only,
            device=mount.device,
        )
    bound = _bound(mount)
    name = next((option.removeprefix("name=") for option in bound if option.startswith("name=")), "")
    return Hierarchy(
        version=1,
        controllers=tuple(option for option in bound if not option.startswith("name=")),
        mount_point=mount.mount_point,
        root=mount.root,
        name=name,
        read_only=mount.read_only,
        noprefix="noprefix" in mount.super_options,
        device=mount.device,
    )
