"""cpu and cpuacct: weights, quotas and clamps as they are written and read back, in both versions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from errno import EINVAL, ERANGE
from typing import Final

from cgctl.fake.parse import BLANKS, U64, s64, stripped, u64
from cgctl.fake.refusal import refuse
from cgctl.fake.time import bandwidth
from cgctl.fake.time.usage import Usage
from cgctl.fake.tree import Group

__all__ = ["READ_V1", "READ_V2", "WRITE_V1", "WRITE_V2", "weight"]

Reader = Callable[[Group], str]
Writer = Callable[[Group, str], str | None]

# WEIGHT_IDLEPRIO: what a group weighs while cpu.idle is 1.
_WEIGHT_IDLE: Final = 3.0
_NSEC_IN_USEC: Final = 1_000
_NSEC_IN_TICK: Final = 10_000_000
_LEAST_USEC: Final = 1_000
_MOST_PERIOD: Final = 1_000_000
# max_cfs_runtime: MAX_BW << BW_SHIFT microseconds.
_MOST_QUOTA: Final = 17_592_186_044_415
_PRIORITIES: Final = (
    *(88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121, 2501),
    *(1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15),
)
"""``sched_prio_to_weight``: nice -20 to 19."""


# --- weights --------------------------------------------------------------------------------------------------------


def _closest(number: int, divisor: int) -> int:
    return (number + divisor // 2) // divisor


def _is_idle(group: Group) -> bool:
    return group.values.get("cpu.idle") == "1\n"


def _scaled(group: Group) -> int:
    """Return the scheduler's own weight, of which 1024 is the default: what is kept of a weight and of a nice."""
    return int(group.values.get("cpu.weight", "1024"))


def weight(group: Group) -> float:
    """Return what a group weighs against its siblings, of which a thread weighs 1024."""
    if _is_idle(group):
        return _WEIGHT_IDLE
    return float(_scaled(group) if group.tree.version != 1 else int(group.get("cpu.shares")))


def _weight(group: Group) -> str:
    return group.profile.idle_weight if _is_idle(group) else f"{_closest(_scaled(group) * 100, 1024)}\n"


def _set_weight(group: Group, text: str) -> str:
    number = u64(text)
    if not 1 <= number <= 10_000:  # noqa: PLR2004 - CGROUP_WEIGHT_MIN and MAX
        refuse(ERANGE)
    if _is_idle(group):
        refuse(EINVAL)
    return f"{_closest(number * 1024, 100)}"


def _nice(group: Group) -> str:
    if _is_idle(group):
        return "19\n"
    weight = _scaled(group)
    best = 0
    for index, each in enumerate(_PRIORITIES):
        if index and abs(each - weight) >= abs(_PRIORITIES[best] - weight):
            break
        best = index
    return f"{best - 20}\n"


def _set_nice(group: Group, text: str) -> None:
    nice = s64(text)
    if not -20 <= nice <= 19:  # noqa: PLR2004 - MIN_NICE and MAX_NICE
        refuse(ERANGE)
    if _is_idle(group):
        refuse(EINVAL)
    group.values["cpu.weight"] = f"{_PRIORITIES[nice + 20]}"


def _set_idle(group: Group, text: str) -> str:
    number = s64(text)
    if group.parent is None or number not in {0, 1}:
        refuse(EINVAL)
    if number == 0 and _is_idle(group):
        group.values.pop("cpu.weight", None)
        group.values.pop("cpu.shares", None)
    return f"{number}\n"


def _shares(group: Group) -> str:
    return "3\n" if _is_idle(group) else group.get("cpu.shares")


def _set_shares(group: Group, text: str) -> str:
    number = u64(text)
    if group.parent is None or _is_idle(group):
        refuse(EINVAL)
    return f"{min(max(number, 2), 262_144)}\n"


# --- quotas ---------------------------------------------------------------------------------------------------------

# "%20s %llu" (cpu_period_quota_parse): what is longer than the largest number is cut, and the rest read as the period.
_PAIR: Final = re.compile(rf"[{BLANKS}]*(\S{{1,20}})[{BLANKS}]*(\d+)?")


