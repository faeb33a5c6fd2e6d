"""What is broken, as data: in which file which text becomes what, and in which hierarchy that can be seen."""

from __future__ import annotations

import attrs

__all__ = ["MUTATIONS", "Mutation"]


@attrs.frozen
class Mutation:
    """A rule that is broken.

    Attributes:
        name: what is wrong then.
        file: below ``src/cgctl/fake``.
        old: what stands there, once.
        new: what takes its place.
        version: of the hierarchy in which it can be seen.
        controller: which that hierarchy must have; ``None``: whatever it has.
        shown: the interface file in which it can be seen, where not every kernel has it.
    """

    name: str
    file: str
    old: str
    new: str
    version: int
    controller: str | None = None
    shown: str | None = None


def _core(name: str, old: str, new: str, file: str = "rules/core2.py") -> Mutation:
    return Mutation(name, file, old, new, 2)


def _v1(controller: str, name: str, old: str, new: str, file: str) -> Mutation:
    return Mutation(name, f"rules/{file}.py", old, new, 1, controller)


def _v2(controller: str, name: str, old: str, new: str, file: str) -> Mutation:
    return Mutation(name, f"rules/{file}.py", old, new, 2, controller)


_CORE = (
    _core(
        "freeze: 2 is EINVAL",
        'wanted = f"{flag(text, refused=ERANGE)}\\n"\n    before',
        'wanted = f"{flag(text)}\\n"\n    before',
    ),
    _core(
        "freeze: not told downwards",
        'any(each.values.get("cgroup.freeze") == "1\\n" for each in group.line())',
        'group.values.get("cgroup.freeze") == "1\\n"',
    ),
    _core(
        "kill: not what is below",
        "for each in group.below():\n        group.kernel.processes.kill_all(each)",
        "for each in [group]:\n        group.kernel.processes.kill_all(each)",
    ),
    _core("kill: 0 is EINVAL", "!= 1:\n        refuse(ERANGE)", "!= 1:\n        refuse(EINVAL)"),
    _core(
        "max.depth: -1 is EINVAL", "if number < 0:\n        refuse(ERANGE)", "if number < 0:\n        refuse(EINVAL)"
    ),
    _core("max.depth: one more", "if depth >= _most(group", "if depth > _most(group", "tree.py"),
    _core("max.descendants: one more", "if group.descendants >= _most(", "if group.descendants > _most(", "tree.py"),
    _core("populated: not told upwards", "if group.populated > 1:\n                return", "return", "tree.py"),
    _core("populated: stays above", "if group.populated:\n                return", "return", "tree.py"),
    _core(
        "mkdir: a newline is ENOENT",
        'if "\\n" in name:\n            refuse(EINVAL)',
        'if "\\n" in name:\n            refuse(ENOENT)',
        "tree.py",
    ),
    _core(
        "mkdir: a file's name is fine",
        "if name in self.children or self.interface(name):",
        "if name in self.children:",
        "tree.py",
    ),
    _core(
        "rmdir: with groups below",
        "if self.parent is None or self.children or self.threads:",
        "if self.parent is None or self.threads:",
        "tree.py",
    ),
    _core("write: too long is EINVAL", "refuse(E2BIG)", "refuse(EINVAL)", "filesystem.py"),
    _core("write: a NUL is kept", 'data.split(b"\\0", 1)[0].decode', "data.decode", "parse.py"),
    _core(
        "type: of a populated group",
        "if group.populated or not group.control <= THREADED:",
        "if not group.control <= THREADED:",
    ),
    _core(
        "type: threaded groups below make no domain of it",
        "if any(child.threaded for child in group.children.values()):\n        return True",
        "pass",
    ),
    _core("procs: readable in threaded groups", "if group.threaded:\n        refuse(EOPNOTSUPP)\n    return", "return"),
    _core(
        "procs: without those of threaded groups",
        "for each in sorted(_threaded(group), key=lambda each: each.since):\n        yield from each.threads",
        "pass",
    ),
    _core(
        "procs: moved to invalid domains",
        "if not _is_valid_domain(_domain(target)):\n        refuse(EOPNOTSUPP)",
        "if False:\n        refuse(EOPNOTSUPP)",
    ),
    _core(
        "threads: from another domain",
        "is not _domain(target):\n        refuse(EOPNOTSUPP)",
        "is not _domain(target):\n        refuse(EBUSY)",
    ),
    _core(
        "subtree_control: an unknown name is ENOENT",
        "in group.kernel.without:\n                refuse(EINVAL)",
        "in group.kernel.without:\n                refuse(ENOENT)",
    ),
    _core(
        "procs: nonsense is ESRCH",
        "except OSError:\n            refuse(EINVAL)",
        "except OSError:\n            refuse(ESRCH)",
        "processes.py",
    ),
    _core("procs: of a thread moves it alone", "_by_set(task) if whole else [thread]", "[thread]", "processes.py"),
    _core("procs: a sign is nonsense", 'if text[:1] == "+" or negative:', "if negative:", "parse.py"),
    _core("procs: octal is decimal", "base = 8\n            if", "base = 10\n            if", "parse.py"),
)

