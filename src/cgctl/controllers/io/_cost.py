"""iocost, which keeps weights by what operations cost: when a disk is saturated, and what it can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs

from cgctl.controllers._values import COUNT, FLAGS, PERCENT, WORD, Values, usec, whole
from cgctl.errors import SpecError, shown

__all__ = ["COST_MODELS", "COST_QOS", "IoCostModel", "IoCostQos", "words"]

T = TypeVar("T")

_MOST_PERCENT: Final = 10_000


def words(*there_are: str) -> Values[str]:
    """Make the values of a setting that is one of the kernel's words."""

    def parse(value: Any, what: str) -> str:
        if isinstance(value, str) and value in there_are:
            return value
        msg = f"{what}={shown(value)}: not one of the kernel's words; give {' or '.join(map(repr, there_are))}"
        raise SpecError(msg)

    return Values(unit=WORD, parse=parse, words=there_are)


def _parse_percent(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if isinstance(value, bool | bytes | bytearray) or not 0 <= number <= _MOST_PERCENT:
        msg = f"{what}={shown(value)}: not a percentage; give 0 to {_MOST_PERCENT}"
        raise SpecError(msg)
    return round(number, 2)


def _converter(values: Values[T], what: str) -> Callable[[Any], T | None]:
    return lambda value: values(value, what)


_PERCENT: Final = Values(unit=PERCENT, parse=_parse_percent, low=0, high=_MOST_PERCENT)
_USEC: Final = usec(0, 2**32 - 1)
_RATE: Final = whole(COUNT, 1, 2**64 - 1)
_CTRL: Final = words("auto", "user")
_MODEL: Final = words("linear")


def _qos(values: Values[T], name: str) -> Any:
    return attrs.field(default=None, converter=_converter(values, f"io.cost_qos.{name}"))


def _model(values: Values[T], name: str) -> Any:
    return attrs.field(default=None, converter=_converter(values, f"io.cost_model.{name}"))


@attrs.frozen(kw_only=True)
class IoCostQos:
    """When a disk counts as saturated, so that weights by cost come into force; ``None`` leaves a value as it is.

    Attributes:
        enable: whether iocost keeps weights on the disk.
        ctrl: ``auto`` or ``user``: who chooses the other values; giving one of them is ``user``.
        rpct: which percentile of the time that reads take is looked at, per cent; 0 is none.
        rlat_usec: how long that may be, microseconds.
        wpct: which percentile of the time that writes take is looked at, per cent; 0 is none.
        wlat_usec: how long that may be, microseconds.
        min: least rate to which the disk is slowed down, in per cent of its model, from 1.
        max: greatest rate to which it is sped up, in per cent of its model, up to 10000.

    Raises:
        SpecError: a value is out of range.
    """

    enable: bool | None = _qos(FLAGS, "enable")
    ctrl: str | None = _qos(_CTRL, "ctrl")
    rpct: float | None = _qos(_PERCENT, "rpct")
    rlat_usec: int | None = _qos(_USEC, "rlat_usec")
    wpct: float | None = _qos(_PERCENT, "wpct")
    wlat_usec: int | None = _qos(_USEC, "wlat_usec")
    min: float | None = _qos(_PERCENT, "min")
    max: float | None = _qos(_PERCENT, "max")


@attrs.frozen(kw_only=True)
class IoCostModel:
    """What a disk can do, by which iocost reckons what an operation costs; ``None`` leaves a value as it is.

    Attributes:
        ctrl: ``auto`` or ``user``: who chooses the other values; giving one of them is ``user``.
        model: ``linear``, the only one there is.
        rbps: bytes read in a second, in sequence.
        rseqiops: operations of reading 4 KiB in a second, in sequence.
        rrandiops: the same, at random.
        wbps: bytes written in a second, in sequence.
        wseqiops: operations of writing 4 KiB in a second, in sequence.
        wrandiops: the same, at random.

    Raises:
        SpecError: a value is out of range.
    """

    ctrl: str | None = _model(_CTRL, "ctrl")
    model: str | None = _model(_MODEL, "model")
    rbps: int | None = _model(_RATE, "rbps")
    rseqiops: int | None = _model(_RATE, "rseqiops")
    rrandiops: int | None = _model(_RATE, "rrandiops")
    wbps: int | None = _model(_RATE, "wbps")
    wseqiops: int | None = _model(_RATE, "wseqiops")
    wrandiops: int | None = _model(_RATE, "wrandiops")


def _keyed(cls: type[T]) -> Callable[[Any, str], T]:
    """Return the reader of an object, or of one in words: ``"enable=1 rlat_usec=5000"``."""
    fields = attrs.fields_dict(cls)  # type: ignore[arg-type]

    def parse(value: Any, what: str) -> T:
        if isinstance(value, cls):
            return value
        given = dict(each.partition("=")[::2] for each in value.split()) if isinstance(value, str) else {}
        if not given or not given.keys() <= fields.keys():
            msg = f"{what}={shown(value)}: not a {cls.__name__}; give {cls.__name__}({'=…, '.join(fields)}=…)"
            raise SpecError(msg)
        return cls(**given)

    return parse


COST_QOS: Final = Values(unit="IoCostQos", parse=_keyed(IoCostQos), words=("enable=0", "enable=1"))
"""When a disk is saturated."""
COST_MODELS: Final = Values(unit="IoCostModel", parse=_keyed(IoCostModel), words=("ctrl=auto", "ctrl=user"))
"""What a disk can do."""
