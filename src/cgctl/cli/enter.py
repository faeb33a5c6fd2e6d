"""``cgctl enter``: a command where another one is."""

from __future__ import annotations

import os
from typing import Any

import click

import cgctl
from cgctl.address import Address
from cgctl.cli.output import complain
from cgctl.cli.process_options import process_options, started_how
from cgctl.cli.report import exit_status
from cgctl.cli.run import status_of
from cgctl.cli.supervise import Signals, supervise
from cgctl.system import Base, System

__all__ = ["enter"]

_GRACE_SEC = 10.0


@click.command(context_settings={"allow_interspersed_args": False})
@process_options
@click.option("--cap-add", multiple=True, metavar="CAP", help="A capability to keep, or ALL. Repeatable.")
@click.option("-t", "--tty", is_flag=True, help="A terminal of its own; cgctl's is handed through to it.")
@click.argument("target", metavar="GROUP|PID")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND [ARGUMENT]...")
def enter(target: str, command: tuple[str, ...], cap_add: tuple[str, ...], *, tty: bool, **flags: Any) -> int:
    """Run a command in the namespaces, with the files and in the group of process PID, or of the first one in GROUP.

    As nsenter does, and within the group's limits. It has no capability but those that --cap-add keeps.
    """
    if command[0] == "--":  # behind TARGET, click takes it for an argument
        command = command[1:]
    if not command:
        msg = "missing argument COMMAND"
        raise click.UsageError(msg)
    group, pid = _target(target)
    join = {each.kind: pid for each in cgctl.namespaces(pid) if not each.shared}
    capabilities = "all" if [each.lower() for each in cap_add] == ["all"] else cap_add or None
    sandbox = cgctl.Sandbox(join=join, capabilities=capabilities, tty=tty)
    root = f"/proc/{pid}/root" if "mnt" in join else None
    with Signals.caught() as signals:
        try:
            with group.popen(command, sandbox=sandbox, **started_how(flags, root)) as process:
                supervise(process, signals, None, _GRACE_SEC, on_terminal=not sandbox.has_own_session)
                return exit_status(process.wait())
        except cgctl.LaunchError as error:
            complain(str(error))
            return status_of(error)


def _target(name: str) -> tuple[cgctl.Group, int]:
    """Find the group, and the process in it whose view counts."""
    if name.isascii() and name.isdigit():
        pid = int(name)
        system = System.detect()
        directories = system.directories_of(pid)
        if not directories:
            msg = f"there is no process {pid}"
            raise click.UsageError(msg)
        return cgctl.Group.at(Address(system, Base(directories=directories), ())), pid
    group = cgctl.Group(name)
    pids = [pid for pid in group.pids() if pid != os.getpid()]
    if not pids:
        msg = f"there is no process in group {name!r}; cgctl run starts one"
        raise click.UsageError(msg)
    return group, pids[0]
