"""``cgctl ns``: the namespaces of a process."""

from __future__ import annotations

import click

import cgctl
from cgctl.cli.output import JSON_OPTION, print_json, print_table

__all__ = ["ns"]


@click.command()
@JSON_OPTION
@click.argument("pid", type=int, required=False)
def ns(pid: int | None, *, as_json: bool) -> None:
    """Show the namespaces of process PID, by default cgctl's own: as ls -l /proc/PID/ns does, and who else is there.

    OWNER is the user who made the user namespace that it belongs to. A * marks those that cgctl is not in.
    """
    found = cgctl.namespaces(pid)
    if as_json:
        print_json(found)
        return
    rows = [("KIND", "NAMESPACE", "OWNER", "PROCESSES")]
    for each in found:
        mark = "" if each.shared else " *"
        owner = "?" if each.owner is None else str(each.owner)
        rows.append((each.kind, f"{each.kind}:[{each.inode}]{mark}", owner, str(len(each.members))))
    print_table(rows)
