"""Which groups the calling process has joined by ``with``, innermost last.

A process is in one place, so the stack is the process's, not a thread's. Entries of another process were
inherited by a fork: they tell where that process's home is, and nothing else.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from typing import Protocol

import attrs

from cgctl.address import Address
from cgctl.errors import SpecError

__all__ = ["Joined", "Named", "check_enter", "check_leave", "innermost", "outermost_homes", "pop", "push"]


class Named(Protocol):
    """What is asked of a group that was joined."""

    name: str

    @property
    def address(self) -> Address:
        """Where it is."""


@attrs.frozen(eq=False)
class Joined:
    """One ``with`` block that the process is in.

    Attributes:
        group: what it joined.
        homes: where it was before: hierarchy label → directory.
        pid: the process.
        thread: which of its threads entered.
        task: which asyncio task, by identity.
    """

    group: Named
    homes: Mapping[str, str]
    pid: int = attrs.field(factory=os.getpid)
    thread: int = attrs.field(factory=threading.get_ident)
    task: int = attrs.field(factory=lambda: _task())  # noqa: PLW0108 - defined below


_stack: list[Joined] = []
_lock = threading.RLock()


def innermost() -> Joined | None:
    """Return the innermost block that this process has entered."""
    mine = [entry for entry in _stack if entry.pid == os.getpid()]
    return mine[-1] if mine else None


def outermost_homes() -> Mapping[str, str]:
    """Return where this process, or the one that forked it, was before any block."""
    homes: dict[str, str] = {}
    for entry in reversed(_stack):
        homes.update(entry.homes)
    return homes


def check_enter(name: str) -> None:
    """Refuse to enter from another thread or task than the innermost block's.

    Raises:
        SpecError: another one is inside.
    """
    top = innermost()
    if top is not None and not _same(top):
        msg = (
            f"with Group({name!r}): another thread or task of this process is inside Group({top.group.name!r}),"
            " and a process is in one place; enter with join=False, or wait until it has left"
        )
        raise SpecError(msg)


def check_leave(entry: Joined) -> None:
    """Refuse to leave out of order, or from another thread or task than the one that entered.

    Raises:
        SpecError: it is not this block's turn.
    """
    name = entry.group.name
    if not _same(entry):
        msg = f"leave Group({name!r}): it was entered by another thread or task; leave it there"
        raise SpecError(msg)
    top = innermost()
    if top is not entry:
        inner = top.group.name if top else "none"
        msg = f"leave Group({name!r}): Group({inner!r}) was entered later and is to be left first"
        raise SpecError(msg)


def push(entry: Joined) -> None:
    """Note that the process has joined a group."""
    with _lock:
        _stack.append(entry)


def pop(entry: Joined) -> None:
    """Note that the process has left a group."""
    with _lock:
        if entry in _stack:
            _stack.remove(entry)


def _same(entry: Joined) -> bool:
    return entry.thread == threading.get_ident() and entry.task == _task()


def _task() -> int:
    # Who does not use asyncio does not pay for its import.
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return 0
    try:
        return id(asyncio.current_task())
    except RuntimeError:
        return 0
