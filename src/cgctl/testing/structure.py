"""Cases of the tree itself: groups made and removed, controllers given on, what is inherited."""

from __future__ import annotations

from typing import Final

from cgctl.testing.case import Case, list_, mkdir, read, rmdir, write

__all__ = ["STRUCTURE"]

_MEMORY: Final = frozenset({"memory"})
_BOTH: Final = frozenset({"memory", "pids"})
_LONG: Final = "x" * 256

_ANY: Final = (
    Case("mkdir: a group is there", (mkdir("a"), list_("", "a"), rmdir("a"), list_("")), 0),
    Case("mkdir: nested", (mkdir("a"), mkdir("a/b"), list_("a", "b"), list_("a/b")), 0),
    Case("mkdir: there already", (mkdir("a"), mkdir("a", "EEXIST")), 0),
    Case("mkdir: the name of a file", (mkdir("cgroup.procs", "EEXIST"),), 0),
    Case("mkdir: no parent", (mkdir("a/b", "ENOENT"),), 0),
    Case("mkdir: a newline in the name", (mkdir("a\nb", "EINVAL"),), 0),
    Case(
        "mkdir: a space, a dot, other letters", (mkdir("a b"), mkdir(".a"), mkdir("ä"), list_("", "a b", ".a", "ä")), 0
    ),
    Case("mkdir: like a file, but none", (mkdir("cgroup.foo"), mkdir("memory.foo")), 0),
    Case("mkdir: a long name", (mkdir(_LONG[:255]), mkdir(_LONG)), 0),
    Case("rmdir: with a group below", (mkdir("a"), mkdir("a/b"), rmdir("a", "EBUSY"), rmdir("a/b"), rmdir("a")), 0),
    Case("rmdir: not there", (rmdir("a", "ENOENT"),), 0),
    Case("rmdir: a file", (rmdir("cgroup.procs", "ENOTDIR"),), 0),
    Case(
        "after rmdir: nothing is there",
        (
            *(mkdir("a"), rmdir("a"), read("a/cgroup.procs", "ENOENT"), write("a/cgroup.procs", "0", "ENOENT")),
            *(mkdir("a/b", "ENOENT"), rmdir("a", "ENOENT"), list_("")),
        ),
        0,
    ),
    Case("files: one that is not there", (read("cgroup.foo", "ENOENT"), write("cgroup.foo", "1", "ENOENT")), 0),
    Case("files: a write does not make one", (write("a.b", "1", "ENOENT"), read("a.b", "ENOENT")), 0),
    Case("write: nothing is nothing", (write("cgroup.procs", ""), read("cgroup.procs", "")), 0),
    Case(
        "write: too long", (write("cgroup.procs", " " * 4097, "E2BIG"), write("cgroup.procs", "0" * 5000, "E2BIG")), 0
    ),
    Case("write: as long as can be", (write("cgroup.procs", " " * 4091 + "abc\n", "EINVAL"),), 0),
    *(
        Case(f"procs: {data!r} is no process", (write("cgroup.procs", data, errno), read("cgroup.procs", "")), 0)
        for data, errno in (
            *(("abc", "EINVAL"), ("-1", "EINVAL"), ("1x", "EINVAL"), ("1 2", "EINVAL"), ("1.0", "EINVAL")),
            *(("99999999999", "EINVAL"), (" ", "EINVAL"), ("\n", "EINVAL"), ("4194305", "ESRCH"), ("999999", "ESRCH")),
        )
    ),
)

