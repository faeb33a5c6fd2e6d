"""The tree of groups: one :class:`Tree` a mounted hierarchy, one :class:`Group` a directory.

A group keeps only what differs from a new one, so that a hundred thousand of them fit.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from errno import EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT
from typing import TYPE_CHECKING, Final

from cgctl.fake.profile import Interface, Profile
from cgctl.fake.refusal import refuse

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.memory.counters import Pages
    from cgctl.fake.task import Thread
    from cgctl.fake.time.bandwidth import Bandwidth
    from cgctl.fake.time.disks import DiskUse
    from cgctl.fake.time.pressure import Pressure
    from cgctl.fake.time.usage import Usage

__all__ = ["THREADED", "Group", "Tree"]

THREADED: Final = frozenset({"cpu", "cpuset", "pids", "perf_event"})
"""The controllers that threaded groups can have."""
NOTHING: Final[frozenset[str]] = frozenset()
# In every v2 group, whatever its controllers.
PRESSURE: Final = frozenset({"cpu.pressure", "memory.pressure", "io.pressure", "irq.pressure"})
_ALWAYS: Final = PRESSURE | {"cpu.stat", "cpu.stat.local"}


_ORDER: Final = itertools.count(1)


class Group:
    """One group in one hierarchy.

    Attributes:
        tree: the hierarchy.
        name: of the directory; empty for the root.
        parent: the group above; ``None`` for the root.
        children: name → the groups below.
        threads: the live threads in it, in the order in which they came.
        control: v2: the controllers that are enabled for the groups below.
        domain: v2: of a threaded one, the group whose resources it shares.
        values: interface file → what was written, as it is read back.
        counts: counters, by a name of the controller's choice.
        xattrs: extended attributes.
        since: since when there are threads in it, in the order of all groups.
        populated: groups directly below that are populated, and 1 for own live threads.
        descendants: how many groups are below.
        gone: whether it was removed.
        bandwidth: its CPU quota, once it had one.
        pages: the memory that was charged to it, once there was some.
        disks: device → what was done with it, once something was.
        pressure: what was waited for in it, once something was.
        usage: the processor time used in it, once there was some.
    """

    __slots__ = (
        *("children", "control", "counts", "descendants", "domain", "gone", "name", "parent", "populated"),
        *("threads", "tree", "values", "xattrs", "bandwidth", "disks", "pages", "pressure", "since", "usage"),
    )

    def __init__(self, tree: Tree, name: str, parent: Group | None) -> None:
        self.tree = tree
        self.name = name
        self.parent = parent
        self.since = 0
        self.children: dict[str, Group] = {}
        self.threads: dict[Thread, None] = {}
        self.control: frozenset[str] = NOTHING
        self.domain: Group | None = None
        self.values: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        self.xattrs: dict[str, bytes] = {}
        self.populated = 0
        self.descendants = 0
        self.gone = False
        self.bandwidth: Bandwidth | None = None
        self.pages: Pages | None = None
        self.disks: dict[str, DiskUse] | None = None
        self.pressure: Pressure | None = None
        self.usage: Usage | None = None

    @property
    def threaded(self) -> bool:
        """Whether it is a threaded group of v2."""
        return self.domain is not None

    @property
    def kernel(self) -> FakeKernel:
        """The kernel that it is of."""
        return self.tree.kernel

    @property
    def profile(self) -> Profile:
        """What its kernel has."""
        return self.tree.kernel.profile

    @property
    def path(self) -> str:
        """Where it is, from the hierarchy's root."""
        names = [group.name for group in self.line() if group.name]
        return "/" + "/".join(reversed(names))

    def line(self) -> Iterator[Group]:
        """Yield the group and those above, up to the root."""
        group: Group | None = self
        while group is not None:
            yield group
            group = group.parent

    def above(self) -> Iterator[Group]:
        """Yield the groups above, up to the root."""
        return self.parent.line() if self.parent else iter(())

    def below(self) -> Iterator[Group]:
        """Yield the group and all below it, parents first."""
        stack = [self]
        while stack:
            group = stack.pop()
            yield group
            stack.extend(reversed(group.children.values()))

    # --- its files --------------------------------------------------------------------------------------------------

    def interface(self, name: str) -> Interface | None:
        """Return an interface file, if the group has it."""
        tree = self.tree
        interface = (tree.below if self.parent else tree.at_root).get(name)
        if interface is None or tree.version == 1:
            return interface
        if name.startswith("cgroup."):
            return interface
        if name in _ALWAYS:
            return None if name in PRESSURE and self.values.get("cgroup.pressure") == "0\n" else interface
        return interface if name.split(".", 1)[0] in self.controllers() else None

    def files(self) -> list[str]:
        """Return the names of its interface files."""
        return [name for name in (self.tree.below if self.parent else self.tree.at_root) if self.interface(name)]

    def get(self, name: str) -> str:
        """Return a file's text: what was written, or the default."""
        text = self.values.get(name)
        if text is None:
            text = (self.tree.below if self.parent else self.tree.at_root)[name].default
        return text

    def has(self, controller: str) -> bool:
        """Tell whether a controller works on this group by itself."""
        if self.tree.version == 1 or self.parent is None:
            return controller in self.tree.controllers
        return controller in self.parent.control and not (self.threaded and controller not in THREADED)

    def controllers(self) -> frozenset[str]:
        """Return the controllers that the group has."""
        if self.tree.version == 1 or self.parent is None:
            return frozenset(self.tree.controllers)
        return self.parent.control & THREADED if self.threaded else self.parent.control

    def nearest(self, controller: str) -> Group:
        """Return the group that a controller takes this one's processes for: itself, or the first above that has it."""
        return next(group for group in self.line() if group.has(controller))

    # --- making and removing ----------------------------------------------------------------------------------------

    def mkdir(self, name: str) -> Group:
        """Make a group below this one."""
        if "\n" in name:
            refuse(EINVAL)
        if name in self.children or self.interface(name):
            refuse(EEXIST)
        if self.tree.version != 1:
            for depth, group in enumerate(self.line()):
                if depth >= _most(group, "cgroup.max.depth"):
                    refuse(EAGAIN)
                if group.descendants >= _most(group, "cgroup.max.descendants"):
                    refuse(EAGAIN)
        child = Group(self.tree, name, self)
        self.children[name] = child
        for group in self.line():
            group.descendants += 1
        return child

    def rmdir(self) -> None:
        """Remove the group."""
        if self.parent is None or self.children or self.threads:
            refuse(EBUSY)
        if self.parent.children.get(self.name) is not self:
            refuse(ENOENT)
        del self.parent.children[self.name]
        self.gone = True
        for group in self.parent.line():
            group.descendants -= 1

    # --- who is in it -----------------------------------------------------------------------------------------------

    def enter(self, thread: Thread) -> None:
        """Take a live thread in."""
        if not self.threads:
            self.since = next(_ORDER)
            self._fill()
            self.kernel.notify()
        self.threads[thread] = None

    def leave(self, thread: Thread) -> None:
        """Let a thread go."""
        del self.threads[thread]
        if not self.threads:
            self._drain()
            self.kernel.notify()

    def _fill(self) -> None:
        group: Group | None = self
        while group is not None:
            group.populated += 1
            if group.populated > 1:
                return
            group = group.parent

    def _drain(self) -> None:
        group: Group | None = self
        while group is not None:
            group.populated -= 1
            if group.populated:
                return
            group = group.parent


