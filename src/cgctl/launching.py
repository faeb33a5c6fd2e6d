"""What starts programs on a machine: the one place where groups meet processes.

A :class:`cgctl.System` has a launcher. That of a real machine asks the launch helper for a child that is born in the
group, or joins it by itself.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

from cgctl import guarding, joined
from cgctl.errors import SpecError
from cgctl.filesystem import read_all
from cgctl.filesystem.kernel import KernelFilesystem
from cgctl.launch.arguments import Argument
from cgctl.launch.client import Helper
from cgctl.launch.process import Process
from cgctl.launch.start import popen as launch
from cgctl.layout import UNIFIED
from cgctl.leaf import Leaf

__all__ = ["KernelLauncher", "Launcher"]


class Launcher(Protocol):
    """What starts programs on a machine."""

    def vet(self, program: Any, keywords: dict[str, Any]) -> None:
        """Refuse what cannot be started here, before any group is made for it.

        Raises:
            SpecError: it is nonsense.
            UnsupportedError: this machine cannot do it.
        """

    def start(self, program: Any, leaf: Leaf, keywords: dict[str, Any]) -> Process:
        """Start a program in a leaf.

        Args:
            program: what to run.
            leaf: the group that it has to itself.
            keywords: those of :func:`cgctl.launch.start.popen`.

        Raises:
            SpecError: an argument is nonsense.
            LaunchError: it could not be started.
        """


class KernelLauncher:
    """The launcher of a real machine."""

    def vet(self, program: Any, keywords: dict[str, Any]) -> None:
        """Refuse a callable: only a machine in memory runs those."""
        del keywords
        if callable(program):
            msg = (
                f"{program!r} is a Python callable, which only a machine in memory runs as a program"
                " (system=cgctl.testing.FakeSystem()); give a list of arguments, such as [sys.executable, 'file.py']"
            )
            raise SpecError(msg)

    def start(self, program: Sequence[Argument], leaf: Leaf, keywords: dict[str, Any]) -> Process:
        """Start a program in its leaf: born there, or joining by itself where births fail."""
        self_join = _births_fail()
        process = _launch(program, leaf, keywords, self_join=self_join)
        # Killed before it became the program: at a memory limit, or by the bug of 6.18 that kills whoever is born in a
        # group after cgroup.kill was written to the helper's own. Then it joins by itself.
        if process.born or self_join or leaf.kills():
            return process
        process.discard()
        _unborn.add(guarding.own_helper().pid)
        return _launch(program, leaf, keywords, self_join=True)


def _launch(argv: Sequence[Argument], leaf: Leaf, keywords: dict[str, Any], *, self_join: bool) -> Process:
    helper = guarding.own_helper()
    with _entrances(leaf, helper) as entrances:
        how = {**keywords, **entrances, "helper": helper}
        how["self_join"] = self_join or entrances.get("self_join", False)
        return launch(argv, leaf=leaf, group=leaf.group, **how)


_unborn: set[int] = set()
"""Helpers whose children are killed at birth."""


def _births_fail() -> bool:
    return bool(_unborn) and guarding.own_helper().pid in _unborn


@contextlib.contextmanager
def _entrances(leaf: Leaf, helper: Helper) -> Iterator[dict[str, Any]]:
    """Open what a child needs to get into the leaf: where it differs from the helper's group, in every hierarchy.

    Where the leaf is not, that is the nearest group above it, or else the caller's present one: a program that is
    run inside a joined group would escape that one's limits, because the helper is outside.
    """
    system = leaf.group.system
    filesystem = system.filesystem
    assert isinstance(filesystem, KernelFilesystem), "a real machine is reached by the real kernel"  # noqa: S101
    targets = system.directories_of(os.getpid()) | leaf.place.address.nearest()
    # A helper that was just started may still be on its way home.
    present = system.directories_of(helper.pid) | dict(joined.outermost_homes())
    with ExitStack() as opened:

        def entrance(fd: int) -> int:
            opened.callback(os.close, fd)
            return fd

        entrances: dict[str, Any] = {"join": []}
        for label, directory in targets.items():
            if present.get(label) == directory:
                continue
            procs = entrance(filesystem.open_for_join(f"{directory}/cgroup.procs"))
            if label == UNIFIED:
                entrances |= {"into": entrance(filesystem.open_directory(directory)), "into_procs": procs}
                # Older kernels (5.10) do not give a child that is born in a group the processors of that group.
                if system.layout.locate("cpuset") is system.layout.unified:
                    here, there = _cpuset(filesystem, present.get(label)), _cpuset(filesystem, directory)
                    entrances["self_join"] = here != there
            else:
                entrances["join"].append(procs)
        yield entrances


def _cpuset(filesystem: KernelFilesystem, directory: str | None) -> list[bytes | int]:
    """Return the processors and memory nodes of a v2 group: those of the nearest above that can have its own."""
    while directory:
        found = read_all(filesystem, [f"{directory}/cpuset.cpus.effective", f"{directory}/cpuset.mems.effective"])
        if any(isinstance(value, bytes) for value in found.values()):
            return list(found.values())
        directory = directory.rpartition("/")[0]
    return []
