"""What the differential run found of processes, where the contract has no case: it forks and kills nobody."""

from __future__ import annotations

import pytest

from cgctl.testing import FakeSystem

_ROOT = "/sys/fs/cgroup"


def test_a_refused_fork_is_in_the_peak_below_the_limit() -> None:
    """The kernel charges from below, and takes it back where it comes to the limit (``pids_try_charge``)."""
    kernel = FakeSystem("v2", kernel="6.12").kernel
    kernel.write(f"{_ROOT}/cgroup.subtree_control", b"+pids")
    kernel.mkdir(f"{_ROOT}/a")
    kernel.write(f"{_ROOT}/a/cgroup.subtree_control", b"+pids")
    kernel.mkdir(f"{_ROOT}/a/b")
    kernel.write(f"{_ROOT}/a/pids.max", b"1")
    task = kernel.spawn(f"{_ROOT}/a/b")
    with pytest.raises(BlockingIOError):
        task.fork()

    assert kernel.read(f"{_ROOT}/a/b/pids.peak") == b"2\n"
    assert kernel.read(f"{_ROOT}/a/pids.peak") == b"1\n"


def test_a_process_lives_while_one_of_its_threads_is_frozen() -> None:
    """v1 freezes threads; a killed process ends when the last of them is thawed."""
    kernel = FakeSystem("v1", kernel="6.1").kernel
    kernel.mkdir(f"{_ROOT}/freezer/a")
    task = kernel.spawn()
    kernel.write(f"{_ROOT}/freezer/a/tasks", b"%d" % task.thread().tid)
    kernel.write(f"{_ROOT}/freezer/a/freezer.state", b"FROZEN")
    kernel.signal(task.pid, 9)
    assert task.alive
    kernel.write(f"{_ROOT}/freezer/a/freezer.state", b"THAWED")

    assert not task.alive


def test_processes_of_a_threaded_domain_are_listed_by_when_their_groups_were_filled() -> None:
    """Not by when those were made: ``css_task_iter`` goes by sets of groups, which begin with their first thread."""
    kernel = FakeSystem("v2", kernel="7.3").kernel
    for name in ("a", "a/first", "a/second"):
        kernel.mkdir(f"{_ROOT}/{name}")
    for name in ("first", "second"):
        kernel.write(f"{_ROOT}/a/{name}/cgroup.type", b"threaded")
    one, other = kernel.spawn(f"{_ROOT}/a/second"), kernel.spawn(f"{_ROOT}/a/first")

    assert kernel.read(f"{_ROOT}/a/cgroup.procs").split() == [b"%d" % one.pid, b"%d" % other.pid]


def test_threads_that_are_in_one_place_move_one_after_the_other() -> None:
    """The last is the one that comes from below: counted in both places for a moment (``cgroup_migrate_add_task``)."""
    kernel = FakeSystem("v1", kernel="6.18").kernel
    for name in ("pids/a", "pids/a/b"):
        kernel.mkdir(f"{_ROOT}/{name}")
    task = kernel.spawn()
    second, _third = task.thread(), task.thread()
    kernel.write(f"{_ROOT}/pids/a/b/tasks", b"%d" % second.tid)
    kernel.write(f"{_ROOT}/pids/a/cgroup.procs", b"%d" % task.pid)

    assert kernel.read(f"{_ROOT}/pids/a/pids.current") == b"3\n"
    assert kernel.read(f"{_ROOT}/pids/a/pids.peak") == b"4\n"
