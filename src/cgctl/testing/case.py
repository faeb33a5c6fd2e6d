"""A case of the contract: what is done, one after the other, and what must come of each."""

from __future__ import annotations

from typing import Literal

import attrs

__all__ = ["Action", "Case", "Failure", "Profile", "filled", "list_", "mkdir", "read", "release", "rmdir", "write"]

Verb = Literal["mkdir", "rmdir", "write", "read", "list"]


@attrs.frozen
class Action:
    """Something to do with a filesystem.

    Attributes:
        verb: which of the protocol's methods.
        path: below the case's own group; ``""`` is that group.
        data: what is written.
        expected: an errno's name; or ``None``: that it works. For ``read`` the text, or ``=`` for what the last reading
            of the file gave; one that begins with ``~`` must be one of the lines. For ``list`` the sorted names, with
            ``/`` between them.
    """

    verb: Verb
    path: str
    data: str = ""
    expected: str | None = None

    def __str__(self) -> str:
        done = f"{self.verb} {self.path or '.'}"
        return f"{done} <- {self.data!r}" if self.verb == "write" else done


def mkdir(path: str, expected: str | None = None) -> Action:
    """Make a group."""
    return Action("mkdir", path, expected=expected)


def rmdir(path: str, expected: str | None = None) -> Action:
    """Remove one."""
    return Action("rmdir", path, expected=expected)


def write(path: str, data: str, expected: str | None = None) -> Action:
    """Write a file."""
    return Action("write", path, data, expected)


def read(path: str, expected: str | None) -> Action:
    """Read a file."""
    return Action("read", path, expected=expected)


def list_(path: str, *names: str) -> Action:
    """List the groups below one."""
    return Action("list", path, expected="/".join(sorted(names)))


@attrs.frozen
class Profile:
    """What a hierarchy is: which cases hold there.

    Attributes:
        version: 1 or 2.
        kernel: one of the measured series, such as ``"6.12"``.
        controllers: those that a group made below the directory can have.
        cpus: how many processors there are.
        nodes: how many memory nodes.
        devices: block devices that are there, as ``"7:0"``.
        exact: whether the kernel was built as the measured one of its series was (Debian's); where it was not, cases
            of files that are not there are left out.
        top: whether the directory is the hierarchy's root.
        programs: whether programs can be attached to its groups: in v2, by who may, with a kernel that can.
    """

    version: int
    kernel: str
    controllers: frozenset[str]
    cpus: int = 8
    nodes: int = 2
    devices: frozenset[str] = frozenset()
    exact: bool = True
    top: bool = True
    programs: bool = False


@attrs.frozen
class Case:
    """A sequence of actions in a fresh group, with what must come of each.

    Attributes:
        name: what it shows, or the row that was measured.
        actions: what is done.
        version: of which hierarchies it holds; 0: of both.
        controllers: what it takes: all of these,
        not_v1: none of these in a v1 hierarchy,
        machine: this many processors and nodes,
        devices: these block devices,
        top: a directory that is the hierarchy's root,
        pid: a process to move,
        programs: the right to attach programs,
        since: and this release.
        file: the interface file of a measured row.
        optional: whether that file may be missing, and the case left out, however the kernel was built.
    """

    name: str
    actions: tuple[Action, ...]
    version: int = 2
    controllers: frozenset[str] = frozenset()
    not_v1: frozenset[str] = frozenset()
    machine: tuple[int, int] | None = None
    devices: frozenset[str] = frozenset()
    top: bool = False
    pid: bool = False
    programs: bool = False
    since: str = "0"
    file: str = ""
    optional: bool = False

    def holds(self, profile: Profile) -> bool:
        """Tell whether the case is one of such a hierarchy."""
        return (
            self.version in {0, profile.version}
            and self.controllers <= profile.controllers
            and not (profile.version == 1 and self.not_v1 & profile.controllers)
            and self.machine in {None, (profile.cpus, profile.nodes)}
            and self.devices <= profile.devices
            and (profile.top or not self.top)
            and (profile.programs or not self.programs)
            and release(self.since) <= release(profile.kernel)
        )


def filled(data: str, pid: int) -> str:
    """Put a process in the place of ``PIDd``, ``PIDx`` and ``PIDo``: its number, decimal, hexadecimal and octal."""
    return data.replace("PIDd", f"{pid}").replace("PIDx", f"{pid:x}").replace("PIDo", f"{pid:o}")


def release(text: str) -> tuple[int, ...]:
    """Read a release, to be compared."""
    return tuple(map(int, text.split(".")))


@attrs.frozen
class Failure:
    """Something that went otherwise than it must.

    Attributes:
        case: the case's name.
        action: what was done.
        expected: what had to come of it.
        got: what came.
    """

    case: str
    action: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.case}: {self.action}: expected {self.expected}, got {self.got}"
