"""Rules about device nodes: which of them, and what may be done with them.

The kernel knows a node by its type, major and minor number; people know it by its name. A rule that is given a path
keeps it until the numbers are read (:func:`cgctl.mounts.parse_status`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, Literal

import attrs

from cgctl.errors import SpecError, shown
from cgctl.units import parse_count

__all__ = ["DEVICES_DEFAULT", "NODES", "DeviceRule", "Number", "canonical", "parse_rules"]

ANY: Final = "*"
Number = int | Literal["*"]
"""A major or minor number, or all of them."""

_HIGHEST_MAJOR, _HIGHEST_MINOR = 2**12 - 1, 2**20 - 1
"""``MAJOR`` and ``MINOR`` in include/linux/kdev_t.h: 12 and 20 bits."""
_ACCESS: Final = "rwm"
_TYPES: Final = ("a", "b", "c")

NODES: Final = {
    "null": "c 1:3",
    "zero": "c 1:5",
    "full": "c 1:7",
    "random": "c 1:8",
    "urandom": "c 1:9",
    "kmsg": "c 1:11",
    "tty": "c 5:0",
    "console": "c 5:1",
    "ptmx": "c 5:2",
    "loop": "b 7:*",
    "tun": "c 10:200",
    "fuse": "c 10:229",
    "kvm": "c 10:232",
    "loop-control": "c 10:237",
    "pts": "c 136:*",
}
"""Names that need no path: the kernel's Documentation/admin-guide/devices.txt fixes their numbers."""

_RULE: Final = re.compile(r"([abc])(?: +([0-9]+|\*):([0-9]+|\*))?(?: +([rwm]+))?", re.ASCII)
_NAMED: Final = re.compile(r"(/.*?|[a-z-]+)(?: +([rwm]+))?", re.ASCII)
_HOW: Final = (
    "give a name such as 'null', a path such as '/dev/nvidia0', or TYPE MAJOR:MINOR ACCESS such as 'c 136:* rw'"
)


def _type(value: object) -> str:
    if value not in _TYPES:
        msg = f"devices: type={shown(value)}: not a type of device; give 'b' (block), 'c' (character) or 'a' (both)"
        raise SpecError(msg)
    return str(value)


def _major(value: object) -> Number:
    return _number(value, "major", _HIGHEST_MAJOR)


def _minor(value: object) -> Number:
    return _number(value, "minor", _HIGHEST_MINOR)


def _number(value: object, which: str, high: int) -> Number:
    return ANY if value == ANY else parse_count(value, f"devices: {which}", 0, high)


def _access(value: object) -> str:
    if not isinstance(value, str) or not value or not {*value} <= {*_ACCESS} or len({*value}) != len(value):
        msg = f"devices: access={shown(value)}: not an access; give some of r (read), w (write) and m (mknod), as 'rw'"
        raise SpecError(msg)
    return "".join(letter for letter in _ACCESS if letter in value)


def _path(value: object) -> str:
    if not isinstance(value, str) or (value and not value.startswith("/")) or "\0" in value or "\n" in value:
        msg = f"devices: path={shown(value)}: not an absolute path; give one such as '/dev/nvidia0'"
        raise SpecError(msg)
    return value