def _set_max(group: Group, text: str) -> None:
    match = _PAIR.match(text)
    if match is None:
        refuse(EINVAL)
    held = group.get("cpu.max").split()
    word = match[1]
    saturates = group.profile.saturates
    period = int(held[1])
    if match[2]:
        period = min(int(match[2]), U64 - 1) if saturates else int(match[2]) % U64
    quota = _quota(group, word)
    if not _LEAST_USEC <= period <= _MOST_PERIOD:
        refuse(EINVAL)
    burst = int(group.values.get("cpu.max.burst", "0"))
    if quota is not None and not (_LEAST_USEC <= quota <= _MOST_QUOTA and _fits(burst, quota)):
        refuse(EINVAL)
    _held(group, "cpu.max", f"{'max' if quota is None else quota} {period}\n")


def _held(group: Group, name: str, text: str) -> None:
    group.values[name] = text
    bandwidth.configure(group)


def _quota(group: Group, word: str) -> int | None:
    if word == "max":
        return None
    digits = re.match(r"\d+", word)
    if digits is None:
        refuse(EINVAL)
    number = int(digits[0])
    if number >= U64:
        number = U64 - 1 if group.profile.saturates else number % U64
    if number == U64 - 1 and group.profile.largest_quota:
        return None
    return number


def _fits(burst: int, quota: int) -> bool:
    """Tell whether a burst may go with a quota: both together are used in one period (``tg_set_cfs_bandwidth``)."""
    return burst <= quota and burst + quota <= _MOST_QUOTA


def _set_burst(group: Group, text: str) -> None:
    number = u64(text)
    quota = group.get("cpu.max").split()[0]
    if quota != "max" and not _fits(number, int(quota)):
        refuse(EINVAL)
    if number > _MOST_QUOTA:
        refuse(EINVAL)
    _held(group, "cpu.max.burst", f"{number}\n")


def _ratio(group: Group, quota: int | None = None, period: int | None = None) -> float:
    quota = int(group.get("cpu.cfs_quota_us")) if quota is None else quota
    period = int(group.get("cpu.cfs_period_us")) if period is None else period
    return math.inf if quota < 0 else (quota << 20) // period


def _vet_v1(group: Group, quota: int, period: int) -> None:
    """Refuse a bandwidth that is more than the nearest limited group above has, or less than one below."""
    if quota >= 0 and (not _LEAST_USEC <= quota <= _MOST_QUOTA):
        refuse(EINVAL)
    if quota >= 0 and not _fits(int(group.values.get("cpu.cfs_burst_us", "0")), quota):
        refuse(EINVAL)
    if not _LEAST_USEC <= period <= _MOST_PERIOD:
        refuse(EINVAL)
    wanted = _ratio(group, quota, period)
    above = next((ratio for each in group.above() if (ratio := _ratio(each)) != math.inf), math.inf)
    if wanted != math.inf and wanted > above:
        refuse(EINVAL)
    _vet_below(group, above if wanted == math.inf else wanted)


def _vet_below(group: Group, allowed: float) -> None:
    for child in group.children.values():
        ratio = _ratio(child)
        if ratio != math.inf and ratio > allowed:
            refuse(EINVAL)
        _vet_below(child, allowed if ratio == math.inf else ratio)


def _set_quota_v1(group: Group, text: str) -> None:
    number = s64(text)
    if group.parent is None:
        refuse(EINVAL)
    quota = -1 if number < 0 else number
    _vet_v1(group, quota, int(group.get("cpu.cfs_period_us")))
    _held(group, "cpu.cfs_quota_us", f"{quota}\n")


def _set_period_v1(group: Group, text: str) -> None:
    number = u64(text)
    if group.parent is None:
        refuse(EINVAL)
    _vet_v1(group, int(group.get("cpu.cfs_quota_us")), number)
    _held(group, "cpu.cfs_period_us", f"{number}\n")


def _set_burst_v1(group: Group, text: str) -> None:
    number = u64(text)
    quota = int(group.get("cpu.cfs_quota_us"))
    if group.parent is None or number > _MOST_QUOTA or (quota >= 0 and not _fits(number, quota)):
        refuse(EINVAL)
    _held(group, "cpu.cfs_burst_us", f"{number}\n")


# --- clamps ---------------------------------------------------------------------------------------------------------

_PER_CENT: Final = re.compile(r"(-?\d+)(?:\.(\d+))?")
_ONE: Final = 10_000  # 100.00 %


