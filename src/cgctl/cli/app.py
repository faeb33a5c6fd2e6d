"""The command ``cgctl`` itself: its subcommands, and what becomes of an error."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Final

import click

import cgctl
from cgctl.cli.doctor import doctor
from cgctl.cli.enter import enter
from cgctl.cli.events import events
from cgctl.cli.groups import add, create, freeze, kill, rm, thaw
from cgctl.cli.in_memory import chosen, require_possible
from cgctl.cli.limits import plan, set_limits
from cgctl.cli.look import stat, tree
from cgctl.cli.namespaces import ns
from cgctl.cli.output import complain
from cgctl.cli.rootfs import rootfs
from cgctl.cli.run import FAILED, run
from cgctl.cli.top import top

__all__ = ["cli", "execute"]

_ERROR: Final = 1
_USAGE: Final = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(cgctl.__version__, prog_name="cgctl", message="%(prog)s %(version)s")
def cli() -> None:
    """Control Linux cgroups: run programs within limits, see what groups use, change what they may.

    A GROUP is a name below the base (the caller's own cgroup, or CGCTL_BASE), or, with a leading /, below the root of
    the hierarchies.
    """


_LOOKING = (tree, stat, top, events, ns)
_CHANGING = (set_limits, create, rm, kill, freeze, thaw, add)
for _command in (run, *_LOOKING, *_CHANGING, plan, enter, rootfs, doctor):
    cli.add_command(_command)
cli.add_command(tree, "ls")


def execute(arguments: Sequence[str]) -> int:
    """Run one command, and return its exit status; errors become one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # names of groups are bytes, as names of files are
    of_run = {*arguments[:1]} & {"enter", "run"}
    try:
        require_possible(*arguments[:1] or [""])
        with chosen():
            status = cli.main(list(arguments), prog_name="cgctl", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort as error:  # what click makes of ^C
        raise KeyboardInterrupt from error
    except (click.ClickException, cgctl.CgctlError, OSError) as error:
        status = _explain(error)
        return FAILED if of_run else status
    except Exception:
        if not of_run:
            raise
        traceback.print_exc()  # a bug of ours; its status must not look like the command's
        return FAILED
    return status if isinstance(status, int) else 0


def _explain(error: Exception) -> int:
    """Say what went wrong, and return the exit status that commands other than run have for it."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return _USAGE
    if isinstance(error, click.ClickException):
        complain(f"{_lower(error.format_message())}{_see(error)}")
        return _USAGE
    if isinstance(error, OSError) and not isinstance(error, cgctl.CgctlError):
        _give_up_writing()
        if not isinstance(error, BrokenPipeError):  # or nobody reads what we write
            complain(": ".join(str(part) for part in (error.filename, error.strerror or error) if part is not None))
    else:
        complain(str(error))
    return _ERROR


def _give_up_writing() -> None:
    """Drop what cannot be written, or Python tries again when it ends, and has an exit status of its own for that."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())


def _lower(message: str) -> str:
    """Make a sentence of click's look like an error of ours."""
    text = " ".join(message.split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _see(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"; see {context.command_path} --help" if context else ""
