"""From a refused step to a sentence: cause and remedy."""

from __future__ import annotations

from errno import (
    E2BIG,
    EACCES,
    EAGAIN,
    EBUSY,
    EEXIST,
    EINVAL,
    EIO,
    ENODEV,
    ENOENT,
    ENOSPC,
    EOPNOTSUPP,
    EPERM,
    ERANGE,
    EROFS,
    ESRCH,
)

import pytest

from cgctl.diagnose import explain, needs
from cgctl.errors import (
    CgctlError,
    GroupExistsError,
    GroupNotFoundError,
    StepError,
    UnsupportedError,
    errno_name,
)
from cgctl.plan import Chown, Mkdir, Rmdir, Signal, Snapshot, Step, Write

G = "/sys/fs/cgroup/p1"
ABOVE = "/sys/fs/cgroup"
THERE: dict[str, bytes | int] = {f"{G}/cgroup.procs": b""}

Case = tuple[Step, int, dict[str, bytes | int], type[CgctlError], tuple[str, ...]]


def _write(name: str, data: bytes = b"1", feature: str = "", since: str | None = None) -> Write:
    return Write(path=f"{G}/{name}", data=data, feature=feature, since=since)


# A step, its errno, what the files around it read, the error's class, and fragments of cause and remedy.
LAPSED: list[Case] = [
    (
        _write("cpuset.cpus.partition", b"root"),
        EINVAL,
        {f"{G}/cpuset.cpus.partition": f"root invalid{reason}\n".encode()},
        StepError,
        (f"the kernel takes it, and says of it 'root invalid{reason}'; {remedy}",),
    )
    for reason, remedy in [
        ("", "a group beside it has some of its CPUs"),
        (" (cpuset.cpus is empty)", "set cpus with it"),
        (" (cpuset.cpus and cpuset.cpus.exclusive are empty)", "set cpus with it"),
        (" (Parent unable to distribute cpu downstream)", "leave the group above a CPU"),
        (" (Parent is not a partition root)", "make the group above a partition first"),
        (" (Parent is an invalid partition root)", "make the group above a partition first"),
        (" (Cpu list in cpuset.cpus not exclusive)", "a group beside it has some of these CPUs"),
        (" (Invalid cpu list in cpuset.cpus.exclusive)", "a group beside it has some of these CPUs"),
        (" (No cpu available due to hotplug)", "its CPUs are offline"),
        (" (partition config conflicts with housekeeping setup)", "the kernel was booted to isolate"),
        (" (something new)", "give other CPUs"),
    ]
]

