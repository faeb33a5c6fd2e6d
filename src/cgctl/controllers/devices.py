"""devices: which device nodes the processes of a group may open and make.

v1 has a controller that keeps a list of exceptions, allowed ones or denied ones. v2 has none: there a BPF program is
attached to the group, and asked at every open and mknod (:mod:`cgctl.bpf.devices`). Both are asked together with those
of all groups above, and each must agree.

To everything but :mod:`cgctl.bpf` the program is the file ``@devices``, of lines that begin with ``allow`` or ``deny``
and go on in the notation of v1's ``devices.list``; the first says what holds where no other line does::

    deny a *:* rwm
    allow c 1:3 rwm
    deny c 1:11 w

A rule to deny beats a rule to allow. An access of several kinds at once, such as opening for reading and writing, is
allowed if one rule allows all of it, and denied if one denies any of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from errno import EINVAL
from typing import Any, Final

import attrs

from cgctl.controllers._codec import Codec
from cgctl.controllers._device import DEVICES_DEFAULT, NODES, DeviceRule, Number, parse_rules
from cgctl.controllers._row import CORE, Controller, Read, Row, Side
from cgctl.controllers._values import WORD, Values
from cgctl.errors import SpecError, UnsupportedError, shown
from cgctl.mounts import STATUS, parse_status

__all__ = ["CONTROLLER", "DEVICES_DEFAULT", "DeviceRule", "Devices", "DevicesStats", "format_text", "parse_text"]

_LIST: Final = "list of devices"
_EVERYTHING: Final = "a *:* rwm"


def _parse_default(value: Any, what: str) -> str:
    if value not in ("allow", "deny"):
        msg = f"{what}={shown(value)}: not a default; give 'allow' or 'deny'"
        raise SpecError(msg)
    return str(value)


_RULES: Final = Values(unit=_LIST, parse=parse_rules, words=("default", *NODES))
_DEFAULT: Final = Values(unit=WORD, parse=_parse_default, words=("allow", "deny"))


def _allow(value: Any) -> tuple[DeviceRule, ...] | None:
    return _RULES(value, "devices.allow")


def _deny(value: Any) -> tuple[DeviceRule, ...] | None:
    return _RULES(value, "devices.deny")


def _default(value: Any) -> str | None:
    return _DEFAULT(value, "devices.default")


@attrs.frozen(kw_only=True)
class Devices:
    """Which device nodes may be used. One that says anything says it all: what it does not allow is not allowed.

    Attributes:
        allow: the devices that may be used: names such as ``"null"``, paths such as ``"/dev/nvidia0"``, rules such as
            ``"c 136:* rw"``, or :class:`DeviceRule`; ``"default"`` stands for :data:`DEVICES_DEFAULT`
            (v1 ``devices.allow``).
        deny: those that may not, even though *allow* or *default* says so (v1 ``devices.deny``). On v1 not beside
            *allow*; and there the kernel does not tell which are denied, so a list adds to what is denied already,
            and ``limits()`` has none.
        default: ``"allow"`` or ``"deny"`` for all others. ``"deny"`` where *allow* is given, ``"allow"`` where only
            *deny* is.

    Raises:
        SpecError: one is no list of devices or no such word; or *allow* beside ``default="allow"``.
    """

    allow: tuple[DeviceRule, ...] | None = attrs.field(default=None, converter=_allow)
    deny: tuple[DeviceRule, ...] | None = attrs.field(default=None, converter=_deny)
    default: str | None = attrs.field(default=None, converter=_default)

    def __attrs_post_init__(self) -> None:
        if self.default == "allow" and self.allow:
            rules = ", ".join(map(str, self.allow))
            msg = f"devices.allow={rules}: with default='allow' all are allowed; leave one of them out"
            raise SpecError(msg)
        if (self.allow, self.deny, self.default) != (None, None, None):
            default = self.default or ("allow" if self.allow is None else "deny")
            for name, value in (("default", default), ("allow", self.allow or ()), ("deny", self.deny or ())):
                object.__setattr__(self, name, value)

    @classmethod
    def shorthand(cls, value: Any) -> Devices:
        """Make the spec of ``devices=["null", "urandom"]``: just these may be used."""
        return cls(allow=value)

    def allows(self, type: str, major: int, minor: int, access: str) -> bool:
        """Tell whether an access is allowed, as the kernel would.

        Args:
            type: ``"b"`` or ``"c"``.
            major: the node's number.
            minor: likewise.
            access: what is wanted at once: some of ``rwm``.
        """
        if any(rule.denies(type, major, minor, access) for rule in self.deny or ()):
            return False
        return self.default != "deny" or any(rule.allows(type, major, minor, access) for rule in self.allow or ())


@attrs.frozen(kw_only=True)
class DevicesStats:
    """What there is to know of a group's devices; ``None`` on v1, and for who may not look at programs.

    Attributes:
        others: programs of other owners that are asked too: their names, or numbers where they may not be looked at
            (``@devices``, not on v1).
    """

    others: tuple[str, ...] | None = None


def format_text(devices: Any) -> str:
    """Write a :class:`Devices` that says something as the text of ``@devices``."""
    lines = [f"{devices.default} {_EVERYTHING}"]
    lines += [f"allow {rule}" for rule in devices.allow]
    lines += [f"deny {rule}" for rule in devices.deny]
    return "\n".join(lines)


def parse_text(text: str) -> Devices:
    """Read the text of ``@devices``; lines that begin with ``other`` are not ours.

    Raises:
        SpecError: it is no such text.
    """
    default: str | None = None
    rules: dict[str, list[DeviceRule]] = {"allow": [], "deny": []}
    for line in text.splitlines():
        verdict, _, rule = line.partition(" ")
        if verdict == "other":
            continue
        if verdict not in rules or (default is None) != (rule == _EVERYTHING) or "/" in rule:
            msg = f"{shown(text)}: not the text of @devices; give lines such as 'deny {_EVERYTHING}', 'allow c 1:3 rw'"
            raise SpecError(msg)
        if default is None:
            default = verdict
        else:
            rules[verdict].append(DeviceRule.parse(rule))
    if default is None:
        msg = f"{shown(text)}: the first line of @devices is 'deny {_EVERYTHING}' or 'allow {_EVERYTHING}'"
        raise SpecError(msg)
    return Devices(default=default, allow=rules["allow"], deny=rules["deny"])


@attrs.frozen(kw_only=True)
class _Program(Codec):
    """The text of ``@devices``.

    Attributes:
        part: which attribute is read from it.
    """

    part: str

    def encode(self, value: Any, spec: Any) -> str:
        del value
        return format_text(spec)

    def decode(self, text: str, texts: Mapping[str, str]) -> Any:
        del texts
        return getattr(parse_text(text), self.part)

    def same(self, held: str, wanted: str, page_size: int) -> bool:
        del page_size
        return parse_text(held) == parse_text(wanted)


@attrs.frozen(kw_only=True)
class _List(_Program):
    """v1: ``devices.list`` is read, ``devices.allow`` and ``devices.deny`` are written."""

    def encode(self, value: Any, spec: Any) -> str:
        if spec.allow and spec.deny:
            reason = "v1 keeps either those allowed or those denied; leave out what is denied of what is allowed"
            raise UnsupportedError("devices.deny beside devices.allow", reason)
        return _Program.encode(self, value, spec)

    def decode(self, text: str, texts: Mapping[str, str]) -> Any:
        del texts
        return getattr(_held(text), self.part)

    def pending(self, held: str | None, wanted: str, page_size: int) -> tuple[str, ...]:
        del page_size
        return tuple(_transition(None if held is None else _held(held), parse_text(wanted)))

    def route(self, file: str, line: str) -> tuple[str, str]:
        verdict, _, rule = line.partition(" ")
        return f"{file.rpartition('.')[0]}.{verdict}", rule


def _held(text: str) -> Devices:
    """Read v1's ``devices.list``: all devices, or those that are allowed. It does not say which are denied."""
    if text.strip() == _EVERYTHING:
        return Devices(default="allow")
    return Devices(allow=_listed(text))


