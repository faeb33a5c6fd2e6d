"""Waiting for what happens to a group."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from cgctl.closing import Closing
from cgctl.errors import GroupNotFoundError, StepError, TimeoutExpired, UnsupportedError
from cgctl.events.kinds import KINDS, PRESSURES, Event, Kind, Threshold
from cgctl.events.sources import Source, Sources
from cgctl.filesystem import Filesystem, Notifier
from cgctl.layout import UNIFIED, Layout
from cgctl.members import Places, pauses
from cgctl.plan import GONE, Place
from cgctl.units import parse_duration

__all__ = ["Events"]

_WITH_MORE: Final = (*PRESSURES, "usage", "removed")
"""Kinds that say nothing without a threshold, and the one that is always told."""


class Events(Closing):
    """What happens to a group from now on, one :class:`Event` after the other; ``with`` closes it.

    :meth:`cgctl.Group.events` makes these. Iterating waits for the next event, and ends when the group is removed,
    which is an event too, or when the time is over. The kernel tells that something has changed, not how often: what
    comes and goes between two looks may be told at once. What was before is no event.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        layout: Layout,
        places: Places,
        kinds: Sequence[Kind],
        threshold: Threshold,
        *,
        name: str,
        timeout: float | None,
    ) -> None:
        """Begin to listen.

        Args:
            filesystem: the kernel.
            layout: of the machine.
            places: where the group is.
            kinds: what is to be told; none: all that can be told of it.
            threshold: from where on.
            name: of the group.
            timeout: for how many seconds in all.

        Raises:
            UnsupportedError: this layout, kernel or group cannot tell of one of them.
            GroupNotFoundError: the group is gone.
        """
        self._filesystem = filesystem
        self._name = name
        self._waiting: deque[Event] = deque()
        self._presence, self._presence_told = -1, False
        self._removed = False
        self._sources: list[Source] = []
        self._deadline = None if timeout is None else filesystem.monotonic() + timeout
        self._places = places
        self._notifier: Notifier | None = filesystem.notifier()
        self._has_trigger = any(kind in PRESSURES for kind in kinds)
        try:
            self._watch_presence(self._notifier, places.get(UNIFIED) or next(iter(places.values())))

            def made(notifier: Notifier) -> Sources:
                return Sources(
                    filesystem=filesystem,
                    notifier=notifier,
                    layout=layout,
                    places=places,
                    threshold=threshold,
                    name=name,
                )

            self._sources = made(self._notifier).of(kinds) if kinds else self._all(made)
        except OSError as error:
            explained = self._explained(error)
            self.close()
            raise explained from error
        except BaseException:
            self.close()
            raise
        self._pauses = pauses()
        self._set_alarm(self._notifier)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of group {self._name!r}>"

    # --- waiting ----------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | str | None = None) -> Event:
        """Wait for the next event.

        Args:
            timeout: for how long: seconds, or a string such as ``"500ms"``; the time given at the beginning holds too.

        Raises:
            TimeoutExpired: nothing has happened; on a kernel in memory, or nothing is ever going to.
            GroupNotFoundError: the group is gone, and that was told.
            ValueError: it was closed.
        """
        limit = None if timeout is None else parse_duration(timeout, "timeout") / 1e6
        event = self._next(limit)
        if event is not None:
            return event
        if self._removed:
            raise GroupNotFoundError(f"group {self._name!r} is gone; there is nothing more to wait for")
        raise TimeoutExpired(f"wait for an event of group {self._name!r}", limit or 0.0)

    def pending(self) -> list[Event]:
        """Return what has happened meanwhile, without waiting."""
        if not self._removed:
            self._gather(self._opened(), 0.0)
        found = list(self._waiting)
        self._waiting.clear()
        return found

    def fileno(self) -> int:
        """Return a descriptor for an event loop: whenever it can be read from, call :meth:`pending`.

        Raises:
            UnsupportedError: pressure was asked for: the kernel forgets a trigger's event when somebody looks for it,
                and an event loop would be the first. Wait in a thread instead. Or the kernel is in memory.
        """
        if self._has_trigger:
            reason = "the kernel tells of pressure once, and the event loop would take that; call wait() in a thread"
            raise UnsupportedError("fileno() of events of pressure", reason)
        return self._opened().fileno()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self._next(None) if self._notifier is not None else None
        if event is None:
            raise StopIteration
        return event

    def _next(self, timeout: float | None) -> Event | None:
        notifier = self._opened()
        clock = self._filesystem.monotonic
        deadline = None if timeout is None else clock() + timeout
        if self._deadline is not None:
            deadline = self._deadline if deadline is None else min(deadline, self._deadline)
        while not (self._waiting or self._removed):
            before = clock()
            left = None if deadline is None else max(deadline - before, 0.0)
            self._gather(notifier, left)
            # Where no time passes, as in memory, nothing is ever going to happen.
            over = clock() == before if deadline is None else clock() >= deadline
            if over and not self._waiting:
                return None
        return self._waiting.popleft() if self._waiting else None

    def _gather(self, notifier: Notifier, timeout: float | None) -> None:
        """Wait until something tells, and put what has happened into the queue."""
        told = notifier.wait(timeout)
        now = self._filesystem.monotonic()
        before = len(self._waiting)
        try:
            notifier.read(self._presence)  # before v1's files are found by name: there may be another of the same
            # All of them, not those alone that tell: what belongs together is to be told in its order.
            for source in self._sources:
                self._waiting.extend(Event(kind=kind, time=now, count=count) for kind, count in source.look(told))
        except OSError as error:
            if error.errno not in GONE or self._is_there():
                raise self._explained(error) from error
            self._waiting.append(Event(kind="removed", time=now))
            self._removed = True
            notifier.quiet()  # or an event loop would be told without end
            return
        if len(self._waiting) > before or told:
            self._pauses = pauses()
        self._set_alarm(notifier)

    def _set_alarm(self, notifier: Notifier) -> None:
        """Look again after a while, which is longer each time, if anything is not told."""
        if not self._presence_told or any(source.polled for source in self._sources):
            notifier.alarm(next(self._pauses))

    # --- what is listened to ----------------------------------------------------------------------------------------

    def _all(self, made: Callable[[Notifier], Sources]) -> list[Source]:
        """Listen to all that can be told of the group."""
        able = []
        for kind in KINDS:
            if kind in _WITH_MORE:
                continue
            trial = self._filesystem.notifier()
            try:
                made(trial).of([kind])
            except UnsupportedError:
                continue
            finally:
                trial.close()
            able.append(kind)
        return made(self._opened()).of(able)

    def _watch_presence(self, notifier: Notifier, place: Place) -> None:
        """Open a file that is there as long as the group is, and have its removal told."""
        self._presence = notifier.look(place.marker())
        notifier.read(self._presence)
        above = place.directory.rpartition("/")[0]
        is_root = place.directory == place.hierarchy.mount_point
        self._presence_told = is_root or notifier.removals(above)

    def _is_there(self) -> bool:
        """Tell whether the group is there, and not another one of the same name."""
        try:
            if self._presence >= 0:
                self._opened().read(self._presence)
        except OSError:
            return False
        return all(self._filesystem.exists(place.directory) for place in self._places.values())

    def _explained(self, error: OSError) -> Exception:
        if not self._is_there():
            return GroupNotFoundError(f"group {self._name!r} was removed meanwhile")
        path = error.filename or "a file of the group"
        hint = "the controller was taken from the group" if error.errno in GONE else ""
        return StepError(f"watch {path}", error.errno or 0, filename=error.filename, hint=hint)

    # --- closing ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give back the descriptors; again is fine."""
        notifier, self._notifier = self._notifier, None
        if notifier is not None:
            notifier.close()

    def _opened(self) -> Notifier:
        if self._notifier is None:
            msg = "the events are closed"
            raise ValueError(msg)
        return self._notifier
