"""``cgctl set`` and ``cgctl plan``: changing limits, and seeing how it would be done."""

from __future__ import annotations

from typing import Any

import click

import cgctl
from cgctl.cli.options import limit_options, limits_of
from cgctl.cli.output import JSON_OPTION, plain, print_json, print_table
from cgctl.cli.settings import describe, parse_settings, specs

__all__ = ["plan", "set_limits"]


@click.command("set")
@JSON_OPTION
@click.argument("group")
@click.argument("settings", nargs=-1, required=True, metavar="SETTING...")
def set_limits(group: str, settings: tuple[str, ...], *, as_json: bool) -> None:
    """Change a group's limits, and print what the kernel then holds.

    A SETTING is CONTROLLER=VALUE for the controller's main limit, such as memory=1G, cpu=1.5, cpuset=0-1, pids=64, or
    CONTROLLER.ATTRIBUTE=VALUE for any other, such as cpu.weight=200. The value max means no limit.
    """
    wishes = parse_settings(settings)
    held = cgctl.Group(group).update(**specs(wishes))
    if as_json:
        print_json({"group": group, "limits": held})
    else:
        print_table(describe(held, wishes))


@click.command()
@limit_options
@JSON_OPTION
@click.argument("group")
@click.argument("settings", nargs=-1, metavar="[SETTING]...")
def plan(group: str, settings: tuple[str, ...], *, as_json: bool, **flags: Any) -> None:
    """Print what 'cgctl create' would do, as a shell script, without doing it."""
    steps = cgctl.Group(group, **limits_of(flags, settings)).plan()
    if as_json:
        print_json([{"step": type(step).__name__.lower(), "shell": step.shell, **plain(step)} for step in steps])
    else:
        click.echo(str(steps), nl=False)
