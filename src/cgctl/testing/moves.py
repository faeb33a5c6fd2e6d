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
        "v1 cpuset: empty at first, and takes nobody",
        (read("cpuset.cpus", "\n"), read("cpuset.mems", "\n"), write("cgroup.procs", "PIDd", "ENOSPC")),
        1,
        controllers=_CPUSET,
        pid=True,
    ),
)
"""In every hierarchy, or in those of one version."""