CASES: list[Case] = [
    # the group
    (Mkdir(path=G), EEXIST, THERE, GroupExistsError, ("there already", "exist_ok=True")),
    (
        Mkdir(path=f"{G}/x"),
        EEXIST,
        {f"{G}/x/cgroup.procs": ENOENT},
        StepError,
        ("'x' is the name of an interface file",),
    ),
    (Mkdir(path=G), ENOENT, {}, GroupNotFoundError, ("the parent /sys/fs/cgroup is not there", "removed meanwhile")),
    (Mkdir(path=G), ENODEV, {}, GroupNotFoundError, ("the parent /sys/fs/cgroup is not there",)),
    (_write("pids.max"), ENODEV, {f"{G}/cgroup.procs": ENODEV}, GroupNotFoundError, (f"the group {G} is not there",)),
    (_write("pids.max"), ENOENT, {f"{G}/cgroup.procs": ENOENT}, GroupNotFoundError, ("or never made",)),
    (
        Mkdir(path=G),
        EAGAIN,
        {f"{ABOVE}/cgroup.max.depth": b"max\n", f"{ABOVE}/cgroup.max.descendants": b"10\n"},
        StepError,
        ("cgroup.max.depth max", "cgroup.max.descendants 10", "raise it or remove groups"),
    ),
    (Rmdir(path=G), EBUSY, {f"{G}/cgroup.procs": b"7\n8\n"}, StepError, ("holds processes (7 8)", "kill() the group")),
    (Chown(path=G, uid=7, gid=8), EPERM, THERE, StepError, ("only root gives a group away", "run as root")),
    (Chown(path=G, uid=7, gid=8), ENOENT, {}, GroupNotFoundError, ("removed meanwhile",)),
    (Rmdir(path=G), EBUSY, THERE, StepError, ("groups or dying processes", "kill() the group")),
    # files that are not there
    (
        _write("memory.max"),
        ENOENT,
        {**THERE, f"{ABOVE}/cgroup.subtree_control": b""},
        StepError,
        ("'memory' is not enabled", "(enabled: none)", "enable it there"),
    ),
    (
        _write("cpu.max", feature="cpu.max"),
        ENOENT,
        {**THERE, f"{ABOVE}/cgroup.subtree_control": b"cpuset\n"},
        StepError,
        ("'cpu' is not enabled", "(enabled: cpuset)", "ask systemd to delegate it"),
    ),
    (
        _write("memory.zswap.max", feature="memory.zswap_max", since="5.19"),
        ENOENT,
        {**THERE, f"{ABOVE}/cgroup.subtree_control": b"memory\n"},
        UnsupportedError,
        ("memory.zswap_max is not supported here (since Linux 5.19)", "no memory.zswap.max"),
    ),
    (
        _write("cpu.idle", feature="cpu.idle", since="5.15"),
        ENOENT,
        THERE,
        UnsupportedError,
        ("cpu.idle is not supported here (since Linux 5.15)", "this kernel has no cpu.idle"),
    ),
    (
        _write("cgroup.pressure", feature="core.pressure", since="6.1"),
        ENOENT,
        {**THERE, f"{ABOVE}/cgroup.subtree_control": b""},
        UnsupportedError,
        ("core.pressure is not supported here (since Linux 6.1)",),
    ),
    # programs in place of files
    (
        _write("@net_class", feature="net.classid", since="4.20"),
        EOPNOTSUPP,
        THERE,
        UnsupportedError,
        ("net.classid is not supported here (since Linux 4.20)", "CONFIG_CGROUP_BPF"),
    ),
    (_write("@net_class"), EPERM, THERE, UnsupportedError, ("may not load programs", "run as root")),
    (_write("@net_class"), EPERM, {f"{G}/@net_class": EPERM}, UnsupportedError, ("may not attach programs", "as root")),
    (_write("@net_class"), E2BIG, THERE, StepError, ("64 programs of others", "detach some")),
    (
        _write("net_prio.ifpriomap", b"eth9 5"),
        ENODEV,
        THERE,
        StepError,
        ("no interface 'eth9'", "initial network namespace", "ip link"),
    ),
    # controllers
    (
        _write("cgroup.subtree_control", b"+memory"),
        ENOENT,
        {**THERE, f"{G}/cgroup.controllers": b"cpu pids\n"},
        StepError,
        ("not available in /sys/fs/cgroup/p1 (it has: cpu pids)", "enable it in the group above", "mounted as v1"),
    ),
    (
        _write("cgroup.subtree_control", b"+memory"),
        EBUSY,
        {f"{G}/cgroup.procs": b"1\n2\n3\n4\n5\n6\n"},
        StepError,
        ("the group holds processes (1 2 3 4 5)", "move them to a leaf"),
    ),
    (_write("cgroup.subtree_control"), EBUSY, THERE, StepError, ("holds processes (dying ones)",)),
    (
        _write("cgroup.subtree_control", b"+memory"),
        EOPNOTSUPP,
        {f"{G}/cgroup.type": b"domain threaded\n"},
        StepError,
        ("EOPNOTSUPP", "the group is 'domain threaded'", "use another parent"),
    ),
    (_write("cgroup.subtree_control", b"+x"), EINVAL, {}, StepError, ("no such controller", "RT_GROUP_SCHED")),
    (_write("cgroup.subtree_control"), EACCES, {}, UnsupportedError, ("this user may not change", "Delegate=yes")),
    # processes
    (_write("cgroup.procs", b"7"), ESRCH, {}, StepError, ("no such process", "has ended")),
    (
        _write("cgroup.procs", b"7"),
        EBUSY,
        {f"{G}/cgroup.subtree_control": b"memory pids\n"},
        StepError,
        ("enabled for groups below it (memory pids)", "use a group below it"),
    ),
    (
        _write("cgroup.procs", b"7"),
        EOPNOTSUPP,
        {f"{G}/cgroup.type": b"domain invalid\n"},
        StepError,
        ("type is 'domain invalid'", "use another group"),
    ),
    (
        _write("cgroup.procs", b"7"),
        EOPNOTSUPP,
        {f"{G}/cgroup.type": b"threaded\n"},
        StepError,
        ("type is 'threaded'", "add the process there"),
    ),
    (
        _write("cgroup.threads", b"7"),
        EOPNOTSUPP,
        {f"{G}/cgroup.type": b"domain\n"},
        StepError,
        ("type is 'domain'", "make it threaded", "add the process to the group above"),
    ),
    (
        _write("cgroup.subtree_control", b"+cpu +pids"),
        EOPNOTSUPP,
        {f"{G}/cgroup.type": b"domain\n"},
        StepError,
        ("so do groups below it", "a threaded domain", "move its own processes to a leaf"),
    ),
    # types
    (_write("cgroup.type", b"domain"), EINVAL, {}, StepError, ("for ever", "make it anew")),
    (
        _write("cgroup.type", b"threaded"),
        EOPNOTSUPP,
        {f"{ABOVE}/cgroup.subtree_control": b"cpu memory\n"},
        StepError,
        (f"{ABOVE} has controllers enabled that do not count by thread (memory)",),
    ),
    (
        _write("cgroup.type", b"threaded"),
        EOPNOTSUPP,
        {f"{ABOVE}/cgroup.type": b"domain invalid\n"},
        StepError,
        (f"{ABOVE} is below a threaded group", "make it threaded first"),
    ),
    (
        _write("cgroup.type", b"threaded"),
        EOPNOTSUPP,
        {f"{G}/cgroup.procs": b"7\n"},
        StepError,
        ("the group holds processes (7)", "before anybody is in it"),
    ),
    (_write("cgroup.type", b"threaded"), EOPNOTSUPP, {}, StepError, ("cannot be a threaded domain",)),
    (
        _write("tasks", b"7"),
        ENOSPC,
        {f"{G}/cpuset.cpus": b"0-3\n", f"{G}/cpuset.mems": b"\n"},
        StepError,
        ("; cpuset.mems of the group is empty", "set cpuset="),
    ),
    (_write("cgroup.procs", b"7"), ENOSPC, {}, StepError, ("cpuset.cpus or cpuset.mems of the group is empty",)),
    (_write("cgroup.procs", b"7"), EINVAL, {}, StepError, ("kernel thread or a real-time task", "cannot be moved")),
    (_write("cgroup.procs", b"7"), EACCES, {}, StepError, ("common ancestor", "delegated group that holds both")),
    (_write("cgroup.threads", b"7"), EAGAIN, {}, StepError, ("a limit of the group is reached", "raise it")),
    # settings
    (
        _write("memory.limit_in_bytes"),
        EBUSY,
        {f"{G}/memory.usage_in_bytes": b"83886080\n"},
        StepError,
        ("uses 83886080 bytes", "free memory, or give a higher limit"),
    ),
    (_write("memory.memsw.limit_in_bytes"), EINVAL, {}, StepError, ("limit <= memory+swap", "consistent pair")),
    (_write("cpu.shares"), EINVAL, {f"{G}/cpu.idle": b"1\n"}, StepError, ("the group is idle", "idle=False first")),
    (
        _write("cpu.cfs_quota_us"),
        EINVAL,
        {f"{ABOVE}/cpu.cfs_quota_us": b"50000\n", f"{ABOVE}/cpu.cfs_period_us": b"100000\n"},
        StepError,
        ("parent's quota (50000 of 100000 us)", "ask for less"),
    ),
    *LAPSED,
    (
        _write("cpu.rt_runtime_us"),
        EINVAL,
        {f"{ABOVE}/cpu.rt_runtime_us": b"0\n", f"{ABOVE}/cpu.rt_period_us": b"1000000\n"},
        StepError,
        ("at most that of the group above (0 of 1000000 us)", "give the group above one first"),
    ),
    (_write("cpu.rt_runtime_us"), EBUSY, {}, StepError, ("real-time tasks are in the group", "move them away first")),
    (_write("memory.reclaim", b"100"), EAGAIN, {}, StepError, ("a part at most", "ask for less, or allow swap")),
    *[
        (
            _write("memory.reclaim", b"100 swappiness=" + value),
            EINVAL,
            THERE,
            UnsupportedError,
            (f"memory.reclaim with swappiness is not supported here (since Linux {since})",),
        )
        for value, since in ((b"60", "6.9"), (b"max", "6.18"))
    ],
    (
        _write("cpuset.cpus.partition", b"root"),
        EINVAL,
        {f"{G}/cpuset.cpus.partition": b"member\n"},
        StepError,
        ("a partition needs cpus of its own", "this kernel does not say which it is"),
    ),
    (
        _write("cpuset.cpus.partition", b"isolated"),
        EINVAL,
        {f"{G}/cpuset.cpus.partition": b"member\n"},
        UnsupportedError,
        ("cpuset.partition=isolated is not supported here (since Linux 6.1)",),
    ),
    (_write("cpuset.cpus"), ERANGE, {}, StepError, ("beyond this machine's", "/sys/devices/system/cpu/possible")),
    (
        _write("cpuset.cpus"),
        EACCES,
        {f"{ABOVE}/cpuset.cpus": b"0-1\n"},
        StepError,
        ("must lie within its parent's (0-1)", "ask for a part of it"),
    ),
    (_write("cpuset.cpus"), ENOSPC, {}, StepError, ("cannot be empty", "move them away first")),
    (_write("cpuset.mems"), EBUSY, {}, StepError, ("a group below still uses", "shrink it first")),
    (
        _write("misc.max", b"sev 5", "misc.max"),
        EINVAL,
        {f"{G}/misc.max": b""},
        UnsupportedError,
        ("misc.max", "no resource 'sev' (it has: none)"),
    ),
    (
        _write("rdma.max", b"rxe1 hca_handle=5"),
        ENODEV,
        {f"{G}/rdma.max": b"rxe0 hca_handle=max hca_object=max\n"},
        UnsupportedError,
        ("rdma.max", "no device 'rxe1' (it has: rxe0)"),
    ),
    (
        _write("rdma.max", b"rxe0 wings=5"),
        EINVAL,
        {f"{G}/rdma.max": b"rxe0 hca_handle=max hca_object=max\n"},
        StepError,
        ("not every word of 'rxe0 wings=5'", "rdma.max shows"),
    ),
    (_write("dmem.low", b"r 5"), EINVAL, {}, UnsupportedError, ("dmem.low", "no region 'r' (it has: none)")),
    (_write("cpuset.mems"), EINVAL, {}, StepError, ("memory node is not online", "(the parent has none)")),
    # privilege
    (_write("pids.max"), EROFS, {}, StepError, ("mounted read-only", "docker run --privileged", "remount it")),
    (_write("pids.max"), EACCES, {}, StepError, (f"this user may not change {G}", "run as root", "Delegate=yes")),
    (_write("pids.max"), EPERM, {}, StepError, (f"this user may not change {G}",)),
    (Rmdir(path=G), EACCES, {}, StepError, (f"this user may not change {ABOVE}", "run as root")),
    (
        Mkdir(path=G),
        EACCES,
        {},
        UnsupportedError,
        (f"a group in {ABOVE} is not supported", "mkdir", "EACCES", "as root"),
    ),
    (Mkdir(path=G), EROFS, {}, UnsupportedError, (f"a group in {ABOVE}", "EROFS", "mounted read-only")),
    (Signal(pid=7, number=9), EPERM, {}, StepError, ("kill -9 7: EPERM", "process 7 is another user's", "run as root")),
]

