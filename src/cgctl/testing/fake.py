"""A machine in memory, for tests that need no kernel, no root and no Linux."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import attrs

from cgctl.fake import FakeKernel, Program
from cgctl.marks import CONTROL
from cgctl.system import System

if TYPE_CHECKING:
    from cgctl.launching import Launcher

__all__ = ["FakeSystem"]


@attrs.frozen(eq=False, init=False)
class FakeSystem(System):
    """A machine in memory: give it to :class:`cgctl.Group` and the others as ``system=``.

    Its groups refuse what the kernel refuses, read back what it reads back, and their limits do what limits do to the
    processes of :attr:`kernel`. Nothing outside of it is read or changed.

    Args:
        layout: ``"v2"``, ``"v1"`` or ``"hybrid"``: v1 controllers with a v2 hierarchy beside them.
        kernel: the series that it behaves like: ``"5.10"``, ``"6.1"``, ``"6.12"``, ``"6.18"`` or ``"7.3"``, as Debian
            builds them.
        cpus: how many processors.
        nodes: how many memory nodes.
        memory: how much memory there is; ``None``: no end of it.
        swap: how much swap space there is.
        disks: block devices that are there, as ``"8:0"``; or each with its speed, in bytes a second:
            ``{"8:0": "100M"}``.
        named: v1 hierarchies without controllers, such as ``"systemd"``.
        nsdelegate: whether v2 is mounted so that a cgroup namespace (``task.unshare()``) bounds what may be done in it.
        user: who uses it. An ordinary user is in a v2 group that is his, with all controllers (``/user``), as under a
            manager of his own, and is refused what he would be elsewhere; in v1 nothing is his. ``kernel.owners.user``
            is who it is just now.

    Attributes:
        programs: name → Python callable: what ``run(["NAME", …])`` runs here; see :class:`cgctl.testing.ProgramTask`.

    Raises:
        SpecError: an argument is nonsense.
    """

    programs: dict[str, Program] = attrs.field(factory=dict)

    def __init__(
        self,
        layout: Literal["v1", "v2", "hybrid"] = "v2",
        *,
        kernel: str = "6.12",
        cpus: int = 8,
        nodes: int = 1,
        memory: int | str | None = None,
        swap: int | str = 0,
        disks: Iterable[str] | Mapping[str, int | str] = ("8:0",),
        named: Iterable[str] = (),
        nsdelegate: bool = False,
        user: int = 0,
    ) -> None:
        fake = FakeKernel(
            layout,
            kernel,
            cpus=cpus,
            nodes=nodes,
            memory=memory,
            swap=swap,
            disks=disks,
            named=named,
            nsdelegate=nsdelegate,
            caller=os.getpid(),
        )
        if user:
            _become(fake, user)
        found = System.detect(fake)
        self.__attrs_init__(fake, found.layout, found.base)

    @property
    def launcher(self) -> Launcher:
        """What runs Python callables as programs here."""
        from cgctl.testing.launcher import MemoryLauncher  # noqa: PLC0415 - needed by those alone who start some

        return MemoryLauncher(self.kernel, self.programs)

    @property
    def kernel(self) -> FakeKernel:
        """The kernel that it has; ``kernel.spawn(group)`` starts a process there."""
        assert isinstance(self.filesystem, FakeKernel)  # noqa: S101 - it was made with one
        return self.filesystem


def _become(kernel: FakeKernel, user: int) -> None:
    """Give the caller to a user, and a group to both."""
    kernel.owners.user = user
    kernel.owners.born(kernel.caller, None)
    kernel.owners.user = 0
    for tree in kernel.trees:
        if tree.version == 1:
            continue
        home = f"{tree.mount_point}/user"
        kernel.write(f"{tree.mount_point}/{CONTROL}", " ".join(f"+{name}" for name in tree.controllers).encode())
        kernel.mkdir(home)
        kernel.write(f"{home}/cgroup.procs", b"0")
        for path in (home, f"{home}/cgroup.procs", f"{home}/cgroup.threads", f"{home}/{CONTROL}"):
            kernel.chown(path, user, -1)
    kernel.owners.user = user
