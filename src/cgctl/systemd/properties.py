"""Limits in systemd's words: what a unit's own group is told by, since systemd writes that group's files again.

The names, types and units are those of org.freedesktop.systemd1(5); what has no property has no answer here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from cgctl.controllers import DeviceRule
from cgctl.errors import UnsupportedError
from cgctl.units import MAX

__all__ = ["Property", "properties"]

Property = tuple[str, tuple[str, Any]]
"""Name, and value with its D-Bus signature."""

_INFINITY: Final = (1 << 64) - 1
_USEC: Final = 1_000_000


def _number(value: Any) -> tuple[str, Any]:
    return "t", _INFINITY if value is MAX else int(value)


def _quota(value: Any) -> tuple[str, Any]:
    return "t", _INFINITY if value is MAX else round(value * _USEC)


def _mask(value: Iterable[int]) -> tuple[str, Any]:
    bits = sum(1 << number for number in value)
    return "ay", bits.to_bytes((bits.bit_length() + 7) // 8, "little")


_PROPERTIES: Final[Mapping[tuple[str, str], tuple[str, Callable[[Any], tuple[str, Any]]]]] = {
    ("memory", "max"): ("MemoryMax", _number),
    ("memory", "high"): ("MemoryHigh", _number),
    ("memory", "low"): ("MemoryLow", _number),
    ("memory", "min"): ("MemoryMin", _number),
    ("memory", "swap_max"): ("MemorySwapMax", _number),
    ("memory", "zswap_max"): ("MemoryZSwapMax", _number),
    ("cpu", "max"): ("CPUQuotaPerSecUSec", _quota),
    ("cpu", "period_usec"): ("CPUQuotaPeriodUSec", _number),
    ("cpu", "weight"): ("CPUWeight", _number),
    ("cpuset", "cpus"): ("AllowedCPUs", _mask),
    ("cpuset", "mems"): ("AllowedMemoryNodes", _mask),
    ("pids", "max"): ("TasksMax", _number),
    ("io", "weight"): ("IOWeight", _number),
}
_RATES: Final = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
}


def properties(specs: Mapping[str, Any]) -> list[Property]:
    """Return the properties that say what specs do, in an order in which systemd may apply each.

    Raises:
        UnsupportedError: systemd has no property for one of them.
    """
    return [each for controller, spec in specs.items() for each in _of(controller, spec)]


def _of(controller: str, spec: Any) -> Iterator[Property]:
    given = _given(spec)
    if controller == "devices":
        if given:
            yield from _devices(spec)
        return
    for name, value in given.items():
        if (controller, name) == ("io", "max"):
            yield from _rates(value)
            continue
        if (controller, name) not in _PROPERTIES:
            reason = "the group is a unit's own, and systemd has no property for that; use a group below it"
            raise UnsupportedError(f"{controller}.{name}", reason)
        property_name, encode = _PROPERTIES[controller, name]
        yield property_name, encode(value)


def _given(spec: Any) -> dict[str, Any]:
    # What is left out of comparison was looked up on the way, and is nothing that was asked for.
    names = [field.name for field in type(spec).__attrs_attrs__ if field.eq]
    return {name: value for name in names if (value := getattr(spec, name)) is not None}


def _rates(limits: Mapping[str, Any]) -> Iterator[Property]:
    for attribute, name in _RATES.items():
        of_disks = [
            (disk if "/" in disk else f"/dev/block/{disk}", _number(rate)[1])
            for disk, limit in limits.items()
            if (rate := getattr(limit, attribute)) is not None
        ]
        if of_disks:
            yield name, ("a(st)", of_disks)


def _devices(spec: Any) -> Iterator[Property]:
    """Yield the list before the policy: the other way round everything would be denied for a moment."""
    if spec.deny:
        reason = "the group is a unit's own, and systemd allows devices only, it denies none; use a group below it"
        raise UnsupportedError("devices.deny", reason)
    allowed = [(node, rule.access) for rule in spec.allow or () for node in _nodes(rule)]
    # An empty list first: what follows would be added to what is there.
    yield "DeviceAllow", ("a(ss)", [])
    if allowed:
        yield "DeviceAllow", ("a(ss)", allowed)
    yield "DevicePolicy", ("s", "strict" if spec.default == "deny" else "auto")


def _nodes(rule: DeviceRule) -> Iterator[str]:
    if rule.path:
        yield rule.path
        return
    for kind, name in (("c", "char"), ("b", "block")):
        if rule.type not in {kind, "a"}:
            continue
        if isinstance(rule.major, int) and isinstance(rule.minor, int):
            yield f"/dev/{name}/{rule.major}:{rule.minor}"
        elif rule.major == rule.minor:
            yield f"{name}-*"
        else:
            reason = "the group is a unit's own, and systemd knows one device, or all of a type; use a group below it"
            raise UnsupportedError(f"devices.allow of {rule}", reason)
