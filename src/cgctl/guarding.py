"""What this process asks of its helper, whoever asks: guarding groups, and staying outside of joined ones."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from cgctl import joined
from cgctl.launch import client
from cgctl.launch.client import Helper, helper

__all__ = ["guard", "homes", "own_helper", "release"]


def own_helper() -> Helper:
    """Return this process's helper; start one, outside of every joined group, if there is none yet."""
    return helper(homes)


def guard(mark: bytes, directories: Sequence[str], above: Sequence[str] = ()) -> int:
    """Have a group removed when this process ends, however it does; return the token to end that.

    Args:
        mark: the group's; directories without it are left alone.
        directories: the group, in each hierarchy.
        above: groups above it, innermost first, that go with it if they were made for it and are empty then.
    """
    return own_helper().guard(mark, directories, above)


def release(token: int) -> None:
    """Guard a group no longer: it is gone, or is to outlive this process."""
    client.release(token)


def homes() -> list[int]:
    """Open where the helper belongs: where the caller was before it joined any group."""
    opened = []
    for directory in joined.outermost_homes().values():
        with contextlib.suppress(OSError):
            opened.append(os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
    return opened
