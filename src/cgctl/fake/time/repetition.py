"""What repeats: where a state comes back, all whole repetitions that there will be are done at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

__all__ = ["Repetitions"]

Counter = tuple[object, str]
"""Something that changes by the same in each repetition: an object, and its attribute."""


class Repetitions:
    """The states that were seen while the clock advances."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[int, list[tuple[object, str, float]]]] = {}

    def forget(self) -> None:
        """Begin anew: somebody has done something."""
        self._seen.clear()

    def look(self, state: Hashable, now: int, counters: Iterable[Counter], end: int) -> tuple[int, int]:
        """Take note of a state, or, if it was seen before, do all repetitions until *end*.

        Args:
            state: what decides how it goes on.
            now: the time.
            counters: all that changes by the same in each repetition; those named ``left`` may not fall below 0.
            end: until when nothing else will happen.

        Returns:
            How many repetitions that were, and the time that each takes.
        """
        values = [(thing, name, getattr(thing, name)) for thing, name in counters]
        before = self._seen.get(state)
        if before is None:
            self._seen[state] = now, values
            return 0, 0
        then, marks = before
        period = now - then
        steps = [(thing, name, value - old) for (thing, name, old), (_, _, value) in zip(marks, values, strict=True)]
        times = (end - now) // period
        for thing, name, step in steps:
            if name == "left" and step < 0:
                # One less, so that what is done in the middle of a repetition is done there.
                times = min(times, int(getattr(thing, name) // -step) - 1)
        self._seen.clear()
        if times < 1:
            return 0, 0
        for thing, name, step in steps:
            setattr(thing, name, getattr(thing, name) + times * step)
        return times, period
