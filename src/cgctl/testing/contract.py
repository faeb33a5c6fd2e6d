"""Runs the cases of the contract on a filesystem."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

from cgctl.errors import errno_name
from cgctl.filesystem import Filesystem, remove_tree
from cgctl.testing.case import Action, Case, Failure, Profile, filled
from cgctl.testing.measured import measured
from cgctl.testing.moves import MOVES
from cgctl.testing.structure import STRUCTURE

__all__ = ["cases", "check_filesystem"]

# A process that was killed or moved leaves its group a moment later.
_PATIENCE_SEC: Final = 10.0
_SAME: Final = "="
_LINE: Final = "~"


def cases(profile: Profile) -> list[Case]:
    """Return the cases that hold in such a hierarchy."""
    return [case for case in (*STRUCTURE, *MOVES, *measured(profile.kernel)) if case.holds(profile)]


def check_filesystem(
    filesystem: Filesystem,
    directory: str,
    profile: Profile,
    *,
    name: str = "check",
    pid: int | None = None,
) -> Iterator[Failure]:
    """Check that a hierarchy behaves as that of a real kernel does; yield what does not.

    Each case has a group of its own below *directory*, which is removed after it. On v2 the profile's controllers are
    enabled in *directory* meanwhile.

    Args:
        filesystem: the real one, or one in memory.
        directory: a group, or the hierarchy's root.
        profile: what kind of a hierarchy that is.
        name: what the groups' names begin with.
        pid: a process that may be moved; it is back in *directory* at the end. Without one, cases with processes are
            left out.
    """
    enabled = _enable(filesystem, directory, profile)
    try:
        for number, case in enumerate(cases(profile)):
            if case.pid and pid is None:
                continue
            run = _Run(filesystem, case, profile, group=f"{directory}/{name}{number}", home=directory, pid=pid)
            yield from run.failures()
    finally:
        for controller in reversed(enabled):
            with contextlib.suppress(OSError):
                filesystem.write(f"{directory}/cgroup.subtree_control", f"-{controller}".encode())


def _enable(filesystem: Filesystem, directory: str, profile: Profile) -> list[str]:
    if profile.version == 1:
        return []
    path = f"{directory}/cgroup.subtree_control"
    before = filesystem.read(path).decode().split()
    missing = sorted(profile.controllers - set(before))
    for controller in missing:
        filesystem.write(path, f"+{controller}".encode())
    return missing


class _Run:
    """One case in its group."""

    def __init__(
        self, filesystem: Filesystem, case: Case, profile: Profile, *, group: str, home: str, pid: int | None
    ) -> None:
        self.filesystem = filesystem
        self.group = group
        self.case = case
        self.profile = profile
        self.pid = pid
        self.home = home
        self.seen: dict[str, str] = {}

    def failures(self) -> Iterator[Failure]:
        """Do the actions; give the first that goes otherwise, for those after it would mean nothing."""
        self.filesystem.mkdir(self.group)
        try:
            if not self._is_left_out():
                for action in self.case.actions:
                    if (failure := self._judge(action)) is not None:
                        yield failure
                        break
        finally:
            if self.case.pid:
                self.filesystem.write(f"{self.home}/cgroup.procs", str(self.pid).encode())
            with contextlib.suppress(OSError):
                self.filesystem.write(f"{self.group}/cgroup.freeze", b"0")
            remove_tree(self.filesystem, self.group, timeout=_PATIENCE_SEC)

    def _is_left_out(self) -> bool:
        """Tell whether this kernel was built otherwise than the measured one, as to the case's file."""
        if not self.case.file or (self.profile.exact and not self.case.optional):
            return False
        path = f"{self.group}/{self.case.file}"
        is_absent = self._result(lambda: self.filesystem.read(path)) == "ENOENT"
        return is_absent != any(action.expected == "ENOENT" for action in self.case.actions)

    def _judge(self, action: Action) -> Failure | None:
        expected, got = action.expected, self._got(action)
        if expected is not None:
            expected = filled(expected, self.pid or 0)
        if action.verb == "read":
            if expected == _SAME:
                expected = self.seen.get(action.path, got)
            self.seen[action.path] = got
            if expected is None or (expected.startswith(_LINE) and expected[1:] in got.splitlines()):
                return None
        expected = "OK" if expected is None else expected
        if expected == got:
            return None
        return Failure(self.case.name, str(action), repr(expected), repr(got))

    def _got(self, action: Action) -> str:
        path = f"{self.group}/{action.path}" if action.path else self.group
        filesystem = self.filesystem
        data = filled(action.data, self.pid or 0).encode()
        if action.verb == "read":
            return self._result(lambda: filesystem.read(path).decode())
        if action.verb == "list":
            return self._result(lambda: "/".join(sorted(filesystem.listdir(path))))
        if action.verb == "mkdir":
            return self._result(lambda: filesystem.mkdir(path))
        if action.verb == "rmdir":
            return self._eventually(lambda: filesystem.rmdir(path), action.expected)
        return self._result(lambda: filesystem.write(path, data))

    def _eventually(self, what: Callable[[], object], expected: str | None) -> str:
        """Try while the group is busy, if it must not be for long: the dead leave it a moment later."""
        deadline, pause = time.monotonic() + _PATIENCE_SEC, 0.001
        while (got := self._result(what)) == "EBUSY" and expected != "EBUSY" and time.monotonic() < deadline:
            time.sleep(pause)
            pause *= 2
        return got

    @staticmethod
    def _result(what: Callable[[], object]) -> str:
        try:
            result = what()
        except OSError as error:
            return errno_name(error.errno or 0)
        return result if isinstance(result, str) else "OK"
