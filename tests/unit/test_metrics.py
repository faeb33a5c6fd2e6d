"""Metrics of groups on machines in memory, as Prometheus reads them."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import cgctl
from cgctl.testing import FakeSystem
from tests.require import skip_unless

if TYPE_CHECKING:
    from cgctl.metrics import Collector

_M = 1 << 20


@pytest.fixture(autouse=True)
def _extra() -> None:
    try:
        importlib.import_module("prometheus_client")
    except ImportError:
        skip_unless("metrics", "prometheus_client is not installed")


def collector(*arguments: Any, **keywords: Any) -> Collector:
    """Make a collector."""
    from cgctl.metrics import Collector  # noqa: PLC0415 - an extra

    return Collector(*arguments, **keywords)


def told(collector: Collector) -> dict[str, float]:
    """Return what Prometheus would read: metric with its labels → value."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - an extra

    registry = CollectorRegistry()
    registry.register(collector)
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_a_group_and_those_below(system: FakeSystem) -> None:
    """Each has its label, in base units."""
    group = cgctl.Group("web", memory="100M", pids=5, cpu=0.5, system=system).create()
    job = group.group("job", memory="50M", cpu=0.5).create()
    task = system.kernel.spawn(job)
    task.allocate("10M")
    task.burn("1s")
    system.kernel.advance("2s")
    found = told(collector(group))

    assert found['cgctl_memory_current_bytes{group="web"}'] == 10 * _M
    assert found['cgctl_memory_current_bytes{group="web/job"}'] == 10 * _M
    assert found['cgctl_memory_max_bytes{group="web/job"}'] == 50 * _M
    assert found['cgctl_cpu_usage_seconds_total{group="web"}'] == pytest.approx(1.0, abs=0.01)
    assert found['cgctl_cpu_throttled_periods_total{group="web"}'] > 10
    assert found['cgctl_cpu_max_cpus{group="web"}'] == 0.5
    assert found['cgctl_pids_max{group="web"}'] == 5


def test_no_limit_is_infinite(system: FakeSystem) -> None:
    """And one that was not asked for is not told."""
    group = cgctl.Group("web", memory=cgctl.Memory(), pids=5, system=system).create()

    assert told(collector(group))['cgctl_memory_max_bytes{group="web"}'] == float("inf")
    assert not [name for name in told(collector(group, limits=False)) if "_max" in name]


def test_events(system: FakeSystem) -> None:
    """By what has happened."""
    group = cgctl.Group("web", memory="10M", system=system).create()
    system.kernel.spawn(group).allocate("20M")

    assert told(collector(group))['cgctl_memory_events_total{event="oom_kill",group="web"}'] == 1


def test_all_groups_of_a_machine(system: FakeSystem) -> None:
    """Those below the base."""
    cgctl.Group("web/job", memory="10M", system=system).create()
    cgctl.Group("idle", pids=5, system=system).create()
    found = told(collector(system))

    assert {re.findall(r'group="([^"]*)"', name)[0] for name in found} == {"web", "web/job", "idle"}
    assert 'cgctl_pids_current{group="idle"}' in found


def test_what_a_group_is_without() -> None:
    """That is not told as nothing."""
    system = FakeSystem("v1", kernel="6.1")
    cgctl.Group("idle", pids=5, system=system).create()
    found = told(collector(system))

    assert 'cgctl_pids_current{group="idle"}' in found
    assert not [name for name in found if "memory" in name]


def test_disks_network_and_pressure() -> None:
    """Each by its own labels."""
    system = FakeSystem("v2", cpus=1, disks={"8:0": "100M"})
    group = cgctl.Group("web", io=cgctl.Io(), net=cgctl.Net(accounting=True), cpu=1, system=system).create()
    task = system.kernel.spawn(group)
    task.read("8:0", "30M", request="1M", direct=True)
    task.send(1000)
    for _ in range(2):
        system.kernel.spawn(group).burn("1s")
    system.kernel.advance("2s")
    found = told(collector(group))
    device = next(name for name in found if name.startswith("cgctl_io_read_bytes_total"))

    assert found[device] == 30 * _M
    assert re.search(r'device="[^"]+"', device)
    assert found['cgctl_net_sent_bytes_total{group="web"}'] > 0
    assert found['cgctl_pressure_stalled_seconds_total{group="web",kind="some",resource="cpu"}'] > 0.9


def test_groups_that_are_gone(system: FakeSystem) -> None:
    """They are left out, also when they go in between."""
    group = cgctl.Group("web", memory="10M", system=system).create()
    made = collector(group)
    group.remove()

    assert told(made) == {}


def test_names_follow_the_rules() -> None:
    """Base units, no other; and nothing twice."""
    from cgctl.metrics import METRICS  # noqa: PLC0415 - an extra

    names = [metric.name for metric in METRICS]
    assert len({*names}) == len(names)
    assert [name for name in names if not re.fullmatch(r"cgctl_[a-z_]+", name)] == []
    assert [name for name in names if re.search(r"usec|millis|_mb|kib|_total", name)] == []


def test_the_page_has_them_all() -> None:
    """One row each, with its labels."""
    from cgctl.metrics import METRICS  # noqa: PLC0415 - an extra

    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(cgctl_\w+)` \| ?(.*?) ?\|", page, re.MULTILINE)
    names = [f"{metric.name}_total" if metric.kind == "counter" else metric.name for metric in METRICS]

    assert [(name, re.findall(r"\w+", labels)) for name, labels in rows] == [
        (name, list(metric.labels)) for name, metric in zip(names, METRICS, strict=True)
    ]


def test_a_description_reads_nothing(system: FakeSystem) -> None:
    """A registry asks for it when a collector is registered."""
    group = cgctl.Group("web", system=system)  # which is not there

    assert "cgctl_memory_current_bytes" in {family.name for family in collector(group).describe()}


def test_without_the_extra() -> None:
    """It names itself."""
    script = "import sys\nsys.modules['prometheus_client'] = None\nimport cgctl.metrics"
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)

    assert done.returncode == 1
    assert "ImportError: cgctl.metrics needs prometheus_client, which is not installed: pip install" in done.stderr
