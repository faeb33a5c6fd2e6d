"""How facts are printed: as JSON, as tables, as one line of complaint."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, Final

import attrs
import click

import cgctl

__all__ = [
    "JSON_OPTION",
    "complain",
    "human_duration",
    "human_size",
    "listed",
    "plain",
    "print_json",
    "print_rich",
    "print_table",
    "shown",
]

_NO_TERMINAL_WIDTH: Final = 32_767
_STEP: Final = 1024
_SECOND: Final = 1_000_000
_MILLISECOND: Final = 1_000

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def complain(message: str) -> None:
    """Say what went wrong, in one line on stderr."""
    click.echo(f"cgctl: {' '.join(message.splitlines())}", err=True)


def plain(value: Any) -> Any:
    """Turn specs, statistics and steps into what JSON knows; ``MAX`` is ``"max"``."""
    if attrs.has(type(value)):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value)) if field.repr}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return value


def print_json(value: Any, file: IO[str] | None = None) -> None:
    """Print facts as JSON."""
    click.echo(json.dumps(plain(value), indent=2), file=file)


def print_rich(renderable: Any) -> None:
    """Print something of rich's: colours and wrapped lines are for terminals alone."""
    from rich.console import Console  # noqa: PLC0415 - takes longer to import than a program to run

    width = None if sys.stdout.isatty() else _NO_TERMINAL_WIDTH
    Console(width=width, highlight=False, markup=False, emoji=False).print(renderable)


def print_table(rows: Iterable[Sequence[str]], styles: Mapping[str, str] | None = None) -> None:
    """Print columns without a frame, wrapped on a terminal and one line a row elsewhere.

    Args:
        rows: the cells.
        styles: how a terminal shows those cells of the first column that say so.
    """
    cells = list(rows)
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for first, *others in cells:
        table.add_row(Text(first, style=(styles or {}).get(first, "")), *map(Text, others))
    print_rich(table)


def shown(name: str) -> str:
    """Return a name that somebody else chose, without what a terminal would obey."""
    return "".join(
        c if c.isprintable() or "\udc80" <= c <= "\udcff" else c.encode("unicode_escape").decode() for c in name
    )


def listed(values: Sequence[Any]) -> str:
    """Write a list: numbers as the kernel writes those of processors, all else with commas in between."""
    if all(isinstance(value, int) for value in values):
        return cgctl.convert.format_cpu_list(values)
    return ",".join(map(str, values))


def human_size(value: int) -> str:
    """Write a number of bytes with three digits or so: 52432896 is ``50.0M``."""
    number, suffix = float(value), ""
    for each in "KMGTPE":
        if number < _STEP:
            break
        number, suffix = number / _STEP, each
    return f"{number:.1f}{suffix}" if suffix else f"{value}B"


def human_duration(usec: int) -> str:
    """Write microseconds as a person would say them: 1500000 is ``1.50 s``."""
    if usec >= _SECOND:
        return f"{usec / _SECOND:.2f} s"
    if usec >= _MILLISECOND:
        return f"{usec / _MILLISECOND:.1f} ms"
    return f"{usec} us"
