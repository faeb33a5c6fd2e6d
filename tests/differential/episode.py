"""A run of steps from an empty group on; and, if both kernels did not agree, the fewest that show it."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Sequence

from tests.differential.driver import Driver
from tests.differential.ground import IN_GUEST, Ground
from tests.differential.nursery import Nursery
from tests.differential.pair import Mismatch, Pair
from tests.differential.step import Step

__all__ = ["EPISODE", "EVERY", "episode", "shortened"]

EPISODE = 100
"""Steps from an empty group on."""
EVERY = int(os.environ.get("CGCTL_DIFFERENTIAL_FULL", "8" if IN_GUEST else "1"))
"""After so many steps, everything is compared; see :class:`tests.differential.pair.Pair`."""

_SHORTENING_SEC = 120.0


def episode(
    ground: Ground, nursery: Nursery, name: str, seed: int, steps: int, every: int = EVERY, *, shorten: bool = True
) -> None:
    """Do steps at random.

    Raises:
        Mismatch: both did not agree; its notes are the fewest steps that show it.
    """
    pair = Pair(ground, name, nursery, every=every)
    try:
        with pair.made():
            driver = Driver(pair, random.Random(seed))  # noqa: S311 - to be had again, from its seed
            for _ in range(steps):
                pair.do(driver.step())
            pair.compare()
    except Mismatch as mismatch:
        if not shorten:
            mismatch.add_note(f"{ground.kernel} {ground.label or 'v2'}, seed {seed}, after {pair.steps} steps")
            raise
        found, shortest = shortened(ground, nursery, f"{name}s", pair.log, mismatch)
        mismatch.add_note(f"{ground.kernel} {ground.label or 'v2'}, seed {seed}, after {pair.steps} steps; {found}")
        for step in shortest:
            mismatch.add_note(f"    {step}")
        raise


def _replayed(ground: Ground, nursery: Nursery, name: str, steps: Sequence[Step]) -> tuple[Mismatch, list[Step]] | None:
    pair = Pair(ground, name, nursery, patience=0.5)
    try:
        with pair.made():
            for step in steps:
                pair.do(step)
    except Mismatch as mismatch:
        return mismatch, pair.log
    return None


def shortened(
    ground: Ground, nursery: Nursery, name: str, steps: Sequence[Step], mismatch: Mismatch
) -> tuple[str, list[Step]]:
    """Leave out steps as long as the same file, or result, differs: what it says then, and the steps."""
    deadline = time.monotonic() + _SHORTENING_SEC
    first = _replayed(ground, nursery, name, steps)
    if first is None:
        return "not seen again", list(steps)
    said, left = first
    size = max(1, len(left) // 2)
    while time.monotonic() < deadline:
        position, shorter = 0, False
        while position < len(left) and time.monotonic() < deadline:
            tried = [*left[:position], *left[position + size :]]
            with contextlib.suppress(OSError):
                again = _replayed(ground, nursery, name, tried)
                if again and again[0].kind() == said.kind() == mismatch.kind():
                    (said, left), shorter = again, True
                    continue
            position += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2)
    return str(said), left
