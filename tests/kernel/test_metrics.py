"""Metrics of groups on this kernel."""

from __future__ import annotations

import subprocess

import pytest

from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make, ready
from tests.require import skip_unless

pytestmark = pytest.mark.host

_M = 1 << 20


def test_a_program(make: Make) -> None:
    """What it uses, by its group and by its own below."""
    lacks.require("memory", "pids", "cpu")
    try:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - an extra
    except ImportError:
        skip_unless("metrics", "prometheus_client is not installed")
        return
    from cgctl.metrics import Collector  # noqa: PLC0415 - an extra

    group = make(memory="64M", pids=50, cpu=0.5)
    registry = CollectorRegistry()
    registry.register(Collector(group))

    def value(name: str, **labels: str) -> float:
        found = registry.get_sample_value(name, {"group": group.name, **labels})
        assert found is not None, name
        return found

    with ready(group.popen(payloads.hog(20, 600), stdout=subprocess.PIPE)):
        assert 20 * _M <= value("cgctl_memory_current_bytes") <= 40 * _M
        assert value("cgctl_memory_max_bytes") == 64 * _M
        assert value("cgctl_pids_current") == 1
        assert value("cgctl_cpu_usage_seconds_total") > 0
        assert value("cgctl_cpu_max_cpus") == 0.5
        assert value("cgctl_memory_events_total", event="oom_kill") == 0
        below = {sample.labels["group"] for family in registry.collect() for sample in family.samples}

    assert len(below) == 2
    assert all(name == group.name or name.startswith(f"{group.name}/") for name in below)