def _set_clamp(group: Group, text: str) -> str:
    word = stripped(text)
    if word == "max":
        return "max\n"
    # As cgroup_parse_float does: what comes after the number is not looked at.
    match = _PER_CENT.match(word)
    if match is None:
        refuse(EINVAL)
    fraction = f"{match[2] or ''}000"
    whole = int(match[1])
    if abs(whole) >= U64 and group.profile.saturates:
        whole = U64 - 1
    # Nothing sees to it that the number fits: 2**63 times 100 is 0 (cgroup_parse_float).
    hundredths = (whole * 100 + int(fraction[:2]) + int(fraction[2] >= "5")) % U64
    if hundredths > _ONE:
        refuse(ERANGE)
    # It is kept as one of 1024 steps; what rounds to the highest is no clamp.
    if _closest(hundredths << 10, _ONE) == 1 << 10:
        return "max\n"
    return f"{hundredths // 100}.{hundredths % 100:02}\n"


# --- usage ----------------------------------------------------------------------------------------------------------


def _stat(group: Group) -> str:
    keys = [line.split(" ")[0] for line in group.get("cpu.stat").splitlines()]
    if group.tree.version != 1 and not group.has("cpu"):
        # Usage is told of every group, quotas only of those that can have one.
        keys = [key for key in keys if key.endswith("_usec") and key not in {"throttled_usec", "burst_usec"}]
    counted = _counted(group)
    return "".join(f"{key} {counted.get(key, 0)}\n" for key in keys)


def _counted(group: Group) -> dict[str, int]:
    """Return what is counted, under the names of both versions: v1 has no usage there, and nanoseconds."""
    found: dict[str, int] = {}
    if group.usage:
        user, system = round(group.usage.user), round(group.usage.system)
        found |= {
            "usage_usec": (user + system) // _NSEC_IN_USEC,
            "user_usec": user // _NSEC_IN_USEC,
            "system_usec": system // _NSEC_IN_USEC,
        }
    account = group.bandwidth
    if account:
        throttled, burst = round(account.throttled_time), round(account.burst_time)
        found |= {"nr_periods": account.periods, "nr_throttled": account.throttles, "nr_bursts": account.bursts}
        found |= {"throttled_time": throttled, "burst_time": burst}
        found |= {"throttled_usec": throttled // _NSEC_IN_USEC, "burst_usec": burst // _NSEC_IN_USEC}
    return found


def _stat_local(group: Group) -> str:
    throttled = round(group.usage.throttled) if group.usage else 0
    if group.tree.version == 1:
        return f"throttled_time {throttled}\n"
    return f"throttled_usec {throttled // _NSEC_IN_USEC}\n"


def _set_usage(group: Group, text: str) -> None:
    if u64(text) != 0:
        refuse(EINVAL)
    if group.usage:
        group.usage.user = group.usage.system = 0.0


def _times(group: Group) -> tuple[int, int]:
    used = group.usage or Usage()
    return round(used.user), round(used.system)


def _acct_stat(group: Group) -> str:
    user, system = (time // _NSEC_IN_TICK for time in _times(group))
    return f"user {user}\nsystem {system}\n"


READ_V2: Final[dict[str, Reader]] = {
    "cpu.stat": _stat,
    "cpu.stat.local": _stat_local,
    "cpu.weight": _weight,
    "cpu.weight.nice": _nice,
}
WRITE_V2: Final[dict[str, Writer]] = {
    "cpu.idle": _set_idle,
    "cpu.max": _set_max,
    "cpu.max.burst": _set_burst,
    "cpu.uclamp.max": _set_clamp,
    "cpu.uclamp.min": _set_clamp,
    "cpu.weight": _set_weight,
    "cpu.weight.nice": _set_nice,
}
READ_V1: Final[dict[str, Reader]] = {
    "cpu.shares": _shares,
    "cpu.stat": _stat,
    "cpu.stat.local": _stat_local,
    "cpuacct.stat": _acct_stat,
    "cpuacct.usage": lambda group: f"{sum(_times(group))}\n",
    "cpuacct.usage_sys": lambda group: f"{_times(group)[1]}\n",
    "cpuacct.usage_user": lambda group: f"{_times(group)[0]}\n",
}
WRITE_V1: Final[dict[str, Writer]] = {
    "cpu.cfs_burst_us": _set_burst_v1,
    "cpu.cfs_period_us": _set_period_v1,
    "cpu.cfs_quota_us": _set_quota_v1,
    "cpu.idle": _set_idle,
    "cpu.shares": _set_shares,
    "cpu.uclamp.max": _set_clamp,
    "cpu.uclamp.min": _set_clamp,
    "cpuacct.usage": _set_usage,
}
