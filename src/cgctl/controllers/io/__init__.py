"""io (v1 ``blkio``): how much a group may read from and write to each disk, and how much it did.

Limits hold for what reaches the disk: direct I/O, reads that are not cached, and on v2 also what the kernel writes back
later. Weights are kept by BFQ, where it is the disk's scheduler, and on v2 by iocost, where it is enabled for the disk;
elsewhere they are without effect. v1's ``blkio.weight`` belonged to the scheduler CFQ and left with it, in Linux 5.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cgctl.controllers._codec import Codec, Psi, Text
from cgctl.controllers._row import CORE, Controller, Row, Side
from cgctl.controllers._values import BYTES, COUNT, PRESSURE
from cgctl.controllers.io._codecs import (
    THROTTLE,
    BfqWeight,
    DeviceWeights,
    Keys,
    Latency,
    MaxLines,
    Throttle,
    Weights,
)
from cgctl.controllers.io._cost import COST_MODELS, COST_QOS, IoCostModel, IoCostQos
from cgctl.controllers.io._disks import looks, resolved
from cgctl.controllers.io._spec import CLASSES, DEVICE_WEIGHTS, LIMITS, TARGETS, WEIGHTS, Io, IoMax, pairs
from cgctl.controllers.io._stats import V1_COUNTERS, IoDevice, IoStat, IoStats, V1Counters, named
from cgctl.convert import bfq_to_io_weight, io_to_bfq_weight

__all__ = ["CONTROLLER", "Io", "IoCostModel", "IoCostQos", "IoDevice", "IoMax", "IoStats"]


def _v1(file: str, codec: Codec, **more: Any) -> Side:
    return Side(controller="blkio", file=file, codec=codec, **more)


def _v2(file: str, codec: Codec, controller: str = "io", **more: Any) -> Side:
    return Side(controller=controller, file=file, codec=codec, **more)


_DEFAULT: Final = "default 100"
_NO_BFQ: Final = "this kernel has no {}, which comes with the scheduler BFQ; load it (modprobe bfq)"
_NO_WEIGHT: Final = (
    "this kernel has neither io.weight, which takes CONFIG_BLK_CGROUP_IOCOST, nor io.bfq.weight, which comes with the"
    " scheduler BFQ; load that (modprobe bfq)"
)
_V1_LIMITS: Final = (
    "v1 limits the group alone, not the groups below it, and of writing only what is direct or synchronous, not what"
    " the kernel writes back later"
)
_NOT_BUILT: Final = "this kernel has no {}; it takes one that was built with {}"
_ROOT: Final = "{} is in v2's root group alone, for all groups; use cgctl.System.detect().root(), as root"
_LOSSY: Final = (
    "BFQ's weights are 1..1000: as io.weight up to the default of 100, then 100 + (weight - 100) / 11, so ratios above"
    " 100 shrink; systemd, BFQ_WEIGHT"
)


def _weight_rows(suffix: str, file: str, other: str, since: str) -> tuple[Row, Row]:
    """Return the rows of a v2 file that has both the default weight and those of devices; v1 has a file for each."""
    scale: Any = {"to": io_to_bfq_weight, "back": bfq_to_io_weight}
    codec: Any = {"suffix": suffix} | (scale if suffix else {})
    return (
        Row(
            attribute=f"weight{suffix}",
            v1=_v1(
                "blkio.bfq.weight", BfqWeight(), default="100", since="4.12", absent=_NO_BFQ.format("blkio.bfq.weight")
            ),
            v2=_v2(file, Weights(**codec), default=_DEFAULT, since=since, instead=other, absent=_NO_WEIGHT),
            values=WEIGHTS,
            lossy=_LOSSY,
        ),
        Row(
            attribute=f"device_weight{suffix}",
            v1=_v1(
                "blkio.bfq.weight_device",
                DeviceWeights(**scale),
                default=_DEFAULT,
                since="5.4",
                absent=_NO_BFQ.format("blkio.bfq.weight_device"),
            ),
            v2=_v2(
                file,
                Weights(of_devices=True, **codec),
                default=_DEFAULT,
                since="5.4",
                absent=_NO_BFQ.format(file) if suffix else _NOT_BUILT.format(file, "CONFIG_BLK_CGROUP_IOCOST"),
            ),
            values=DEVICE_WEIGHTS,
            lossy=_LOSSY,
        ),
    )


_SETTINGS: Final = (
    *_weight_rows("", "io.weight", "io.bfq.weight", "5.4"),
    *_weight_rows(".bfq", "io.bfq.weight", "io.weight", "4.12"),
    *(
        Row(
            attribute=f"max.{key}",
            v1=_v1(THROTTLE[key], Throttle(key=key), default="", also=tuple(THROTTLE.values())),
            v2=_v2("io.max", MaxLines(key=key), default="", since="4.5"),
            values=values,
            lossy=_V1_LIMITS,
        )
        for key, values in LIMITS.items()
    ),
    Row(
        attribute="latency",
        v1=None,
        v2=_v2(
            "io.latency",
            Latency(),
            default="",
            since="4.19",
            absent=_NOT_BUILT.format("io.latency", "CONFIG_BLK_CGROUP_IOLATENCY"),
        ),
        values=TARGETS,
        reason="v1 has no targets of latency; use max, or weight under BFQ",
    ),
    Row(
        attribute="prio_class",
        v1=_v1(
            "blkio.prio.class",
            Text(),
            default="no-change",
            optional=True,
            since="5.14",
            absent=_NOT_BUILT.format("blkio.prio.class", "CONFIG_BLK_CGROUP_IOPRIO"),
        ),
        v2=_v2(
            "io.prio.class",
            Text(),
            default="no-change",
            since="5.14",
            absent=_NOT_BUILT.format("io.prio.class", "CONFIG_BLK_CGROUP_IOPRIO"),
        ),
        values=CLASSES,
    ),
    Row(
        attribute="cost_qos",
        v1=None,
        v2=_v2("io.cost.qos", Keys(into=IoCostQos), default="", since="5.4", absent=_ROOT.format("io.cost.qos")),
        values=COST_QOS,
        reason="v1 does not weigh operations by their cost; use weight under BFQ",
    ),
    Row(
        attribute="cost_model",
        v1=None,
        v2=_v2("io.cost.model", Keys(into=IoCostModel), default="", since="5.4", absent=_ROOT.format("io.cost.model")),
        values=COST_MODELS,
        reason="v1 does not weigh operations by their cost; use weight under BFQ",
    ),
)

_READINGS: Final = (
    Row(
        attribute="devices",
        v1=_v1(V1_COUNTERS[0], V1Counters(), also=V1_COUNTERS[1:]),
        v2=_v2("io.stat", IoStat()),
        unit=f"{BYTES} and {COUNT}",
        lossy=(
            "v1 counts what BFQ does where it is the disk's scheduler, and what passes the throttle, which newer"
            " kernels set up only once some group has a limit on the disk"
        ),
    ),
    Row(attribute="pressure", v1=None, v2=_v2("io.pressure", Psi(), controller=CORE, since="4.20"), unit=PRESSURE),
)


def _parts(spec: Io) -> dict[str, Any]:
    weights = spec.device_weight or {}
    by_iocost = {disk: weight for disk, weight in weights.items() if disk not in spec.bfq_disks}
    by_bfq = {disk: weight for disk, weight in weights.items() if disk in spec.bfq_disks}
    limits: dict[str, dict[str, Any]] = {f"max.{key}": {} for key in LIMITS}
    for device, each in (spec.max or {}).items():
        for key in LIMITS:
            if getattr(each, key) is not None:
                limits[f"max.{key}"][device] = getattr(each, key)
    return {
        "weight": spec.weight,
        "device_weight": by_iocost or None,
        "weight.bfq": spec.weight,
        "device_weight.bfq": by_bfq or None,
        **{name: limit or None for name, limit in limits.items()},
        "latency": spec.latency or None,
        "prio_class": spec.prio_class,
        "cost_qos": spec.cost_qos or None,
        "cost_model": spec.cost_model or None,
    }


def _whole(values: Mapping[str, Any]) -> Io:
    weights = {device: weight for suffix in (".bfq", "") for device, weight in _pairs(values, f"device_weight{suffix}")}
    limits: dict[Any, dict[str, Any]] = {}
    for key in LIMITS:
        for device, limit in _pairs(values, f"max.{key}"):
            limits.setdefault(device, {})[key] = limit
    weight = values.get("weight")
    return Io(
        weight=values.get("weight.bfq") if weight is None else weight,
        device_weight=weights if values.keys() & {"device_weight", "device_weight.bfq"} else None,
        max={device: IoMax(**each) for device, each in limits.items()}
        if f"max.{next(iter(LIMITS))}" in values or limits
        else None,
        latency=values.get("latency"),
        prio_class=values.get("prio_class"),
        cost_qos=values.get("cost_qos"),
        cost_model=values.get("cost_model"),
    )


def _pairs(values: Mapping[str, Any], name: str) -> tuple[tuple[Any, Any], ...]:
    value = values.get(name)
    return () if value is None else tuple(pairs(value, f"io.{name}"))


CONTROLLER = Controller(
    name="io",
    spec=Io,
    stats=IoStats,
    settings=_SETTINGS,
    readings=_READINGS,
    flat=True,
    parts=_parts,
    whole=_whole,
    looks=looks,
    resolved=resolved,
    named=named,
)
