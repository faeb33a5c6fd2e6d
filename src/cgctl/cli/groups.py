"""Making, emptying, stopping and removing groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

import cgctl
from cgctl.claim import require_lasting
from cgctl.cli.options import limit_options, limits_of
from cgctl.cli.output import JSON_OPTION, complain, print_json

__all__ = ["add", "create", "freeze", "kill", "rm", "thaw"]

_Item = TypeVar("_Item")

_GROUPS = click.argument("groups", nargs=-1, required=True, metavar="GROUP...")


@click.command()
@limit_options
@JSON_OPTION
@click.argument("group")
@click.argument("settings", nargs=-1, metavar="[SETTING]...")
def create(group: str, settings: tuple[str, ...], *, as_json: bool, **flags: Any) -> None:
    """Make a group that stays until it is removed.

    Its limits are given by flags, or as settings such as memory=1G cpu.weight=200.
    """
    # This process ends at once, and the group is to be there after it.
    made = cgctl.Group(group, on_exit="keep", **limits_of(flags, settings))
    require_lasting(made.address, made.specs)
    made.create()
    if as_json:
        print_json({"group": group, "paths": made.paths(), "limits": made.limits()})


@click.command()
@_GROUPS
@click.option("-f", "--force", is_flag=True, help="Kill first what is in it.")
def rm(groups: tuple[str, ...], *, force: bool) -> int:
    """Remove groups, and all groups below them."""

    def remove(group: cgctl.Group) -> None:
        if force:
            group.kill()
        group.remove()

    return _each(groups, remove)


@click.command()
@_GROUPS
def kill(groups: tuple[str, ...]) -> int:
    """Kill all processes in groups and below, and wait until they are gone."""
    return _each(groups, cgctl.Group.kill)


@click.command()
@_GROUPS
def freeze(groups: tuple[str, ...]) -> int:
    """Stop all processes in groups and below, and wait until they have."""
    return _each(groups, cgctl.Group.freeze)


@click.command()
@_GROUPS
def thaw(groups: tuple[str, ...]) -> int:
    """Let the processes of groups run again."""
    return _each(groups, cgctl.Group.thaw)


@click.command()
@click.argument("group")
@click.argument("pids", nargs=-1, required=True, type=int, metavar="PID...")
def add(group: str, pids: tuple[int, ...]) -> int:
    """Move running processes into a group; what they started before stays where it is."""
    return _try(pids, lambda pid: cgctl.Group(group).add(pid))


def _each(names: Iterable[str], verb: Callable[[cgctl.Group], object]) -> int:
    return _try(names, lambda name: verb(cgctl.Group(name)))


def _try(items: Iterable[_Item], action: Callable[[_Item], object]) -> int:
    """Do it to all, complain about those that fail, and tell by the exit status whether any did."""
    status = 0
    for item in items:
        try:
            action(item)
        except cgctl.CgctlError as error:
            complain(str(error))
            status = 1
    return status
