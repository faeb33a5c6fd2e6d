"""memory: limits as they are written and read back, in both versions. What they do is in :mod:`cgctl.fake.memory`."""

from __future__ import annotations

from collections.abc import Callable
from errno import EAGAIN, EBUSY, EINVAL
from typing import Final

from cgctl.fake.memory import counters
from cgctl.fake.memory.reclaim import fits, reclaim, reclaim_to_high, shrink
from cgctl.fake.parse import UNLIMITED_PAGES, flag, kstrto, memparse, stripped, u64
from cgctl.fake.refusal import refuse
from cgctl.fake.tree import Group

__all__ = ["INHERITED_V1", "READ_V1", "READ_V2", "WRITE_V1", "WRITE_V2"]

_PAGE: Final = 4096
_UNLIMITED: Final = UNLIMITED_PAGES * _PAGE
_MOST_SWAPPINESS: Final = 200
_ANON_ONLY: Final = 201

Writer = Callable[[Group, str], str | None]
Reader = Callable[[Group], str]


def _pages(group: Group, text: str, unlimited: str = "max") -> int:
    return memparse(text, saturates=group.profile.saturates, unlimited=unlimited)


# --- v2 -------------------------------------------------------------------------------------------------------------


def _set_limit(group: Group, text: str) -> str:
    pages = _pages(group, text)
    return "max\n" if pages >= UNLIMITED_PAGES else f"{pages * _PAGE}\n"


def _set_max(group: Group, text: str) -> None:
    group.values["memory.max"] = _set_limit(group, text)
    shrink(group)


def _set_high(group: Group, text: str) -> None:
    group.values["memory.high"] = _set_limit(group, text)
    reclaim_to_high(group)


def _set_flag(_group: Group, text: str) -> str:
    return f"{flag(text)}\n"


def _reclaim(group: Group, text: str) -> None:
    # The first word is a size without "max", the others are options.
    size, *options = stripped(text).split(" ")
    if not size[:1].isdigit():
        refuse(EINVAL)
    wanted = memparse(size, saturates=group.profile.saturates, unlimited="")
    swappiness = None
    for option in filter(None, options):
        swappiness = _swappiness(group, option)
    swap, cache = swappiness != 0, swappiness != _ANON_ONLY
    if reclaim(group, wanted * _PAGE, swap=swap, cache=cache) < wanted * _PAGE:
        refuse(EAGAIN)


def _swappiness(group: Group, option: str) -> int:
    known = group.profile.reclaim_words
    key, _, value = option.partition("=")
    if not known or key != "swappiness":
        refuse(EINVAL)
    if value == "max" and known == "swappiness=max":
        return _ANON_ONLY
    try:
        return kstrto(value, 0, _MOST_SWAPPINESS)
    except OSError:
        refuse(EINVAL)


def _ignored(group: Group, text: str) -> None:
    # memory.peak: the reset is seen through the file that was written alone, which is closed by now.
    del group, text


def _count(name: str) -> Reader:
    return lambda group: f"{group.counts.get(name, 0)}\n"


def _keys(file: str) -> Reader:
    """Read a flat-keyed file whose keys are counters ``file:key``."""

    def read(group: Group) -> str:
        keys = [line.split(" ")[0] for line in group.get(file).splitlines()]
        return "".join(f"{key} {group.counts.get(f'{file}:{key}', 0)}\n" for key in keys)

    return read


def _stat_v2(group: Group) -> str:
    held = {"anon": "anon", "file": "file", "inactive_anon": "anon", "inactive_file": "file"}
    lines = []
    for line in group.get("memory.stat").splitlines():
        key = line.split(" ")[0]
        counted = held.get(key)
        lines.append(f"{key} {group.counts.get(f'memory.{counted}', 0) if counted else 0}\n")
    return "".join(lines)


READ_V2: Final[dict[str, Reader]] = {
    "memory.current": _count("memory.current"),
    "memory.events": _keys("memory.events"),
    "memory.events.local": _keys("memory.events.local"),
    "memory.peak": _count("memory.peak"),
    "memory.stat": _stat_v2,
    "memory.swap.current": _count("memory.swap.current"),
    "memory.swap.events": _keys("memory.swap.events"),
    "memory.swap.peak": _count("memory.swap.peak"),
}
WRITE_V2: Final[dict[str, Writer]] = {
    "memory.high": _set_high,
    "memory.low": _set_limit,
    "memory.max": _set_max,
    "memory.min": _set_limit,
    "memory.oom.group": _set_flag,
    "memory.peak": _ignored,
    "memory.reclaim": _reclaim,
    "memory.swap.high": _set_limit,
    "memory.swap.max": _set_limit,
    "memory.swap.peak": _ignored,
    "memory.zswap.max": _set_limit,
    "memory.zswap.writeback": _set_flag,
}

# --- v1 -------------------------------------------------------------------------------------------------------------

_LIMIT, _MEMSW = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"


def _vet_root(group: Group) -> None:
    if group.parent is None:
        refuse(EINVAL)


def _set_limit_v1(group: Group, text: str) -> None:
    wanted = _pages(group, text, "-1") * _PAGE
    _vet_root(group)
    if wanted > int(group.get(_MEMSW)):
        refuse(EINVAL)
    if not fits(group, "memory.current", wanted):
        refuse(EBUSY)
    group.values[_LIMIT] = f"{wanted}\n"


def _set_memsw(group: Group, text: str) -> None:
    wanted = _pages(group, text, "-1") * _PAGE
    _vet_root(group)
    if wanted < int(group.get(_LIMIT)):
        refuse(EINVAL)
    if not fits(group, "memory.memsw", wanted):
        refuse(EBUSY)
    group.values[_MEMSW] = f"{wanted}\n"


