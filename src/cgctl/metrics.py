"""What groups use, for Prometheus: a collector for ``prometheus_client`` (the extra ``metrics``).

::

    from prometheus_client import start_http_server, REGISTRY
    from cgctl.metrics import Collector

    REGISTRY.register(Collector(cgctl.System.detect()))
    start_http_server(9100)

Names follow Prometheus's rules: base units (seconds, bytes) in the name, and ``_total`` for what only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, Literal

import attrs

from cgctl.controllers import IoDevice, Limits, Stats
from cgctl.errors import GroupNotFoundError
from cgctl.group import Group
from cgctl.system import System
from cgctl.units import MAX

try:
    from prometheus_client import registry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
except ImportError as error:
    msg = "cgctl.metrics needs prometheus_client, which is not installed: pip install 'cgctl[metrics]'"
    raise ImportError(msg) from error

__all__ = ["METRICS", "Collector", "Metric"]

Value = tuple[tuple[str, ...], float]
"""Further labels, and the number."""
Family = CounterMetricFamily | GaugeMetricFamily
_READ: Final = ("core", "cpu", "memory", "pids", "io", "net")
_USEC: Final = 1e-6


@attrs.frozen(kw_only=True)
class Metric:
    """One metric.

    Attributes:
        name: of it, with its unit, without the ``_total`` of counters.
        kind: ``"counter"``: only grows, as long as the group is there; ``"gauge"``: goes up and down.
        text: what it is.
        values: what makes it of statistics, or of limits.
        labels: of what it is, besides ``group``.
        of_limits: whether it is one of the limits.
    """

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    values: Callable[[Any], Iterable[Value]]
    labels: tuple[str, ...] = ()
    of_limits: bool = False

    def family(self) -> Family:
        """Return it without values."""
        make = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        return make(self.name, self.text, labels=("group", *self.labels))


def _one(path: str, scale: float = 1.0) -> Callable[[Any], Iterator[Value]]:
    """Return what finds a number by its path of attributes; limits may be none."""
    names = path.split(".")

    def values(facts: Any) -> Iterator[Value]:
        for name in names:
            facts = getattr(facts, name, None)
        if facts is not None:
            yield (), float("inf") if facts is MAX else float(facts) * scale

    return values


def _keyed(path: str, keys: Iterable[str]) -> Callable[[Any], Iterator[Value]]:
    """Return what finds several numbers, of attributes that are a label's values."""
    found = {key: _one(f"{path}.{key}") for key in keys}

    def values(facts: Any) -> Iterator[Value]:
        for key, each in found.items():
            for _, number in each(facts):
                yield (key,), number

    return values


def _pressure(stats: Stats) -> Iterator[Value]:
    for resource in ("cpu", "io", "memory"):
        for kind in ("some", "full"):
            for _, number in _one(f"{resource}.pressure.{kind}.total_usec", _USEC)(stats):
                yield (resource, kind), number


def _disks(attribute: str) -> Callable[[Stats], Iterator[Value]]:
    """Return what finds a number of each disk."""

    def values(stats: Stats) -> Iterator[Value]:
        devices: Mapping[str, IoDevice] = (stats.io.devices if stats.io else None) or {}
        for number, device in devices.items():
            for _, value in _one(attribute)(device):
                yield (device.name or number,), value

    return values


def _counter(
    name: str, text: str, values: str | Callable[[Any], Iterable[Value]], scale: float = 1.0, *labels: str
) -> Metric:
    made = _one(values, scale) if isinstance(values, str) else values
    return Metric(name=f"cgctl_{name}", kind="counter", text=text, values=made, labels=labels)


def _gauge(name: str, text: str, path: str) -> Metric:
    return Metric(name=f"cgctl_{name}", kind="gauge", text=text, values=_one(path))


def _limit(name: str, text: str, path: str) -> Metric:
    return Metric(name=f"cgctl_{name}", kind="gauge", text=text, values=_one(path), of_limits=True)


