"""``memory=1G cpu.weight=200``: limits in words, as they are given to and printed by commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import click

import cgctl
from cgctl.cli.output import listed
from cgctl.controllers import BYTES, CLASS, CONTROLLERS, Controller

__all__ = ["Wishes", "describe", "parse_settings", "specs"]

Wishes = dict[str, dict[str, Any]]
"""Controller → attribute → value; the attribute ``""`` is the controller's shorthand."""


def parse_settings(words: Iterable[str], wishes: Wishes | None = None) -> Wishes:
    """Read ``CONTROLLER=VALUE`` and ``CONTROLLER.ATTRIBUTE=VALUE``, in addition to what is wished already.

    Raises:
        UsageError: a word is no such thing, or says again what was said.
    """
    found: Wishes = {name: dict(values) for name, values in (wishes or {}).items()}
    for word in words:
        name, equals, value = word.partition("=")
        controller, _, attribute = name.partition(".")
        if not equals or not controller:
            msg = f"{word!r} is not a setting; give CONTROLLER=VALUE or CONTROLLER.ATTRIBUTE=VALUE, such as memory=1G"
            raise click.UsageError(msg)
        if controller not in CONTROLLERS:
            msg = f"{word!r}: there is no controller {controller!r}; cgctl has {', '.join(CONTROLLERS)}"
            raise click.UsageError(msg)
        rows = CONTROLLERS[controller].settings
        attributes = [row.attribute for row in rows]
        if "." in name and not any(row.matches(attribute) for row in rows):
            msg = f"{word!r}: {controller} has no {attribute!r}; it has {', '.join(attributes)}"
            raise click.UsageError(msg)
        if attribute in found.setdefault(controller, {}):
            msg = f"{word!r}: {name} was given before; leave one of them out"
            raise click.UsageError(msg)
        found[controller][attribute] = value
    return found


def specs(wishes: Wishes) -> dict[str, Any]:
    """Make the keywords of :class:`cgctl.Group` of wishes.

    Raises:
        SpecError: a value is nonsense.
    """
    return {name: _spec(CONTROLLERS[name], values) for name, values in wishes.items()}


def _spec(controller: Controller, values: Mapping[str, Any]) -> Any:
    named = {attribute: _value(value) for attribute, value in values.items() if attribute}
    if "" not in values:
        return controller.join(named)
    short = controller.parse(values[""])
    implied = {attribute: value for attribute, value in controller.split(short).items() if value is not None}
    # What is said in so many words is no mere consequence of the shorthand any more: it must be had.
    is_said = controller.parts is not None or implied.keys() & named.keys()
    return controller.join(implied | named) if is_said else attrs.evolve(short, **named)


def _value(value: Any) -> Any:
    """Read the words for flags; all else is the spec's business."""
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    return words.get(value, value) if isinstance(value, str) else value


def describe(limits: Any, names: Iterable[str] = ()) -> list[tuple[str, str]]:
    """List limits as settings: ``("memory.max", "1G")``; what the kernel does not have is left out."""
    wanted = tuple(names) or tuple(CONTROLLERS)
    return [
        (f"{name}.{attribute}", _text(CONTROLLERS[name].row(attribute).unit, value))
        for name in CONTROLLERS
        if name in wanted and (spec := getattr(limits, name)) is not None
        for attribute, value in CONTROLLERS[name].split(spec).items()
        if value is not None
    ]


def _text(unit: str, value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return listed(value)
    if unit == CLASS:
        return cgctl.convert.format_classid(value)
    if isinstance(value, Mapping):
        return ",".join(f"{key} {_inside(unit, each)}" for key, each in value.items())
    if unit.startswith(BYTES) and isinstance(value, int):
        return cgctl.convert.format_size(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _inside(unit: str, value: Any) -> str:
    """Write what a device or resource has: as the kernel does, and as it is read again."""
    if attrs.has(type(value)):
        value = {field: each for field, each in attrs.asdict(value).items() if each is not None}
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_text(unit, each)}" for key, each in value.items())
    return _text(unit, value)