_V1 = (
    _v1("pids", "pids.max: as much as you like", "if not 0 <= number <= _MOST:", "if not 0 <= number:", "pids"),
    _v1(
        "pids",
        "pids.current: not told upwards",
        'for each in group.nearest("pids").line():\n        now',
        'for each in [group.nearest("pids")]:\n        now',
        "pids",
    ),
    _v1("pids", "fork: one more than pids.max", " + 1 > int(most)", " > int(most)", "pids"),
    _v1(
        "pids",
        "fork: no peak of what was refused",
        "            for below in charged:\n",
        "            for below in []:\n",
        "pids",
    ),
    _v1("pids", "fork: refused and not counted", '_add(forking, "pids.events")\n', "pass\n", "pids"),
    _v1("cpu", "shares: 1", "min(max(number, 2), 262_144)", "min(max(number, 1), 262_144)", "cpu"),
    _v1("cpu", "shares: no highest", "min(max(number, 2), 262_144)", "max(number, 2)", "cpu"),
    _v1("cpu", "quota: more than above", "if wanted != math.inf and wanted > above:", "if False:", "cpu"),
    _v1(
        "cpu",
        "quota: less than below",
        "    _vet_below(group, above if wanted == math.inf else wanted)",
        "    pass",
        "cpu",
    ),
    _v1(
        "cpu",
        "period: longer than a second",
        "_MOST_PERIOD: Final = 1_000_000",
        "_MOST_PERIOD: Final = 9_000_000",
        "cpu",
    ),
    _v1("cpu", "quota: any below zero is kept", "quota = -1 if number < 0 else number", "quota = number", "cpu"),
    _v1("cpu", "idle: shares as before", 'return "3\\n" if _is_idle(group) else', "return", "cpu"),
    _v1(
        "devices",
        "allow: more than above",
        "if not _parent_permits(group, rule):\n            refuse(EPERM)",
        "if False:\n            refuse(EPERM)",
        "devices",
    ),
    _v1("devices", "deny: not told downwards", "    _propagate(group, rule)\n\n\ndef", "\n\ndef", "devices"),
    _v1("devices", "list: letters in another order", "for letter in 'rwm' if", "for letter in 'mrw' if", "devices"),
    _v1(
        "devices",
        "new: nothing taken over",
        "State(above.allow, [attrs.evolve(rule) for rule in above.exceptions])",
        "State()",
        "devices",
    ),
    _v1(
        "freezer",
        "parent_freezing: the group itself",
        "any(_freezes(each) for each in group.above())",
        "_freezes(group)",
        "others",
    ),
    _v1(
        "freezer",
        "state: not told downwards",
        "any(_freezes(each) for each in group.line())",
        "_freezes(group)",
        "others",
    ),
    _v1(
        "freezer",
        "state: FREEZING is taken",
        'if wanted not in {"FROZEN", "THAWED"}:',
        'if wanted not in {"FROZEN", "THAWED", "FREEZING"}:',
        "others",
    ),
    Mutation(
        "kill: frozen ones die at once",
        "signals.py",
        "if not processes.is_frozen_v1(task):",
        "if True:",
        1,
        "freezer",
    ),
    _v1(
        "blkio",
        "iops: not cut to 32 bits",
        "limited = number % (1 << 32) if counts_operations else number",
        "limited = number",
        "io",
    ),
    _v1("blkio", "a device that is not there is EINVAL", "refuse(ENODEV)", "refuse(EINVAL)", "io"),
    _v1("blkio", "a limit of 0 is one", "number in {0, U64 - 1}", "number in {U64 - 1}", "io"),
    Mutation(
        "clone_children: not taken over",
        "rules/core1.py",
        'INHERITED: Final = ("cgroup.clone_children", ',
        "INHERITED: Final = (",
        1,
    ),
    Mutation(
        "tasks: in another order",
        "rules/core1.py",
        "for tid in sorted(thread.tid for thread in group.threads)",
        "for tid in sorted((thread.tid for thread in group.threads), reverse=True)",
        1,
    ),
)

_V2 = (
    _v2(
        "memory",
        "limits: rounded up",
        'return "max\\n" if pages >= UNLIMITED_PAGES else f"{pages * _PAGE}\\n"',
        'return "max\\n" if pages >= UNLIMITED_PAGES else f"{pages * _PAGE + _PAGE}\\n"',
        "memory",
    ),
    _v2("cpu", "weight: rounded down", "return (number + divisor // 2) // divisor", "return number // divisor", "cpu"),
    _v2(
        "cpu",
        "weight: 0 is EINVAL",
        "    if not 1 <= number <= 10_000:  # noqa: PLR2004 - CGROUP_WEIGHT_MIN and MAX\n        refuse(ERANGE)",
        "    if not 1 <= number <= 10_000:\n        refuse(EINVAL)",
        "cpu",
    ),
    Mutation(
        "uclamp: one digit more",
        "rules/cpu.py",
        "f\"{match[2] or ''}000\"",
        "f\"0{match[2] or ''}000\"",
        2,
        "cpu",
        "cpu.uclamp.max",
    ),
    _v2(
        "cpuset",
        "effective: not cut by what is above",
        "return (_held(group, name) & above) or above",
        "return _held(group, name) or above",
        "cpuset",
    ),
    _v2(
        "io",
        "io.max: 0 is EINVAL",
        "if number == 0:\n        refuse(ERANGE)",
        "if number == 0:\n        refuse(EINVAL)",
        "io",
    ),
    Mutation(
        "moved below: counted twice",
        "processes.py",
        ' and group.nearest("pids") is not source.nearest("pids"):',
        ":",
        2,
        "pids",
    ),
    _v2("hugetlb", "subtree_control: values are kept", '[0] not in disable | {""}', '[0] not in {""}', "core2"),
    _v2(
        "memory",
        "subtree_control: beside processes",
        "    if group.threads:\n        refuse(EBUSY)",
        "    pass",
        "core2",
    ),
    _v2(
        "memory",
        "subtree_control: not given by the one above",
        "if not enable <= group.controllers():\n        refuse(ENOENT)",
        "if not enable <= group.controllers():\n        refuse(EINVAL)",
        "core2",
    ),
)

MUTATIONS = (*_CORE, *_V1, *_V2)
