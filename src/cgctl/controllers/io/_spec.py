"""What may be asked of the io controller: limits, weights and goals, for each disk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import attrs

from cgctl.controllers._values import BYTES, WEIGHT, Values, usec, whole
from cgctl.controllers.io._cost import COST_MODELS, COST_QOS, IoCostModel, IoCostQos, words
from cgctl.convert import MAX_WEIGHT, MIN_WEIGHT
from cgctl.errors import SpecError, shown
from cgctl.units import MAX, Limit, Size, parse_count_or_max, parse_limit

__all__ = ["CLASSES", "DEFAULT", "DEVICE_WEIGHTS", "LIMITS", "TARGETS", "WEIGHTS", "Io", "IoMax", "is_number", "pairs"]

T = TypeVar("T")

DEFAULT: Final = "default"
"""The weight of a device that has none of its own."""
_MOST_OPERATIONS: Final = 2**32 - 1
_MOST_BYTES: Final = 2**64 - 1
_MOST_USEC: Final = 2**64 // 1000 - 1
_NUMBER: Final = re.compile(r"[0-9]{1,4}:[0-9]{1,7}", re.ASCII)


def is_number(name: str) -> bool:
    """Tell whether a device is named by its number, such as ``8:0``."""
    return _NUMBER.fullmatch(name) is not None


def pairs(value: Any, what: str) -> Iterable[tuple[Any, Any]]:
    """Read a mapping of devices, or one in words: ``"/dev/vda:10M,8:0:max"``, or ``"8:0 max"`` as it is printed.

    Raises:
        SpecError: it is neither.
    """
    if isinstance(value, Mapping):
        return value.items()
    if not isinstance(value, str):
        msg = f"{what}={shown(value)}: not a mapping of devices; give such as {{'/dev/vda': …}}"
        raise SpecError(msg)
    found = []
    for each in value.split(","):
        word = each.strip()
        device, between, rest = word.partition(" ") if " " in word else word.rpartition(":")
        if not between or not device:
            msg = f"{what}={shown(value)}: {shown(each)} is not DEVICE:VALUE; give such as '/dev/vda:10M'"
            raise SpecError(msg)
        found.append((device, rest))
    return found


def _device(name: Any, what: str) -> str:
    path = name.__fspath__() if hasattr(name, "__fspath__") else name
    if isinstance(path, str) and "\0" not in path and (path.startswith("/") or is_number(path)):
        return path
    msg = (
        f"{what}: {shown(name)} is not a device; give its path such as '/dev/vda', its number such as '8:0', or any"
        " absolute path on the disk"
    )
    raise SpecError(msg)


def _each(value: Mapping[Any, Any] | str | None, values: Values[T], what: str) -> dict[str, T] | None:
    """Read a setting that each device has."""
    if value is None:
        return None
    found: dict[str, T] = {}
    for name, each in pairs(value, what):
        device = _device(name, what)
        if device in found:
            msg = f"{what}: {shown(device)} is named twice; name each device once"
            raise SpecError(msg)
        found[device] = values.parse(each, f"{what} of {shown(device)}")
    return found


def _parse_bytes(value: Any, what: str) -> Limit:
    return _positive(parse_limit(value, what), what, _MOST_BYTES)


def _parse_operations(value: Any, what: str) -> Limit:
    return _positive(parse_count_or_max(value, what, 0, _MOST_OPERATIONS), what, _MOST_OPERATIONS)


def _positive(number: Limit, what: str, unlimited: int) -> Limit:
    if number == 0:
        msg = f"{what}=0: v1 would read this as no limit, and v2 refuses it; give at least 1, or MAX for no limit"
        raise SpecError(msg)
    # The kernel itself keeps "no limit" as the greatest number.
    return MAX if number == unlimited else number


def _parse_device_weight(value: Any, what: str) -> int | str:
    return DEFAULT if isinstance(value, str) and value == DEFAULT else WEIGHTS.parse(value, what)


_BYTES: Final = Values(unit=f"{BYTES}/s", parse=_parse_bytes, low=1, high=_MOST_BYTES, unlimited=True)
_OPERATIONS: Final = Values(unit="operations/s", parse=_parse_operations, low=1, high=_MOST_OPERATIONS, unlimited=True)
LIMITS: Final[Mapping[str, Values[Limit]]] = {
    "rbps": _BYTES,
    "wbps": _BYTES,
    "riops": _OPERATIONS,
    "wiops": _OPERATIONS,
}
"""The limits of a disk, in the order in which ``io.max`` has them."""
WEIGHTS: Final = whole(WEIGHT, MIN_WEIGHT, MAX_WEIGHT)
"""Shares of a busy disk."""
DEVICE_WEIGHTS: Final[Values[int | str]] = Values(
    unit=WEIGHT, parse=_parse_device_weight, low=MIN_WEIGHT, high=MAX_WEIGHT, words=(DEFAULT,)
)
"""Shares of one busy disk."""
TARGETS: Final = usec(0, _MOST_USEC)
"""How long an operation should take."""
CLASSES: Final = words("no-change", "promote-to-rt", "restrict-to-be", "idle", "none-to-rt")
"""How I/O priorities are changed."""


def _rbps(value: Size | None) -> Limit | None:
    return _BYTES(value, "io.max.rbps")


def _wbps(value: Size | None) -> Limit | None:
    return _BYTES(value, "io.max.wbps")


def _riops(value: Size | None) -> Limit | None:
    return _OPERATIONS(value, "io.max.riops")


def _wiops(value: Size | None) -> Limit | None:
    return _OPERATIONS(value, "io.max.wiops")


@attrs.frozen(kw_only=True)
class IoMax:
    """What a group may do to one disk in a second; ``None`` leaves a limit as it is.

    Attributes:
        rbps: bytes read, 1..2**64-2, or ``MAX``; ``io.max`` takes no 1 before Linux 6.18.
        wbps: bytes written, likewise.
        riops: operations of reading, 1..4294967294, or ``MAX``.
        wiops: operations of writing, likewise.

    Raises:
        SpecError: a value is 0, or out of range.
    """

    rbps: Limit | None = attrs.field(default=None, converter=_rbps)
    wbps: Limit | None = attrs.field(default=None, converter=_wbps)
    riops: Limit | None = attrs.field(default=None, converter=_riops)
    wiops: Limit | None = attrs.field(default=None, converter=_wiops)


def _parse_max(value: Any, what: str) -> IoMax:
    if isinstance(value, IoMax):
        return value
    rate = _BYTES.parse(value, what)
    return IoMax(rbps=rate, wbps=rate)


_MAX: Final = Values(unit="IoMax", parse=_parse_max)


def _weight(value: int | str | None) -> int | None:
    return WEIGHTS(value, "io.weight")


def _device_weight(value: Mapping[str, int | str] | str | None) -> Mapping[str, int | str] | None:
    return _each(value, DEVICE_WEIGHTS, "io.device_weight")


def _max(value: Mapping[str, IoMax | Size] | str | None) -> Mapping[str, IoMax] | None:
    return _each(value, _MAX, "io.max")


def _latency(value: Mapping[str, int | str] | str | None) -> Mapping[str, int] | None:
    return _each(value, TARGETS, "io.latency")


def _prio_class(value: str | None) -> str | None:
    return CLASSES(value, "io.prio_class")


def _cost_qos(value: Mapping[str, IoCostQos | str] | str | None) -> Mapping[str, IoCostQos] | None:
    return _each(value, COST_QOS, "io.cost_qos")


def _cost_model(value: Mapping[str, IoCostModel | str] | str | None) -> Mapping[str, IoCostModel] | None:
    return _each(value, COST_MODELS, "io.cost_model")


@attrs.frozen(kw_only=True)
class Io:
    """What to set on the io controller (v1 ``blkio``); ``None``, or a device that is not named, leaves it as it is.

    A device is its path (``/dev/vda``), its number (``8:0``), or any absolute path on it; a partition stands for its
    disk, because the kernel limits whole disks only. What is read back has numbers.

    Attributes:
        weight: share of a busy disk, 1..10000, 100 by default: by iocost where it is enabled for the disk, and by the
            scheduler BFQ where it is the disk's (``io.weight``, ``io.bfq.weight`` | v1 ``blkio.bfq.weight``, lossy).
        device_weight: device → share of that disk, 1..10000, or ``"default"`` to have none of its own (``io.weight`` or
            ``io.bfq.weight``, by the disk's scheduler | v1 ``blkio.bfq.weight_device``, lossy).
        max: device → :class:`IoMax`; a size alone is bytes in a second, read and written each (``io.max`` | v1
            ``blkio.throttle.{read,write}_{bps,iops}_device``).
        latency: device → microseconds that an operation should take, at the cost of groups with higher targets; 0 is
            no target (``io.latency``, since 4.19, CONFIG_BLK_CGROUP_IOLATENCY; not on v1).
        prio_class: how I/O priorities are changed: ``no-change``, ``promote-to-rt`` (since 6.5), ``restrict-to-be``,
            ``idle`` or ``none-to-rt`` (``io.prio.class`` | v1 ``blkio.prio.class``, since 5.14,
            CONFIG_BLK_CGROUP_IOPRIO).
        cost_qos: device → :class:`IoCostQos`, in v2's root group only (``io.cost.qos``, since 5.4).
        cost_model: device → :class:`IoCostModel`, in v2's root group only (``io.cost.model``, since 5.4).
        bfq_disks: which numbers in *device_weight* have the scheduler BFQ; filled in when the devices are looked up.

    Raises:
        SpecError: a value is out of range, or what should be a device is none.
    """

    weight: int | None = attrs.field(default=None, converter=_weight)
    device_weight: Mapping[str, int | str] | None = attrs.field(default=None, converter=_device_weight, hash=False)
    max: Mapping[str, IoMax] | None = attrs.field(default=None, converter=_max, hash=False)
    latency: Mapping[str, int] | None = attrs.field(default=None, converter=_latency, hash=False)
    prio_class: str | None = attrs.field(default=None, converter=_prio_class)
    cost_qos: Mapping[str, IoCostQos] | None = attrs.field(default=None, converter=_cost_qos, hash=False)
    cost_model: Mapping[str, IoCostModel] | None = attrs.field(default=None, converter=_cost_model, hash=False)
    bfq_disks: frozenset[str] = attrs.field(default=frozenset(), repr=False, eq=False)

    @classmethod
    def shorthand(cls, value: Any) -> Io:
        """Make the spec of ``io={"/dev/vda": "10M"}``: that many bytes in a second, read and written each."""
        return cls(max=value)