@attrs.frozen
class DeviceRule:
    """Some device nodes, and what may be done with them.

    Attributes:
        type: ``"b"`` for block devices, ``"c"`` for character devices, ``"a"`` for both.
        major: 0..4095, or ``"*"`` for all.
        minor: 0..1048575, or ``"*"`` for all.
        access: some of ``r`` (read), ``w`` (write) and ``m`` (make the node).
        path: of a node, in place of type and numbers; it is looked up when a limit is set.

    Raises:
        SpecError: an attribute is none of these, or there are numbers beside a path.
    """

    type: str = attrs.field(default="a", converter=_type)
    major: Number = attrs.field(default=ANY, converter=_major)
    minor: Number = attrs.field(default=ANY, converter=_minor)
    access: str = attrs.field(default=_ACCESS, converter=_access)
    path: str = attrs.field(default="", converter=_path)

    def __attrs_post_init__(self) -> None:
        if self.path and (self.type, self.major, self.minor) != ("a", ANY, ANY):
            msg = f"devices: path={shown(self.path)}: beside a type or a number; give one or the other"
            raise SpecError(msg)

    def __str__(self) -> str:
        if self.path:
            return f"{self.path} {self.access}"
        return f"{self.type} {self.major}:{self.minor} {self.access}"

    @classmethod
    def parse(cls, value: object) -> DeviceRule:
        """Read a rule: ``"null"``, ``"urandom r"``, ``"/dev/nvidia0"``, ``"c 136:* rwm"``, ``"a"``; or a rule as it is.

        What is not said is everything: all numbers, and all of ``rwm``.

        Raises:
            SpecError: it is no rule.
        """
        if isinstance(value, cls):
            return value
        text = value.strip() if isinstance(value, str) else None
        if text and (match := _RULE.fullmatch(text)):
            return cls(match[1], match[2] or ANY, match[3] or ANY, match[4] or _ACCESS)
        if text and (match := _NAMED.fullmatch(text)):
            name, access = match[1], match[2] or _ACCESS
            if name.startswith("/"):
                return cls(path=name, access=access)
            if name in NODES:
                return cls.parse(f"{NODES[name]} {access}")
            msg = f"devices: {shown(name)} is no name that cgctl knows ({', '.join(NODES)}); give its path, /dev/{name}"
            raise SpecError(msg)
        msg = f"devices: {shown(value)} is not a rule; {_HOW}"
        raise SpecError(msg)

    def covers(self, other: DeviceRule) -> bool:
        """Tell whether whatever another rule is about, this one is about too. Neither has a path."""
        return (
            self.type in {"a", other.type}
            and self.major in {ANY, other.major}
            and self.minor in {ANY, other.minor}
            and {*other.access} <= {*self.access}
        )

    def allows(self, type: str, major: int, minor: int, access: str) -> bool:
        """Tell whether the rule is about a node, and about all of an access to it.

        Args:
            type: ``"b"`` or ``"c"``.
            major: the node's number.
            minor: likewise.
            access: what is wanted at once: some of ``rwm``.
        """
        return self._is_about(type, major, minor) and {*access} <= {*self.access}

    def denies(self, type: str, major: int, minor: int, access: str) -> bool:
        """Tell whether the rule is about a node, and about some of an access to it; the arguments as above."""
        return self._is_about(type, major, minor) and bool({*access} & {*self.access})

    def _is_about(self, type: str, major: int, minor: int) -> bool:
        return self.type in {"a", type} and self.major in {ANY, major} and self.minor in {ANY, minor}


def parse_rules(value: Any, what: str) -> tuple[DeviceRule, ...]:
    """Read a list of rules, or a string of them with commas in between; return it in canonical form.

    The word ``default`` among them stands for :data:`DEVICES_DEFAULT`.

    Raises:
        SpecError: it is none, or one of them is no rule.
    """
    items = value.split(",") if isinstance(value, str) and value.strip() else () if isinstance(value, str) else value
    if isinstance(items, (bytes, DeviceRule)) or not isinstance(items, Iterable):
        msg = f"{what}={shown(value)}: not a list of devices; give one such as ['null', 'c 136:* rw']"
        raise SpecError(msg)
    try:
        return canonical(rule for item in items for rule in _parse_item(item))
    except SpecError as error:
        msg = f"{what}={shown(value)}: {error}"
        raise SpecError(msg) from None


def _parse_item(item: object) -> tuple[DeviceRule, ...]:
    is_default = isinstance(item, str) and item.strip() == "default"
    return DEVICES_DEFAULT if is_default else (DeviceRule.parse(item),)


def canonical(rules: Iterable[DeviceRule]) -> tuple[DeviceRule, ...]:
    """Return the rules as the kernel keeps them.

    Block and character devices apart, one rule for each pair of numbers, none that another covers; sorted, with the
    paths at the end.
    """
    merged: dict[tuple[str, Number, Number, str], set[str]] = {}
    for rule in rules:
        for kind in ("b", "c") if rule.type == "a" and not rule.path else (rule.type,):
            merged.setdefault((kind, rule.major, rule.minor, rule.path), set()).update(rule.access)
    apart = [DeviceRule(*key[:3], "".join(access), key[3]) for key, access in merged.items()]
    known = [rule for rule in apart if not rule.path]
    needed = [rule for rule in apart if rule.path or not any(each.covers(rule) for each in known if each != rule)]
    return tuple(sorted(needed, key=_order))


def _order(rule: DeviceRule) -> tuple[Any, ...]:
    # All numbers go before each of them, as -1.
    numbers = (-1 if number == ANY else number for number in (rule.major, rule.minor))
    return rule.path, rule.type, *numbers


DEVICES_DEFAULT: Final = canonical(
    DeviceRule.parse(rule)
    for rule in ("c *:* m", "b *:* m", "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts")
)
"""What docker allows a container: ``devices=["default", "kvm"]``, or ``[*cgctl.DEVICES_DEFAULT, "kvm"]``.

The nodes that every program expects, terminals, and to make any node (to open it is another matter): runc's
``AllowedDevices`` (libcontainer/specconv).
"""
