"""Processors: programs that never wait."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping

import cgctl
from benchmarks.enforcement import loads
from benchmarks.enforcement.groups import made
from benchmarks.enforcement.points import AbsentError, Point, point
from cgctl import convert
from tests.kernel import lacks

_WARM_SEC = 0.3
_PERIODS_USEC = (10_000, 100_000)
_LEAST_USEC = 1000  # of a quota
_TRIED = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def quotas(repeats: int) -> Iterator[Point]:
    """Sweep ``cpu.max`` over two periods: processor time over the time that passed."""
    for period in _PERIODS_USEC:
        for share in _TRIED:
            if share > len(os.sched_getaffinity(0)) or share * period < _LEAST_USEC:
                continue
            many = -int(-share // 1)
            spec = cgctl.Cpu(max=share, period_usec=period)
            got = [_shares({"a": spec}, many=many)["a"] for _ in range(repeats)]
            yield point("cpu.max", f"{share:.0%} of {period // 1000} ms", share, got, "CPUs", (0.88, 1.06))


def bursts(repeats: int) -> Iterator[Point]:
    """Show ``cpu.max.burst``: for how long a program may run at once after a rest."""
    quota = 40
    for burst in (0, 20, 40):
        spec = cgctl.Cpu(max=quota / 100, period_usec=100_000, burst_usec=burst * 1000)
        try:
            got = [_first_run(spec) for _ in range(repeats)]
        except cgctl.UnsupportedError as error:
            raise AbsentError(str(error)) from None
        at_once = quota + burst
        # The period may end meanwhile: then there is another quota to be had.
        within = (0.9, 1.1 * (at_once + quota) / at_once)
        yield point("cpu.burst", f"{quota} ms of 100 ms, and {burst} ms", at_once, got, "ms", within)


def weights(repeats: int) -> Iterator[Point]:
    """Let three groups of weights 1:2:4 compete for one processor."""
    asked = {"1 of 7": 100, "2 of 7": 200, "4 of 7": 400}
    runs = [
        _shares({name: cgctl.Cpu(weight=weight) for name, weight in asked.items()}, cpu=True) for _ in range(repeats)
    ]
    note = ""
    if lacks.version_of("cpu") == 1:
        shares = [convert.weight_to_shares(weight) for weight in asked.values()]
        note = f"v1 has shares, which are no multiples of weights: {', '.join(map(str, shares))}"
    for name, weight in asked.items():
        got = [each[name] / sum(each.values()) for each in runs]
        yield point("cpu.weight", name, weight / 700, got, "share", (0.9, 1.1), note)


def idle(repeats: int) -> Iterator[Point]:
    """Let an idle group compete with one that is not."""
    specs = {"busy": cgctl.Cpu(weight=100), "idle": cgctl.Cpu(idle=True)}
    try:
        runs = [_shares(specs, cpu=True) for _ in range(repeats)]
    except cgctl.UnsupportedError as error:
        raise AbsentError(str(error)) from None
    got = [each["busy"] / sum(each.values()) for each in runs]
    yield point("cpu.idle", "what is left to the other", 1, got, "share", (0.95, 1.0))


def places(repeats: int) -> Iterator[Point]:
    """Sweep ``cpuset.cpus``: the processors on which a program was seen that would go anywhere."""
    for cpu in sorted(os.sched_getaffinity(0))[:8]:
        seen = []
        for _ in range(repeats):
            done = cgctl.run(
                loads.spinners(0.3, many=2), cpuset=cgctl.Cpuset(cpus=str(cpu)), capture_output=True, text=True
            )
            words = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("ran")]
            seen.append(sum({*each} == {str(cpu)} for each in words) / len(words))
        yield point("cpuset.cpus", f"processor {cpu}", 1, seen, "of the programs", (1, 1))


def _shares(specs: Mapping[str, cgctl.Cpu], *, many: int = 1, cpu: bool = False) -> dict[str, float]:
    """Return the processors that each group had, of programs that run at the same time."""
    pinned = str(min(os.sched_getaffinity(0))) if cpu else ""
    with contextlib.ExitStack() as stack:
        groups = {}
        for name, spec in specs.items():
            groups[name] = stack.enter_context(made(cpu=spec))
        begun = []
        for group in groups.values():
            process = group.popen(loads.spinners(30, cpus=pinned, many=many), stdout=subprocess.PIPE)
            stack.callback(process.communicate)
            stack.callback(process.kill)
            begun.append(process)
        for process in begun:
            for _ in range(many):
                process.stdout.readline()
        time.sleep(_WARM_SEC)
        before, started = {name: _usage(group) for name, group in groups.items()}, time.monotonic()
        time.sleep(2)
        passed = time.monotonic() - started
        return {name: (_usage(group) - before[name]) / passed / 1e6 for name, group in groups.items()}


def _first_run(spec: cgctl.Cpu) -> float:
    """Return how many milliseconds a program that begins after a rest may run before it is held up."""
    with made(cpu=spec) as group:
        return float(group.run(loads.pulse(0.5), capture_output=True, text=True).stdout)


def _usage(group: cgctl.Group) -> int:
    cpu = group.stats("cpu").cpu
    if cpu is None or cpu.usage_usec is None:
        msg = "cpu: its usage is not told here"
        raise AbsentError(msg)
    return cpu.usage_usec
