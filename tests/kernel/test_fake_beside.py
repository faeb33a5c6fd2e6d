"""What takes time, on this machine and on the kernel in memory: both come to the same, as far as a busy machine can."""

from __future__ import annotations

import pytest

import cgctl
from cgctl.testing import FakeSystem
from tests.kernel import payloads
from tests.kernel.conftest import Make

pytestmark = pytest.mark.host

# Three tenths of a second, as the process itself counts them: what Python takes to begin is not much beside it.
_BURNS = payloads.python("""
import time
while time.process_time() < 0.3:
    pass
""")
_RUNS = 3


@pytest.mark.slow
def test_a_quota(make: Make) -> None:
    """A tenth of a processor: as many periods, and as many waited in. The run least disturbed by others counts."""
    system = FakeSystem("v2")
    task = system.kernel.spawn(cgctl.Group("g", cpu=0.1, system=system).create())
    task.burn(0.3)
    system.kernel.advance(10)
    fake = cgctl.Group("g", system=system).stats("cpu").cpu

    assert fake is not None
    best = min((_real(make) for _ in range(_RUNS)), key=lambda real: real.nr_periods or 0)
    for name, band in (("nr_periods", 5), ("nr_throttled", 5), ("throttled_usec", 500_000)):
        assert getattr(best, name) == pytest.approx(getattr(fake, name), abs=band), name
    assert best.usage_usec == pytest.approx(fake.usage_usec, abs=50_000)


def _real(make: Make) -> cgctl.CpuStats:
    group = make(cpu=0.1)
    group.run(_BURNS)
    real = group.stats("cpu").cpu
    assert real is not None
    return real