_CONTROL: Final = (
    Case(
        "subtree_control: files come and go",
        (
            *(mkdir("a"), read("a/memory.max", "ENOENT"), write("cgroup.subtree_control", "+memory")),
            *(read("a/memory.max", "max\n"), read("a/pids.max", "ENOENT"), read("a/cgroup.controllers", "memory\n")),
            *(write("cgroup.subtree_control", "-memory"), read("a/memory.max", "ENOENT")),
        ),
        controllers=_BOTH,
    ),
    Case(
        "subtree_control: values are lost",
        (
            *(mkdir("a"), write("cgroup.subtree_control", "+memory"), write("a/memory.max", "1M")),
            *(write("cgroup.subtree_control", "-memory"), write("cgroup.subtree_control", "+memory")),
            read("a/memory.max", "max\n"),
        ),
        controllers=_MEMORY,
    ),
    Case(
        "subtree_control: not above where it is used",
        (
            *(mkdir("a"), write("a/cgroup.subtree_control", "+pids", "ENOENT")),
            *(write("cgroup.subtree_control", "+pids"), write("a/cgroup.subtree_control", "+pids")),
            *(write("cgroup.subtree_control", "-pids", "EBUSY"), write("a/cgroup.subtree_control", "-pids")),
            *(write("cgroup.subtree_control", "-pids"), read("cgroup.subtree_control", "")),
        ),
        controllers=frozenset({"pids"}),
    ),
    Case(
        "subtree_control: all or nothing",
        (write("cgroup.subtree_control", "+memory +bogus", "EINVAL"), read("cgroup.subtree_control", "")),
        controllers=_MEMORY,
    ),
    Case(
        "subtree_control: the order is the kernel's",
        (write("cgroup.subtree_control", "+pids +memory"), read("cgroup.subtree_control", "memory pids\n")),
        controllers=_BOTH,
    ),
    Case(
        "subtree_control: nothing is inherited",
        (
            *(write("cgroup.subtree_control", "+memory +pids"), mkdir("a"), write("a/memory.max", "1M")),
            *(write("a/cgroup.subtree_control", "+memory"), mkdir("a/b"), read("a/b/memory.max", "max\n")),
            *(read("a/b/pids.max", "ENOENT"), read("a/b/cgroup.subtree_control", "")),
        ),
        controllers=_BOTH,
    ),
    Case("max.depth: 0", (write("cgroup.max.depth", "0"), mkdir("a", "EAGAIN"), list_("")), 2),
    Case("max.depth: 1", (write("cgroup.max.depth", "1"), mkdir("a"), mkdir("a/b", "EAGAIN")), 2),
    Case("max.descendants", (write("cgroup.max.descendants", "1"), mkdir("a"), mkdir("b", "EAGAIN")), 2),
    Case(
        "max.descendants: below what is there",
        (mkdir("a"), mkdir("b"), write("cgroup.max.descendants", "1"), list_("", "a", "b")),
    ),
    Case(
        "cgroup.stat: descendants",
        (
            mkdir("a"),
            mkdir("a/b"),
            read("cgroup.stat", "~nr_descendants 2"),
            rmdir("a/b"),
            read("cgroup.stat", "~nr_descendants 1"),
        ),
    ),
    Case(
        "freeze: what is below is frozen, and says so",
        (
            *(mkdir("a"), write("cgroup.freeze", "1"), read("cgroup.events", "~frozen 1")),
            *(read("a/cgroup.events", "~frozen 1"), read("a/cgroup.freeze", "0\n"), mkdir("b")),
            *(
                read("b/cgroup.events", "~frozen 1"),
                write("a/cgroup.freeze", "0"),
                read("a/cgroup.events", "~frozen 1"),
            ),
            *(write("cgroup.freeze", "0"), read("a/cgroup.events", "~frozen 0")),
        ),
    ),
    Case("freeze: 2", (write("cgroup.freeze", "2", "ERANGE"), read("cgroup.freeze", "0\n"))),
    Case("kill: it cannot be read", (read("cgroup.kill", "EINVAL"),), since="5.14"),
    Case("kill: an empty group", (write("cgroup.kill", "1"), read("cgroup.events", "~populated 0")), since="5.14"),
    Case(
        "type: threaded",
        (
            *(mkdir("a"), mkdir("b"), read("a/cgroup.type", "domain\n"), write("a/cgroup.type", "threaded")),
            *(read("a/cgroup.type", "threaded\n"), read("cgroup.type", "domain threaded\n")),
            *(read("b/cgroup.type", "domain invalid\n"), write("a/cgroup.type", "domain", "EINVAL")),
            *(
                read("a/cgroup.procs", "EOPNOTSUPP"),
                read("a/cgroup.threads", ""),
                rmdir("a"),
                read("cgroup.type", "domain\n"),
            ),
        ),
    ),
)