_EVENTS: Final = ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")
METRICS: Final = (
    _counter("cpu_usage_seconds", "Processor time used.", "cpu.usage_usec", _USEC),
    _counter("cpu_user_seconds", "Processor time used in user mode.", "cpu.user_usec", _USEC),
    _counter("cpu_system_seconds", "Processor time used in the kernel.", "cpu.system_usec", _USEC),
    _counter("cpu_periods", "Periods in which a quota counted.", "cpu.nr_periods"),
    _counter("cpu_throttled_periods", "Periods in which the quota was used up.", "cpu.nr_throttled"),
    _counter("cpu_throttled_seconds", "Time throttled.", "cpu.throttled_usec", _USEC),
    _limit("cpu_max_cpus", "Processors that may be used; +Inf: no limit.", "cpu.max"),
    _gauge("memory_current_bytes", "Memory in use, page cache included.", "memory.current"),
    _gauge("memory_peak_bytes", "The most memory in use so far.", "memory.peak"),
    _gauge("memory_swap_current_bytes", "Memory in swap.", "memory.swap_current"),
    _gauge("memory_anon_bytes", "Anonymous memory.", "memory.stat.anon"),
    _gauge("memory_file_bytes", "Page cache.", "memory.stat.file"),
    _limit("memory_max_bytes", "Memory that may be used; +Inf: no limit.", "memory.max"),
    _counter("memory_page_faults", "Page faults.", "memory.stat.pgfault"),
    _counter("memory_major_page_faults", "Page faults that took I/O.", "memory.stat.pgmajfault"),
    _counter("memory_events", "Boundaries met, and what came of it.", _keyed("memory.events", _EVENTS), 1.0, "event"),
    _gauge("pids_current", "Tasks.", "pids.current"),
    _gauge("pids_peak", "The most tasks so far.", "pids.peak"),
    _limit("pids_max", "Tasks that there may be; +Inf: no limit.", "pids.max"),
    _counter("pids_refused_forks", "Forks refused at a limit.", "pids.events_max"),
    _counter("io_read_bytes", "Bytes read from a disk.", _disks("rbytes"), 1.0, "device"),
    _counter("io_written_bytes", "Bytes written to a disk.", _disks("wbytes"), 1.0, "device"),
    _counter("io_reads", "Operations of reading.", _disks("rios"), 1.0, "device"),
    _counter("io_writes", "Operations of writing.", _disks("wios"), 1.0, "device"),
    _counter("net_received_bytes", "Bytes received, where they are counted.", "net.rx_bytes"),
    _counter("net_sent_bytes", "Bytes sent, where they are counted.", "net.tx_bytes"),
    _counter("net_received_packets", "Packets received, where they are counted.", "net.rx_packets"),
    _counter("net_sent_packets", "Packets sent, where they are counted.", "net.tx_packets"),
    _counter("pressure_stalled_seconds", "Time lost to a lack of something.", _pressure, 1.0, "resource", "kind"),
    _gauge("frozen", "1 if it is frozen, by itself or from above.", "core.frozen"),
)
"""All metrics, in the order in which they are told."""


class Collector(registry.Collector):
    """What a group and all below it use, or all groups of a machine, read whenever Prometheus asks.

    Every value has the label ``group``: the name of the group, of those below it the path from there. Groups without a
    controller have no values of it, and groups that are removed meanwhile are left out.

    Args:
        what: the group, or the machine, of which it is those below the base.
        limits: whether limits are told too, which takes two thirds more time.
    """

    def __init__(self, what: Group | System, *, limits: bool = True) -> None:
        self._what = what
        self._limits = limits

    def describe(self) -> Iterator[Family]:
        """Return what there is, without reading anything."""
        for metric in self._metrics():
            yield metric.family()

    def collect(self) -> Iterator[Family]:
        """Read all, and return those metrics that have values."""
        families = [(metric, metric.family()) for metric in self._metrics()]
        for name, group in self._groups():
            with suppress(GroupNotFoundError):
                stats, held = group.stats(*_READ), group.limits() if self._limits else Limits()
                for metric, family in families:
                    for labels, number in metric.values(held if metric.of_limits else stats):
                        family.add_metric((name, *labels), number)
        for _, family in families:
            if family.samples:
                yield family

    def _metrics(self) -> Iterator[Metric]:
        return (metric for metric in METRICS if self._limits or not metric.of_limits)

    def _groups(self) -> Iterator[tuple[str, Group]]:
        with suppress(GroupNotFoundError):
            if isinstance(self._what, System):
                yield from _below(self._what.groups(), "")
            else:
                yield self._what.name, self._what
                yield from _below(self._what.children(), f"{self._what.name}/")


def _below(groups: Iterable[Group], prefix: str) -> Iterator[tuple[str, Group]]:
    for group in groups:
        name = prefix + group.name.rpartition("/")[2]
        yield name, group
        with suppress(GroupNotFoundError):
            yield from _below(group.children(), f"{name}/")
