"""cpu: how much processor time a group may use, and how much it did use.

``max`` is in CPUs and is what stays the same when only the period changes. Times are microseconds
everywhere; v1's nanoseconds are converted. Usage comes from v2's ``cpu.stat``, which every v2 group has
even where the controller is bound to v1, else from v1's ``cpuacct``.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import attrs

from cgctl.controllers._codec import Codec, Count, Flag, Key, Number, Psi
from cgctl.controllers._row import CORE, Controller, Row, Side
from cgctl.controllers._values import COUNT, CPU, FLAGS, PERCENT, PRESSURE, USEC, WEIGHT, Values, usec, whole
from cgctl.convert import (
    LEAST_QUOTA_USEC,
    MAX_PERIOD_USEC,
    MAX_WEIGHT,
    MIN_PERIOD_USEC,
    MIN_WEIGHT,
    cpus_to_quota,
    shares_to_weight,
    weight_to_shares,
)
from cgctl.errors import SpecError, shown
from cgctl.formats import Pressure, parse_flat_keyed
from cgctl.units import MAX, Max, is_max, parse_cpus

__all__ = ["CONTROLLER", "DEFAULT_PERIOD_USEC", "Cpu", "CpuStats", "check_burst", "quota_usec"]

DEFAULT_PERIOD_USEC: Final = 100_000
_MOST_QUOTA_USEC: Final = 17_592_186_044_415
_MOST_CPUS: Final = 2**20
_CAPACITY: Final = 1024


def _parse_max(value: Any, what: str) -> float | Max:
    number = parse_cpus(value, what)
    if isinstance(number, Max):
        return MAX
    if number > _MOST_CPUS:
        msg = f"{what}={shown(value)}: beyond any machine; give CPUs such as 1.5, or MAX for no limit"
        raise SpecError(msg)
    if number * 1_000_000 < LEAST_QUOTA_USEC:
        msg = (
            f"{what}={shown(value)}: the kernel gives at least 1 ms in a period of at most 1 s; give 0.001 CPUs or more"
        )
        raise SpecError(msg)
    return float(number)


def _parse_percent(value: Any, what: str) -> float | Max:
    if is_max(value):
        return MAX
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if isinstance(value, bool | bytes | bytearray) or not 0 <= number <= 100:  # noqa: PLR2004 - per cent
        msg = f"{what}={shown(value)}: not a percentage; give 0 to 100, or MAX"
        raise SpecError(msg)
    return number


_MAX: Final = Values(
    unit=CPU, parse=_parse_max, low=LEAST_QUOTA_USEC / MAX_PERIOD_USEC, high=_MOST_CPUS, unlimited=True
)
_PERIOD: Final = usec(MIN_PERIOD_USEC, MAX_PERIOD_USEC)
_BURST: Final = usec(0, _MOST_QUOTA_USEC)
_WEIGHTS: Final = whole(WEIGHT, MIN_WEIGHT, MAX_WEIGHT)
_UCLAMP: Final = Values(unit=PERCENT, parse=_parse_percent, low=0, high=100, unlimited=True)
_RT_RUNTIME: Final = usec(-1, 2**53)
_RT_PERIOD: Final = usec(1, 2**53)


def _cpus(value: float | str | Decimal | Max | None) -> float | Max | None:
    return _MAX(value, "cpu.max")


def _period(value: int | str | None) -> int | None:
    return _PERIOD(value, "cpu.period_usec")


def _burst(value: int | str | None) -> int | None:
    return _BURST(value, "cpu.burst_usec")


def _weight(value: int | str | None) -> int | None:
    return _WEIGHTS(value, "cpu.weight")


def _idle_flag(value: int | str | None) -> bool | None:
    return FLAGS(value, "cpu.idle")


def _uclamp_min(value: float | str | Max | None) -> float | Max | None:
    return _UCLAMP(value, "cpu.uclamp_min")


def _uclamp_max(value: float | str | Max | None) -> float | Max | None:
    return _UCLAMP(value, "cpu.uclamp_max")


def _runtime(value: int | str | None) -> int | None:
    return _RT_RUNTIME(value, "cpu.rt_runtime_usec")


def _rt_period(value: int | str | None) -> int | None:
    return _RT_PERIOD(value, "cpu.rt_period_usec")


@attrs.frozen(kw_only=True)
class Cpu:
    """What to set on the cpu controller; ``None`` leaves a setting as it is.

    Attributes:
        max: CPUs that may be used, such as ``1.5`` or ``"150%"``, or ``MAX`` (``cpu.max`` | v1
            ``cpu.cfs_quota_us`` over ``cpu.cfs_period_us``).
        period_usec: over which *max* is counted, 1000..1000000 microseconds (``cpu.max`` | v1 ``cpu.cfs_period_us``).
        burst_usec: unused quota that may be saved up, 0..quota (``cpu.max.burst`` | v1 ``cpu.cfs_burst_us``,
            since 5.14).
        weight: share under contention, 1..10000, 100 by default (``cpu.weight`` | v1 ``cpu.shares``, lossy).
        idle: run only when nobody else wants to (``cpu.idle``, since 5.15).
        uclamp_min: least utilisation to assume, in per cent (``cpu.uclamp.min``, since 5.4).
        uclamp_max: most utilisation to assume, in per cent (``cpu.uclamp.max``, since 5.4).
        rt_runtime_usec: v1 only, real-time budget a period, -1 for none (``cpu.rt_runtime_us``).
        rt_period_usec: v1 only, the period of it (``cpu.rt_period_us``).

    Raises:
        SpecError: a value is out of range, or contradicts another.
    """

    max: float | Max | None = attrs.field(default=None, converter=_cpus)
    period_usec: int | None = attrs.field(default=None, converter=_period)
    burst_usec: int | None = attrs.field(default=None, converter=_burst)
    weight: int | None = attrs.field(default=None, converter=_weight)
    idle: bool | None = attrs.field(default=None, converter=_idle_flag)
    uclamp_min: float | Max | None = attrs.field(default=None, converter=_uclamp_min)
    uclamp_max: float | Max | None = attrs.field(default=None, converter=_uclamp_max)
    rt_runtime_usec: int | None = attrs.field(default=None, converter=_runtime)
    rt_period_usec: int | None = attrs.field(default=None, converter=_rt_period)

    @classmethod
    def shorthand(cls, value: Any) -> Cpu:
        """Make the spec of ``cpu=1.5``: at most that many CPUs."""
        return cls(max=value)

    def __attrs_post_init__(self) -> None:
        """Refuse what no kernel can do."""
        if self.max is not None and self.period_usec is not None:
            check_burst(self)
        if self.idle and self.weight is not None:
            msg = f"cpu.weight={self.weight} with cpu.idle=True: an idle group has no weight; set one of them"
            raise SpecError(msg)


@attrs.frozen(kw_only=True)
class CpuStats:
    """What the cpu controller tells. ``None`` where this kernel or version does not say.

    Attributes:
        usage_usec: processor time used, microseconds (``cpu.stat`` | v1 ``cpuacct.usage``).
        user_usec: in user mode (``cpu.stat`` | v1 ``cpuacct.usage_user``).
        system_usec: in the kernel (``cpu.stat`` | v1 ``cpuacct.usage_sys``).
        nice_usec: niced (``cpu.stat``, since 6.11; not on v1).
        nr_periods: periods in which the group was runnable under a quota (``cpu.stat``).
        nr_throttled: periods in which it used its quota up.
        throttled_usec: time it was throttled, microseconds.
        nr_bursts: periods in which saved quota was used (since 5.14).
        burst_usec: saved quota used, microseconds (since 5.14).
        throttled_local_usec: time throttled by this group's own quota (``cpu.stat.local``, since 6.6).
        pressure: time lost to a lack of processors (``cpu.pressure``, since 4.20; not on v1).
        extra: keys of ``cpu.stat`` that are not above.
    """

    usage_usec: int | None = None
    user_usec: int | None = None
    system_usec: int | None = None
    nice_usec: int | None = None
    nr_periods: int | None = None
    nr_throttled: int | None = None
    throttled_usec: int | None = None
    nr_bursts: int | None = None
    burst_usec: int | None = None
    throttled_local_usec: int | None = None
    pressure: Pressure | None = None
    extra: Mapping[str, int] = attrs.field(factory=dict)


def quota_usec(spec: Cpu) -> int:
    """Return the quota of a spec that has a maximum, in microseconds a period; -1 for no limit.

    See :func:`cgctl.convert.cpus_to_quota`.

    Raises:
        SpecError: the kernel takes no quota so small.
    """
    if spec.max is None or isinstance(spec.max, Max):
        return -1
    return cpus_to_quota(spec.max, spec.period_usec or DEFAULT_PERIOD_USEC, "cpu.max")


def check_burst(spec: Cpu) -> None:
    """Refuse a burst that is more than the quota.

    Raises:
        SpecError: it is, or the kernel takes no quota so small.
    """
    quota = quota_usec(spec)
    if spec.burst_usec and 0 <= quota < spec.burst_usec:
        msg = f"cpu.burst_usec={spec.burst_usec}: more than the quota of {quota} us a period; give at most that"
        raise SpecError(msg)


@attrs.frozen(kw_only=True)
class _CpuMax(Codec):
    """v2's ``cpu.max``: quota and period in one file.

    Attributes:
        part: which of the two is read.
    """

    part: str

    def encode(self, value: Any, spec: Any) -> str:
        del value
        quota = quota_usec(spec)
        return f"{'max' if quota < 0 else quota} {spec.period_usec or DEFAULT_PERIOD_USEC}"

    def decode(self, text: str, texts: Mapping[str, str]) -> Any:
        del texts
        quota, period = text.split()
        if self.part == "period":
            return int(period)
        return MAX if quota == "max" else int(quota) / int(period)


class _Quota(Codec):
    """v1's ``cpu.cfs_quota_us``: meaningful only with the period."""

    def encode(self, value: Any, spec: Any) -> str:
        del value
        return str(quota_usec(spec))

    def decode(self, text: str, texts: Mapping[str, str]) -> Any:
        quota = int(text)
        period = texts.get("cpu.cfs_period_us")
        return MAX if quota < 0 else quota / int(period) if period else None


