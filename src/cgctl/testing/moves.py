"""Cases with a process: where it may go, who counts it, what it keeps from being removed."""

from __future__ import annotations

from typing import Final

from cgctl.testing.case import Case, mkdir, read, rmdir, write

__all__ = ["MOVES"]

_MEMORY: Final = frozenset({"memory"})
_PIDS: Final = frozenset({"pids"})
# A new v1 cpuset is empty, and takes no process.
_CPUSET: Final = frozenset({"cpuset"})

MOVES: Final = (
    Case(
        "a process: in, and rmdir is refused",
        (mkdir("a"), write("a/cgroup.procs", "PIDd"), read("a/cgroup.procs", "~PIDd"), rmdir("a", "EBUSY")),
        0,
        not_v1=_CPUSET,
        pid=True,
    ),
    Case(
        "a process: out, and it can be removed",
        (mkdir("a"), mkdir("b"), *(write(f"{name}/cgroup.procs", "PIDd") for name in "aba"), rmdir("b")),
        0,
        not_v1=_CPUSET,
        pid=True,
    ),
    Case(
        "a process: populated is told upwards",
        (
            *(mkdir("a"), mkdir("a/b"), read("cgroup.events", "~populated 0"), write("a/b/cgroup.procs", "PIDd")),
            *(read(f"{path}cgroup.events", "~populated 1") for path in ("", "a/", "a/b/")),
            *(mkdir("c"), read("c/cgroup.events", "~populated 0")),
        ),
        pid=True,
    ),
    Case(
        "a process: not beside a domain controller",
        (
            *(mkdir("a"), write("cgroup.subtree_control", "+memory"), write("cgroup.procs", "PIDd", "EBUSY")),
            *(write("a/cgroup.procs", "PIDd"), read("a/memory.max", "max\n")),
        ),
        controllers=_MEMORY,
        pid=True,
    ),
    Case(
        "a process: then no domain controller",
        (mkdir("a"), write("cgroup.procs", "PIDd"), write("cgroup.subtree_control", "+memory", "EBUSY")),
        controllers=_MEMORY,
        pid=True,
    ),
    Case(
        "a process: counted",
        (read("pids.current", "0\n"), write("cgroup.procs", "PIDd"), read("pids.current", "1\n")),
        0,
        controllers=_PIDS,
        not_v1=_CPUSET,
        pid=True,
    ),
    Case(
        "a process: one more than pids.max may be moved in",
        (write("pids.max", "0"), write("cgroup.procs", "PIDd"), read("pids.current", "1\n"), read("pids.max", "0\n")),
        0,
        controllers=_PIDS,
        not_v1=_CPUSET,
        pid=True,
    ),
    Case(
        "a process: moved below, where nothing counts it, is not counted twice",
        (
            *(mkdir("a"), write("cgroup.procs", "PIDd"), read("pids.peak", "1\n"), write("a/cgroup.procs", "PIDd")),
            *(read("pids.current", "1\n"), read("pids.peak", "1\n"), write("cgroup.procs", "PIDd")),
        ),
        controllers=_PIDS,
        pid=True,
        since="6.12",
    ),
    Case(
        "a process: counted below as soon as that is asked for",
        (
            *(mkdir("a"), mkdir("a/b"), write("a/b/cgroup.procs", "PIDd"), write("cgroup.subtree_control", "+pids")),
            *(read("a/pids.current", "1\n"), read("pids.current", "1\n")),
            *(write("cgroup.subtree_control", "-pids"), read("pids.current", "1\n")),
            *(write("cgroup.subtree_control", "+pids"), read("a/pids.current", "1\n")),
        ),
        controllers=_PIDS,
        pid=True,
    ),
    Case(
        "threads: the process stays above",
        (
            *(write("cgroup.procs", "PIDd"), mkdir("a"), write("a/cgroup.type", "threaded")),
            *(write("a/cgroup.threads", "PIDd"), read("a/cgroup.threads", "PIDd\n"), read("cgroup.threads", "")),
            *(read("cgroup.procs", "PIDd\n"), read("a/cgroup.procs", "EOPNOTSUPP"), rmdir("a", "EBUSY")),
            *(write("cgroup.threads", "PIDd"), rmdir("a"), read("cgroup.type", "domain\n")),
        ),
        pid=True,
    ),
    Case(
        "threads: none from elsewhere",
        (
            *(mkdir("a"), mkdir("b"), mkdir("b/c"), write("b/c/cgroup.type", "threaded")),
            *(write("a/cgroup.procs", "PIDd"), write("b/c/cgroup.threads", "PIDd", "EOPNOTSUPP")),
            *(write("b/cgroup.procs", "PIDd"), write("b/c/cgroup.threads", "PIDd"), mkdir("b/d")),
            *(read("b/d/cgroup.type", "domain invalid\n"), write("b/d/cgroup.procs", "PIDd", "EOPNOTSUPP")),
        ),
        pid=True,
    ),
    Case(
        "threads: whose domain becomes threaded has the one above, with a group in between that is invalid",
        (
            *(mkdir("a"), mkdir("a/b"), mkdir("a/b/c"), write("a/b/c/cgroup.type", "threaded")),
            *(write("a/cgroup.type", "threaded"), read("a/b/cgroup.type", "domain invalid\n")),
            *(write("cgroup.procs", "PIDd"), write("a/b/c/cgroup.threads", "PIDd")),
            *(read("cgroup.procs", "PIDd\n"), read("a/b/cgroup.procs", "")),
            *(write("a/cgroup.threads", "PIDd"), write("cgroup.procs", "PIDd")),
        ),
        pid=True,
    ),
    Case(
        "threads: no group with a process becomes one",
        (mkdir("a"), write("a/cgroup.procs", "PIDd"), write("a/cgroup.type", "threaded", "EOPNOTSUPP")),
        pid=True,
    ),
    Case(
        "v1 freezer: a frozen process may leave",
        (
            *(mkdir("a"), mkdir("a/b"), write("a/freezer.state", "FROZEN"), write("a/b/cgroup.procs", "PIDd")),
            *(write("a/b/freezer.state", "THAWED"), read("a/b/freezer.parent_freezing", "1\n")),
            *(write("cgroup.procs", "PIDd"), read("a/b/cgroup.procs", ""), read("a/freezer.state", "FROZEN\n")),
            *(rmdir("a/b"), rmdir("a")),
        ),
        1,
        controllers=frozenset({"freezer"}),
        pid=True,
    ),
    Case(
        "v1 cpuset: empty at first, and takes nobody",
        (read("cpuset.cpus", "\n"), read("cpuset.mems", "\n"), write("cgroup.procs", "PIDd", "ENOSPC")),
        1,
        controllers=_CPUSET,
        pid=True,
    ),
)
"""In every hierarchy, or in those of one version."""
