"""What the io controller tells, for each disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from cgctl.controllers._codec import Codec
from cgctl.controllers.io._codecs import device_lines, keys
from cgctl.formats import Pressure

__all__ = ["V1_COUNTERS", "IoDevice", "IoStat", "IoStats", "V1Counters", "named"]

V1_COUNTERS: Final = tuple(
    f"blkio.{policy}.{what}_recursive" for what in ("io_service_bytes", "io_serviced") for policy in ("throttle", "bfq")
)
"""v1's files: what passed the throttle and what BFQ has done, in bytes and in operations."""
_COUNTERS: Final = ("rbytes", "wbytes", "rios", "wios", "dbytes", "dios")
_V1_KINDS: Final = {"Read": "r", "Write": "w", "Discard": "d", "Sync": "sync_", "Async": "async_"}
_COST_USEC: Final = ("usage", "wait", "indebt", "indelay")
_V1_LINE: Final = re.compile(r"^([0-9]+:[0-9]+) (\w+) ([0-9]+)$", re.ASCII | re.MULTILINE)


@attrs.frozen(kw_only=True)
class IoDevice:
    """What a group did to one disk, the groups below it included. ``None`` where this kernel does not say.

    Attributes:
        name: the disk's name in ``/dev``, such as ``vda``.
        rbytes: bytes read.
        wbytes: bytes written.
        rios: operations of reading.
        wios: operations of writing.
        dbytes: bytes discarded.
        dios: operations of discarding.
        cost_vrate: how fast the disk is taken to be, in per cent of its model (``cost.vrate``, in the root group only).
        cost_usage_usec: time of the disk used, as iocost reckons, microseconds (``cost.usage``).
        cost_wait_usec: time that operations waited for their turn (``cost.wait``).
        cost_indebt_usec: time in debt for operations that could not be held back (``cost.indebt``).
        cost_indelay_usec: time that tasks were delayed to pay for these (``cost.indelay``).
        extra: the kernel's other keys, as text; of v1, ``sync_bytes``, ``async_bytes``, ``sync_ios`` and ``async_ios``.
    """

    name: str | None = None
    rbytes: int | None = None
    wbytes: int | None = None
    rios: int | None = None
    wios: int | None = None
    dbytes: int | None = None
    dios: int | None = None
    cost_vrate: float | None = None
    cost_usage_usec: int | None = None
    cost_wait_usec: int | None = None
    cost_indebt_usec: int | None = None
    cost_indelay_usec: int | None = None
    extra: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class IoStats:
    """What the io controller tells. ``None`` where this kernel or version does not say.

    Attributes:
        devices: number of a disk, such as ``8:0`` → :class:`IoDevice`; disks that the group never used may be left out
            (``io.stat`` | v1 ``blkio.throttle.io_service_bytes_recursive``, ``…io_serviced_recursive`` and the same of
            ``blkio.bfq``, whichever counted more: each sees only a part, lossy).
        pressure: time lost to waiting for I/O (``io.pressure``, since 4.20; not on v1).
    """

    devices: Mapping[str, IoDevice] | None = None
    pressure: Pressure | None = None


def named(stats: IoStats, name: Callable[[str], str | None]) -> IoStats:
    """Give the disks their names.

    Args:
        stats: the statistics.
        name: from a disk's number to its name.
    """
    if stats.devices is None:
        return stats
    devices = {number: attrs.evolve(device, name=name(number)) for number, device in stats.devices.items()}
    return attrs.evolve(stats, devices=devices)


class IoStat(Codec):
    """``io.stat``: ``DEVICE KEY=VALUE KEY=VALUE``."""

    def decode(self, text: str, texts: Mapping[str, str]) -> dict[str, IoDevice]:
        del texts
        return {device: _device(keys(rest)) for device, rest in device_lines(text).items()}


def _device(told: Mapping[str, str]) -> IoDevice:
    values: dict[str, Any] = {key: int(told[key]) for key in _COUNTERS if key in told}
    values |= {f"cost_{key}_usec": int(told[f"cost.{key}"]) for key in _COST_USEC if f"cost.{key}" in told}
    if "cost.vrate" in told:
        values["cost_vrate"] = float(told["cost.vrate"])
    known = {*_COUNTERS, "cost.vrate", *(f"cost.{key}" for key in _COST_USEC)}
    return IoDevice(**values, extra={key: value for key, value in told.items() if key not in known})


class V1Counters(Codec):
    """v1's counters: ``DEVICE Read NUMBER``, one file for bytes and one for operations, by throttle and by BFQ."""

    def decode(self, text: str, texts: Mapping[str, str]) -> dict[str, IoDevice]:
        del text
        counted: dict[str, dict[str, int]] = {}
        for file in V1_COUNTERS:
            unit = "bytes" if "bytes" in file else "ios"
            for device, kind, number in _V1_LINE.findall(texts.get(file, "")):
                if kind in _V1_KINDS:
                    values = counted.setdefault(device, {})
                    key = f"{_V1_KINDS[kind]}{unit}"
                    # What both have seen is the same, so their sum would count it twice.
                    values[key] = max(values.get(key, 0), int(number))
        return {device: _counted(values) for device, values in counted.items()}


def _counted(values: Mapping[str, int]) -> IoDevice:
    known: dict[str, Any] = {key: value for key, value in values.items() if key in _COUNTERS}
    return IoDevice(**known, extra={key: str(value) for key, value in values.items() if key not in known})
