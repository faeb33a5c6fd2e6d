"""``cgctl events``: what happens to a group, a line each."""

from __future__ import annotations

import itertools
import json
import time
from datetime import datetime
from typing import Any, Final

import click

import cgctl
from cgctl.cli.output import JSON_OPTION

__all__ = ["events"]

_TOO_FEW: Final = 1


@click.command()
@JSON_OPTION
@click.option("-n", "count", type=click.IntRange(min=1), metavar="COUNT", help="End after so many events.")
@click.option("--timeout", metavar="TIME", help="End after that time: seconds, or such as 500ms or 10m.")
@click.option("--some", metavar="TIME", help="For pressure: how much time some task has to lose within a window.")
@click.option("--full", metavar="TIME", help="The same, all tasks at once.")
@click.option("--window", metavar="TIME", help="500ms to 10s, 2s by default.")
@click.option("--usage", metavar="SIZE", help="For usage, on v1: how much memory.")
@click.argument("group")
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
def events(group: str, kinds: tuple[Any, ...], *, as_json: bool, count: int | None, **how: Any) -> int:
    """Print what happens to a group from now on, a line each, until it is removed.

    Of these kinds, or all: populated, empty, frozen, thawed, oom, oom_kill, oom_group_kill, memory_low, memory_high,
    memory_max, pids_max; and with --some or --full cpu_pressure, io_pressure, memory_pressure, with --usage usage. With
    --json, each line is an object.

    GROUP is cgctl's own group when it is '.'. The exit status is 1 if there were fewer events than COUNT.
    """
    listened = cgctl.current() if group == "." else cgctl.Group(group)
    told = 0
    with listened.events(*kinds, **how) as happening:
        for event in itertools.islice(happening, count):
            told += 1
            click.echo(_object(event) if as_json else _line(event))
    return _TOO_FEW if count is not None and told < count else 0


def _line(event: cgctl.Event) -> str:
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="milliseconds")
    return f"{now}  {event.kind}{f'  {event.count}' if event.count > 1 else ''}"


def _object(event: cgctl.Event) -> str:
    return json.dumps({"time": round(time.time(), 3), "kind": event.kind, "count": event.count})
