"""cpuset: which processors and memory nodes a group may use. v2 takes a request, v1 the set itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from errno import EACCES, EBUSY, EINVAL, ENOSPC
from typing import Final

from cgctl.fake.parse import number_list, s64, stripped, u64
from cgctl.fake.refusal import refuse
from cgctl.fake.tree import Group
from cgctl.formats import format_cpu_list, parse_cpu_list

__all__ = ["INHERITED_V1", "READ_V1", "READ_V2", "WRITE_V1", "WRITE_V2", "new_v1", "processors", "vet_attach_v1"]

Numbers = frozenset[int]
Reader = Callable[[Group], str]
Writer = Callable[[Group, str], str | None]
_CPUS, _MEMS, _EXCLUSIVE = "cpuset.cpus", "cpuset.mems", "cpuset.cpus.exclusive"
_PARTITION: Final = "cpuset.cpus.partition"
# MAX_NUMNODES: what a list of nodes may name at all.
_MOST_NODES: Final = 1024


def _held(group: Group, name: str) -> Numbers:
    return frozenset(parse_cpu_list(group.values.get(name, "")))


def _shown(numbers: Numbers) -> str:
    return f"{format_cpu_list(numbers)}\n"


def _machine(group: Group, name: str) -> Numbers:
    return frozenset(range(group.kernel.nodes if name == _MEMS else group.kernel.cpus))


def _parse(group: Group, name: str, text: str) -> Numbers:
    words = group.profile.list_words
    if name == _MEMS:
        numbers = number_list(stripped(text), _MOST_NODES, words=words)
        if not numbers <= _machine(group, name):
            refuse(EINVAL)
        return numbers
    return number_list(stripped(text), group.kernel.cpus, words=words)


def _populated(group: Group) -> bool:
    return group.populated > 0  # by whom is below, too


# --- v2: partitions -------------------------------------------------------------------------------------------------


def _kind(group: Group) -> str:
    """Return what is asked of a group: ``member``, ``root`` or ``isolated``; the root is a partition root."""
    return group.values.get(_PARTITION, "member") if group.parent else "root"


def _asked(group: Group) -> Numbers:
    return _held(group, _EXCLUSIVE) or _held(group, _CPUS)


def _rivals(group: Group) -> Iterator[Group]:
    """Yield the other groups below the same one that have the controller."""
    assert group.parent is not None  # noqa: S101 - the root has none
    yield from (each for each in group.parent.children.values() if each is not group)


def _why_invalid(group: Group) -> str | None:
    """Say why a group is no partition though it is asked to be; ``""``: there is no reason given; ``None``: it is."""
    parent = group.parent
    assert parent is not None  # noqa: S101 - the root is one
    words = group.profile.partition_words
    above, asked = _base(parent), _asked(group)
    rivals = tuple(_rivals(group))
    taken = frozenset[int]().union(*(_asked(each) for each in rivals if _kind(each) != "member"))
    checks = (
        (bool(asked), words.empty),
        (_kind(parent) != "member", words.member),
        (_is_partition(parent), "Parent is an invalid partition root"),
        (group.profile.trims_partitions or not any(asked & _asked(each) for each in rivals), words.overlap),
        (bool(asked & above), words.outside),
        (
            bool(above - asked - taken) or not _needs_some(parent, group),
            "Parent unable to distribute cpu downstream",
        ),
    )
    return next((reason for holds, reason in checks if not holds), None)


def _needs_some(group: Group, partition: Group) -> bool:
    """Tell whether there is somebody else than in a partition, who needs a processor (``partition_is_populated``)."""
    # In the root there are always the kernel's own threads.
    if group.parent is None or group.threads:
        return True
    return any(each.populated for each in group.children.values() if each is not partition and _kind(each) == "member")


def _is_partition(group: Group) -> bool:
    return group.parent is None or (_kind(group) != "member" and _why_invalid(group) is None)


def _is_own_partition(group: Group) -> bool:
    """Tell whether it is a partition of what cpuset.cpus says."""
    return not _held(group, _EXCLUSIVE) and _kind(group) != "member" and _is_partition(group)


def _base(group: Group) -> Numbers:
    """Return the processors that a group has before its partitions take theirs."""
    if group.parent is None:
        return _machine(group, _CPUS)
    if _is_partition(group):
        return _asked(group) & _base(group.parent)
    return _requested(group, _CPUS, _effective_cpus(group.parent))


def _requested(group: Group, name: str, above: Numbers) -> Numbers:
    return (_held(group, name) & above) or above


def _effective_cpus(group: Group) -> Numbers:
    own = _base(group)
    taken = (_asked(each) for each in group.children.values() if _kind(each) != "member" and _is_partition(each))
    return own - frozenset[int]().union(*taken)


def _effective_mems(group: Group) -> Numbers:
    if group.parent is None:
        return _machine(group, _MEMS)
    return _requested(group, _MEMS, _effective_mems(group.parent))


def _partition(group: Group) -> str:
    kind = _kind(group)
    if kind == "member":
        return "member\n"
    reason = _why_invalid(group)
    if reason is None:
        return f"{kind}\n"
    return f"{kind} invalid ({reason})\n" if reason else f"{kind} invalid\n"


def _set_partition(group: Group, text: str) -> str:
    wanted = stripped(text)
    if wanted not in {"member", "root", *(["isolated"] if group.profile.isolated else [])}:
        refuse(EINVAL)
    before = group.values.get(_PARTITION)
    if group.profile.strict_cpusets and wanted == "root" and _kind(group) == "member":
        group.values[_PARTITION] = wanted
        refused = _why_invalid(group) is not None or bool(group.children)
        group.values.pop(_PARTITION)
        if before is not None:
            group.values[_PARTITION] = before
        if refused:
            refuse(EINVAL)
    return wanted


def _exclusive(group: Group) -> Numbers:
    """Return what a group may give to a partition (``compute_effective_exclusive_cpumask``)."""
    if group.parent is None:
        return _machine(group, _CPUS)
    if _is_partition(group):
        return _base(group)
    return _held(group, _EXCLUSIVE) & _exclusive(group.parent)


def _exclusive_effective(group: Group) -> str:
    return _shown(_exclusive(group))


# --- v2: sets -------------------------------------------------------------------------------------------------------


def _setter_v2(name: str) -> Writer:
    def write(group: Group, text: str) -> str:
        wanted, held = _parse(group, name, text), _held(group, name)
        profile = group.profile
        if wanted == held:
            return _shown(wanted)
        if not wanted and name != _EXCLUSIVE and _populated(group) and not profile.clears_cpusets:
            refuse(ENOSPC)
        if not wanted and name == _CPUS and _is_own_partition(group):
            refuse(EBUSY)  # there would be no room for SCHED_DEADLINE (cpuset_cpumask_can_shrink)
        if profile.strict_cpusets:
            _vet_strict(group, name, wanted)
        # Where cpuset.cpus breaks the same rule, it is partitions that turn invalid.
        if name == _EXCLUSIVE and any(_excludes(group, wanted, each) for each in _rivals(group)):
            refuse(EINVAL)
        return _shown(wanted)

    return write


def _excludes(group: Group, exclusive: Numbers, rival: Group) -> bool:
    """Tell whether one of two groups would leave the other nothing (``validate_change``, ``cpus_excl_conflict``)."""
    its_cpus, its_exclusive = _held(rival, _CPUS), _held(rival, _EXCLUSIVE)
    if exclusive & its_exclusive:
        return True
    swallows = bool(its_cpus) and its_cpus <= exclusive
    if group.profile.trims_partitions:
        return swallows
    if exclusive and its_exclusive and not group.profile.compares_exclusive:
        return False
    cpus = _held(group, _CPUS)
    return swallows or (bool(cpus) and cpus <= its_exclusive)


def _vet_strict(group: Group, name: str, wanted: Numbers) -> None:
    if any(not _held(child, name) <= wanted for child in group.children.values()):
        refuse(EBUSY)
    if name == _CPUS:
        if any(_kind(each) != "member" and wanted & _held(each, name) for each in _rivals(group)):
            refuse(EINVAL)
        if _kind(group) != "member" and any(wanted & _held(each, name) for each in _rivals(group)):
            refuse(EINVAL)


def _isolated(group: Group) -> str:
    found: set[int] = set()
    for each in group.below():
        if _kind(each) == "isolated" and _is_partition(each):
            found |= _base(each)
    return _shown(frozenset(found))


def processors(group: Group) -> Numbers:
    """Return the processors that the threads of a group run on, in either version."""
    nearest = group.nearest("cpuset")
    return _held_v1(nearest, _CPUS) if group.tree.version == 1 else _effective_cpus(nearest)


READ_V2: Final[dict[str, Reader]] = {
    "cpuset.cpus.effective": lambda group: _shown(_effective_cpus(group)),
    "cpuset.cpus.exclusive.effective": _exclusive_effective,
    "cpuset.cpus.isolated": _isolated,
    "cpuset.cpus.partition": _partition,
    "cpuset.mems.effective": lambda group: _shown(_effective_mems(group)),
}
WRITE_V2: Final[dict[str, Writer]] = {
    _CPUS: _setter_v2(_CPUS),
    _EXCLUSIVE: _setter_v2(_EXCLUSIVE),
    _PARTITION: _set_partition,
    _MEMS: _setter_v2(_MEMS),
}

# --- v1 -------------------------------------------------------------------------------------------------------------


def _held_v1(group: Group, name: str) -> Numbers:
    return _held(group, name) if group.parent else _machine(group, name)


def _setter_v1(name: str) -> Writer:
    alone = "cpuset.cpu_exclusive" if name == _CPUS else "cpuset.mem_exclusive"

    def write(group: Group, text: str) -> str:
        if group.parent is None:
            refuse(EACCES)
        wanted = _parse(group, name, text)
        if any(not _held(child, name) <= wanted for child in group.children.values()):
            refuse(EBUSY)
        if not wanted <= _held_v1(group.parent, name):
            refuse(EACCES)
        for each in _rivals(group):
            if "1\n" in {group.get(alone), each.get(alone)} and wanted & _held(each, name):
                refuse(EINVAL)
        if not wanted and _held(group, name) and _populated(group):
            refuse(ENOSPC)
        return _shown(wanted)

    return write


def _effective_v1(name: str) -> Reader:
    return lambda group: _shown(_held_v1(group, name))


def _switch(text: str) -> bool:
    """Read a flag, of which ``update_flag`` sees the lower half."""
    return u64(text) % (1 << 32) != 0


def _set_flag(_group: Group, text: str) -> str:
    return f"{int(_switch(text))}\n"


def _setter_exclusive(file: str, name: str) -> Writer:
    def write(group: Group, text: str) -> str:
        wanted = _switch(text)
        if not wanted and any(child.get(file) == "1\n" for child in group.children.values()):
            refuse(EBUSY)
        if wanted and group.parent:
            if group.parent.get(file) != "1\n":
                refuse(EACCES)
            if any(_held(group, name) & _held(each, name) for each in _rivals(group)):
                refuse(EINVAL)
        return f"{int(wanted)}\n"

    return write


def _set_relax(group: Group, text: str) -> str:
    number = s64(text)
    if not -1 <= number <= group.profile.relax_domain:
        refuse(EINVAL)
    return f"{number}\n"


def vet_attach_v1(group: Group) -> None:
    """Refuse a process where there are no processors or no nodes for it."""
    if not _held_v1(group, _CPUS) or not _held_v1(group, _MEMS):
        refuse(ENOSPC)


def new_v1(group: Group) -> None:
    """Copy the set of the group above into a new one, where that asks for it."""
    parent = group.parent
    assert parent is not None  # noqa: S101 - a new group has one
    if parent.get("cgroup.clone_children") != "1\n":
        return
    if any("1\n" in {each.get("cpuset.cpu_exclusive"), each.get("cpuset.mem_exclusive")} for each in _rivals(group)):
        return
    for name in (_CPUS, _MEMS):
        group.values[name] = _shown(_held_v1(parent, name))


READ_V1: Final[dict[str, Reader]] = {
    _CPUS: lambda group: _shown(_held_v1(group, _CPUS)),
    "cpuset.effective_cpus": _effective_v1(_CPUS),
    "cpuset.effective_mems": _effective_v1(_MEMS),
    _MEMS: lambda group: _shown(_held_v1(group, _MEMS)),
}
WRITE_V1: Final[dict[str, Writer]] = {
    "cpuset.cpu_exclusive": _setter_exclusive("cpuset.cpu_exclusive", _CPUS),
    _CPUS: _setter_v1(_CPUS),
    "cpuset.mem_exclusive": _setter_exclusive("cpuset.mem_exclusive", _MEMS),
    "cpuset.mem_hardwall": _set_flag,
    "cpuset.memory_migrate": _set_flag,
    "cpuset.memory_pressure_enabled": lambda _group, text: f"{int(u64(text) != 0)}\n",
    "cpuset.memory_spread_page": _set_flag,
    "cpuset.memory_spread_slab": _set_flag,
    _MEMS: _setter_v1(_MEMS),
    "cpuset.sched_load_balance": _set_flag,
    "cpuset.sched_relax_domain_level": _set_relax,
}
INHERITED_V1: Final = ("cpuset.memory_spread_page", "cpuset.memory_spread_slab")
"""What a new group takes over from the one above."""