# Where nothing is known, nothing is made up.
SILENT: list[tuple[Step, int, dict[str, bytes | int]]] = [
    (_write("pids.max"), EINVAL, {}),
    (_write("pids.max"), EIO, {}),
    (_write("cpu.max"), EINVAL, {}),
    (_write("cpu.cfs_quota_us"), EINVAL, {f"{ABOVE}/cpu.cfs_quota_us": b"-1\n"}),
    (_write("memory.max"), EIO, {}),
    (_write("cgroup.freeze"), ENOENT, THERE),
    (Mkdir(path=G), EINVAL, {}),
    (Rmdir(path=G), EIO, {}),
    (Signal(pid=7, number=9), EINVAL, {}),
]


class TestExplain:
    """The table."""

    @pytest.mark.parametrize(("step", "errno", "files", "error", "fragments"), CASES)
    def test_cause_and_remedy(
        self, step: Step, errno: int, files: dict[str, bytes | int], error: type[CgctlError], fragments: tuple[str, ...]
    ) -> None:
        """Each refusal that is known has its class, its cause and its remedy."""
        found = explain(step, errno, Snapshot(files))

        assert type(found) is error
        assert [fragment for fragment in fragments if fragment not in str(found)] == []
        assert str(found)[-1] not in ".;"

    @pytest.mark.parametrize(("step", "errno", "files"), SILENT)
    def test_silence(self, step: Step, errno: int, files: dict[str, bytes | int]) -> None:
        """The step and the kernel's words are all that is known."""
        found = explain(step, errno, Snapshot(files))

        assert isinstance(found, StepError)
        assert found.hint == ""
        assert str(found).startswith(f"{step}: {errno_name(errno)} ")

    def test_the_example_of_the_design(self) -> None:
        """Word by word."""
        step = Write(path=f"{G}/memory.max", data=b"104857600", feature="memory.max")
        files: dict[str, bytes | int] = {**THERE, f"{ABOVE}/cgroup.subtree_control": b"cpu pids\n"}

        assert str(explain(step, ENOENT, Snapshot(files))) == (
            "write b'104857600' to /sys/fs/cgroup/p1/memory.max: ENOENT No such file or directory;"
            " controller 'memory' is not enabled in /sys/fs/cgroup/cgroup.subtree_control (enabled: cpu pids);"
            " enable it there, or ask systemd to delegate it"
        )

    def test_attributes(self) -> None:
        """A StepError has the step, the errno, the file, and what was done before."""
        step, before = _write("pids.max"), Mkdir(path=G)

        found = explain(step, EINVAL, Snapshot(), (before,))

        assert isinstance(found, StepError)
        assert (found.step, found.errno, found.filename, found.done) == (step, EINVAL, step.path, (before,))

    def test_every_file_that_matters_is_asked_for(self) -> None:
        """What a rule looks at is among what is read for it."""
        for step, errno, files, _, _ in CASES:
            assert set(files) <= needs(step, errno), f"{step} {errno_name(errno)}"


class TestNeeds:
    """What is to be read."""

    def test_of_a_write(self) -> None:
        """Files beside it, and of the group above."""
        asked = needs(_write("memory.max"), ENOENT)

        assert {f"{G}/cgroup.procs", f"{ABOVE}/cgroup.subtree_control"} <= asked
        assert {path.rpartition("/")[0] for path in asked} == {G, ABOVE}

    def test_of_a_group(self) -> None:
        """Its own files, and those of the group above."""
        assert {path.rpartition("/")[0] for path in needs(Mkdir(path=G), EAGAIN)} == {G, ABOVE}

    def test_of_a_signal(self) -> None:
        """A process is no file."""
        assert needs(Signal(pid=7, number=9), EPERM) == frozenset()
