"""What is compared: the hierarchies of this machine, and the kernel in memory that is made to be like it."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import attrs

from cgctl.errors import errno_name
from cgctl.fake import FakeKernel
from cgctl.fake.profile import KERNELS, profile
from cgctl.filesystem.kernel import KernelFilesystem
from cgctl.layout import Hierarchy, Layout
from cgctl.mounts import parse_mountinfo
from cgctl.testing.case import release

__all__ = ["Ground", "grounds", "series"]

IN_GUEST = "CGCTL_VM_KERNEL" in os.environ
"""Whether the machine is ours alone."""
HURRIED = IN_GUEST and os.geteuid() == 0
"""Whether that is done to it which nothing but the time shows."""


def _layout() -> Layout:
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    controllers = {
        mount.mount_point: Path(mount.mount_point, "cgroup.controllers").read_text(encoding="utf-8")
        for mount in mounts
        if mount.filesystem == "cgroup2"
    }
    return Layout.parse(mounts, controllers)


def series() -> str:
    """Return the measured series that this kernel is of, or the last before it; nothing if it is older."""
    running = release(".".join(os.uname().release.split(".")[:2]))
    return ["", *(kernel for kernel in KERNELS if release(kernel) <= running)][-1]


@functools.cache
def _count(pattern: str) -> int:
    return len(list(Path("/sys/devices/system").glob(pattern)))


@functools.cache
def _disks() -> tuple[str, ...]:
    return tuple(
        device
        for path in sorted(Path("/sys/block").glob("*/dev"))
        if (device := path.read_text(encoding="utf-8").strip()) and not path.parent.name.startswith(("loop", "ram"))
    )


@contextlib.contextmanager
def _hurried() -> Iterator[None]:
    """Have a machine of ours hurry its processors' quiet states, for which each move waits."""
    path = Path("/sys/kernel/rcu_expedited")
    if not HURRIED:
        yield
        return
    before = path.read_text(encoding="ascii")
    path.write_text("1", encoding="ascii")
    try:
        yield
    finally:
        path.write_text(before, encoding="ascii")


@attrs.frozen
class Ground:
    """One hierarchy, and what this machine's kernel has otherwise than the measured one.

    Attributes:
        hierarchy: the hierarchy.
        kernel: the series.
        lacking: files and controllers that the real one is without.
        unknown: files that the one in memory does not know.
        enabled: v2: the controllers that are enabled in the root.
    """

    hierarchy: Hierarchy
    kernel: str
    lacking: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    enabled: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The hierarchy's name."""
        return self.hierarchy.label

    @property
    def root(self) -> str:
        """Where it is mounted."""
        return self.hierarchy.mount_point

    def fake(self, *, nsdelegate: bool = False) -> FakeKernel:
        """Return a kernel in memory that has this one hierarchy, on this machine."""
        named = (self.label,) if self.label.startswith("name=") else ()
        fake = FakeKernel(
            [(self.hierarchy.version, named or self.hierarchy.controllers, self.root)],
            self.kernel,
            cpus=_count("cpu/cpu[0-9]*"),
            nodes=_count("node/node[0-9]*"),
            disks=_disks(),
            without=self.lacking,
            nsdelegate=nsdelegate,
        )
        if self.enabled:
            words = " ".join(f"+{name}" for name in self.enabled)
            fake.write(f"{self.root}/cgroup.subtree_control", words.encode())
        return fake

    @contextlib.contextmanager
    def entered(self, name: str) -> Iterator[Ground]:
        """Look at what the real one has, in a group that is removed again; a machine of ours has all, meanwhile."""
        # A descriptor for each file of each group is kept.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        real = KernelFilesystem()
        control = f"{self.root}/cgroup.subtree_control"
        added: list[str] = []
        enabled: tuple[str, ...] = ()
        if self.hierarchy.version != 1:
            before = real.read(control).decode().split()
            wanted = real.read(f"{self.root}/cgroup.controllers").decode().split() if IN_GUEST else []
            for each in wanted:
                if each not in before:
                    real.write(control, f"+{each}".encode())
                    added.append(each)
            enabled = tuple(each for each in real.read(control).decode().split() if each in profile(self.kernel).v2)
        with contextlib.ExitStack() as stack:
            # Each is tried, and what went wrong before is still told.
            for each in added:
                stack.callback(real.write, control, f"-{each}".encode())
            stack.enter_context(_hurried())
            yield self._matched(real, name, enabled)

    def _matched(self, real: KernelFilesystem, name: str, enabled: tuple[str, ...]) -> Ground:
        path = f"{self.root}/{name}"
        real.mkdir(path)
        try:
            there = {entry.name for entry in os.scandir(path) if not entry.is_dir()}
            lacking = frozenset(self._unbuilt(real, path))
            fake = attrs.evolve(self, enabled=enabled, lacking=lacking).fake()
            fake.mkdir(path)
            return attrs.evolve(
                self,
                lacking=lacking | frozenset(set(fake.files(path)) - there),
                unknown=frozenset(there - set(fake.trees[0].below)),
                enabled=enabled,
            )
        finally:
            real.rmdir(path)

    def _unbuilt(self, real: KernelFilesystem, path: str) -> Iterator[str]:
        """Yield the controllers whose names the real kernel does not know."""
        if self.hierarchy.version == 1:
            return
        for name in profile(self.kernel).v2:
            try:
                real.write(f"{path}/cgroup.subtree_control", f"-{name}".encode())
            except OSError as error:
                if errno_name(error.errno or 0) == "EINVAL":
                    yield name


def grounds() -> list[Ground]:
    """Return the hierarchies whose files were measured on a kernel of this series."""
    kernel = series()
    if not kernel:
        return []
    known = set(profile(kernel).v1)
    return [
        Ground(hierarchy, kernel)
        for hierarchy in _layout().hierarchies
        if hierarchy.version != 1 or set(hierarchy.controllers) <= known
    ]
