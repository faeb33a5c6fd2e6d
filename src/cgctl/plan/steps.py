"""Steps: what is done to the kernel, as data, and how each looks as a line of shell.

A step says what it does, why (``because``), and how it may be retried or excused; it does nothing by
itself. :func:`cgctl.filesystem.execute` walks them. Steps have no slots, so that :mod:`cgctl.plan.alike` can copy them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from errno import EBUSY, EINVAL
from typing import Final

import attrs

__all__ = ["ENABLE", "JOIN", "REMOVE", "SETTLE", "Chown", "Mkdir", "Plan", "Retry", "Rmdir", "Signal", "Step", "Write"]


@attrs.frozen(kw_only=True)
class Retry:
    """When a refusal may be passing, and how long to go on.

    Attributes:
        errno: the refusal that may pass.
        delay_usec: the first pause; it doubles, up to *longest_usec*.
        longest_usec: the longest pause.
        total_usec: when to give up.
    """

    errno: int
    delay_usec: int
    total_usec: int
    longest_usec: int = 100_000


JOIN: Final = Retry(errno=EINVAL, delay_usec=1_000, total_usec=150_000, longest_usec=30_000)
"""A task that is still being forked (TASK_NEW) cannot be moved for a moment; runc#1884."""

ENABLE: Final = Retry(errno=EBUSY, delay_usec=1_000, total_usec=100_000, longest_usec=10_000)
"""A group whose last process was just moved away may still look busy; crun ``write_controller_file``."""

SETTLE: Final = Retry(errno=EINVAL, delay_usec=1_000, total_usec=500_000)
"""A group that was removed is taken off its parent's list a grace period later."""

REMOVE: Final = Retry(errno=EBUSY, delay_usec=1_000, total_usec=5_000_000)
"""Killed processes leave their group a little later."""


@attrs.frozen(kw_only=True, slots=False)
class Mkdir:
    """Make a group's directory.

    Attributes:
        path: the directory.
        shared: somebody else may make it at the same time (a parent); being there already is then fine.
        marks: extended attributes to set on it, where the filesystem has them.
        because: why, for the reader of a plan.
    """

    path: str
    shared: bool = False
    marks: Mapping[str, bytes] = attrs.field(factory=dict)
    because: str = ""

    def __str__(self) -> str:
        return f"mkdir {self.path}"

    @property
    def shell(self) -> str:
        """The step as a line of shell."""
        return f"mkdir {'-p ' if self.shared else ''}{shlex.quote(self.path)}"


@attrs.frozen(kw_only=True, slots=False)
class Write:
    """Write one line to an interface file, with one ``write(2)``.

    Attributes:
        path: the file; one whose name begins with ``@`` is a program attached to the group (:mod:`cgctl.bpf`).
        data: what to write.
        feature: the setting's name, when the file's absence means that the kernel has no such feature.
        since: the kernel release that first has it.
        absent: why the file may be absent, if there is more to be said than that.
        missing_ok: a kernel without this file needs no such write.
        instead: the file of another step that does for this one; this one's may be missing where that is there.
        gone_ok: the process named may have ended meanwhile (``ESRCH``).
        retry: a refusal that may pass.
        undo: what takes this write back when a later step fails.
        undo_path: where that is to be written, if not to the same file.
        expect: what the file must read afterwards, where the kernel takes a value and then says that it does not hold.
        because: why, for the reader of a plan.
    """

    path: str
    data: bytes
    feature: str = ""
    since: str | None = None
    absent: str = ""
    missing_ok: bool = False
    instead: str = ""
    gone_ok: bool = False
    retry: Retry | None = None
    undo: bytes | None = None
    undo_path: str = ""
    expect: bytes | None = None
    because: str = ""

    def __str__(self) -> str:
        return f"write {self.data!r} to {self.path}"

    @property
    def shell(self) -> str:
        """The step as a line of shell."""
        text, path = self.data.decode().rstrip("\n"), shlex.quote(self.path)
        if self.path.rpartition("/")[2].startswith("@"):
            return f"python3 -m cgctl.bpf write {path} {shlex.join(text.splitlines())}"
        line = f"echo {shlex.quote(text)} > {path}" if text else f"echo > {path}"
        if self.missing_ok:
            return f"[ ! -e {path} ] || {line}"
        if self.instead:
            return f"[ ! -e {path} ] && [ -e {shlex.quote(self.instead)} ] || {line}"
        if self.expect is not None:
            return f'{line}; [ "$(cat {path})" = {shlex.quote(self.expect.decode())} ]'
        return f"{line} || :" if self.gone_ok else line


@attrs.frozen(kw_only=True, slots=False)
class Rmdir:
    """Remove an empty group's directory; one that has gone already is fine."""

    path: str
    retry: Retry | None = REMOVE
    because: str = ""

    def __str__(self) -> str:
        return f"rmdir {self.path}"

    @property
    def shell(self) -> str:
        """The step as a line of shell."""
        return f"rmdir {shlex.quote(self.path)}"


@attrs.frozen(kw_only=True, slots=False)
class Signal:
    """Signal one process; one that has gone already is fine."""

    pid: int
    number: int
    because: str = ""

    def __str__(self) -> str:
        return f"kill -{self.number} {self.pid}"

    @property
    def shell(self) -> str:
        """The step as a line of shell."""
        return f"kill -{self.number} {self.pid} || :"


@attrs.frozen(kw_only=True, slots=False)
class Chown:
    """Give a group's directory, or one of its files, to a user.

    Attributes:
        path: the directory or file.
        uid: the user; -1 leaves it.
        gid: the group of users; -1 leaves it.
        missing_ok: this kernel or group may be without it.
        because: why, for the reader of a plan.
    """

    path: str
    uid: int
    gid: int
    missing_ok: bool = False
    because: str = ""

    def __str__(self) -> str:
        return f"chown {self._owner} {self.path}"

    @property
    def _owner(self) -> str:
        return ("" if self.uid < 0 else str(self.uid)) + ("" if self.gid < 0 else f":{self.gid}")

    @property
    def shell(self) -> str:
        """The step as a line of shell."""
        path = shlex.quote(self.path)
        line = f"chown {self._owner} {path}"
        return f"[ ! -e {path} ] || {line}" if self.missing_ok else line


Step = Mkdir | Write | Rmdir | Signal | Chown


@attrs.frozen
class Plan:
    """An ordered tuple of steps; ``str()`` of it is a shell script that does the same."""

    steps: tuple[Step, ...] = ()

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        lines = ("#!/bin/sh", "set -e", *(_line(step) for step in self.steps))
        return "\n".join(lines) + "\n"


def _line(step: Step) -> str:
    because = " ".join(step.because.split())  # a comment ends with its line
    return f"{step.shell}  # {because}" if because else step.shell
