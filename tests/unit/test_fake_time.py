"""Time on the kernel in memory, at random: the same in whatever pieces it passes, and nobody has more than he may."""

from __future__ import annotations

import random
import re

import pytest

import cgctl
from cgctl.fake import Task
from cgctl.testing import FakeSystem

_CPUS = 3
_FILES = ("cpu.stat", "cpu.pressure", "io.pressure", "io.stat", "memory.pressure")


class Machine:
    """A machine with groups and busy tasks, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311 - to be had again, from its seed
        self.system = FakeSystem("v2", cpus=_CPUS, disks={"8:0": "20M"})
        self.groups: list[cgctl.Group] = []
        self.tasks: list[Task] = []
        for number in range(rng.randint(1, 3)):
            self._add(rng, f"g{number}")
            for below in range(rng.randint(0, 2)):
                self._add(rng, f"g{number}/h{below}")
        for _ in range(rng.randint(1, 8)):
            self._busy(rng, self.system.kernel.spawn(self._leaf(rng)))

    def _leaf(self, rng: random.Random) -> cgctl.Group:
        kernel = self.system.kernel
        return rng.choice([group for group in self.groups if not kernel.listdir(group.paths()["unified"])])

    def _add(self, rng: random.Random, name: str) -> None:
        period = rng.choice((50_000, 70_000, 100_000, 250_000))
        quota = rng.choice((None, None, 0.2, 0.5, 1.5))
        cpu = cgctl.Cpu(
            weight=rng.choice((1, 100, 300, 10_000)),
            max=quota,
            period_usec=period if quota else None,
            burst_usec=int(quota * period * rng.choice((0, 0.5))) if quota else None,
        )
        limits = cgctl.IoMax(rbps=rng.choice((None, "1M", "5M")), wiops=rng.choice((None, 50)))
        io = cgctl.Io(max={"8:0": limits})
        memory = cgctl.Memory(high=rng.choice(("10M", "max")))
        cpuset = rng.choice((None, None, "0", "0-1", "1-2"))
        self.groups.append(cgctl.Group(name, system=self.system, cpu=cpu, io=io, memory=memory, cpuset=cpuset).create())

    def _busy(self, rng: random.Random, task: Task) -> None:
        self.tasks.append(task)
        for thread in (task.threads[0], *(task.thread() for _ in range(rng.randint(0, 2)))):
            for _ in range(rng.randint(1, 3)):
                what = rng.randint(0, 3)
                if what == 0:
                    thread.read("8:0", rng.randint(1, 2_000_000), direct=True)
                elif what == 1:
                    thread.write("8:0", rng.randint(1, 5_000_000), direct=rng.random() < 0.5)
                else:
                    thread.burn(f"{rng.randint(1, 2_000)}ms")
        if rng.random() < 0.3:
            task.allocate(f"{rng.randint(1, 12)}M")

    def readings(self) -> dict[str, list[int]]:
        """Return all numbers in the files of all groups, but averages."""
        found = {}
        for group in self.groups:
            for name in _FILES:
                text = re.sub(r"avg\d+=\S+", "", group.read(name))
                numbers = re.findall(r"(?<!\S)\S*?(\d+)(?!\S)", text)
                found[f"{group.paths()['unified']}/{name}"] = [int(number) for number in numbers]
        return found


@pytest.mark.parametrize("seed", range(10))
def test_however_it_is_divided(seed: int) -> None:
    """In one go, or in pieces of random lengths: counters are the same, but for what floating point leaves."""
    rng = random.Random(seed)  # noqa: S311 - the same
    at_once, pieces = Machine(seed), Machine(seed)
    length = rng.randint(1, 3_000)
    at_once.system.kernel.advance(f"{length}ms")
    left = length
    while left:
        piece = rng.randint(min(left, 50), left)
        pieces.system.kernel.advance(f"{piece}ms")
        left -= piece

    assert [task.busy for task in at_once.tasks] == [task.busy for task in pieces.tasks]
    whole, parts = at_once.readings(), pieces.readings()
    for name, numbers in whole.items():
        assert parts[name] == pytest.approx(numbers, abs=2), name


@pytest.mark.parametrize("seed", range(10))
def test_nobody_has_more_than_he_may(seed: int) -> None:
    """Quotas with what was saved, processors, rates of disks."""
    machine = Machine(seed)
    kernel = machine.system.kernel
    seconds = 2
    kernel.advance(seconds)
    for group in machine.groups:
        stats = group.stats()
        cpu, limits = stats.cpu, group.limits()
        assert cpu is not None
        assert limits.cpu is not None
        assert cpu.usage_usec is not None
        assert cpu.usage_usec <= seconds * 1e6 * _CPUS
        if limits.cpu.max != cgctl.MAX and limits.cpu.max is not None:
            quota = float(limits.cpu.max) * (limits.cpu.period_usec or 0)
            assert cpu.usage_usec <= ((cpu.nr_periods or 0) + 1) * quota + (limits.cpu.burst_usec or 0) + 1
        for device in ((stats.io and stats.io.devices) or {}).values():
            limit = ((limits.io and limits.io.max) or {}).get("8:0")
            if limit and isinstance(limit.rbps, int):
                assert (device.rbytes or 0) <= limit.rbps * seconds + 1
            if limit and isinstance(limit.wiops, int):
                assert (device.wios or 0) <= limit.wiops * seconds + 1
