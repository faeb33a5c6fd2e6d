"""perf can count a group by itself: it is in the hierarchy where perf looks for it."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import cgctl
from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make
from tests.require import skip_unless

pytestmark = pytest.mark.host

# perf_event_open(2) on x86-64: a software event, the task clock, of one cgroup on one processor.
_PERF_EVENT_OPEN, _SOFTWARE, _TASK_CLOCK, _SIZE = 298, 1, 1, 112
_BY_CGROUP, _CLOEXEC = 4, 8


@contextmanager
def _clocks(directory: str) -> Iterator[list[int]]:
    """Count the processor time of a group's directory, by bare system calls."""
    libc = ctypes.CDLL(None, use_errno=True)
    attr = ctypes.create_string_buffer(struct.pack("IIQ", _SOFTWARE, _SIZE, _TASK_CLOCK), _SIZE)
    group = os.open(directory, os.O_RDONLY)
    fds: list[int] = []
    try:
        for cpu in sorted(os.sched_getaffinity(0)):
            fd = libc.syscall(_PERF_EVENT_OPEN, attr, group, cpu, -1, _BY_CGROUP | _CLOEXEC)
            if fd < 0:
                skip_unless("perf_event_open", f"perf_event_open: {os.strerror(ctypes.get_errno())}")
            fds.append(fd)
        yield fds
    finally:
        for fd in (group, *fds):
            os.close(fd)


def _nanoseconds(fds: list[int]) -> int:
    return sum(struct.unpack("Q", os.read(fd, 8))[0] for fd in fds)


def test_a_group_is_counted(make: Make) -> None:
    """What runs in the group, and below, is counted; what runs beside it is not."""
    lacks.require("perf_event")
    group, other = make(perf_event=True), make(perf_event=True)
    directories = group.paths()
    directory = directories.get("perf_event", directories.get("unified", ""))
    with _clocks(directory) as clocks:
        other.run(payloads.spinner(0.3), capture_output=True)
        before = _nanoseconds(clocks)
        done = group.run(payloads.spinner(0.3), capture_output=True, text=True)
        counted = _nanoseconds(clocks) - before

    used = float(done.stdout.split()[1]) * 1e9
    assert before == 0
    # Starting the interpreter counts too.
    assert used * 0.9 <= counted


def test_it_is_among_the_limits(make: Make) -> None:
    """A group that perf can find has the controller; it has nothing to set."""
    lacks.require("perf_event")

    assert make(perf_event=True).limits().perf_event == cgctl.PerfEvent()
