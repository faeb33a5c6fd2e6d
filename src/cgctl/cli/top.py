"""``cgctl top``: what groups use, again and again."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

import attrs
import click

import cgctl
from cgctl.cli import in_memory
from cgctl.cli.output import JSON_OPTION, human_size, print_table, shown
from cgctl.units import parse_duration

__all__ = ["top"]

_FILES: Final = ("cpu.usage_usec", "memory.current", "pids.current", "io.devices")
_DUMB: Final = ("", "dumb", "unknown")
"""Terminals on which nothing can stay in its place."""
_HEADINGS: Final = ("group", "cpu", "memory", "pids", "read/s", "write/s")
_ORDERS: Final = ("cpu", "memory", "pids", "read", "write", "name")


@attrs.frozen(kw_only=True)
class _Row:
    """What a group uses; ``None`` where it is without the controller."""

    group: str
    cpu: float | None
    memory: int | None
    pids: int | None
    read: float
    write: float

    @classmethod
    def of(cls, name: str, sample: cgctl.Sample) -> _Row:
        disks = sample.io.values()
        return cls(
            group=name,
            cpu=sample.cpu,
            memory=sample.memory,
            pids=sample.pids,
            read=sum(disk.rbps for disk in disks),
            write=sum(disk.wbps for disk in disks),
        )

    def key(self, order: str) -> tuple[float, str]:
        """Return by what it is sorted: the most first, and names of equals in their order."""
        return (0.0 if order == "name" else -(getattr(self, order) or 0.0), self.group)

    def cells(self) -> tuple[str, ...]:
        return (
            shown(self.group),
            "-" if self.cpu is None else f"{100 * self.cpu:.1f}%",
            "-" if self.memory is None else human_size(self.memory),
            "-" if self.pids is None else str(self.pids),
            human_size(round(self.read)),
            human_size(round(self.write)),
        )


class _Groups:
    """A tree of groups that come and go, each with a sampler."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._samplers: dict[str, cgctl.Sampler] = {}
        self._system = in_memory.look()
        if name is not None:
            cgctl.Group(name).stats("core")  # which says so if it is not there

    def look(self) -> None:
        """Find those that are new."""
        for name, group in self._found():
            if name not in self._samplers:
                with suppress(cgctl.GroupNotFoundError):
                    self._samplers[name] = group.sampler(*_FILES)

    def rows(self) -> list[_Row]:
        """Return what each uses since it was looked at; those that are gone are left out."""
        found = []
        for name, sampler in [*self._samplers.items()]:
            try:
                found.append(_Row.of(name, sampler.read()))
            except cgctl.GroupNotFoundError:
                self._samplers.pop(name).close()
        return found

    def is_there(self) -> bool:
        return self._name is None or cgctl.Group(self._name).exists()

    def sleep(self, seconds: float) -> None:
        self._system.filesystem.sleep(seconds)

    def _found(self) -> Iterator[tuple[str, cgctl.Group]]:
        with suppress(cgctl.GroupNotFoundError):
            if self._name is None:
                yield from _named(self._system.groups(), "")
            else:
                group = cgctl.Group(self._name)
                yield self._name, group
                yield from _named(group.children(), f"{self._name}/")


def _named(groups: Iterable[cgctl.Group], prefix: str) -> Iterator[tuple[str, cgctl.Group]]:
    for group in groups:
        name = prefix + group.name.rpartition("/")[2]
        yield name, group
        with suppress(cgctl.GroupNotFoundError):
            yield from _named(group.children(), f"{name}/")


@click.command()
@JSON_OPTION
@click.option("-n", "count", type=click.IntRange(min=1), metavar="COUNT", help="End after so many tables.")
@click.option("-d", "--delay", default="1s", metavar="TIME", help="From one to the next, such as 500ms.")
@click.option("--sort", "order", type=click.Choice(_ORDERS), default="cpu", help="The most of this first.")
@click.argument("group", required=False)
def top(group: str | None, *, as_json: bool, count: int | None, delay: str, order: str) -> None:
    """Show what groups use, again and again: those below the base, or GROUP and those below it.

    On a terminal the table stays where it is until ^C; elsewhere, or with -n, each is printed, as by top -b. With
    --json each is an object on a line. 100% is one processor.
    """
    seconds = parse_duration(delay, "--delay") / 1e6
    if seconds <= 0:
        raise click.UsageError(f"--delay {delay}: give more than 0, such as 500ms")
    _allow_many_files()
    groups = _Groups(group)
    if count is None and in_memory.machine() is not None:
        count = 1  # time passes there as fast as it is looked
    tables = _tables(groups, count, seconds, order)
    if as_json:
        for time, rows in tables:
            click.echo(json.dumps({"time": time, "groups": [attrs.asdict(row) for row in rows]}))
    elif count is None and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in _DUMB:
        _live(rows for _, rows in tables)
    else:
        for number, (_, rows) in enumerate(tables):
            if number:
                click.echo()
            print_table([_HEADINGS, *(row.cells() for row in rows)])


def _tables(groups: _Groups, count: int | None, seconds: float, order: str) -> Iterator[tuple[float, list[_Row]]]:
    number = 0
    groups.look()
    while count is None or number < count:
        groups.sleep(seconds)
        rows = sorted(groups.rows(), key=lambda row: row.key(order))
        if not groups.is_there():
            return
        number += 1
        yield round(in_memory.look().filesystem.monotonic(), 3), rows
        groups.look()


def _live(tables: Iterable[list[_Row]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - takes longer to import than a program to run
    from rich.live import Live  # noqa: PLC0415 - the same

    console = Console(highlight=False, markup=False, emoji=False)
    with Live(console=console, auto_refresh=False, screen=True) as live, suppress(KeyboardInterrupt):
        for rows in tables:
            live.update(_drawn(rows[: max(console.height - 1, 1)]), refresh=True)


def _drawn(rows: list[_Row]) -> Any:
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="reverse")
    for number, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row.cells()))
    return table


def _allow_many_files() -> None:
    """Have as many files open as may be: those of all groups are."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
