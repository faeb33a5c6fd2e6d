"""io, and blkio as v1 calls it: limits and weights of block devices, as they are written and read back."""

from __future__ import annotations

import re
from collections.abc import Callable
from errno import EINVAL, ENODEV, EOPNOTSUPP, ERANGE
from typing import Final

from cgctl.fake.parse import BLANKS, U64, decimal, stripped, u64, unsigned
from cgctl.fake.refusal import refuse
from cgctl.fake.tree import Group

__all__ = ["READ_V1", "READ_V2", "WRITE_V1", "WRITE_V2", "know", "limit"]

Writer = Callable[[Group, str], str | None]
Reader = Callable[[Group], str]
_DEVICE: Final = re.compile(rf"[{BLANKS}]*(\d+):(\d+)")
_KEYS: Final = ("rbps", "wbps", "riops", "wiops")
_MOST_RATE: Final = (U64 - 1, U64 - 1, 2**32 - 1, 2**32 - 1)
_MOST_BFQ: Final = 1000
_MINOR_BITS: Final = 20
_MOST_WEIGHT: Final = 10_000


def _device(group: Group, text: str) -> tuple[str, str]:
    """Read the device that a line begins with: its numbers, and what is left."""
    match = _DEVICE.match(text)
    if match is None:
        refuse(EINVAL)
    rest = text[match.end() :]
    if not rest or rest[0] not in BLANKS:
        refuse(EINVAL)
    # MKDEV: a minor number too large for its twenty bits runs over into the major one.
    major, minor = (int(number) % (1 << 32) for number in match.groups())
    number = (major << _MINOR_BITS | minor) % (1 << 32)
    name = f"{number >> _MINOR_BITS}:{number % (1 << _MINOR_BITS)}"
    if not group.kernel.has_disk(name):
        refuse(ENODEV)
    return name, rest.lstrip(BLANKS)


def _configured(group: Group, text: str) -> tuple[str, str]:
    """Read the device that is configured: from then on the group knows it (``blkg_conf_prep``)."""
    name, rest = _device(group, text)
    know(group, name)
    return name, rest


def know(group: Group, device: str) -> None:
    """Note that a group, and those above, have to do with a device (``blkg_lookup_create``)."""
    for each in group.line():
        known = each.kernel.known_disks.setdefault(each, [])
        if device not in known:
            known.insert(0, device)


def _lines(group: Group, name: str) -> dict[str, str]:
    """Return what a file holds: device → the rest of its line."""
    return dict(line.split(" ", 1) for line in group.values.get(name, "").splitlines())


def _keep(group: Group, name: str, device: str, rest: str | None) -> None:
    """Change one device's line; the device that the group knows for the shortest time comes first."""
    lines = _lines(group, name)
    lines.pop(device, None)
    if rest is not None:
        lines[device] = rest
    order = group.kernel.known_disks[group]
    group.values[name] = "".join(f"{key} {lines[key]}\n" for key in order if key in lines)


# --- v2 -------------------------------------------------------------------------------------------------------------


def _set_max(group: Group, text: str) -> None:
    device, rest = _configured(group, text)
    held = _lines(group, "io.max").get(device)
    rates = dict(part.split("=") for part in held.split()) if held else dict.fromkeys(_KEYS, "max")
    for word in rest.split():
        key, _, value = word.partition("=")
        if not value:
            refuse(EINVAL)
        rate = _rate(group, key, value)
        if key not in _KEYS:
            refuse(EINVAL)
        rates[key] = rate
    gone = all(rate == "max" for rate in rates.values())
    _keep(group, "io.max", device, None if gone else " ".join(f"{key}={rates[key]}" for key in _KEYS))


def _rate(group: Group, key: str, value: str) -> str:
    if value == "max":
        return "max"
    number, _ = decimal(value, saturates=group.profile.saturates)
    if number == 0:
        refuse(ERANGE)
    if key not in _KEYS or number < group.profile.least_rate:
        refuse(EINVAL)
    return "max" if number >= _MOST_RATE[_KEYS.index(key)] else f"{number}"


_DEFAULT: Final = re.compile(rf"default[{BLANKS}]*(\d+)")
_LEADING: Final = re.compile(rf"[{BLANKS}]*(\d+)")


def _set_weight(group: Group, text: str) -> str | None:
    """Do what ``ioc_weight_write`` does."""
    if ":" in text:
        _device(group, text)
        refuse(EOPNOTSUPP)  # no device has iocost enabled
    match = _DEFAULT.match(text) or _LEADING.match(text)
    number = int(match[1]) % (1 << 32) if match else 0
    if not 1 <= number <= _MOST_WEIGHT:
        refuse(EINVAL)
    return f"default {number}\n"


def _set_bfq_weight(group: Group, text: str) -> str | None:
    """Do what ``bfq_io_set_weight`` does."""
    text = stripped(text)
    whole = unsigned(text)
    match = _DEFAULT.match(text)
    if whole is None and match is None:
        _device(group, text)
        refuse(EOPNOTSUPP)  # no device has BFQ as its scheduler
    number = int(match[1]) if match else whole or 0
    number = min(number, U64 - 1) if group.profile.saturates else number % U64
    if not 1 <= number <= _MOST_BFQ:
        refuse(ERANGE)
    return f"default {number}\n"


