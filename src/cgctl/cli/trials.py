"""What ``cgctl doctor`` tries for real, in a group made for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import cgctl
from cgctl.cli.checks import Bench, Finding, failure
from cgctl.cli.output import human_duration
from cgctl.filesystem import is_there

__all__ = ["freeze_and_kill", "group", "launch", "swap"]


def group(bench: Bench) -> Iterator[Finding]:
    """Tell whether a group with limits could be made, and what the kernel then held."""
    if bench.trial is None:
        yield bench.untried("group with limits", required=True)
        return
    held = bench.trial.limits()
    memory, pids = held.memory.max if held.memory else None, held.pids.max if held.pids else None
    yield Finding(
        name="group with limits", ok=True, found=f"made with memory.max={memory}, pids.max={pids}", required=True
    )


def swap(bench: Bench) -> Iterator[Finding]:
    """Tell whether swap is accounted."""
    if bench.trial is None:
        yield bench.untried("swap accounting")
        return
    memory = bench.trial.limits().memory
    if memory is None or memory.swap_max is None:
        reason = "the kernel does not count swap, so what is beyond a limit of memory may be swapped out"
        fix = "boot with swapaccount=1, or do without swap (swapoff -a)"
        yield Finding(name="swap accounting", ok=False, reason=reason, fix=fix)
    else:
        yield Finding(name="swap accounting", ok=True, found=f"memory.swap_max={memory.swap_max}")


def launch(bench: Bench) -> Iterator[Finding]:
    """Start a program in a group for real, and see that it was inside."""
    name = "launch"
    if bench.trial is None:
        yield bench.untried(name, required=True)
        return
    try:
        first = cgctl.run(
            ["cat", "/proc/self/cgroup"], memory="64M", pids=8, capture_output=True, text=True, timeout=10
        )
        again = cgctl.run(["true"], memory="64M", pids=8, timeout=10)
    except cgctl.CgctlError as error:
        yield failure(name, error, required=True)
        return
    inside = [line for line in first.stdout.splitlines() if line.rpartition("/")[2].startswith("cgctl-")]
    if first.returncode or again.returncode or not inside:
        reason = (
            f"the program ended with {first.returncode}, then {again.returncode}, and was in {first.stdout.split()}"
        )
        fix = "please report this, with the output of cgctl doctor --json"
        yield Finding(name=name, ok=False, reason=reason, fix=fix, required=True)
        return
    took = f"{human_duration(again.wall_usec)} (the first one {human_duration(first.wall_usec)})"
    found = f"'true' within memory=64M, pids=8 in {took}; it was inside in {len(inside)} hierarchies"
    yield Finding(name=name, ok=True, found=found, required=True)


def freeze_and_kill(bench: Bench) -> Iterator[Finding]:
    """Freeze, thaw and kill a process for real."""
    if bench.trial is None:
        yield bench.untried("freeze")
        yield bench.untried("kill")
        return
    try:
        with bench.trial.popen(["sleep", "60"]) as process:
            try:
                yield from _verb("freeze", _file(bench.trial, "cgroup.freeze", "freezer.state"), bench.trial.freeze)
                bench.trial.thaw()
            finally:
                yield from _verb("kill", _file(bench.trial, "cgroup.kill"), bench.trial.kill)
                process.kill()
    except cgctl.CgctlError as error:
        yield failure("freeze and kill", error)


def _verb(name: str, how: str, verb: Callable[[], object]) -> Iterator[Finding]:
    began = time.monotonic_ns()
    try:
        verb()
    except cgctl.CgctlError as error:
        yield failure(name, error)
    else:
        took = human_duration((time.monotonic_ns() - began) // 1000)
        yield Finding(name=name, ok=True, found=f"by {how}, {took}")


def _file(trial: cgctl.Group, *names: str) -> str:
    """Return the first of these files that the group has."""
    directories = trial.paths().values()
    filesystem = trial.system.filesystem
    there = (name for name in names if any(is_there(filesystem, f"{directory}/{name}") for directory in directories))
    return next(there, "signals, one process at a time")