def _listed(text: str) -> Iterator[DeviceRule]:
    for line in text.splitlines():
        # v1 takes rules that no node can ever match, without an access or with too large a number: they are none.
        with contextlib.suppress(SpecError):
            if len(line.split()) == 3:  # noqa: PLR2004 - type, numbers, access
                yield DeviceRule.parse(line)


def _transition(held: Devices | None, wanted: Devices) -> Iterator[str]:
    """Yield what leads from one state to another: at no moment is more allowed than before or after, where v1 can.

    A default can be changed only in a group without groups below, and takes all exceptions with it. So a group that
    allows by default, whose exceptions the kernel does not show, is only denied more, until all is allowed again.
    """
    if held is None or held.default != wanted.default or (wanted.default == "allow" and not wanted.deny):
        yield f"{wanted.default} {_EVERYTHING}"
        held = Devices(default=wanted.default)
    if wanted.default == "allow":
        yield from (f"deny {rule}" for rule in wanted.deny or ())
        return
    # What is to be allowed goes first: whoever may use a device before and after may use it all the time.
    before, after = _bits(held.allow or ()), _bits(wanted.allow or ())
    yield from _lines("allow", after, before)
    yield from _lines("deny", before, after)


_Bits = dict[tuple[str, Number, Number], frozenset[str]]