def limit(group: Group, device: str, key: str) -> float | None:
    """Return a group's limit on a device, of either version, under v2's name of it: bytes or operations a second."""
    if group.tree.version == 1:
        text = _lines(group, _V1_NAMES[key]).get(device)
    else:
        held = _lines(group, "io.max").get(device)
        text = dict(part.split("=") for part in held.split())[key] if held else None
    return None if text in {None, "max"} else max(float(text or 0), _LEAST)


_V1_NAMES: Final = {
    f"{way[0]}{unit}": f"blkio.throttle.{way}_{unit}_device" for way in ("read", "write") for unit in ("bps", "iops")
}
# v1 takes more operations than fit its 32 bits, and keeps what is left: 0 lets nothing through.
_LEAST: Final = 1e-9


def _io_stat(group: Group) -> str:
    lines = []
    kernel = group.kernel
    for device in kernel.known_disks.get(group, ()) if group.parent else reversed(kernel.disks):
        use = (group.disks or {}).get(device)
        if use is None or not use.rbytes + use.wbytes:
            lines += [f"{device} \n"] if group.profile.idle_disks else []
            continue
        counts = [(name, _whole(getattr(use, name))) for name in ("rbytes", "wbytes", "rios", "wios")]
        counts += [("dbytes", 0), ("dios", 0)]
        lines.append(f"{device} {' '.join(f'{key}={value}' for key, value in counts)}\n")
    return "".join(lines)


def _whole(counted: float) -> int:
    """Return a count without the part of one that is on its way, nor what floating point adds."""
    return int(counted + 1e-3)


READ_V2: Final[dict[str, Reader]] = {"io.stat": _io_stat}
WRITE_V2: Final[dict[str, Writer]] = {"io.bfq.weight": _set_bfq_weight, "io.max": _set_max, "io.weight": _set_weight}

# --- v1 -------------------------------------------------------------------------------------------------------------


def _throttle(name: str) -> Writer:
    counts_operations = "iops" in name

    def write(group: Group, text: str) -> None:
        device, rest = _configured(group, text)
        number, _ = decimal(rest, saturates=group.profile.saturates)
        limited = number % (1 << 32) if counts_operations else number
        unlimited = number in {0, U64 - 1} or (counts_operations and limited == 2**32 - 1)
        _keep(group, name, device, None if unlimited else f"{limited}")

    return write


def _set_bfq_weight_v1(group: Group, text: str) -> str:
    del group
    number = u64(text)
    if not 1 <= number <= _MOST_BFQ:
        refuse(ERANGE)
    return f"{number}\n"


def _set_bfq_device(group: Group, text: str) -> str | None:
    new = _set_bfq_weight(group, text)
    if new:
        group.values["blkio.bfq.weight"] = f"{new.split()[1]}\n"
    return new


def _reset(group: Group, text: str) -> None:
    # What there is to read is blk-throttle's, which has no pd_reset_stats_fn.
    del group
    u64(text)


def _serviced(kind: str, *, below: bool) -> Reader:
    """Read what was done with each device (``blkg_prfill_rwstat``); what nobody waits for is asynchronous."""
    reads, writes, delayed = ("rbytes", "wbytes", "delayed") if kind == "bytes" else ("rios", "wios", "delayed_ios")

    def read(group: Group) -> str:
        lines, total = [], 0
        for device in group.kernel.known_disks.get(group, ()):
            uses = [
                use
                for each in (group.below() if below else [group])
                if (use := (each.disks or {}).get(device)) is not None
            ]
            read, written, later = (
                sum(_whole(getattr(use, name)) for use in uses) for name in (reads, writes, delayed)
            )
            counts = {"Read": read, "Write": written, "Sync": read + written - later, "Async": later, "Discard": 0}
            lines += [f"{device} {name} {count}\n" for name, count in counts.items()]
            lines.append(f"{device} Total {read + written}\n")
            total += read + written
        return "".join([*lines, f"Total {total}\n"])

    return read


READ_V1: Final[dict[str, Reader]] = {
    **{
        f"blkio.throttle.{file}{recursive}": _serviced(kind, below=bool(recursive))
        for file, kind in (("io_service_bytes", "bytes"), ("io_serviced", "ios"))
        for recursive in ("", "_recursive")
    },
    "blkio.bfq.weight_device": lambda group: f"default {group.get('blkio.bfq.weight')}",
}
WRITE_V1: Final[dict[str, Writer]] = {
    "blkio.bfq.weight": _set_bfq_weight_v1,
    "blkio.bfq.weight_device": _set_bfq_device,
    "blkio.reset_stats": _reset,
    **{
        name: _throttle(name)
        for way in ("read", "write")
        for unit in ("bps", "iops")
        if (name := f"blkio.throttle.{way}_{unit}_device")
    },
}
