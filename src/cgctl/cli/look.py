"""``cgctl tree`` and ``cgctl stat``: what there is, and what it uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import click

import cgctl
from cgctl.cli import in_memory
from cgctl.cli.output import (
    JSON_OPTION,
    human_duration,
    human_size,
    listed,
    plain,
    print_json,
    print_rich,
    print_table,
    shown,
)
from cgctl.cli.settings import describe
from cgctl.controllers import BYTES, CONTROLLERS, USEC

__all__ = ["stat", "tree"]

# Of memory.stat, these are counts; all else there is bytes (cgroup-v2.rst).
_COUNTS: Final = re.compile(r"pg[a-z]|workingset_|swp(in|out)|zswp|thp_|numa_")
_DETAILS: Final = ("stat", "extra")
_IO_COUNTS: Final = ("rios", "wios", "dios")


@click.command()
@JSON_OPTION
@click.argument("group", required=False)
def tree(group: str | None, *, as_json: bool) -> None:
    """Show the groups below the base, or GROUP and those below it: processes, memory in use and its limit."""
    if group is None:
        system = in_memory.look()
        title, nodes = f"base: {system.base.origin}", _nodes(system.groups(), "")
    else:
        top = cgctl.Group(group)
        node = _facts(top, group)
        title, nodes = shown(_line(node)), _nodes(top.children(), f"{group}/")
        node["children"] = nodes
        if as_json:
            nodes = [node]
    if as_json:
        print_json(nodes)
        return
    from rich.text import Text  # noqa: PLC0415 - takes longer to import than a program to run
    from rich.tree import Tree  # noqa: PLC0415 - the same

    drawn = Tree(Text(title))
    _draw(drawn, nodes)
    print_rich(drawn)


def _nodes(groups: list[cgctl.Group], prefix: str) -> list[dict[str, Any]]:
    """Look at groups and all below; those that are removed meanwhile are left out."""
    found = []
    for group in groups:
        name = prefix + group.name.rpartition("/")[2]
        try:
            found.append(_facts(group, name) | {"children": _nodes(group.children(), f"{name}/")})
        except cgctl.GroupNotFoundError:
            continue
    return found


def _facts(group: cgctl.Group, name: str) -> dict[str, Any]:
    stats, held = group.stats("memory", "core"), group.limits().memory
    return {
        "name": name,
        "pids": len(group.pids()),
        "frozen": bool(stats.core.frozen) if stats.core is not None and stats.core.frozen is not None else None,
        "memory_current": stats.memory.current if stats.memory is not None else None,
        "memory_max": held.max if held is not None else None,
        "children": [],
    }


def _line(node: Mapping[str, Any]) -> str:
    parts = [f"{node['pids']} pid{'' if node['pids'] == 1 else 's'}"]
    if node["memory_current"] is not None:
        limit = node["memory_max"]
        of = f" of {human_size(limit)}" if isinstance(limit, int) else ""
        parts.append(f"{human_size(node['memory_current'])}{of}")
    if node["frozen"]:
        parts.append("frozen")
    return f"{node['name'].rpartition('/')[2] or node['name']}  {', '.join(parts)}"


def _draw(above: Any, nodes: list[dict[str, Any]]) -> None:
    from rich.text import Text  # noqa: PLC0415 - takes longer to import than a program to run

    for node in nodes:
        _draw(above.add(Text(shown(_line(node)))), node["children"])


@click.command()
@JSON_OPTION
@click.option("--limits", is_flag=True, help="Show the limits that the kernel holds, instead of what is used.")
@click.option("-a", "--all", "everything", is_flag=True, help="Show all of memory.stat too; JSON always has it.")
@click.argument("group", default=".")
@click.argument("controllers", nargs=-1, type=click.Choice(tuple(CONTROLLERS)))
def stat(group: str, controllers: tuple[str, ...], *, as_json: bool, limits: bool, everything: bool) -> None:
    """Show what a group uses: of these controllers, or of all.

    GROUP is cgctl's own group by default, and when it is '.'.
    """
    found = cgctl.current() if group == "." else cgctl.Group(group)
    facts: Any = found.limits() if limits else found.stats(*controllers)
    if as_json:
        told = {name: value for name, value in plain(facts).items() if not controllers or name in controllers}
        print_json({"group": group, "limits" if limits else "stats": told})
    elif limits:
        print_table(describe(facts, controllers))
    else:
        print_table(_rows(facts, everything=everything))


def _rows(stats: Any, *, everything: bool) -> Iterator[tuple[str, str]]:
    for name in CONTROLLERS:
        yield from _parts(name, getattr(stats, name), everything=everything)


def _parts(name: str, value: Any, *, everything: bool) -> Iterator[tuple[str, str]]:
    if value is None or (name.rpartition(".")[2] in _DETAILS and not everything):
        return
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _parts(f"{name}.{key}", each, everything=everything)
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from _parts(f"{name}.{field.name}", getattr(value, field.name), everything=everything)
    else:
        yield name, _text(name, value)


def _text(name: str, value: Any) -> str:
    parts = name.split(".")
    if isinstance(value, tuple):
        return listed(value) or "none"
    if isinstance(value, float):
        return f"{value:.2f}%"
    if not isinstance(value, int):
        return shown(str(value))
    unit = _unit(parts)
    if unit == USEC:
        return human_duration(value)
    is_count = parts[:2] == ["memory", "stat"] and (parts[2] == "extra" or _COUNTS.match(parts[-1]))
    is_count = is_count or parts[-1] in _IO_COUNTS
    return human_size(value) if unit.startswith(BYTES) and not is_count else str(value)


def _unit(parts: Sequence[str]) -> str:
    """Return the unit of a statistic, from its row; times inside of others, as in a pressure, say theirs themselves."""
    if parts[-1].endswith("_usec"):
        return USEC
    rows = CONTROLLERS[parts[0]].readings
    return next((row.unit for row in rows if row.attribute.partition(".")[0] in parts[1:]), "")
