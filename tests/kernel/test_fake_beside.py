"""What takes time, on this machine and on the kernel in memory: both come to the same, as far as a busy machine can."""

from __future__ import annotations

import pytest

import cgctl
from cgctl.fake.time.work import Stall
from cgctl.testing import FakeSystem
from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make
from tests.kernel.pace import EMULATED, PATIENCE_SEC

pytestmark = pytest.mark.host

# In a guest it is these for whose sake it is run.
long = pytest.mark.host if EMULATED else pytest.mark.slow

# Three tenths of a second, as the process itself counts them: what Python takes to begin is not much beside it.
_BURNS = payloads.python("""
import time
while time.process_time() < 0.3:
    pass
""")
_RUNS = 1 if EMULATED else 3


@long
def test_a_quota(make: Make) -> None:
    """A tenth of a processor: as many periods, and as many waited in. The run least disturbed by others counts."""
    reals = [_real(make) for _ in range(_RUNS)]
    pairs = [(real, _fake(real.usage_usec or 0)) for real in reals]
    real, fake = min(pairs, key=lambda pair: abs((pair[0].nr_periods or 0) - (pair[1].nr_periods or 0)))

    for name, band in (("nr_periods", 5), ("nr_throttled", 5), ("throttled_usec", 500_000)):
        assert getattr(real, name) == pytest.approx(getattr(fake, name), rel=0.06, abs=band), name


def _real(make: Make) -> cgctl.CpuStats:
    group = make(cpu=0.1)
    group.run(_BURNS)
    return group.stats("cpu").cpu or cgctl.CpuStats()


def _fake(usec: int) -> cgctl.CpuStats:
    system = FakeSystem("v2")
    group = cgctl.Group("g", cpu=0.1, system=system).create()
    system.kernel.spawn(group).burn(f"{usec}us")
    system.kernel.advance(usec / 1e6 * 10 + 1)
    return group.stats("cpu").cpu or cgctl.CpuStats()


# How long the last megabytes took, and from which use to which.
_GROWS = payloads.python("""
import sys, time
used = lambda: int(open(sys.argv[1] + "/memory.current").read())
held = [b"x" * (60 << 20)]
begun, before = time.monotonic(), used()
for _ in range(8):
    held.append(b"x" * (1 << 20))
print(before, used(), time.monotonic() - begun)
""")


@long
def test_memory_high(make: Make) -> None:
    """Who grows beyond ``memory.high`` is held up for as long, give or take what the machine itself needs."""
    lacks.require("v2 memory")
    group = make(memory=cgctl.Memory(high="64M", swap_max=0))
    # What the kernel keeps for the process is not to be reclaimed either, so both begin at the same use.
    done = group.run([*_GROWS, group.paths()["unified"]], capture_output=True, timeout=PATIENCE_SEC * 4)
    before, after, real = done.stdout.split()

    system = FakeSystem("v2")
    task = system.kernel.spawn(cgctl.Group("g", memory=cgctl.Memory(high="64M"), system=system).create())
    task.allocate(int(before))
    task.allocate(int(after) - int(before))
    fake = sum(work.left for work in task.threads[0].work or () if isinstance(work, Stall)) / 1e9

    assert fake > 1
    assert float(real) == pytest.approx(fake, rel=0.3, abs=0.5)


# How long, by the clock, and what the files said before and after.
_WAITS = payloads.python("""
import sys, time
def total():
    return int(open(sys.argv[1] + "/cpu.pressure").readlines()[-1].rpartition("=")[2])
end = time.monotonic() + 0.5
while time.monotonic() < end:
    pass
before, begun = total(), time.monotonic()
while time.monotonic() < begun + 5:
    pass
print(total() - before, time.monotonic() - begun)
""")


@long
def test_pressure_of_a_quota(make: Make) -> None:
    """Who may run for a fifth of the time is under full pressure for the rest of it."""
    lacks.require("v2 cpu")
    group = make(cpu=0.2)
    real, seconds = group.run([*_WAITS, group.paths()["unified"]], capture_output=True).stdout.split()

    system = FakeSystem("v2")
    beside = cgctl.Group("g", cpu=0.2, system=system).create()
    system.kernel.spawn(beside).burn("1h")
    system.kernel.advance(float(seconds))
    pressure = (beside.stats("cpu").cpu or cgctl.CpuStats()).pressure

    assert pressure is not None
    assert pressure.full is not None
    assert int(real) == pytest.approx(pressure.full.total_usec, rel=0.1)
