"""The machine: its layout, and the base, where groups go.

The base is the first of: a parent, an absolute name, the innermost joined group, ``CGCTL_BASE``, the
caller's own cgroup in each hierarchy. Never beside or above the own cgroup unasked, so that no limit
that is on the caller already is escaped.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from cgctl.diagnose import MAKE_WRITABLE
from cgctl.errors import GroupNotFoundError, SpecError, UnsupportedError
from cgctl.filesystem import Filesystem
from cgctl.filesystem.kernel import KernelFilesystem
from cgctl.layout import UNIFIED, Layout, parse_membership
from cgctl.marks import SUPERVISOR, SUPERVISOR_MARK
from cgctl.mounts import parse_mountinfo
from cgctl.names import parse_name

if TYPE_CHECKING:
    from cgctl.group import Group
    from cgctl.launching import Launcher

__all__ = ["Base", "System", "check_slice", "default_system", "standing_in"]

_HUGE_PAGES: Final = "/sys/kernel/mm/hugepages"
_SLICE: Final = re.compile(r"[\w:.\\@-]+\.slice")


@attrs.frozen(kw_only=True)
class Base:
    """Where groups go, in each hierarchy.

    Attributes:
        directories: hierarchy label → absolute directory.
        parts: groups below these directories that belong to the base, and are made where missing.
        origin: which rule chose it.
        refused: hierarchy label → why no group can be made there.
        own: whether it is where the caller is, and so moves along with the caller.
    """

    directories: Mapping[str, str]
    parts: tuple[str, ...] = ()
    origin: str = "the caller's own cgroup"
    refused: Mapping[str, str] = attrs.field(factory=dict)
    own: bool = False


@attrs.frozen(eq=False)
class System:
    """One machine, or a fake one.

    Attributes:
        filesystem: how its cgroup filesystems are read and written.
        layout: which controller lives in which hierarchy.
        base: where groups went when the system was looked at; every new group looks again.
        slice: where systemd is to put the scope that it is asked for; ``None`` for ``CGCTL_SLICE`` or the usual one.
        learnt: what the planner has read here and what lasts: which files this kernel has.
    """

    filesystem: Filesystem
    layout: Layout
    base: Base
    slice: str | None = None
    learnt: dict[str, bytes | int] = attrs.field(init=False, repr=False, factory=dict)

    @classmethod
    def detect(cls, filesystem: Filesystem | None = None, *, slice: str | None = None) -> System:
        """Look at this machine, as the calling process sees it.

        Args:
            filesystem: how to; by default the kernel's own way.
            slice: where systemd is to put the scope that it is asked for if the caller's unit is not delegated: the
                name of a slice such as ``"batch.slice"``. By default ``CGCTL_SLICE``, or else ``cgctl.slice``. A slice
                that was chosen is one that the caller may leave its own unit's limits for.

        Raises:
            SpecError: that is no slice's name.
            UnsupportedError: no cgroup filesystem is mounted.
        """
        if slice is not None:
            check_slice(slice, "slice")
        filesystem = filesystem or KernelFilesystem()
        mounts = parse_mountinfo(_text(filesystem, "/proc/self/mountinfo"))
        controllers = {
            mount.mount_point: _text(filesystem, f"{mount.mount_point}/cgroup.controllers")
            for mount in mounts
            if mount.filesystem == "cgroup2" and _readable(filesystem, f"{mount.mount_point}/cgroup.controllers")
        }
        mounts = tuple(m for m in mounts if m.filesystem != "cgroup2" or m.mount_point in controllers)
        layout = Layout.parse(mounts, controllers, os.sysconf("SC_PAGE_SIZE"), _huge_pages(filesystem))
        if not layout.hierarchies:
            reason = (
                "no cgroup filesystem is mounted; mount one (mount -t cgroup2 none /sys/fs/cgroup), or bind the host's"
            )
            raise UnsupportedError("cgroups", reason)
        system = cls(filesystem, layout, Base(directories={}), slice)
        object.__setattr__(system, "base", system.current_base())
        return system

    @property
    def launcher(self) -> Launcher:
        """What starts programs here; it is needed by those alone who start some."""
        from cgctl.launching import KernelLauncher  # noqa: PLC0415 - the launcher is needed by few

        return KernelLauncher()

    def membership(self, pid: int | str = "self") -> dict[str, str]:
        """Return where a process is: hierarchy label → path, as ``/proc/PID/cgroup`` has it."""
        return _membership(self.layout, _text(self.filesystem, f"/proc/{pid}/cgroup"))

    def own_directories(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the caller's own cgroup in each hierarchy, and for the others why it cannot be had."""
        directories, refused = self._own()
        return dict(directories), dict(refused)

    def _own(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        found, refused = _own_directories(self.layout, self.filesystem.read("/proc/self/cgroup"))
        parent, _, leaf = found.get(UNIFIED, "").rpartition("/")
        if leaf == SUPERVISOR and self.filesystem.getxattr(found[UNIFIED], SUPERVISOR_MARK):
            return {**found, UNIFIED: parent}, refused
        return found, refused

    def current_base(self) -> Base:
        """Return where groups of the calling process go now, by ``CGCTL_BASE`` or else its own cgroup.

        Raises:
            SpecError: ``CGCTL_BASE`` is not a path of groups.
        """
        wanted = os.environ.get("CGCTL_BASE", "")
        if wanted.strip("/"):
            try:
                _, parts = parse_name(wanted.strip("/"))
            except SpecError as error:
                msg = f"CGCTL_BASE={wanted!r}: {error}"
                raise SpecError(msg) from None
            return attrs.evolve(self.root_base(), parts=parts, origin=f"CGCTL_BASE={wanted}")
        directories, refused = self._own()
        return Base(directories=directories, refused=refused, own=True)

    def root_base(self) -> Base:
        """Return the hierarchies' roots, as a base for absolute names."""
        return Base(
            directories={h.label: h.mount_point for h in self.layout.hierarchies if not h.read_only},
            origin="an absolute name",
            refused={
                h.label: f"{h.mount_point} is mounted read-only; remount it read-write"
                for h in self.layout.hierarchies
                if h.read_only
            },
        )

    def directories_of(self, pid: int) -> dict[str, str]:
        """Return where a process is: hierarchy label → directory; empty if it has ended."""
        try:
            membership = self.membership(pid)
        except OSError:
            return {}
        found = {}
        for hierarchy in self.layout.hierarchies:
            directory = hierarchy.directory(membership.get(hierarchy.label, "/.."))
            if directory is not None:
                found[hierarchy.label] = directory
        return found

    def root(self) -> Group:
        """Return the group of the hierarchies' roots: what is set there is for the whole machine."""
        from cgctl.address import Address  # noqa: PLC0415 - an address knows its system, not the other way round
        from cgctl.group import Group  # noqa: PLC0415

        return Group.at(Address(self, self.root_base(), ()))

    def groups(self) -> list[Group]:
        """Return the groups directly below the base."""
        from cgctl.address import Address  # noqa: PLC0415 - an address knows its system, not the other way round
        from cgctl.group import Group  # noqa: PLC0415

        try:
            return Group.at(Address(self, self.current_base(), ())).children()
        except GroupNotFoundError:  # CGCTL_BASE, before the first group
            return []


_cache: dict[tuple[int, int], System] = {}
_cache_lock = threading.Lock()
_standing_in: list[System] = []


@contextlib.contextmanager
def standing_in(system: System) -> Iterator[None]:
    """Have a system be the default one for a block, in all threads: for programs that are all about one machine."""
    _standing_in.append(system)
    try:
        yield
    finally:
        _standing_in.remove(system)


def default_system() -> System:
    """Return this machine, looked at once for each mount namespace and mount table size; or what stands in for it."""
    if _standing_in:
        return _standing_in[-1]
    namespace = os.stat("/proc/thread-self/ns/mnt").st_ino
    with _cache_lock:
        key = (namespace, os.getpid())
        if key not in _cache:
            _cache.clear()
            _cache[key] = System.detect()
        return _cache[key]


def _membership(layout: Layout, text: str) -> dict[str, str]:
    """Return what ``/proc/PID/cgroup`` says, with the layout's labels: controllers may be listed in another order."""
    found = {}
    for entry in parse_membership(text):
        hierarchy = layout.hierarchy(entry.label)
        found[hierarchy.label if hierarchy else entry.label] = entry.path
    return found


@lru_cache(maxsize=16)
def _own_directories(layout: Layout, text: bytes) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the directories of a process, of which this is ``/proc/PID/cgroup``, and why it has none elsewhere."""
    membership = _membership(layout, os.fsdecode(text))
    found: dict[str, str] = {}
    refused: dict[str, str] = {}
    for hierarchy in layout.hierarchies:
        path = membership.get(hierarchy.label)
        directory = None if path is None else hierarchy.directory(path)
        if directory is None:
            refused[hierarchy.label] = (
                f"the caller's own cgroup ({path}) is outside of what is mounted at {hierarchy.mount_point}"
                f" ({hierarchy.root}); mount the cgroup filesystem in this cgroup namespace (mount -t cgroup2"
                " none /sys/fs/cgroup), or run with the host's (docker and podman run --cgroupns=host)"
            )
        elif hierarchy.read_only:
            refused[hierarchy.label] = f"{hierarchy.mount_point} is mounted read-only; {MAKE_WRITABLE}"
        else:
            found[hierarchy.label] = directory
    return MappingProxyType(found), MappingProxyType(refused)


def _text(filesystem: Filesystem, path: str) -> str:
    return os.fsdecode(filesystem.read(path))


def _huge_pages(filesystem: Filesystem) -> list[str]:
    """Return a name for each size of huge pages; none where the kernel has none, or /sys is not mounted."""
    try:
        return filesystem.listdir(_HUGE_PAGES)
    except OSError:
        return []


def _readable(filesystem: Filesystem, path: str) -> bool:
    try:
        filesystem.read(path)
    except OSError:
        return False
    return True


def check_slice(name: str, what: str) -> str:
    """Return the name of a slice.

    Raises:
        SpecError: it is none.
    """
    if not _SLICE.fullmatch(name):
        msg = f"{what}={name!r}: not the name of a slice; give one such as 'batch.slice'"
        raise SpecError(msg)
    return name
