"""Open files that answer each who has them open for himself.

- Peaks since a reset (``struct cgroup_of_peak``, 6.12).
- PSI triggers (``struct psi_trigger``), which last as long as the file that they were written to is open.
- What ``poll(2)`` says of ``POLLPRI``: of ``*.events`` that they were not read since they changed; of pressure that the
  trigger has fired; of files that are no more, always.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from errno import EBUSY, EINVAL, ENODEV, ENOENT
from typing import TYPE_CHECKING, Final

from cgctl.fake.memory.counters import SINCE_RESET, USE_OF_PEAK
from cgctl.fake.parse import written
from cgctl.fake.refusal import refusal
from cgctl.fake.rules import pressure
from cgctl.fake.tree import PRESSURE

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.time.triggers import Trigger
    from cgctl.fake.tree import Group

__all__ = ["OpenFile", "OpenFiles", "poll"]

# Those that the kernel tells of (cgroup_file_notify): cgroup.events, memory.events.local, hugetlb.2MB.events.
_TOLD: Final = re.compile(r".*\.events(\.local)?")


class OpenFile:
    """One file of a group, opened once."""

    def __init__(self, kernel: FakeKernel, path: str, group: Group, name: str) -> None:
        self._kernel = kernel
        self._path = path
        self._group = group
        self._name = name
        # What was highest here since the last reset, as far as another one's reset has hidden it from the group.
        self._seen: int | None = None
        self._trigger: Trigger | None = None
        # Whether it was not read since it changed, and what it was then; every file is new to who has just opened it.
        self._changed, self._text = True, b""
        self._is_gone = False
        kernel.opened.add(self)

    def read(self) -> bytes:
        """Return its content now."""
        with self._kernel.mutex:
            self._require()
            self._changed, self._text = False, self._content()
            return self._text

    def _content(self) -> bytes:
        if self._seen is None:
            return self._kernel.read(self._path)
        local = self._group.counts.get(SINCE_RESET[self._name], 0)
        return f"{max(self._seen, local)}\n".encode()

    def write(self, data: bytes) -> None:
        """Write; v2 resets the peak for this descriptor alone, and what is written to pressure is its trigger."""
        with self._kernel.mutex:
            self._require()
            if self._trigger and data:
                raise refusal(EBUSY, self._path)
            self._kernel.write(self._path, data)
            if self._group.tree.version == 1 or not data:
                return
            if self._name in PRESSURE:
                self._trigger = pressure.trigger(self._group, self._name, written(data))
                self._kernel.clock.pressure.triggers[self._trigger] = None
            elif self._name in USE_OF_PEAK:
                self._reset()

    def _reset(self) -> None:
        usage = self._group.counts.get(USE_OF_PEAK[self._name], 0)
        self._group.counts[SINCE_RESET[self._name]] = usage
        for other in self._kernel.watchers.setdefault((self._group, self._name), []):
            other._seen = max(other._seen or 0, usage)  # noqa: SLF001 - one of its own kind
        if self._seen is None:
            self._kernel.watchers[self._group, self._name].append(self)
        self._seen = usage

    def close(self) -> None:
        """Close it; again is fine."""
        with self._kernel.mutex:
            self._kernel.opened.discard(self)
            self._drop_trigger()
            watchers = self._kernel.watchers.get((self._group, self._name), [])
            if self in watchers:
                watchers.remove(self)
            if not watchers:
                self._kernel.watchers.pop((self._group, self._name), None)

    def __del__(self) -> None:
        self._drop_trigger()

    def _drop_trigger(self) -> None:
        if self._trigger:
            self._kernel.clock.pressure.triggers.pop(self._trigger, None)

    def _require(self) -> None:
        self.look()
        if self._is_gone:
            raise refusal(ENODEV, self._path)

    # --- who waits for it -------------------------------------------------------------------------------------------

    def look(self) -> None:
        """See what has become of it: a file that was taken away does not come back for who had it open."""
        if self._is_gone:
            return
        if self._group.gone or (self._name[0] != "@" and self._group.interface(self._name) is None):
            self._is_gone = True
            self._drop_trigger()
        elif not self._changed and _TOLD.fullmatch(self._name):
            self._changed = self._kernel.content(self._group, self._name) != self._text

    @property
    def ready(self) -> bool:
        """Whether it has something to say (``POLLPRI``).

        A file of events has if it was not read since it changed, or since it was opened; one of pressure if its trigger
        has fired, or if there is none; one that is no more always has, and reading it says ``ENODEV``.
        """
        self.look()
        if self._is_gone:
            return True
        if self._group.tree.version != 1 and self._name in PRESSURE:
            return self._trigger is None or self._trigger.event
        return self._changed

    def told(self) -> None:
        """Take note that it was said: a trigger fires once."""
        if self._trigger:
            self._trigger.event = False


class OpenFiles:
    """Files of one group, opened to be read again and again.

    Attributes:
        lost: whether one that was there is gone.
    """

    def __init__(self, kernel: FakeKernel, directory: str, names: Sequence[str]) -> None:
        self.lost = False
        self._kernel = kernel
        self._directory = directory
        self._group = kernel.group_at(directory)
        # What is not there when it is opened does not appear.
        self._names = {name: self._answer(name) for name in names}

    def read(self) -> list[bytes | int]:
        """Return of each file the content now, or the errno."""
        with self._kernel.mutex:
            found = [
                self._answer(name, gone=ENODEV) if isinstance(first, bytes) else first
                for name, first in self._names.items()
            ]
            self.lost = ENODEV in found
            return found

    def close(self) -> None:
        """Close them; again is fine."""
        self._names = {}

    def _answer(self, name: str, gone: int = ENOENT) -> bytes | int:
        if self._group.gone:
            return gone
        try:
            return self._kernel.read(f"{self._directory}/{name}")
        except OSError as error:
            return gone if error.errno == ENOENT else error.errno or EINVAL


def poll(files: Sequence[OpenFile]) -> list[OpenFile]:
    """Return those that have something to say, and take it as said."""
    found = [file for file in files if file.ready]
    for file in found:
        file.told()
    return found
