"""Being told of groups in memory: one wait for all files that are open, in virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable
from errno import EINVAL
from typing import TYPE_CHECKING

from cgctl.errors import UnsupportedError
from cgctl.fake.memory.counters import CURRENT, PAGE
from cgctl.fake.parse import memparse
from cgctl.fake.refusal import refusal
from cgctl.fake.tree import Group
from cgctl.fake.watching import OpenFile

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel

__all__ = ["Notifier"]


class Notifier:
    """Files of one kernel that are open, and v1's listeners."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._files: dict[int, OpenFile] = {}
        self._listeners: dict[int, _Listener] = {}
        self._alarm = math.inf

    def look(self, path: str) -> int:
        """Open a file that tells when it is not any more what was read last; it is to be read at once."""
        with self._kernel.mutex:
            self._kernel.read(path)  # whatever refuses it
            above, _, name = path.rpartition("/")
            return self._keep(OpenFile(self._kernel, path, self._kernel.group_at(above), name))

    def trigger(self, path: str, data: bytes) -> int:
        """Open a file, and write to it what it is to tell of."""
        file = self._kernel.watch(path)
        file.write(data)
        return self._keep(file)

    def listen(self, path: str, argument: bytes) -> int:
        """Have v1's memory tell of OOMs here or above, or when its use goes over a number of bytes, up or down."""
        with self._kernel.mutex:
            self._kernel.read(path)
            above = path.rpartition("/")[0]
            listener = _Listener(self._kernel.group_at(above), path, argument.decode())
            key = self._next()
            self._listeners[key] = listener
            return key

    def removals(self, directory: str) -> bool:
        """Wake whoever waits when a group directly below is removed: here all that is open tells that anyway."""
        self._kernel.listdir(directory)
        return True

    def alarm(self, seconds: float) -> None:
        """Wake whoever waits after so many seconds."""
        self._alarm = self._kernel.now + seconds

    def read(self, key: int) -> bytes:
        """Return the content of a file that is open."""
        return self._files[key].read()

    def wait(self, timeout: float | None) -> frozenset[int]:
        """Let time pass until something tells, and return which; at once if nothing is ever going to happen."""
        with self._kernel.mutex:
            if timeout is None:
                # The alarm alone makes no time pass here, or it would pass for ever.
                self._kernel.advance_until(lambda: bool(self._ready()) or self._kernel.now >= self._alarm)
            else:
                due = max(min(timeout, self._alarm - self._kernel.now), 0.0)
                # Time passes in whole microseconds, and the end is to be reached.
                self._kernel.advance_until(lambda: bool(self._ready()), math.ceil(due * 1e6) / 1e6)
            if self._kernel.now >= self._alarm:
                self._alarm = math.inf
            told = self._ready()
            for key in told:
                (self._files.get(key) or self._listeners[key]).told()
            return told

    def fileno(self) -> int:
        """There is no descriptor in memory.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("fileno() of events", "a kernel in memory has no descriptors; call wait()")

    def quiet(self) -> None:
        """Tell nothing any more."""
        self.close()

    def close(self) -> None:
        """Close all; again is fine."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._listeners.clear()

    def _next(self) -> int:
        return len(self._files) + len(self._listeners)

    def _keep(self, file: OpenFile) -> int:
        key = self._next()
        self._files[key] = file
        return key

    def _ready(self) -> frozenset[int]:
        return frozenset(key for known in (self._files, self._listeners) for key, each in known.items() if each.ready)


class _Listener:
    """An eventfd that v1's memory knows of."""

    def __init__(self, group: Group, path: str, argument: str) -> None:
        self._group = group
        self._count = _heard(group, path, argument)
        self._heard = self._count()

    @property
    def ready(self) -> bool:
        """Whether it was told of something, or the group is gone."""
        return self._group.gone or self._count() != self._heard

    def told(self) -> None:
        """Take note that it was said."""
        self._heard = self._count()


def _heard(group: Group, path: str, argument: str) -> Callable[[], int]:
    """Return what counts how often a listener of v1's memory has been told."""
    name = path.rpartition("/")[2]
    if name == "memory.oom_control":
        # mem_cgroup_oom_notify tells all groups below the one that is out of memory.
        return lambda: sum(each.counts.get("memory.events.local:oom", 0) for each in group.line())
    if name == "memory.usage_in_bytes":
        least = memparse(argument, saturates=group.profile.saturates, unlimited="-1") * PAGE
        return lambda: int(group.counts.get(CURRENT, 0) >= least)
    raise refusal(EINVAL, path)
