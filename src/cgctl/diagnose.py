"""From a refused step to a sentence that says why and what to do.

A table of rules, each a pure function of the step, the errno and a snapshot of the files that the rule
wants to see. The first rule that knows the answer gives it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from errno import (
    E2BIG,
    EACCES,
    EAGAIN,
    EBUSY,
    EEXIST,
    EINVAL,
    ENODEV,
    ENOENT,
    ENOSPC,
    ENOSYS,
    EOPNOTSUPP,
    EPERM,
    ERANGE,
    EROFS,
    ESRCH,
)
from posixpath import basename, dirname
from typing import Final

from cgctl.errors import CgctlError, GroupExistsError, GroupNotFoundError, StepError, UnsupportedError
from cgctl.plan import Chown, Mkdir, Rmdir, Signal, Snapshot, Step, Write

__all__ = ["MAKE_WRITABLE", "explain", "needs"]

MAKE_WRITABLE: Final = (
    "in a container ask for a writable one (docker run --privileged --cgroupns=private, podman run --security-opt"
    " unmask=/sys/fs/cgroup, in Kubernetes securityContext.privileged, or cgroup_writable of containerd 2.1, or CRI-O's"
    " annotation io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw), elsewhere remount it read-write"
)
"""What to do about a read-only cgroup filesystem."""

Answer = str | CgctlError | None
Rule = Callable[[Step, int, Snapshot], Answer]

_IMMOVABLE: Final = (
    "the process is a kernel thread or a real-time task without a budget in this group; it cannot be moved"
)
_BY_RESOURCE: Final = {"rdma": "device", "misc": "resource", "dmem": "region"}
"""Controllers whose limits are by name → what the names are of."""


def needs(step: Step, errno: int) -> frozenset[str]:
    """Return the paths that :func:`explain` wants to see."""
    del errno
    path = getattr(step, "path", "")
    if not path:
        return frozenset()
    group = dirname(path) if isinstance(step, Write) else path
    names = ("cgroup.controllers", "cgroup.procs", "cgroup.type", "cgroup.max.depth", "cgroup.max.descendants")
    cpusets = ("cpuset.cpus", "cpuset.mems", "cpuset.cpus.partition")
    beside = ("memory.usage_in_bytes", "cpu.idle", "cgroup.subtree_control", *cpusets)
    parent = dirname(group)
    quotas = ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.rt_runtime_us", "cpu.rt_period_us")
    above = ("cgroup.subtree_control", *quotas, "cpuset.cpus", "cpuset.mems")
    # Of a resource that is not there, the file itself tells which ones are; of a program, whether it may be looked at.
    is_own = basename(path).split(".", 1)[0] in _BY_RESOURCE or basename(path).startswith("@")
    found = [path] if isinstance(step, Write) and is_own else []
    found += [f"{group}/{name}" for name in names + beside]
    return frozenset([*found, *(f"{parent}/{name}" for name in (*above, "devices.list", *names))])


def explain(step: Step, errno: int, snapshot: Snapshot, done: tuple[Step, ...] = ()) -> CgctlError:
    """Return the error to raise for a step that the kernel refused."""
    for rule in _RULES:
        answer = rule(step, errno, snapshot)
        if isinstance(answer, CgctlError):
            return answer
        if answer:
            return StepError(step, errno, done=done, hint=answer, filename=getattr(step, "path", None))
    return StepError(step, errno, done=done, filename=getattr(step, "path", None))


def _exists(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Mkdir) or errno != EEXIST:
        return None
    if snapshot.missing(f"{step.path}/cgroup.procs"):
        return f"{basename(step.path)!r} is the name of an interface file; choose another name"
    return GroupExistsError(
        f"{step}: EEXIST File exists; a group of this name is there already; choose another name, or pass exist_ok=True"
    )


def _vanished(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if errno not in {ENOENT, ENODEV}:
        return None
    above = dirname(getattr(step, "path", ""))
    if isinstance(step, Write) and snapshot.missing(f"{above}/cgroup.procs"):
        return GroupNotFoundError(f"{step}: the group {above} is not there; it was removed meanwhile, or never made")
    if isinstance(step, Chown):
        return GroupNotFoundError(f"{step}: the group {step.path} is not there; it was removed meanwhile")
    if isinstance(step, Mkdir):
        return GroupNotFoundError(f"{step}: the parent {above} is not there; it was removed meanwhile")
    return None


def _no_file(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Write) or errno != ENOENT:
        return None
    group = dirname(step.path)
    controller = basename(step.path).split(".", 1)[0]
    above = f"{dirname(group)}/cgroup.subtree_control"
    enabled = snapshot.text(above)
    if enabled is not None and controller != "cgroup" and controller not in enabled.split():
        return (
            f"controller {controller!r} is not enabled in {above} (enabled: {enabled.strip() or 'none'});"
            " enable it there, or ask systemd to delegate it"
        )
    if step.feature:
        reason = step.absent or f"this kernel has no {basename(step.path)}"
        return UnsupportedError(step.feature, reason, step.since)
    return None


def _subtree_control(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Write) or basename(step.path) != "cgroup.subtree_control":
        return None
    group = dirname(step.path)
    there = " ".join(snapshot.words(f"{group}/cgroup.controllers")) or "none"
    procs = snapshot.words(f"{group}/cgroup.procs")
    kind = (snapshot.text(f"{group}/cgroup.type") or "domain").strip()
    return {
        ENOENT: f"a controller is not available in {group} (it has: {there}); enable it in the group above, or ask"
        " systemd to delegate it; one that is mounted as v1 cannot be used here",
        EBUSY: f"the group holds processes ({' '.join(procs[:5]) or 'dying ones'}); move them to a leaf group first",
        EOPNOTSUPP: _domain_only(step, kind),
        EINVAL: "the kernel knows no such controller, or real-time tasks are in the way of +cpu (RT_GROUP_SCHED)",
    }.get(errno)


def _domain_only(step: Write, kind: str) -> str:
    names = {word.lstrip("+-") for word in step.data.decode(errors="replace").split()}
    if kind != "domain" or not names <= _BY_THREAD:
        return f"the group is {kind!r}, which cannot have domain controllers; use another parent"
    return (
        "it holds processes, and so do groups below it: with these controllers it would be a threaded domain, and they"
        " invalid; move its own processes to a leaf first"
    )


_BY_THREAD: Final = frozenset({"cpu", "cpuset", "pids", "perf_event"})


def _type(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Write) or basename(step.path) != "cgroup.type":
        return None
    group, parent = dirname(step.path), dirname(dirname(step.path))
    if errno == EINVAL:
        return "a threaded group stays one for ever, and no other type can be asked for; remove it, and make it anew"
    return _not_threaded(group, parent, snapshot) if errno == EOPNOTSUPP else None


def _not_threaded(group: str, parent: str, snapshot: Snapshot) -> str:
    held = snapshot.words(f"{group}/cgroup.procs")
    enabled = [name for name in snapshot.words(f"{parent}/cgroup.subtree_control") if name not in _BY_THREAD]
    above = (snapshot.text(f"{parent}/cgroup.type") or "").strip()
    if enabled:
        return (
            f"{parent} has controllers enabled that do not count by thread ({' '.join(enabled)}); use a parent without"
            " them, or put a group of its own between"
        )
    if above == "domain invalid":
        return f"{parent} is below a threaded group, and not threaded itself; make it threaded first"
    if held:
        return f"the group holds processes ({' '.join(held[:5])}); make it threaded before anybody is in it"
    return (
        f"{parent} cannot be a threaded domain: groups below this one or beside it hold processes; give the threads'"
        " process a group of its own, with nothing but threaded groups below"
    )


def _procs(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Write) or basename(step.path) not in {"cgroup.procs", "cgroup.threads", "tasks"}:
        return None
    group = dirname(step.path)
    kind = (snapshot.text(f"{group}/cgroup.type") or "").strip()
    enabled = " ".join(snapshot.words(f"{group}/cgroup.subtree_control"))
    empty = [name for name in ("cpuset.cpus", "cpuset.mems") if not (snapshot.text(f"{group}/{name}") or "x").strip()]
    return {
        ESRCH: "there is no such process; it has ended",
        EBUSY: f"the group has controllers enabled for groups below it ({enabled}) and so takes no process;"
        " use a group below it",
        EOPNOTSUPP: _wrong_type(step, kind),
        ENOSPC: f"{' and '.join(empty) or 'cpuset.cpus or cpuset.mems'} of the group is empty;"
        " set cpuset= with cpus and mems",
        EINVAL: _IMMOVABLE,
        EACCES: "moving needs write access to cgroup.procs of the two groups' common ancestor; ask for a delegated"
        " group that holds both",
        EAGAIN: "a limit of the group is reached; raise it",
    }.get(errno)


def _wrong_type(step: Write, kind: str) -> str:
    if basename(step.path) == "cgroup.threads":
        return (
            f"a thread moves within the threaded groups below the one of its process, and this one's type is {kind!r};"
            " make it threaded (core=Core(type='threaded')), and add the process to the group above it"
        )
    remedy = {
        "domain invalid": "the group above is threaded, or a threaded domain, and this one is not threaded; use another"
        " group, or make it threaded for threads",
        "threaded": "it takes the threads of processes in the group above; add the process there, and then its threads",
    }.get(kind, "use another group")
    return f"the group's type is {kind!r}, which takes no process; {remedy}"


def _reclaim(step: Write, errno: int) -> Answer:
    if errno == EAGAIN:
        return "it took back a part at most, for the rest is in use and has nowhere to go; ask for less, or allow swap"
    if errno == EINVAL and b"swappiness=" in step.data:
        since = "6.18" if step.data.endswith(b"max") else "6.9"
        return UnsupportedError("memory.reclaim with swappiness", "this kernel takes just an amount", since)
    return None


def _memory(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Write) or not basename(step.path).startswith("memory."):
        return None
    group = dirname(step.path)
    if basename(step.path) == "memory.reclaim":
        return _reclaim(step, errno)
    if errno == EBUSY:
        usage = (snapshot.text(f"{group}/memory.usage_in_bytes") or "?").strip()
        return (
            f"the group uses {usage} bytes and cannot be reclaimed below the new limit;"
            " free memory, or give a higher limit"
        )
    if errno == EINVAL:
        return "v1 wants limit <= memory+swap at every moment, and no setting in the root group; give a consistent pair"
    return None


def _real_time(step: Write, errno: int, snapshot: Snapshot) -> Answer:
    parent = dirname(dirname(step.path))
    budget, period = (
        (snapshot.text(f"{parent}/{name}") or "?").strip() for name in ("cpu.rt_runtime_us", "cpu.rt_period_us")
    )
    return {
        EINVAL: "a real-time budget is at most its period, and with those beside it at most that of the group above"
        f" ({budget} of {period} us), and no less than those below it; give the group above one first (a new group has"
        " 0)",
        EBUSY: "real-time tasks are in the group, and they need a budget; move them away first",
    }.get(errno)


def _cpu(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Write) or not basename(step.path).startswith("cpu."):
        return None
    if basename(step.path).startswith("cpu.rt_"):
        return _real_time(step, errno, snapshot)
    if errno != EINVAL:
        return None
    group, parent = dirname(step.path), dirname(dirname(step.path))
    if (snapshot.text(f"{group}/cpu.idle") or "").strip() == "1":
        return "the group is idle (cpu.idle=1) and has no weight; set idle=False first"
    quota = (snapshot.text(f"{parent}/cpu.cfs_quota_us") or "").strip()
    if quota and quota != "-1":
        period = (snapshot.text(f"{parent}/cpu.cfs_period_us") or "").strip()
        return (
            f"v1 allows no more than the parent's quota ({quota} of {period} us), nor less than a child's; ask for less"
        )
    return None


_PARTITION_REMEDIES: Final = {
    "empty": "set cpus with it",
    "distribute": "leave the group above a CPU for its own processes",
    "Parent": "make the group above a partition first (the root is one), or make this one below the root",
    "housekeeping": "the kernel was booted to isolate some of these CPUs; give others",
    "exclusive": "a group beside it has some of these CPUs, or the one above hands none down; give others, or make the"
    " group above a partition first",
    "hotplug": "its CPUs are offline; give others",
}
_PARTITION_NEEDS: Final = (
    "a partition needs cpus of its own that no group beside it has, not all of those above, a partition above it (the"
    " root is one), and no groups below it; this kernel does not say which it is (since 6.1)"
)


def _partition(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Write) or basename(step.path) != "cpuset.cpus.partition" or errno != EINVAL:
        return None
    held = (snapshot.text(step.path) or "").strip()
    if " invalid" in held:
        reason = held.partition("(")[2].rstrip(")")
        remedy = next(
            (text for word, text in _PARTITION_REMEDIES.items() if word in reason),
            "give other CPUs" if reason else "a group beside it has some of its CPUs; give others",
        )
        return f"the kernel takes it, and says of it {held!r}; {remedy}"
    if step.data == b"isolated":
        # A kernel that has these takes them as it takes any other, and then says why it is none.
        return UnsupportedError("cpuset.partition=isolated", "this kernel has no isolated partitions", "6.1")
    return _PARTITION_NEEDS


def _cpuset(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Write) or not basename(step.path).startswith("cpuset."):
        return None
    parent = dirname(dirname(step.path))
    held = (snapshot.text(f"{parent}/{basename(step.path)}") or "").strip()
    return {
        ERANGE: "a CPU of the list is beyond this machine's; see /sys/devices/system/cpu/possible",
        EACCES: f"a v1 cpuset must lie within its parent's ({held or 'empty'}); ask for a part of it",
        ENOSPC: "a cpuset that holds processes cannot be empty; move them away first",
        EBUSY: "a group below still uses what would be taken away; shrink it first",
        EINVAL: f"a memory node is not online, or a sibling claims it exclusively (the parent has {held or 'none'})",
    }.get(errno)


def _resource(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Write) or errno not in {EINVAL, ENODEV}:
        return None
    controller = basename(step.path).split(".", 1)[0]
    if controller not in _BY_RESOURCE:
        return None
    name = step.data.decode().split()[0]
    there = [line.split()[0] for line in (snapshot.text(step.path) or "").splitlines() if line.split()]
    if name in there:
        return (
            f"the kernel knows not every word of {step.data.decode()!r}; {basename(step.path)} shows those that it does"
        )
    what = f"this machine has no {_BY_RESOURCE[controller]} {name!r} (it has: {' '.join(there) or 'none'})"
    return UnsupportedError(step.feature or basename(step.path), what)


def _attached(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    """Explain what comes of attaching programs; they are asked for as features, and found out by trying."""
    if not isinstance(step, Write) or not basename(step.path).startswith("@"):
        return None
    reason = {
        ENOSYS: "this kernel has no bpf(2); it takes one with CONFIG_BPF_SYSCALL",
        EOPNOTSUPP: "this kernel attaches no programs to groups; it takes one with CONFIG_CGROUP_BPF",
        EPERM: "this process may not attach programs to groups: run as root in the first user namespace"
        " (CAP_SYS_ADMIN, CAP_NET_ADMIN), or use v1",
    }.get(errno)
    if errno == EPERM and snapshot.errno(step.path) != EPERM:
        reason = (
            "this process may not load programs (CAP_BPF, CAP_SYS_ADMIN), or a group above has one that allows no"
            " others beside it (attached without BPF_F_ALLOW_MULTI); run as root, or use another parent"
        )
    if reason:
        return UnsupportedError(step.feature or basename(step.path), reason, step.since)
    return {
        EINVAL: f"it is no text of {basename(step.path)}; read the file for one",
        E2BIG: "the group has 64 programs of others already; detach some",
    }.get(errno)


def _devices(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Write) or basename(step.path) not in {"devices.allow", "devices.deny"}:
        return None
    above = dirname(dirname(step.path))
    allowed = "; ".join((snapshot.text(f"{above}/devices.list") or "nothing").splitlines())
    if errno == EPERM and snapshot.text(f"{above}/devices.list") is not None:
        return f"v1 allows no more than the group above (it allows {allowed}); allow it there, or ask for less"
    if errno == EINVAL and step.data.startswith(b"a"):
        return (
            "v1 changes what holds by default only in a group without groups below; set devices= when the group is"
            " made, or remove those below first"
        )
    return None


def _io(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    del snapshot
    if not isinstance(step, Write) or not basename(step.path).startswith(("io.", "blkio.")):
        return None
    device, _, rest = step.data.decode("utf-8", "replace").partition(" ")
    queue = f"/sys/dev/block/{device}/queue/scheduler"
    one = "; before Linux 6.18 io.max takes no limit of 1" if re.search(r"bps=1\b|iops=1\b", rest) else ""
    return {
        ENODEV: f"there is no disk {device} (a partition has no limits of its own); lsblk lists the disks",
        EOPNOTSUPP: (
            f"the scheduler of disk {device} is not BFQ, which alone keeps these weights (echo bfq > {queue})"
            if "bfq" in step.path
            else f"iocost does not keep weights on disk {device}; enable it by io.cost_qos in the root group"
            f" (cgctl.System.detect().root()), or choose the scheduler BFQ (echo bfq > {queue})"
        ),
        EINVAL: f"the kernel does not take {rest or device!r} in {basename(step.path)}{one}; give another value",
        ERANGE: f"{rest or device!r} is out of the range of {basename(step.path)}; give another value",
    }.get(errno)


def _net_prio(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    del snapshot
    if not isinstance(step, Write) or basename(step.path) != "net_prio.ifpriomap" or errno != ENODEV:
        return None
    interface = step.data.decode().split()[0]
    return (
        f"there is no interface {interface!r} in the initial network namespace, whose interfaces are meant; 'ip link'"
        " there lists them"
    )


def _mkdir(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Mkdir):
        return None
    parent = dirname(step.path)
    if errno == EAGAIN:
        depth = (snapshot.text(f"{parent}/cgroup.max.depth") or "?").strip()
        below = (snapshot.text(f"{parent}/cgroup.max.descendants") or "?").strip()
        return (
            f"a group above allows no more groups (in {parent}: cgroup.max.depth {depth},"
            f" cgroup.max.descendants {below}); raise it or remove groups"
        )
    return None


def _rmdir(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    if not isinstance(step, Rmdir) or errno != EBUSY:
        return None
    pids = snapshot.words(f"{step.path}/cgroup.procs")
    held = f"it still holds processes ({' '.join(pids[:5])})" if pids else "it still holds groups or dying processes"
    return f"{held}; kill() the group first, or move them elsewhere"


def _privilege(step: Step, errno: int, snapshot: Snapshot) -> Answer:
    del snapshot
    if errno not in {EACCES, EPERM, EROFS}:
        return None
    if isinstance(step, Chown):
        return "only root gives a group away, and only one who owns it gives it to a group of users; run as root"
    if isinstance(step, Signal):
        return f"process {step.pid} is another user's; run as root, or as that user"
    if errno == EROFS:
        answer = f"the cgroup filesystem is mounted read-only; {MAKE_WRITABLE}"
    else:
        answer = (
            f"this user may not change {dirname(step.path)}; run as root, or in a delegated group"
            " (systemd-run --user --scope -p Delegate=yes)"
        )
    if isinstance(step, Mkdir) or basename(step.path) == "cgroup.subtree_control":
        # No group can be had in this place: a matter of the layout, not of one limit or the other.
        return UnsupportedError(f"a group in {dirname(step.path)}", str(StepError(step, errno, hint=answer)))
    return answer


_RULES: Final[tuple[Rule, ...]] = (
    _exists,
    _vanished,
    _procs,
    _type,
    _subtree_control,
    _attached,
    _no_file,
    _partition,
    _devices,
    _cpuset,
    _memory,
    _cpu,
    _resource,
    _io,
    _net_prio,
    _mkdir,
    _rmdir,
    _privilege,
)
