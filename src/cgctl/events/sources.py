"""What tells of each kind of event: v2's files and v1's, and what has to be looked at again and again.

Where the kernel tells nobody, a source is *polled*: v1 without v2 beside it says nothing of processes that come and go
or are frozen, counts OOM kills and refused forks in the group where they happen, and has no event for its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from errno import EINVAL, ENOENT, EOPNOTSUPP
from typing import Final, Protocol

import attrs

from cgctl import members
from cgctl.errors import StepError, UnsupportedError
from cgctl.events.kinds import PRESSURES, Kind, Threshold
from cgctl.filesystem import Filesystem, Notifier, is_there
from cgctl.formats import parse_flat_keyed
from cgctl.layout import UNIFIED, Hierarchy, Layout
from cgctl.members import Places
from cgctl.plan import GONE, Place

__all__ = ["Found", "Source", "Sources"]

Found = tuple[Kind, int]
"""What has happened, and how often."""
Flags = Callable[[], Mapping[str, int]]
Counts = Callable[[], Mapping[str, Mapping[str, int]]]
"""Directory → key → how often."""

_MEMORY: Final[Mapping[str, Kind]] = {
    "low": "memory_low",
    "high": "memory_high",
    "max": "memory_max",
    "oom": "oom",
    "oom_kill": "oom_kill",
    "oom_group_kill": "oom_group_kill",
}
"""Key of v2's memory.events → what it counts, in the order in which they happen."""
_STATES: Final[Mapping[str, tuple[Kind, Kind]]] = {
    "populated": ("empty", "populated"),
    "frozen": ("thawed", "frozen"),
}
"""Key of cgroup.events → what it is called when it becomes 0, and when it becomes 1."""
_V2_ONLY: Final[Mapping[Kind, str]] = {
    "memory_low": "v1 has no protection of memory",
    "memory_high": "v1 cannot throttle a group below its limit",
    "oom_group_kill": "v1 kills one process at a time",
}
_FAILURES: Final = ("memory.failcnt", "memory.memsw.failcnt")


class Source(Protocol):
    """Something that tells.

    Attributes:
        polled: whether it has to be looked at without being told.
    """

    polled: bool

    def look(self, told: frozenset[int]) -> Iterator[Found]:
        """Find out what has happened since the last look."""


class _States:
    """Flags, whose changes are events; polled if they are of no file that tells."""

    def __init__(self, read: Flags, kinds: Iterable[Kind], key: int | None = None) -> None:
        self._read, self._kinds, self._key = read, frozenset(kinds), key
        self.polled = key is None
        self._before = dict(read())

    def look(self, told: frozenset[int]) -> Iterator[Found]:
        now = dict(self._read())
        before, self._before = self._before, now
        if self._key in told and now == before and not now["populated"]:
            # Something is over of which it was told. Who waits for the end of a program is not to miss it; was it that
            # an empty group was frozen and thawed, then it is told once more that it is empty.
            happened: list[Kind] = ["empty"]
        else:
            happened = [names[bool(now[key])] for key, names in _STATES.items() if now.get(key) != before.get(key)]
        for kind in happened:
            if kind in self._kinds:
                yield kind, 1


class _Counters:
    """Counters, of the group or of each group below; in a group that was made meanwhile they begin at 0."""

    def __init__(self, read: Counts, kinds: Mapping[str, Kind], *, polled: bool) -> None:
        self._read, self._kinds, self.polled = read, kinds, polled
        self._before = read()

    def look(self, told: frozenset[int]) -> Iterator[Found]:
        del told
        before, self._before = self._before, self._read()
        for key, kind in self._kinds.items():
            more = sum(
                _more(before.get(directory, {}).get(key, 0), counts.get(key, 0))
                for directory, counts in self._before.items()
            )
            if more:
                yield kind, more


def _more(before: int, now: int) -> int:
    return now - before if now >= before else now  # another group of the same name, or one that was reset