def _most(group: Group, name: str) -> float:
    text = group.values.get(name, "max\n")
    return float("inf") if text == "max\n" else int(text)


class Tree:
    """One mounted hierarchy.

    Attributes:
        kernel: the kernel that it is of.
        version: 1 or 2.
        controllers: those bound to it, in the kernel's order.
        mount_point: where it is mounted.
        name: of a v1 hierarchy without controllers.
        number: its id, as ``/proc/PID/cgroup`` has it; 0 for v2.
        at_root: the files that the root may have.
        below: those of all other groups.
        root: its root.
    """

    def __init__(
        self,
        kernel: FakeKernel,
        version: int,
        controllers: tuple[str, ...],
        mount_point: str,
        *,
        name: str = "",
        number: int = 0,
    ) -> None:
        self.kernel = kernel
        self.version = version
        self.controllers = controllers
        self.mount_point = mount_point
        self.name = name
        self.number = number
        self.at_root = _files(kernel, version, controllers, "root")
        self.below = _files(kernel, version, controllers, "below")
        self.root = Group(self, "", None)

    @property
    def label(self) -> str:
        """What ``/proc/PID/cgroup`` calls it."""
        return f"name={self.name}" if self.name else ",".join(self.controllers) if self.version == 1 else ""


def _files(kernel: FakeKernel, version: int, controllers: tuple[str, ...], where: str) -> Mapping[str, Interface]:
    found: dict[str, Interface] = {}
    for hierarchy in ("cgroup", *controllers) if version == 1 else ("v2",):
        found.update(kernel.profile.files(hierarchy, where))
    return {name: interface for name, interface in found.items() if name not in kernel.without}
