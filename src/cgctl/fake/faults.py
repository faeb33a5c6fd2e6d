"""Faults on purpose: files that answer with an error, and groups that somebody else removes between two calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from errno import EBUSY, ENODEV, ENOENT
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from cgctl.errors import SpecError, errno_name, shown
from cgctl.fake.refusal import refusal
from cgctl.fake.task import SIGKILL
from cgctl.fake.tree import Group

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel

__all__ = ["Fault", "Faults", "Operation"]

Operation: TypeAlias = Literal["read", "write", "mkdir", "rmdir", "listdir"]
_OPERATIONS: Final = ("read", "write", "mkdir", "rmdir", "listdir")


@attrs.define(eq=False)
class Fault:
    """Calls that are to fail.

    Attributes:
        path: of the file or group, or a pattern of those.
        errno: how they fail.
        left: how many calls are still to fail; ``None``: all.
        on: which calls.
        after: how many are still to be let through before.
        hits: how many have failed.
        before: what is done before.
    """

    path: str
    errno: int
    left: int | None
    on: frozenset[str]
    after: int = 0
    hits: int = 0
    before: Callable[[], object] | None = None

    def concerns(self, operation: Operation, path: str) -> bool:
        """Tell whether a call is one of them; in a pattern, ``*`` stands for any characters, ``/`` among them."""
        return self.left != 0 and operation in self.on and (path == self.path or fnmatchcase(path, self.path))


class Faults:
    """The faults of one kernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._faults: list[Fault] = []

    def add(
        self,
        path: str,
        errno: int,
        times: int | None,
        on: Operation | Iterable[Operation] | None,
        *,
        after: int = 0,
        before: Callable[[], object] | None = None,
    ) -> Fault:
        """Have calls fail."""
        numbers: tuple[object, ...] = (errno, times, after)
        if not isinstance(numbers[0], int) or errno_name(errno).startswith("errno"):
            msg = f"fail({path!r}, {shown(errno)}): not an errno; give one such as errno.EIO"
            raise SpecError(msg)
        if times is not None and (not isinstance(numbers[1], int) or times < 1):
            msg = f"fail({path!r}, times={shown(times)}): not a number of calls; give 1 or more, or None for all"
            raise SpecError(msg)
        if not isinstance(numbers[2], int) or after < 0:
            msg = f"fail({path!r}, after={shown(after)}): not a number of calls; give 0 or more"
            raise SpecError(msg)
        which = frozenset(_OPERATIONS if on is None else (on,) if isinstance(on, str) else on)
        for each in which.difference(_OPERATIONS):
            msg = f"fail({path!r}, on={shown(each)}): there is no such call; they are {', '.join(_OPERATIONS)}"
            raise SpecError(msg)
        fault = Fault(path, errno, times, which, after, before=before)
        self._faults.append(fault)
        return fault

    def meet(self, operation: Operation, path: str) -> None:
        """Fail, if this call is to.

        Raises:
            OSError: it is.
        """
        if not self._faults:
            return
        fault = next((each for each in self._faults if each.concerns(operation, path)), None)
        if fault is None:
            return
        if fault.after:
            fault.after -= 1
            return
        fault.hits += 1
        if fault.left is not None:
            fault.left -= 1
            if fault.left == 0:
                self._faults.remove(fault)
        if fault.before is not None:
            fault.before()
        raise refusal(fault.errno, path)

    def vanish(self, paths: Sequence[str], on: str | None) -> None:
        """Remove a group as somebody else would, at once or when one of its files is read or written."""
        groups = {path: group for path in paths if (group := self._found(path)) is not None}
        if not groups:
            raise refusal(ENOENT, next(iter(paths), None))
        if on is None:
            self._remove(groups.values())
            return
        with_file = [path for path, group in groups.items() if group.interface(on)]
        for path in with_file:
            self.add(f"{path}/{on}", ENODEV, 1, ("read", "write"), before=lambda: self._remove(groups.values()))
        if not with_file:
            msg = f"vanish({shown(paths)}, on={shown(on)}): it has no such file"
            raise SpecError(msg)

    def _found(self, path: str) -> Group | None:
        try:
            return self._kernel.group_at(path)
        except OSError:
            return None

    def _remove(self, groups: Iterable[Group]) -> None:
        found = [each for group in groups if not group.gone for each in reversed(list(group.below()))]
        inside = {thread.task: None for each in found for thread in each.threads}
        if self._kernel.caller in inside:
            raise refusal(EBUSY, found[-1].path)
        for task in inside:
            self._kernel.processes.end(task, -SIGKILL)
        for each in found:
            self._kernel.remove(each)
        self._kernel.notify()
