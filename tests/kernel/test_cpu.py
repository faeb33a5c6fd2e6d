"""What the cpu controller does beyond its quota: bursts, idle groups, real-time budgets."""

from __future__ import annotations

import os
import subprocess

import psutil
import pytest

import cgctl
from cgctl import Cpu
from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make, Start
from tests.kernel.pace import DEAD_SEC, PATIENCE_SEC, eventually

pytestmark = pytest.mark.host

# Uses nothing for a while, and then more than a period's quota at once.
_BURSTS = payloads.python("""
import time
for _ in range(8):
    time.sleep(0.25)
    begun = time.process_time()
    while time.process_time() - begun < 0.03:
        pass
""")


def _used(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


@pytest.mark.slow
def test_saved_quota_is_used(make: Make) -> None:
    """A group that saved quota uses more than it in some periods, and they are counted; one that may not does not."""
    lacks.require("cpu", "cpu bursts")
    saving, plain = make(cpu=Cpu(max=0.2, burst_usec=20_000)), make(cpu=Cpu(max=0.2))
    for group in (saving, plain):
        group.run(_BURSTS)
    stats = [group.stats("cpu").cpu or cgctl.CpuStats() for group in (saving, plain)]

    assert (stats[0].nr_bursts or 0) > 0
    assert (stats[0].burst_usec or 0) > 0
    assert (stats[1].nr_bursts, stats[1].burst_usec) == (0, 0)


@pytest.mark.slow
def test_an_idle_group_gets_what_is_left(start: Start, make: Make) -> None:
    """Beside one of weight 100 on the same processor, an idle group gets next to nothing."""
    lacks.require("cpu", "cpu.idle")
    last = max(os.sched_getaffinity(0))
    shares = []
    for spec in (Cpu(idle=True), Cpu()):
        process = psutil.Process(start(payloads.spinner(600)).pid)
        os.sched_setaffinity(process.pid, [last])
        make(cpu=spec).add(process)
        shares.append(process)
    before = [_used(process) for process in shares]
    assert eventually(lambda: _used(shares[1]) - before[1] > 1, PATIENCE_SEC * 4)
    idle, normal = (_used(process) - earlier for process, earlier in zip(shares, before, strict=True))

    assert idle < normal / 5


class TestRealTime:
    """v1's budgets for real-time tasks."""

    @pytest.fixture(autouse=True)
    def _real_time(self) -> None:
        lacks.require("real-time groups")

    def test_a_budget_is_needed(self, start: Start, make: Make, name: str) -> None:
        """A real-time task is moved into a group that has a budget, and into no other; the error says why."""
        group = make(name=f"/{name}", cpu=Cpu())
        process = start(payloads.SLEEPER)
        os.sched_setscheduler(process.pid, os.SCHED_FIFO, os.sched_param(1))
        with pytest.raises(cgctl.StepError, match=r"EINVAL .*real-time task without a budget in this group"):
            group.add(process)
        held = group.update(cpu=Cpu(rt_runtime_usec=50_000, rt_period_usec=500_000)).cpu
        group.add(process)

        assert held is not None
        assert (held.rt_runtime_usec, held.rt_period_usec) == (50_000, 500_000)
        assert group.pids() == [process.pid]
        with pytest.raises(cgctl.StepError, match=r"cpu.rt_runtime_us: EBUSY .*real-time tasks are in the group"):
            group.update(cpu=Cpu(rt_runtime_usec=0))

    def test_no_more_than_above(self, make: Make, name: str) -> None:
        """A group has no larger budget than the one above it, which has none unless it is given."""
        above = make(name=f"/{name}", cpu=Cpu())
        with pytest.raises(cgctl.StepError, match=r"EINVAL .*\(0 of 1000000 us\).*give the group above one first"):
            above.group("below", cpu=Cpu(rt_runtime_usec=1000)).create()
        assert above.children() == []
        above.update(cpu=Cpu(rt_runtime_usec=20_000))
        below = make(name="below", parent=above, cpu=Cpu(rt_runtime_usec=10_000))
        with pytest.raises(cgctl.StepError, match="EINVAL"):
            above.update(cpu=Cpu(rt_runtime_usec=5_000))

        assert below.limits().cpu == above.group("below").limits().cpu

    @pytest.mark.slow
    def test_the_budget_holds(self, make: Make, name: str) -> None:
        """A real-time task that never sleeps is held to its budget."""
        group = make(name=f"/{name}", cpu=Cpu(rt_runtime_usec=50_000, rt_period_usec=500_000))
        last = max(os.sched_getaffinity(0))
        spinner = subprocess.Popen(payloads.spinner(2), stdout=subprocess.PIPE)
        try:
            assert spinner.stdout is not None
            assert spinner.stdout.readline() == b"ready\n"
            os.sched_setaffinity(spinner.pid, [last])
            group.add(spinner)
            os.sched_setscheduler(spinner.pid, os.SCHED_FIFO, os.sched_param(1))
            used, passed = map(float, spinner.communicate(timeout=PATIENCE_SEC + DEAD_SEC)[0].split())
        finally:
            spinner.kill()
            spinner.wait()

        assert used / passed < 0.2
