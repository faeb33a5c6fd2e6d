"""Working out once what is asked again and again: much of cgctl is pure, and groups are often made alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, ParamSpec, TypeVar, cast

__all__ = ["remembered", "shared"]

_MANY: Final = 256

P = ParamSpec("P")
R = TypeVar("R")


def shared(function: Callable[P, R]) -> Callable[P, R]:
    """Remember the latest answers of a pure function that nobody can change; those without a hash are made anew."""
    found: dict[tuple[object, ...], R] = {}

    @wraps(function)
    def answer(*arguments: P.args, **keywords: P.kwargs) -> R:
        if arguments in found:
            return found[arguments]
        made = function(*arguments, **keywords)
        try:
            hash(made)
        except TypeError:  # it holds a mapping, which is somebody's to change
            return made
        if len(found) > _MANY:
            found.clear()
        found[arguments] = made
        return made

    return answer


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """Remember the latest answers of a pure function; what is asked of values without a hash is worked out each time.

    Answers are shared, so they are to be values that nobody changes.
    """
    cached = cast("Callable[P, R]", lru_cache(maxsize=_MANY)(function))

    @wraps(function)
    def answer(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            return cached(*arguments, **keywords)
        except TypeError:
            try:
                hash(arguments)
            except TypeError:  # a spec that holds a mapping
                return function(*arguments, **keywords)
            raise

    return answer
