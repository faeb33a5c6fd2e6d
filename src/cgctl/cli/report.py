"""What ``cgctl run`` tells when a command has ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

import cgctl
from cgctl.cli.output import complain, human_duration, human_size, plain, print_json

__all__ = ["Outcome", "exit_status"]

_SIGNALLED: Final = 128
_TIMED_OUT: Final = 124


@attrs.frozen(kw_only=True)
class Outcome:
    """How a command has ended.

    Attributes:
        command: the program and its arguments.
        group: the name of the group that it ran in.
        returncode: its exit status, negative for a signal.
        timed_out: whether its time was over.
        oom_killed: whether the kernel killed any of its processes at a memory limit.
        wall_usec: how long it ran.
        limits: what was asked for, one spec a controller.
        stats: the final statistics.
    """

    command: Sequence[str]
    group: str
    returncode: int
    timed_out: bool
    oom_killed: bool
    wall_usec: int
    limits: dict[str, Any]
    stats: cgctl.Stats

    @property
    def status(self) -> int:
        """What cgctl exits with."""
        if self.timed_out:
            return _TIMED_OUT
        return exit_status(self.returncode)

    def facts(self) -> dict[str, Any]:
        """Return everything, for programs."""
        name = _signal_name(-self.returncode) if self.returncode < 0 else None
        return {"exit_status": self.status, "signal": name} | {
            field.name: plain(getattr(self, field.name)) for field in attrs.fields(Outcome)
        }

    def complaints(self) -> None:
        """Say on stderr what a person would otherwise wonder about."""
        if self.oom_killed:
            complain(f"out of memory: {self._memory()}; the kernel killed a process of it")
        if self.timed_out:
            complain(f"timed out after {human_duration(self.wall_usec)}")

    def print_json(self) -> None:
        """Print everything on stderr as JSON."""
        print_json(self.facts(), file=sys.stderr)

    def print_text(self) -> None:
        """Print the main things on stderr, for a person."""
        for line in self._lines():
            complain(line)

    def _memory(self) -> str:
        spec, memory = self.limits.get("memory"), self.stats.memory
        limit = spec.max if spec is not None else None
        peak = memory.peak if memory is not None else None
        told = "limit of a group above" if limit is None else f"limit {_amount(limit)}"
        return told + (f", peak {human_size(peak)}" if peak is not None else "")

    def _lines(self) -> Iterator[str]:
        code = self.returncode
        ended = f"killed by {_signal_name(-code)}" if code < 0 else f"exit status {code}"
        yield f"{ended} after {human_duration(self.wall_usec)}"
        cpu, memory, pids, stats_io = self.stats.cpu, self.stats.memory, self.stats.pids, self.stats.io
        if cpu is not None and cpu.usage_usec is not None:
            parts = [f"used {human_duration(cpu.usage_usec)}"]
            if cpu.user_usec is not None and cpu.system_usec is not None:
                parts.append(f"user {human_duration(cpu.user_usec)}, system {human_duration(cpu.system_usec)}")
            if cpu.nr_throttled:
                lost = human_duration(cpu.throttled_usec or 0)
                parts.append(f"throttled in {cpu.nr_throttled} of {cpu.nr_periods} periods, {lost}")
            yield f"cpu: {', '.join(parts)}"
        if memory is not None and memory.peak is not None:
            limit = self.limits["memory"].max if "memory" in self.limits else None
            yield f"memory: peak {human_size(memory.peak)}" + ("" if limit is None else f", limit {_amount(limit)}")
        for number, disk in ((stats_io.devices if stats_io is not None else None) or {}).items():
            if disk.rbytes or disk.wbytes:
                read, written = human_size(disk.rbytes or 0), human_size(disk.wbytes or 0)
                yield (
                    f"io: {disk.name or number}: read {read} in {disk.rios or 0} operations,"
                    f" written {written} in {disk.wios or 0}"
                )
        if pids is not None and pids.peak is not None:
            limit = self.limits["pids"].max if "pids" in self.limits else None
            refused = f", {pids.events_max} forks refused" if pids.events_max else ""
            yield f"pids: peak {pids.peak}" + ("" if limit is None else f", limit {limit}") + refused


def _amount(limit: Any) -> str:
    return human_size(limit) if isinstance(limit, int) else str(limit)


def exit_status(returncode: int) -> int:
    """Return what a shell makes of a program's end: 128+n for signal n."""
    return _SIGNALLED - returncode if returncode < 0 else returncode


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
