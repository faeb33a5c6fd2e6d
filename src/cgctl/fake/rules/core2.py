"""The core files of v2: who is in a group, what it enables, freezing, killing and its size."""

from __future__ import annotations

from collections.abc import Iterator
from errno import EBUSY, EINVAL, ENOENT, EOPNOTSUPP, ERANGE
from typing import TYPE_CHECKING, Final

from cgctl.fake.memory import holding
from cgctl.fake.parse import INT_MAX, flag, kstrto, stripped
from cgctl.fake.refusal import refuse
from cgctl.fake.rules import pids
from cgctl.fake.tree import THREADED, Group

if TYPE_CHECKING:
    from cgctl.fake.task import Thread

__all__ = ["READ", "WRITE", "is_frozen", "is_thread_root", "vet_move"]

# --- what a group is (kernel/cgroup/cgroup.c has the functions of these names) ---------------------------------------


def _can_be_thread_root(group: Group) -> bool:
    if group.parent is None:
        return True
    if any(child.populated for child in group.children.values() if not child.threaded):
        return False
    return group.control <= THREADED


def is_thread_root(group: Group) -> bool:
    """Tell whether it is the domain of threaded groups, or would be if there were some."""
    if group.threaded:
        return False
    if any(child.threaded for child in group.children.values()):
        return True
    return bool(group.threads) and bool(group.control & THREADED)


def _is_valid_domain(group: Group) -> bool:
    if group.threaded:
        return False
    return not any(each.threaded or (each.parent and is_thread_root(each)) for each in group.above())


def _domain(group: Group) -> Group:
    """Return the group whose resources it shares: mostly itself."""
    return group.domain or group


def vet_move(thread: Thread | None, target: Group, *, whole: bool) -> None:
    """Refuse what the no-internal-process rule, and that of threaded domains, forbid; *thread* is ``None`` at birth."""
    if not _is_valid_domain(_domain(target)):
        refuse(EOPNOTSUPP)
    if target.control and not (_can_be_thread_root(target) or target.threaded):
        refuse(EBUSY)
    if thread and not whole and _domain(thread.groups[target.tree]) is not _domain(target):
        refuse(EOPNOTSUPP)


def _type(group: Group) -> str:
    if group.threaded:
        return "threaded\n"
    if not _is_valid_domain(group):
        return "domain invalid\n"
    return "domain threaded\n" if is_thread_root(group) else "domain\n"


def _set_type(group: Group, text: str) -> None:
    if stripped(text) != "threaded":
        refuse(EINVAL)
    if group.threaded:
        return
    parent = group.parent
    assert parent is not None  # noqa: S101 - the root has no such file
    domain = _domain(parent)
    if group.populated or not group.control <= THREADED:
        refuse(EOPNOTSUPP)
    if not _is_valid_domain(domain) or not _can_be_thread_root(domain):
        refuse(EOPNOTSUPP)
    # Threaded groups come along from below others that do not, and are invalid from now on.
    for each in group.below():
        if each is group or each.threaded:
            each.domain = domain


# --- controllers ----------------------------------------------------------------------------------------------------


def _listed(group: Group, names: frozenset[str]) -> str:
    found = " ".join(name for name in group.tree.controllers if name in names)
    return f"{found}\n" if found else ""


def _controllers(group: Group) -> str:
    return _listed(group, group.controllers())


def _control(group: Group) -> str:
    return _listed(group, group.control)


def _set_control(group: Group, text: str) -> None:
    wanted: dict[str, bool] = {}
    for word in stripped(text).split(" "):
        if word:
            if word[0] not in "+-" or word[1:] not in group.profile.v2 or word[1:] in group.kernel.without:
                refuse(EINVAL)
            wanted[word[1:]] = word[0] == "+"
    enable = {name for name, on in wanted.items() if on and name not in group.control}
    disable = {name for name, on in wanted.items() if not on and name in group.control}
    if not enable <= group.controllers():
        refuse(ENOENT)
    if any(disable & child.control for child in group.children.values()):
        refuse(EBUSY)
    _vet_enabling(group, enable)
    group.control = frozenset((group.control | enable) - disable)
    if "pids" in enable | disable:
        for child in group.children.values():
            _count_anew(group, child if "pids" in enable else group, sum(len(each.threads) for each in child.below()))
    for child in group.children.values():
        child.values = {
            name: value for name, value in child.values.items() if name.split(".", 1)[0] not in disable | {""}
        }
        for name in disable:
            _forget(child, name)


