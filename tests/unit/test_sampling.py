"""What groups of a machine in memory use, again and again."""

from __future__ import annotations

from typing import Any

import pytest

import cgctl
from cgctl.testing import FakeSystem
from tests.unit.in_memory import make

_M = 1 << 20


def test_each_interval(system: FakeSystem) -> None:
    """A sample each, with what was used in between, until the time is over."""
    group = make(system, cpu=0.5, memory="100M")
    task = system.kernel.spawn(group)
    task.burn("1s")
    task.allocate("10M")
    with group.sampler(interval="500ms", timeout="3s") as sampler:
        samples = [*sampler]

    # Half a processor for two seconds, and then nothing.
    assert [sample.time for sample in samples] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
    assert [sample.elapsed for sample in samples] == pytest.approx([0.5] * 6)
    assert [sample.cpu for sample in samples] == pytest.approx([0.5] * 4 + [0.0] * 2, abs=0.1)
    assert {sample.memory for sample in samples} == {10 * _M}


def test_a_sample_is_of_its_time(system: FakeSystem) -> None:
    """Whenever it is looked at."""
    group = make(system, memory="100M", pids=5)
    task = system.kernel.spawn(group)
    with group.sampler() as sampler:
        before = sampler.read()
        task.allocate("10M")
        task.fork()
        after = sampler.read()

    assert [before.memory, before.pids] == [0, 1]
    assert [after.memory, after.pids] == [10 * _M, 2]
    assert (after.stats.memory and after.stats.memory.current) == 10 * _M
    assert "memory=10485760" in repr(after)


def test_it_tells_what_stats_tells(system: FakeSystem) -> None:
    """Of all controllers that were asked for."""
    group = make(system, cpu=0.5, memory="100M", pids=5)
    system.kernel.spawn(group).allocate("10M")
    with group.sampler("memory", "pids", "cpu") as sampler:
        assert sampler.read().stats == group.stats("memory", "pids", "cpu")


def test_single_attributes(system: FakeSystem) -> None:
    """Just their files are read."""
    group = make(system, cpu=0.5, memory="100M", pids=5)
    with group.sampler("memory.current", "cpu.usage_usec") as sampler:
        system.kernel.spawn(group).allocate("1M")
        system.kernel.advance("1s")
        sample = sampler.read()

    assert (sample.memory, sample.cpu, sample.pids) == (_M, 0.0, None)
    assert sample.stats.memory == cgctl.MemoryStats(current=_M)
    assert sample.stats.pids is None


def test_disks() -> None:
    """Bytes and operations a second, of each."""
    system = FakeSystem("v2", disks={"8:0": "100M"})
    group = make(system, io=cgctl.Io())
    system.kernel.spawn(group).read("8:0", "30M", request="1M", direct=True)
    with group.sampler("io", interval="100ms") as sampler:
        sample = next(sampler)

    assert sample.io["8:0"].rbps == pytest.approx(100 * _M, rel=0.02)
    assert sample.io["8:0"].riops == pytest.approx(100, rel=0.02)
    assert sample.io["8:0"].wbps == sample.io["8:0"].wiops == 0


def test_network() -> None:
    """Bytes and packets a second, where they are counted."""
    system = FakeSystem("v2")
    group = make(system, net=cgctl.Net(accounting=True))
    with group.sampler("net") as sampler:
        assert (nothing := sampler.read().net) is None or nothing.tx_bps == 0
        system.kernel.spawn(group).send(1000)
        system.kernel.advance("500ms")
        sample = sampler.read()

    assert sample.net is not None
    assert sample.net.tx_bps == pytest.approx(2000, rel=0.2)


def test_the_end_of_the_group(system: FakeSystem) -> None:
    """It ends the iteration, also if another one has that name."""
    group = make(system, pids=5)
    sampler = group.sampler("pids")
    assert next(sampler).pids == 0
    group.remove()
    make(system, pids=5)

    assert list(sampler) == []
    with pytest.raises(cgctl.GroupNotFoundError, match=r"^group 'p1' is gone$"):
        sampler.read()


def test_closed(system: FakeSystem) -> None:
    """Nothing is to be had from it."""
    sampler = make(system, pids=5).sampler()
    sampler.close()
    sampler.close()

    assert list(sampler) == []
    with pytest.raises(ValueError, match=r"^the sampler is closed$"):
        sampler.read()


@pytest.mark.parametrize(
    ("names", "keywords", "message"),
    [
        (["ram"], {}, r"^sampler\('ram'\): there is no such controller; cgctl has "),
        (["memory.used"], {}, r"^sampler\('memory.used'\): memory tells no such thing; it has current, "),
        ([], {"interval": 0}, r"^interval=0: samples take some time"),
        ([], {"interval": "often"}, r"^interval='often'"),
        ([], {"timeout": -1}, r"^timeout=-1"),
    ],
)
def test_nonsense(names: list[str], keywords: dict[str, Any], message: str) -> None:
    """It is said what is wrong."""
    group = make(FakeSystem("v2"), pids=5)
    with pytest.raises(cgctl.SpecError, match=message):
        group.sampler(*names, **keywords)


def test_a_group_that_is_not_there(system: FakeSystem) -> None:
    """As for every verb."""
    with pytest.raises(cgctl.GroupNotFoundError):
        cgctl.Group("p1", system=system).sampler()