def _set_soft(group: Group, text: str) -> str:
    wanted = _pages(group, text, "-1") * _PAGE
    _vet_root(group)
    return f"{wanted}\n"


def _set_kmem(group: Group, text: str) -> str:
    wanted = _pages(group, text, "-1") * _PAGE
    _vet_root(group)
    return f"{wanted if group.profile.kmem_limits else _UNLIMITED}\n"


def _set_tcp(group: Group, text: str) -> str:
    wanted = _pages(group, text, "-1") * _PAGE
    _vet_root(group)
    return f"{wanted}\n"


def _set_swappiness(group: Group, text: str) -> str:
    number = u64(text)
    if number > group.profile.swappiness:
        refuse(EINVAL)
    return f"{number}\n"


def _oom_control(group: Group) -> str:
    kills = group.counts.get("memory.events.local:oom_kill", 0)
    under = any(each.counts.get("memory.under_oom", 0) for each in counters.charged(group))
    return f"oom_kill_disable {group.values.get('memory.oom_control', '0')}\nunder_oom {int(under)}\noom_kill {kills}\n"


def _set_oom_control(group: Group, text: str) -> str:
    number = u64(text)
    if group.parent is None or number not in {0, 1}:
        refuse(EINVAL)
    return f"{number}"


def _set_hierarchy(group: Group, text: str) -> str | None:
    number = u64(text)
    if group.profile.hierarchical:
        if number != 1:
            refuse(EINVAL)
        return None
    held = int(group.get("memory.use_hierarchy"))
    if number == held:
        return None
    above = group.parent and int(group.parent.get("memory.use_hierarchy"))
    if above or number not in {0, 1}:
        refuse(EINVAL)
    if group.children:
        refuse(EBUSY)
    return f"{number}\n"


def _set_move_charge(_group: Group, text: str) -> str:
    number = u64(text)
    # ~MOVE_MASK has 32 bits: what is above them is not looked at.
    if number & 0xFFFF_FFFC:
        refuse(EINVAL)
    return f"{number}\n"


def _resets(*names: str) -> Writer:
    def write(group: Group, text: str) -> None:
        del text
        for name in names:
            group.counts.pop(name, None)

    return write


def _resets_peak(peak: str, current: str) -> Writer:
    def write(group: Group, text: str) -> None:
        del text
        group.counts[peak] = group.counts.get(current, 0)

    return write


def _force_empty(group: Group, text: str) -> None:
    del text
    _vet_root(group)
    reclaim(group, _UNLIMITED)


def _refused(group: Group, text: str) -> None:
    del group, text
    refuse(EINVAL)


def _stat_v1(group: Group) -> str:
    lines = []
    for line in group.get("memory.stat").splitlines():
        key = line.split(" ")[0]
        bare = key.removeprefix("total_")
        value = 0
        if key == "hierarchical_memory_limit":
            value = counters.effective(group, _LIMIT)
        elif key == "hierarchical_memsw_limit":
            value = counters.effective(group, _MEMSW)
        elif bare in {"rss", "inactive_anon"}:
            value = counters.held(group, "anon", subtree=bare != key)
        elif bare in {"cache", "inactive_file"}:
            value = counters.held(group, "file", subtree=bare != key)
        elif bare == "swap":
            value = counters.held(group, "swap", subtree=bare != key)
        lines.append(f"{key} {value}\n")
    return "".join(lines)


READ_V1: Final[dict[str, Reader]] = {
    "memory.failcnt": _count("memory.failcnt"),
    "memory.max_usage_in_bytes": _count("memory.peak"),
    "memory.memsw.failcnt": _count("memory.memsw.failcnt"),
    "memory.memsw.max_usage_in_bytes": _count("memory.memsw.peak"),
    "memory.memsw.usage_in_bytes": _count("memory.memsw"),
    "memory.oom_control": _oom_control,
    "memory.stat": _stat_v1,
    "memory.usage_in_bytes": _count("memory.current"),
}
WRITE_V1: Final[dict[str, Writer]] = {
    "cgroup.event_control": _refused,
    "memory.failcnt": _resets("memory.failcnt"),
    "memory.force_empty": _force_empty,
    "memory.kmem.failcnt": _resets(),
    "memory.kmem.limit_in_bytes": _set_kmem,
    "memory.kmem.max_usage_in_bytes": _resets(),
    "memory.kmem.tcp.failcnt": _resets(),
    "memory.kmem.tcp.limit_in_bytes": _set_tcp,
    "memory.kmem.tcp.max_usage_in_bytes": _resets(),
    "memory.limit_in_bytes": _set_limit_v1,
    "memory.max_usage_in_bytes": _resets_peak("memory.peak", "memory.current"),
    "memory.memsw.failcnt": _resets("memory.memsw.failcnt"),
    "memory.memsw.limit_in_bytes": _set_memsw,
    "memory.memsw.max_usage_in_bytes": _resets_peak("memory.memsw.peak", "memory.memsw"),
    "memory.move_charge_at_immigrate": _set_move_charge,
    "memory.oom_control": _set_oom_control,
    "memory.pressure_level": _refused,
    "memory.soft_limit_in_bytes": _set_soft,
    "memory.swappiness": _set_swappiness,
    "memory.use_hierarchy": _set_hierarchy,
}
INHERITED_V1: Final = ("memory.oom_control", "memory.swappiness", "memory.use_hierarchy")
"""What a new group takes over from the one above."""