def _count_anew(before: Group, after: Group, threads: int) -> None:
    """Count threads where pids counts them from now on: each there first, and then no more where it was."""
    for _ in range(threads):
        pids.charge(after, 1)
        pids.charge(before, -1)


def _vet_enabling(group: Group, enable: set[str]) -> None:
    if not enable:
        return
    if not _is_valid_domain(_domain(group)):
        refuse(EOPNOTSUPP)
    if group.parent is None:
        return
    if enable - THREADED:
        if is_thread_root(group) or group.threaded:
            refuse(EOPNOTSUPP)
    elif _can_be_thread_root(group) or group.threaded:
        return
    if group.threads:
        refuse(EBUSY)


def _forget(group: Group, controller: str) -> None:
    if controller == "memory":
        holding.reparent(group)
    for name in [name for name in group.counts if name.split(".", 1)[0] == controller]:
        del group.counts[name]
    if controller == "cpu":
        group.bandwidth = None


# --- processes ------------------------------------------------------------------------------------------------------


def _members(group: Group) -> Iterator[Thread]:
    """Yield the threads of a domain: its own, and those of the threaded groups below it, as these were filled."""
    yield from group.threads
    for each in sorted(_threaded(group), key=lambda each: each.since):
        yield from each.threads


def _threaded(group: Group) -> Iterator[Group]:
    for child in group.children.values():
        if child.threaded:
            yield from (each for each in child.below() if each.domain is group)


def _procs(group: Group) -> str:
    if group.threaded:
        refuse(EOPNOTSUPP)
    return "".join(f"{thread.tid}\n" for thread in _members(group) if thread is thread.task.threads[0])


def _threads(group: Group) -> str:
    return "".join(f"{thread.tid}\n" for thread in group.threads)


def _set_procs(group: Group, text: str) -> None:
    group.kernel.processes.attach(group, text, whole=True)


def _set_threads(group: Group, text: str) -> None:
    group.kernel.processes.attach(group, text, whole=False)


# --- state ----------------------------------------------------------------------------------------------------------


def is_frozen(group: Group) -> bool:
    """Tell whether it is frozen, by itself or from above."""
    return any(each.values.get("cgroup.freeze") == "1\n" for each in group.line())


def _events(group: Group) -> str:
    return f"populated {int(group.populated > 0)}\nfrozen {int(is_frozen(group))}\n"


def _set_freeze(group: Group, text: str) -> str:
    wanted = f"{flag(text, refused=ERANGE)}\n"
    before = group.get("cgroup.freeze")
    group.values["cgroup.freeze"] = wanted
    if wanted != before:
        group.kernel.notify()
        group.kernel.signals.arrive()
    return wanted


def _set_kill(group: Group, text: str) -> None:
    if kstrto(stripped(text), -INT_MAX - 1, INT_MAX) != 1:
        refuse(ERANGE)
    if group.threaded:
        refuse(EOPNOTSUPP)
    for each in group.below():
        group.kernel.processes.kill_all(each)


def _set_most(_group: Group, text: str) -> str:
    text = stripped(text)
    number = INT_MAX if text == "max" else kstrto(text, -INT_MAX - 1, INT_MAX)
    if number < 0:
        refuse(ERANGE)
    return "max\n" if number == INT_MAX else f"{number}\n"


def _set_pressure(_group: Group, text: str) -> str:
    return f"{flag(text, refused=ERANGE)}\n"


def _stat(group: Group) -> str:
    lines = []
    for line in group.get("cgroup.stat").splitlines():
        name = line.split(" ")[0]
        count = 0
        if name == "nr_descendants":
            count = group.descendants
        elif name.startswith("nr_subsys_"):
            controller = name.removeprefix("nr_subsys_")
            # perf_event is in every group, by the kernel's own doing.
            count = sum(1 for each in group.below() if controller == "perf_event" or each.has(controller))
        lines.append(f"{name} {count}\n")
    return "".join(lines)


READ: Final = {
    "cgroup.controllers": _controllers,
    "cgroup.events": _events,
    "cgroup.procs": _procs,
    "cgroup.stat": _stat,
    "cgroup.subtree_control": _control,
    "cgroup.threads": _threads,
    "cgroup.type": _type,
}
WRITE: Final = {
    "cgroup.freeze": _set_freeze,
    "cgroup.kill": _set_kill,
    "cgroup.max.depth": _set_most,
    "cgroup.max.descendants": _set_most,
    "cgroup.pressure": _set_pressure,
    "cgroup.procs": _set_procs,
    "cgroup.subtree_control": _set_control,
    "cgroup.threads": _set_threads,
    "cgroup.type": _set_type,
}