def _bits(rules: Iterable[DeviceRule]) -> _Bits:
    return {(rule.type, rule.major, rule.minor): frozenset(rule.access) for rule in rules}


def _lines(verdict: str, these: _Bits, those: _Bits) -> Iterator[str]:
    for key, access in these.items():
        missing = access - those.get(key, frozenset())
        if missing:
            kind, major, minor = key
            yield f"{verdict} {DeviceRule(kind, major, minor, ''.join(missing))}"


class _Others(Codec):
    """The programs of other owners in ``@devices``."""

    def decode(self, text: str, texts: Mapping[str, str]) -> tuple[str, ...]:
        del texts
        return tuple(line.removeprefix("other ") for line in text.splitlines() if line.startswith("other "))


def _looks(spec: Devices, values: Read) -> Iterable[str]:
    del values
    return [f"{STATUS}{rule.path}" for rule in (*(spec.allow or ()), *(spec.deny or ())) if rule.path]


def _resolved(spec: Devices, values: Read) -> Devices:
    if not any(True for _ in _looks(spec, values)):
        return spec
    return Devices(
        allow=[_numbered(rule, values) for rule in spec.allow or ()],
        deny=[_numbered(rule, values) for rule in spec.deny or ()],
        default=spec.default,
    )


def _numbered(rule: DeviceRule, values: Read) -> DeviceRule:
    if not rule.path:
        return rule
    status = values.get(f"{STATUS}{rule.path}")
    if not isinstance(status, bytes):
        msg = f"devices: {shown(rule.path)}: there is no such file, or it cannot be looked at; check the path"
        raise SpecError(msg)
    found = parse_status(status.decode())
    if not found.device:
        msg = f"devices: {shown(rule.path)}: not a device node; give the path of one, or its type and numbers"
        raise SpecError(msg)
    major, minor = found.device.split(":")
    return DeviceRule(found.type, int(major), int(minor), rule.access)


def _row(attribute: str, values: Values[Any], lossy: str = "") -> Row:
    return Row(
        attribute=attribute,
        v1=Side(controller="devices", file="devices.list", codec=_List(part=attribute), passing=EINVAL),
        v2=Side(
            controller=CORE,
            file="@devices",
            codec=_Program(part=attribute),
            default=f"allow {_EVERYTHING}",
            since="4.15",
        ),
        prefer=1,
        values=values,
        lossy=lossy,
    )


CONTROLLER = Controller(
    name="devices",
    spec=Devices,
    stats=DevicesStats,
    settings=(
        _row("default", _DEFAULT),
        _row("deny", _RULES, lossy="v1 does not tell which are denied, adds to them, and has none beside allow"),
        _row("allow", _RULES),
    ),
    readings=(
        Row(
            attribute="others",
            v1=None,
            v2=Side(controller=CORE, file="@devices", codec=_Others(), since="4.15"),
            unit="names",
        ),
    ),
    domain=False,
    looks=_looks,
    resolved=_resolved,
)