class _Weight(Codec):
    """v2's ``cpu.weight``; an idle group has none, whatever its file reads."""

    def decode(self, text: str, texts: Mapping[str, str]) -> int | None:
        return None if _idle(texts) else int(text)


class _Shares(Codec):
    """v1's ``cpu.shares``, as a weight."""

    def encode(self, value: Any, spec: Any) -> str:
        del spec
        return str(weight_to_shares(value))

    def decode(self, text: str, texts: Mapping[str, str]) -> int | None:
        return None if _idle(texts) else shares_to_weight(int(text))


def _idle(texts: Mapping[str, str]) -> bool:
    return texts.get("cpu.idle", "0").strip() == "1"


class _Percent(Codec):
    """``cpu.uclamp.*``: per cent with two decimals."""

    def encode(self, value: Any, spec: Any) -> str:
        del spec
        return "max" if value is MAX else f"{value:.2f}"

    def decode(self, text: str, texts: Mapping[str, str]) -> Any:
        del texts
        return MAX if text.strip() == "max" else float(text)

    def same(self, held: str, wanted: str, page_size: int) -> bool:
        del page_size
        return _scale(held) == _scale(wanted)


def _scale(text: str) -> str:
    """Return what ``cpu.uclamp.*`` reads back: the kernel counts in 1024ths, and all of them are ``max``."""
    word = text.strip()
    return "max" if word == "max" or round(float(word) * 1024 / 100) == _CAPACITY else word


