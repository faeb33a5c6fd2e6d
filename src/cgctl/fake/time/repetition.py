"""What repeats: where a state comes back, all whole repetitions that there will be are done at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

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

    def look(
        self, state: Hashable, now: int, counters: Iterable[Counter], end: int, moved: Callable[[int], bool]
    ) -> tuple[int, int]:
        """Take note of a state, or, if it was seen before, do all repetitions until *end*.

        Args:
            state: what decides how it goes on.
            now: the time.
            counters: all that changes by the same in each repetition; those named ``left`` may not fall below 0.
            end: until when nothing else will happen.
            moved: sets the clock so much further than *now*, and tells whether what is waited for has happened then.

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
        steps = [
            (thing, name, value, value - old) for (thing, name, old), (_, _, value) in zip(marks, values, strict=True)
        ]
        times = (end - now) // period
        for _, name, value, step in steps:
            if name == "left" and step < 0:
                # One less, so that what is done in the middle of a repetition is done there.
                times = min(times, int(value // -step) - 1)
        self._seen.clear()

        def happened(number: int) -> bool:
            for thing, name, value, step in steps:
                setattr(thing, name, value + number * step)
            return moved(number * period)

        if times < 1:
            return 0, 0
        if happened(times):
            # Somewhere on the way: up to the last repetition before that.
            before_it, after_it = 0, times
            while after_it - before_it > 1:
                middle = (before_it + after_it) // 2
                before_it, after_it = (before_it, middle) if happened(middle) else (middle, after_it)
            times = before_it
            happened(times)
        return times, period