_FOUND: Final = (
    Case(
        "cpu.max: a burst and the quota together are not too much",
        (
            *(write("cpu.max", "1000"), write("cpu.max.burst", "1000"), write("cpu.max", "17592186044415", "EINVAL")),
            *(write("cpu.max", "17592186043415"), write("cpu.max.burst", "1001", "EINVAL")),
        ),
        controllers=frozenset({"cpu"}),
        since="6.1",
    ),
    Case(
        "rdma: resources are read before the device is looked for",
        (
            *(write("rdma.max", "x", "ENODEV"), write("rdma.max", "x hca_handle=2 hca_object=max", "ENODEV")),
            *(write("rdma.max", "x 6", "EINVAL"), write("rdma.max", "x nosuch=1", "EINVAL")),
        ),
        0,
        controllers=frozenset({"rdma"}),
    ),
    Case(
        "io.max: a number is looked at before its name",
        (write("io.max", "7:0 foo=0", "ERANGE"), write("io.max", "7:0 foo=1", "EINVAL"), read("io.max", "")),
        controllers=frozenset({"io"}),
        devices=frozenset({"7:0"}),
    ),
    Case(
        "io.max: a device, and nothing to limit of it",
        (write("io.max", "7:0 "), write("io.max", "7:0\n"), write("io.max", "7:0", "EINVAL"), read("io.max", "")),
        controllers=frozenset({"io"}),
        devices=frozenset({"7:0"}),
    ),
    Case(
        "uclamp: a number that runs over",
        (
            *(write("cpu.uclamp.min", "9223372036854775808"), read("cpu.uclamp.min", "0.00\n")),
            *(write("cpu.uclamp.min", "9223372036854775809"), read("cpu.uclamp.min", "1.00\n")),
            *(write("cpu.uclamp.min", "+5", "EINVAL"), write("cpu.uclamp.min", "-5", "ERANGE")),
        ),
        controllers=frozenset({"cpu"}),
        since="6.18",
        file="cpu.uclamp.min",
        optional=True,
    ),
    Case(
        "cpuset: what may be exclusive is what the groups above may give",
        (
            *(write("cpuset.cpus.exclusive", "0"), read("cpuset.cpus.exclusive.effective", "0\n")),
            *(write("cgroup.subtree_control", "+cpuset"), mkdir("a"), mkdir("b")),
            *(write("a/cpuset.cpus.exclusive", "0"), read("a/cpuset.cpus.exclusive.effective", "0\n")),
            *(read("b/cpuset.cpus.exclusive.effective", "\n"), write("cpuset.cpus.exclusive", "\n")),
            read("cpuset.cpus.exclusive.effective", "\n"),
        ),
        controllers=frozenset({"cpuset"}),
        since="6.12",
    ),
    Case(
        "cpuset: what one group has for itself is not all that another asks for",
        (
            *(write("cgroup.subtree_control", "+cpuset"), mkdir("a"), mkdir("b"), write("a/cpuset.cpus", "0-1")),
            *(write("b/cpuset.cpus.exclusive", "0-1\n1", "EINVAL"), write("b/cpuset.cpus.exclusive", "1")),
            *(read("b/cpuset.cpus.exclusive", "1\n"), write("a/cpuset.cpus", "1"), read("a/cpuset.cpus", "1\n")),
        ),
        controllers=frozenset({"cpuset"}),
        since="6.12",
    ),
    Case(
        "cpu.max: what is longer than the largest number goes on as the period",
        (
            write("cpu.max", "100000117592186044415", "EINVAL"),
            *(write("cpu.max", "0000000000000005000050000"), read("cpu.max", "50000 50000\n")),
        ),
        2,
        controllers=frozenset({"cpu"}),
    ),
)
"""What was found by driving both kernels side by side at random."""