_KNOWN: Final = frozenset(
    {
        "usage_usec",
        "user_usec",
        "system_usec",
        "nice_usec",
        "nr_periods",
        "nr_throttled",
        "throttled_usec",
        "throttled_time",
        "nr_bursts",
        "burst_usec",
        "burst_time",
    }
)


class _Unknown(Codec):
    """The keys of ``cpu.stat`` that have no attribute."""

    def decode(self, text: str, texts: Mapping[str, str]) -> dict[str, int]:
        del texts
        return {key: value for key, value in parse_flat_keyed(text).items() if key not in _KNOWN}


def _side(file: str, codec: Codec, controller: str = "cpu", **more: Any) -> Side:
    return Side(controller=controller, file=file, codec=codec, **more)


_FORMULA: Final = (
    "weight = ceil(10**((l*l+125*l)/612-7/34)), l = log2(shares);"
    " opencontainers/cgroups, 2025 (convert.shares_to_weight)"
)
_RT = "v2 has no real-time budgets for groups"

_SETTINGS = (
    Row(
        attribute="period_usec",
        v1=_side("cpu.cfs_period_us", Count(), default="100000", also=("cpu.cfs_quota_us", "cpu.cfs_burst_us")),
        v2=_side("cpu.max", _CpuMax(part="period"), default="max 100000", also=("cpu.max.burst",)),
        values=_PERIOD,
    ),
    Row(
        attribute="max",
        v1=_side("cpu.cfs_quota_us", _Quota(), default="-1", also=("cpu.cfs_period_us", "cpu.cfs_burst_us")),
        v2=_side("cpu.max", _CpuMax(part="quota"), default="max 100000", also=("cpu.max.burst",)),
        values=_MAX,
    ),
    Row(
        attribute="burst_usec",
        v1=_side(
            "cpu.cfs_burst_us", Count(), default="0", also=("cpu.cfs_quota_us", "cpu.cfs_period_us"), since="5.14"
        ),
        v2=_side("cpu.max.burst", Count(), default="0", also=("cpu.max",), since="5.14"),
        values=_BURST,
    ),
    Row(
        attribute="idle",
        v1=_side("cpu.idle", Flag(), default="0", since="5.15"),
        v2=_side("cpu.idle", Flag(), default="0", since="5.15"),
        values=FLAGS,
    ),
    Row(
        attribute="weight",
        v1=_side("cpu.shares", _Shares(), default="1024", also=("cpu.idle",)),
        v2=_side("cpu.weight", _Weight(), default="100", also=("cpu.idle",)),
        values=_WEIGHTS,
        lossy=_FORMULA,
    ),
    Row(
        attribute="uclamp_min",
        v1=_side("cpu.uclamp.min", _Percent(), default="0.00", optional=True, since="5.4"),
        v2=_side("cpu.uclamp.min", _Percent(), default="0.00", optional=True, since="5.4"),
        values=_UCLAMP,
    ),
    Row(
        attribute="uclamp_max",
        v1=_side("cpu.uclamp.max", _Percent(), default="max", optional=True, since="5.4"),
        v2=_side("cpu.uclamp.max", _Percent(), default="max", optional=True, since="5.4"),
        values=_UCLAMP,
    ),
    Row(
        attribute="rt_period_usec",
        v1=_side("cpu.rt_period_us", Count(), default="1000000", optional=True),
        v2=None,
        values=_RT_PERIOD,
        reason=_RT,
    ),
    Row(
        attribute="rt_runtime_usec",
        v1=_side("cpu.rt_runtime_us", Count(), default="0", optional=True),
        v2=None,
        values=_RT_RUNTIME,
        reason=_RT,
    ),
)


