"""What groups use on this kernel, again and again."""

from __future__ import annotations

import os
import subprocess

import pytest

import cgctl
from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make, ready
from tests.kernel.pace import CPU_BAND, PATIENCE_SEC

pytestmark = pytest.mark.host

_M = 1 << 20


def test_a_program(make: Make) -> None:
    """Its memory and its tasks."""
    lacks.require("memory", "pids")
    group = make(memory="64M", pids=50)
    with ready(group.popen(payloads.hog(20, 600), stdout=subprocess.PIPE)), group.sampler() as sampler:
        sample = next(sampler)

        assert sample.elapsed >= 0.1
        assert 20 * _M <= (sample.memory or 0) <= 40 * _M
        assert sample.pids == 1
        assert sample.stats.pids == group.stats("pids").pids


@pytest.mark.slow
def test_processors(make: Make) -> None:
    """What it may use of them, over a few periods."""
    lacks.require("cpu")
    group = make(cpu=0.2)
    process = group.popen(payloads.spinner(PATIENCE_SEC), stdout=subprocess.PIPE)
    with ready(process), group.sampler("cpu", interval="1s") as sampler:
        used = [next(sampler).cpu for _ in range(2)]

    assert all(each is not None for each in used)
    # The last quota of the second may have been used before it began.
    assert 0 < (used[1] or 0) <= 0.2 + 0.1 + CPU_BAND


def test_it_ends_with_the_group(make: Make) -> None:
    """Its files are gone, and that is the end."""
    group = make(pids=5)
    with group.sampler(interval="1ms") as sampler:
        assert next(sampler).elapsed > 0
        group.remove()

        assert list(sampler) == []


def test_nothing_stays_open(make: Make) -> None:
    """Its files are closed."""
    group = make(pids=5)
    group.sampler().close()
    before = len(os.listdir("/proc/self/fd"))
    with group.sampler() as sampler:
        sampler.read()
        assert len(os.listdir("/proc/self/fd")) > before

    assert len(os.listdir("/proc/self/fd")) == before


def test_the_machine(make: Make) -> None:
    """The own cgroup, which is often a root, can be sampled as any."""
    del make
    with cgctl.current().sampler(interval="1ms") as sampler:
        assert next(sampler).elapsed > 0