_V1: Final = (
    Case(
        "v1: tasks and procs",
        (read("tasks", ""), write("tasks", "abc", "EINVAL"), write("tasks", "999999", "ESRCH")),
        1,
    ),
    Case("v1: nothing is enabled", (read("cgroup.subtree_control", "ENOENT"), read("cgroup.controllers", "ENOENT")), 1),
    Case(
        "v1 cpuset: within the parent's",
        (mkdir("a"), write("a/cpuset.cpus", "0", "EACCES"), write("cpuset.cpus", "0"), write("a/cpuset.cpus", "0")),
        1,
        controllers=frozenset({"cpuset"}),
    ),
    Case(
        "v1 cpu: no more than the parent's, no less than a child's",
        (
            *(mkdir("a"), write("cpu.cfs_quota_us", "50000"), write("a/cpu.cfs_quota_us", "60000", "EINVAL")),
            *(write("a/cpu.cfs_quota_us", "40000"), write("cpu.cfs_quota_us", "30000", "EINVAL")),
            *(read("cpu.cfs_quota_us", "50000\n"), write("cpu.cfs_quota_us", "40000")),
        ),
        1,
        controllers=frozenset({"cpu"}),
    ),
    Case(
        "v1 freezer: what is below is frozen",
        (
            *(mkdir("a"), write("freezer.state", "FROZEN"), read("a/freezer.state", "FROZEN\n")),
            *(read("a/freezer.self_freezing", "0\n"), read("a/freezer.parent_freezing", "1\n")),
            *(write("freezer.state", "THAWED"), read("a/freezer.state", "THAWED\n")),
        ),
        1,
        controllers=frozenset({"freezer"}),
    ),
    Case(
        "v1 devices: no more than the parent's",
        (
            *(mkdir("a"), write("devices.deny", "c 1:3 rwm"), write("a/devices.deny", "a")),
            *(write("a/devices.allow", "c 1:3 r", "EPERM"), write("a/devices.allow", "c 1:5 rwm")),
            read("a/devices.list", "c 1:5 rwm\n"),
        ),
        1,
        controllers=frozenset({"devices"}),
    ),
)

_ALL_DEVICES, _NO_DEVICES = "allow a *:* rwm", "deny a *:* rwm"
_PROGRAMS: Final = (
    Case(
        "devices: what is written is read, in order, and not inherited",
        (
            *(read("@devices", f"{_ALL_DEVICES}\n"), mkdir("a")),
            write("@devices", f"{_NO_DEVICES}\nallow c 136:* wr\ndeny c 1:5 m\nallow c 1:3 r\nallow c 1:3 w"),
            read("@devices", f"{_NO_DEVICES}\nallow c 1:3 rw\nallow c 136:* rw\ndeny c 1:5 m\n"),
            *(read("a/@devices", f"{_ALL_DEVICES}\n"), write("@devices", f"{_ALL_DEVICES}\ndeny b *:* rwm\n")),
            read("@devices", f"{_ALL_DEVICES}\ndeny b *:* rwm\n"),
            *(write("@devices", _ALL_DEVICES), read("@devices", f"{_ALL_DEVICES}\n")),
        ),
        programs=True,
    ),
    Case(
        "devices: what is no such text changes nothing",
        (
            write("@devices", f"{_NO_DEVICES}\nallow c 1:3 r"),
            *(
                write("@devices", text, "EINVAL")
                for text in ("", "allow c 1:3 r", _NO_DEVICES * 2, f"{_NO_DEVICES}\nallow c 4096:1 r", "c 1:3 r", "a")
            ),
            read("@devices", f"{_NO_DEVICES}\nallow c 1:3 r\n"),
        ),
        programs=True,
    ),
    Case("programs: of no group", (read("a/@devices", "ENOENT"), write("a/@devices", _NO_DEVICES, "ENOENT")), 2),
    Case("programs: of no such sort", (read("@x", "ENOENT"), write("@x", "1", "ENOENT")), 2),
)

STRUCTURE: Final = (*_ANY, *_CONTROL, *_FOUND, *_PROGRAMS, *_V1)
"""In every hierarchy, or in those of one version."""