def _stat(key: str, v1: str | None = None, divide: int = 1, since: str | None = None) -> Row:
    return Row(
        attribute=key,
        unit=USEC if key.endswith("_usec") else COUNT,
        v1=None if v1 is None else _side("cpu.stat", Key(key=v1, divide=divide), since=since),
        v2=_side("cpu.stat", Key(key=key), since=since),
    )


_READINGS = (
    Row(
        attribute="usage_usec",
        v1=_side("cpuacct.usage", Number(divide=1000), "cpuacct"),
        v2=_side("cpu.stat", Key(key="usage_usec"), CORE),
        unit=USEC,
    ),
    Row(
        attribute="user_usec",
        v1=_side("cpuacct.usage_user", Number(divide=1000), "cpuacct"),
        v2=_side("cpu.stat", Key(key="user_usec"), CORE),
        unit=USEC,
    ),
    Row(
        attribute="system_usec",
        v1=_side("cpuacct.usage_sys", Number(divide=1000), "cpuacct"),
        v2=_side("cpu.stat", Key(key="system_usec"), CORE),
        unit=USEC,
    ),
    Row(attribute="nice_usec", v1=None, v2=_side("cpu.stat", Key(key="nice_usec"), CORE, since="6.11"), unit=USEC),
    _stat("nr_periods", "nr_periods"),
    _stat("nr_throttled", "nr_throttled"),
    _stat("throttled_usec", "throttled_time", 1000),
    _stat("nr_bursts", "nr_bursts", since="5.14"),
    _stat("burst_usec", "burst_time", 1000, since="5.14"),
    Row(
        attribute="throttled_local_usec",
        v1=_side("cpu.stat.local", Key(key="throttled_time", divide=1000), since="6.6"),
        v2=_side("cpu.stat.local", Key(key="throttled_usec"), since="6.6"),
        unit=USEC,
    ),
    Row(attribute="pressure", v1=None, v2=_side("cpu.pressure", Psi(), CORE, since="4.20"), unit=PRESSURE),
    Row(attribute="extra", v1=_side("cpu.stat", _Unknown()), v2=_side("cpu.stat", _Unknown(), CORE), unit=COUNT),
)

CONTROLLER = Controller(
    name="cpu",
    spec=Cpu,
    stats=CpuStats,
    settings=_SETTINGS,
    readings=_READINGS,
    domain=False,
)