@attrs.define
class _Told:
    """What tells by itself, without anything to read."""

    key: int
    kind: Kind
    polled: bool = attrs.field(default=False, init=False)

    def look(self, told: frozenset[int]) -> Iterator[Found]:
        if self.key in told:
            yield self.kind, 1


@attrs.define
class _Trigger(_Told):
    """A trigger of pressure, on a file that may be switched off."""

    read: Callable[[], object]

    def look(self, told: frozenset[int]) -> Iterator[Found]:
        if self.key in told:
            self.read()
            yield self.kind, 1


@attrs.frozen(kw_only=True)
class Sources:
    """What a group's events can be had from.

    Attributes:
        filesystem: the kernel.
        notifier: what will wait for it.
        layout: of the machine.
        places: where the group is.
        threshold: from where on some kinds are told.
        name: of the group.
    """

    filesystem: Filesystem
    notifier: Notifier
    layout: Layout
    places: Places
    threshold: Threshold
    name: str

    def of(self, kinds: Sequence[Kind]) -> list[Source]:
        """Make what tells of these kinds; what counts comes before what is a state, as an OOM comes before its end.

        Raises:
            UnsupportedError: this layout, kernel or group cannot tell of one of them.
            OSError: the group is gone.
        """
        made: list[Source] = []
        if of_memory := [kind for kind in kinds if kind in _MEMORY.values()]:
            made.extend(self._memory(of_memory))
        if "usage" in kinds:
            made.append(self._usage())
        if "pids_max" in kinds:
            made.append(self._pids())
        made.extend(self._pressure(kind) for kind in PRESSURES if kind in kinds)
        if states := [kind for kind in kinds if any(kind in names for names in _STATES.values())]:
            made.append(self._states(states))
        return made

    # --- where ------------------------------------------------------------------------------------------------------

    def _home(self, controller: str, kind: Kind) -> tuple[Hierarchy, Place]:
        hierarchy = self.layout.locate(controller)
        place = self.places.get(hierarchy.label) if hierarchy else None
        if hierarchy is None or place is None:
            raise UnsupportedError(f"the event {kind}", f"group {self.name!r} is without the controller {controller}")
        return hierarchy, place

    def _told(self, place: Place, file: str, kind: Kind) -> tuple[int, Callable[[], dict[str, int]]]:
        """Have a flat-keyed file tell, and return its number, and how to read it."""
        path = place.file(file)
        try:
            key = self.notifier.look(path)
        except OSError as error:
            if error.errno != ENOENT or not self.filesystem.exists(place.directory):
                raise
            raise UnsupportedError(f"the event {kind}", f"group {self.name!r} has no {file}") from error
        return key, lambda: parse_flat_keyed(self.notifier.read(key).decode())

    def _below(self, place: Place, file: str) -> Counts:
        """Return how to read a flat-keyed file of a group and of all below."""

        def read() -> dict[str, dict[str, int]]:
            found: dict[str, dict[str, int]] = {}
            for directory in members.walk(self.filesystem, place.directory):
                try:
                    found[directory] = parse_flat_keyed(self.filesystem.read(place.file(file, directory)).decode())
                except OSError as error:
                    if error.errno not in GONE:
                        raise
            return found

        return read

    # --- what -------------------------------------------------------------------------------------------------------

    def _states(self, kinds: Sequence[Kind]) -> Source:
        unified = self.places.get(UNIFIED)
        if unified is not None:
            key, read = self._told(unified, "cgroup.events", kinds[0])
            return _States(read, kinds, key)
        flags: dict[str, Callable[[], bool]] = {}
        if {"populated", "empty"}.intersection(kinds):
            flags["populated"] = lambda: bool(members.tids(self.filesystem, self.places))
        if {"frozen", "thawed"}.intersection(kinds):
            _, freezer = self._home("freezer", "frozen")
            path = freezer.file("freezer.state")
            flags["frozen"] = lambda: self.filesystem.read(path).strip() == b"FROZEN"
        return _States(lambda: {name: int(flag()) for name, flag in flags.items()}, kinds)

    def _memory(self, kinds: Sequence[Kind]) -> Iterator[Source]:
        hierarchy, place = self._home("memory", kinds[0])
        if hierarchy == self.layout.unified:
            _, read = self._told(place, "memory.events", kinds[0])
            wanted = {key: kind for key, kind in _MEMORY.items() if kind in kinds}
            if lacking := wanted.keys() - read().keys():
                key = min(lacking)
                raise UnsupportedError(f"the event {wanted[key]}", f"this kernel's memory.events has no {key}")
            yield _Counters(lambda: {"": read()}, wanted, polled=False)
            return
        for kind in kinds:
            if kind in _V2_ONLY:
                raise UnsupportedError(f"the event {kind}", _V2_ONLY[kind])
        if "memory_max" in kinds:
            yield _Counters(self._failures(place), {"max": "memory_max"}, polled=True)
        if "oom" in kinds or "oom_kill" in kinds:
            # It comes before the kill, and wakes who looks for that.
            listener = self.notifier.listen(place.file("memory.oom_control"), b"")
            if "oom" in kinds:
                yield _Told(listener, "oom")
        if "oom_kill" in kinds:
            yield _Counters(self._below(place, "memory.oom_control"), {"oom_kill": "oom_kill"}, polled=True)

    def _failures(self, place: Place) -> Counts:
        """Return how to read how often v1's limits were met; some kernels count for one of the two alone (6.18)."""
        paths = [path for path in map(place.file, _FAILURES) if is_there(self.filesystem, path)]
        return lambda: {"": {"max": sum(int(self.filesystem.read(path)) for path in paths)}}

    def _pids(self) -> Source:
        _, place = self._home("pids", "pids_max")
        # Since 6.11 v2 counts where the limit is, and tells all groups above. Before, and on v1, it is the group that
        # forked, and from then on v1 tells nobody: pids_event() notifies another file.
        if is_there(self.filesystem, place.file("pids.events.local")):
            _, read = self._told(place, "pids.events", "pids_max")
            return _Counters(lambda: {"": read()}, {"max": "pids_max"}, polled=False)
        return _Counters(self._below(place, "pids.events"), {"max": "pids_max"}, polled=True)

    def _usage(self) -> Source:
        hierarchy, place = self._home("memory", "usage")
        if hierarchy == self.layout.unified:
            reason = "v2 has no thresholds of usage; set high, and wait for memory_high"
            raise UnsupportedError("the event usage", reason)
        path = place.file("memory.usage_in_bytes")
        return _Told(self.notifier.listen(path, b"%d" % self.threshold.usage), "usage")

    def _pressure(self, kind: Kind) -> Source:
        feature = f"the event {kind}"
        place = self.places.get(UNIFIED)
        if place is None:
            raise UnsupportedError(feature, f"v1 knows no pressure, and group {self.name!r} is in no v2 hierarchy")
        path = place.file(kind.replace("_", "."))
        data = self.threshold.pressure
        try:
            key = self.notifier.trigger(path, data.encode())
        except OSError as error:
            if not self.filesystem.exists(place.directory):
                raise
            raise self._refused(error, feature, path) from error
        return _Trigger(key, kind, lambda: self.notifier.read(key))

    def _refused(self, error: OSError, feature: str, path: str) -> Exception:
        if error.errno in {ENOENT, EOPNOTSUPP}:
            reason = f"there is no {path}: pressure is not accounted here (psi=1 on the kernel's command line?)"
            return UnsupportedError(feature, reason, "5.2")
        if error.errno == EINVAL:
            reason = (
                f"the kernel refused {self.threshold.pressure!r}: who lacks CAP_SYS_RESOURCE has windows of whole"
                " multiples of 2 s, and full of cpu is since 5.13"
            )
            return UnsupportedError(feature, reason)
        return StepError(f"write {self.threshold.pressure!r} to {path}", error.errno or 0, filename=path)
