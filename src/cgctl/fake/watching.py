"""Open files that answer each who has them open for himself: peaks since a reset (``struct cgroup_of_peak``, 6.12)."""

from __future__ import annotations

from errno import ENODEV
from typing import TYPE_CHECKING

from cgctl.fake.memory.counters import SINCE_RESET, USE_OF_PEAK
from cgctl.fake.refusal import refusal

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.tree import Group

__all__ = ["OpenFile"]


class OpenFile:
    """One file of a group, opened once."""

    def __init__(self, kernel: FakeKernel, path: str, group: Group, name: str) -> None:
        self._kernel = kernel
        self._path = path
        self._group = group
        self._name = name
        # What was highest here since the last reset, as far as another one's reset has hidden it from the group.
        self._seen: int | None = None

    def read(self) -> bytes:
        """Return its content now."""
        with self._kernel.mutex:
            self._require()
            if self._seen is None:
                return self._kernel.read(self._path)
            local = self._group.counts.get(SINCE_RESET[self._name], 0)
            return f"{max(self._seen, local)}\n".encode()

    def write(self, data: bytes) -> None:
        """Write; v2 resets the peak for this descriptor alone."""
        with self._kernel.mutex:
            self._require()
            self._kernel.write(self._path, data)
            if self._group.tree.version == 1 or self._name not in USE_OF_PEAK or not data:
                return
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
            watchers = self._kernel.watchers.get((self._group, self._name), [])
            if self in watchers:
                watchers.remove(self)
            if not watchers:
                self._kernel.watchers.pop((self._group, self._name), None)

    def _require(self) -> None:
        if self._group.gone:
            raise refusal(ENODEV, self._path)
