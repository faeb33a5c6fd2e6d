"""``cgctl rootfs``: root directories, made and shown."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import click

import cgctl
from cgctl.cli.output import JSON_OPTION, human_size, print_json
from cgctl.rootfs.copying import Progress

__all__ = ["rootfs"]


@click.group()
def rootfs() -> None:
    """Make directories that can be the root of a command (see run --rootfs), and show what is in them."""


@rootfs.command()
@click.option(
    "--extra",
    multiple=True,
    metavar="NAME|PATH",
    help="nss, terminfo, ca-certificates, tzdata, or a file or directory. Repeatable.",
)
@click.option("--source", default="/", metavar="DIR", help="The tree to copy from.", show_default=True)
@JSON_OPTION
@click.argument("directory")
@click.argument("programs", nargs=-1, metavar="PROGRAM...")
def build(directory: str, programs: tuple[str, ...], extra: tuple[str, ...], source: str, *, as_json: bool) -> None:
    """Make DIRECTORY of programs and all that they need.

    A PROGRAM is a path, or a name to be looked for along PATH. Libraries are found by reading the files;
    nothing is run.
    """
    with _progress() as progress:
        made = cgctl.Rootfs.build(directory, programs, extra=extra, source=source, progress=progress)
    if as_json:
        print_json({"path": made.path, "size": made.size, "entries": made.entries})
    else:
        files = sum(entry.kind == "file" for entry in made.entries)
        click.echo(f"{made.path}: {files} files, {human_size(made.size)}")


@rootfs.command()
@JSON_OPTION
@click.argument("directory")
def tree(directory: str, *, as_json: bool) -> None:
    """Show what is in DIRECTORY, with the size of each file."""
    found = cgctl.Rootfs.at(directory)
    if as_json:
        print_json({"path": found.path, "size": found.size, "entries": found.entries})
    else:
        click.echo(found.tree())


@contextlib.contextmanager
def _progress() -> Iterator[Progress | None]:
    """Draw a bar on a terminal's stderr."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich import progress  # noqa: PLC0415 - takes longer to import than most directories to make
    from rich.console import Console  # noqa: PLC0415 - the same

    columns = (progress.BarColumn(), progress.DownloadColumn(), progress.TextColumn("{task.description}"))
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("")
        yield lambda done, total, path: shown.update(task, completed=done, total=total, description=path)
