"""The steps that make a group's directories and let processes in, before any limit is set.

v2: controllers are enabled from the top down, only in groups that hold no process of their own. A
populated group would refuse domain controllers (EBUSY) and be turned into a threaded one, for ever, by
``+cpu`` or ``+pids``; so its processes first move to a leaf, ``supervisor``, and only if they are the
caller and its descendants.

v1: ``cpuset`` starts empty and takes no process until both lists are set; ``memory`` before 5.11 does
not count a group's children unless told to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from cgctl.controllers import CONTROLLERS, CORE
from cgctl.errors import UnsupportedError
from cgctl.layout import Hierarchy
from cgctl.marks import SUPERVISOR, SUPERVISOR_MARK
from cgctl.plan.place import Place
from cgctl.plan.snapshot import Snapshot
from cgctl.plan.steps import ENABLE, JOIN, Mkdir, Step, Write

__all__ = [
    "COUNTS_ALL",
    "enabled_for",
    "evacuation",
    "hierarchical",
    "require_available",
    "steps_v1",
    "steps_v2",
    "wants_v1",
    "wants_v2",
]

COUNTS_ALL: Final = "1\n"
"""What v1's ``memory.use_hierarchy`` reads where a group counts its children, which nobody can end while it has one."""
_DOMAIN: Final = frozenset({"memory", "io", "hugetlb", "rdma", "misc", "dmem"})
_SYSTEMD: Final = ("cpu", "cpuset", "io", "memory", "pids")
"""All that a systemd can delegate."""
_UNIT: Final = re.compile(r"\.(service|scope|slice)(/|$)")
_USER_MANAGER: Final = re.compile(r"/(user@\d+\.service)(/|$)")
_PPID: Final = re.compile(r"\d+ \(.*\) \S (\d+)", re.DOTALL)


def wants_v1(place: Place, snapshot: Snapshot) -> Iterator[str]:
    """Yield the paths that :func:`steps_v1` looks at."""
    yield from (place.marker(directory) for directory in place.chain[1:])
    for name in _cpuset_files(place):
        for directory in place.chain:
            yield place.file(name, directory)
    if "memory" in place.hierarchy.controllers:
        top = hierarchical(place.hierarchy)
        yield top
        if snapshot.known(top) and snapshot.text(top) != COUNTS_ALL:
            yield place.file("memory.use_hierarchy", place.base)


def hierarchical(hierarchy: Hierarchy) -> str:
    """Return the file that tells whether all groups of a v1 hierarchy count their children: if its root does so."""
    return hierarchy.file(hierarchy.mount_point, "memory.use_hierarchy")


def steps_v1(place: Place, snapshot: Snapshot, settings: frozenset[str]) -> Iterator[Step]:
    """Yield the steps that make a group in a v1 hierarchy.

    Args:
        place: where.
        snapshot: what was read.
        settings: paths that the settings will write, and that so need no initial value.
    """
    inherited = {name: snapshot.text(place.file(name, place.base)) or "" for name in _cpuset_files(place)}
    counts_alone = snapshot.text(place.file("memory.use_hierarchy", place.base)) == "0\n"
    for directory in place.chain[1:]:
        fresh = not place.there(snapshot, directory)
        if fresh:
            yield Mkdir(path=directory, shared=directory != place.directory)
            if counts_alone:
                yield Write(
                    path=place.file("memory.use_hierarchy", directory),
                    data=b"1",
                    because="before Linux 5.11 a group does not count its children unless told to",
                )
                counts_alone = False
        for name, value in inherited.items():
            path = place.file(name, directory)
            held = "" if fresh else (snapshot.text(path) or "").strip()
            if not held and path not in settings and value.strip():
                because = "a v1 cpuset starts empty and takes no process"
                yield Write(path=path, data=value.strip().encode(), because=because)
            inherited[name] = held or value


def _cpuset_files(place: Place) -> tuple[str, ...]:
    return ("cpuset.cpus", "cpuset.mems") if "cpuset" in place.hierarchy.controllers else ()


def wants_v2(
    place: Place, snapshot: Snapshot, controllers: tuple[str, ...], *, threaded: bool = False
) -> Iterator[str]:
    """Yield the paths that :func:`steps_v2` looks at; call again until it yields nothing that is not known."""
    yield from (place.marker(directory) for directory in place.chain[0 if controllers else 1 :])
    if threaded:
        yield from _occupants(place, snapshot, place.base)
    if not controllers:
        return
    yield place.file("cgroup.controllers", place.base)
    for directory, child in zip(place.chain, place.chain[1:], strict=False):
        if not snapshot.known(place.marker(directory)):
            # Of the base, which is there, this will be asked for if the group is yet to be made.
            if directory == place.base and snapshot.missing(place.marker(child)):
                yield place.file("cgroup.type", directory)
            continue
        if not place.there(snapshot, directory):
            continue
        lacking = _lacking(place, snapshot, directory, controllers)
        if not lacking and place.there(snapshot, child):
            continue
        yield place.file("cgroup.type", directory)
        if lacking:
            yield from _occupants(place, snapshot, directory)
            yield from _ancestry(snapshot, place.file("cgroup.procs", directory))
            yield place.file("cgroup.type")


def _occupants(place: Place, snapshot: Snapshot, directory: str) -> Iterator[str]:
    """Yield the files that tell of which type a group is and who is in it."""
    kind = place.file("cgroup.type", directory)
    yield kind
    # The real root, which alone has no type, may hold processes beside enabled controllers.
    if snapshot.known(kind) and not snapshot.missing(kind):
        yield place.file("cgroup.procs", directory)


def steps_v2(
    place: Place,
    snapshot: Snapshot,
    controllers: tuple[str, ...],
    caller: int,
    *,
    evacuate: bool,
    threaded: bool = False,
) -> Iterator[Step]:
    """Yield the steps that make a group in a v2 hierarchy, with these controllers at hand.

    Args:
        place: where.
        snapshot: what was read.
        controllers: what is to be enabled above it.
        caller: whose descendants may be moved out of the way.
        evacuate: whether everybody may be.
        threaded: whether it is to be a group of threads.

    Raises:
        UnsupportedError: somebody else's process is in the way, or the group cannot be threaded.
    """
    if threaded:
        _check_threaded(place, snapshot, controllers)
    # Of threads, whose process is in the group above: that one is to have both, it and the controllers.
    threaded = threaded or (snapshot.text(place.file("cgroup.type")) or "").strip() == "threaded"
    for directory, child in zip(place.chain, place.chain[1:], strict=False):
        fresh = not place.there(snapshot, directory)
        lacking = controllers if fresh else _lacking(place, snapshot, directory, controllers)
        if lacking:
            if not fresh and not (threaded and child == place.directory):
                yield from evacuation(place, snapshot, directory, lacking, caller, evacuate=evacuate)
            yield Write(
                path=place.file("cgroup.subtree_control", directory),
                data=" ".join(f"+{name}" for name in lacking).encode(),
                retry=ENABLE,
                undo=None if fresh else " ".join(f"-{name}" for name in lacking).encode(),
                because=f"{' '.join(lacking)} for the groups below",
            )
        if not place.there(snapshot, child):
            if controllers and not lacking and not (threaded and child == place.directory):
                _require_domain(place, snapshot, directory)
            yield Mkdir(path=child, shared=child != place.directory)


def _require_domain(place: Place, snapshot: Snapshot, directory: str) -> None:
    """Refuse a group whose processes joined it beside enabled controllers: groups below it take no process.

    Raises:
        UnsupportedError: it is such a one.
    """
    if (snapshot.text(place.file("cgroup.type", directory)) or "").strip() == "domain threaded":
        enabled = " ".join(snapshot.words(place.file("cgroup.subtree_control", directory)))
        reason = (
            f"{directory} is 'domain threaded' (cgroup.type): it holds processes beside enabled controllers"
            f" ({enabled}), and groups below it take none; move the processes elsewhere, or remove the groups that are"
            " left there (cgctl doctor --prune finds those of processes that have ended)"
        )
        raise UnsupportedError(f"a group below {directory}", reason)


def _check_threaded(place: Place, snapshot: Snapshot, controllers: tuple[str, ...]) -> None:
    """Refuse a group of threads that would have what threads cannot, or turn the caller's own cgroup into their domain.

    Raises:
        UnsupportedError: it would.
    """
    refused = [name for name in controllers if name in _DOMAIN]
    if refused:
        reason = (
            "v2 counts it by process, and only cpu, cpuset, pids and perf_event by thread; set it on the group above"
        )
        raise UnsupportedError(f"controller {refused[0]} in a threaded group", reason)
    if len(place.parts) == 1 and snapshot.words(place.file("cgroup.procs", place.base)):
        reason = (
            f"{place.base}, in which the caller is, would become a threaded domain, and whatever else is made below it"
            " invalid; make a group for the process first, and the threaded ones below that one"
        )
        raise UnsupportedError("a threaded group directly below the caller's own", reason)


def evacuation(
    place: Place, snapshot: Snapshot, directory: str, lacking: tuple[str, ...], caller: int, *, evacuate: bool
) -> Iterator[Step]:
    """Yield the steps that empty a group of its own processes.

    Raises:
        UnsupportedError: it holds processes that are not the caller's to move, or is threaded.
    """
    feature = f"controller {' '.join(lacking)} below {directory}"
    # One that has ended meanwhile, or that /proc hides, is not moved; the kernel says if it is in the way after all.
    pids = [
        int(word)
        for word in snapshot.words(place.file("cgroup.procs", directory))
        if evacuate or not snapshot.missing(f"/proc/{word}/stat")
    ]
    kind = (snapshot.text(place.file("cgroup.type", directory)) or "domain").strip()
    refused = [name for name in lacking if name in _DOMAIN or pids]
    if kind != "domain" and refused:
        reason = f"the group is {kind!r} (cgroup.type), which {refused[0]} cannot have; use another parent"
        raise UnsupportedError(feature, reason)
    if not pids:
        return
    # To write "0" would move the writer: a process of another pid namespace cannot be named, and so not moved.
    foreign = [pid for pid in pids if pid == 0 or not (evacuate or _descends(snapshot, pid, caller))]
    if foreign:
        shown = ", ".join(str(pid) if pid else "0 (of another pid namespace)" for pid in foreign[:5])
        reason = (
            f"the group holds processes that are not the caller's ({shown}), and a v2 group with processes cannot"
            " enable controllers; start the program in a group of its own (systemd-run --scope -p Delegate=yes), or in"
            " a container of its own set CGCTL_EVACUATE=1"
        )
        raise UnsupportedError(feature, reason)
    leaf = f"{directory}/{SUPERVISOR}"
    # Whoever starts inside of it is to make its groups beside it, so it is marked before anybody is moved there.
    because = "a v2 group with processes cannot enable controllers"
    yield Mkdir(path=leaf, shared=True, marks={SUPERVISOR_MARK: b"1"}, because=because)
    for pid in pids:
        yield Write(
            path=f"{leaf}/cgroup.procs",
            data=str(pid).encode(),
            gone_ok=True,
            retry=JOIN,
            undo=str(pid).encode(),
            undo_path=f"{directory}/cgroup.procs",
            because="moved to a leaf",
        )


def _lacking(place: Place, snapshot: Snapshot, directory: str, controllers: tuple[str, ...]) -> tuple[str, ...]:
    enabled = snapshot.words(place.file("cgroup.subtree_control", directory))
    return tuple(name for name in controllers if name not in enabled)


def require_available(place: Place, snapshot: Snapshot, controllers: tuple[str, ...]) -> None:
    """Refuse controllers that the base of a v2 group was not given.

    Raises:
        UnsupportedError: it was not given one of them.
    """
    path = place.file("cgroup.controllers", place.base)
    if place.hierarchy.version == 1 or not controllers or snapshot.missing(path):
        return
    there = snapshot.words(path)
    for name in controllers:
        if name not in there:
            reason = (
                f"controller {name!r} is not enabled in the group above {place.base}"
                f" (it has: {' '.join(there) or 'none'}); {_how_to_delegate(place.base, name)}"
            )
            raise UnsupportedError(f"controller {name} below {place.base}", reason)


def _how_to_delegate(base: str, controller: str) -> str:
    """Say who gives a controller on to a group, and how."""
    manager = _USER_MANAGER.search(base)
    if controller not in _SYSTEMD and _UNIT.search(base):
        return "systemd manages the groups above and knows no such controller; use a group outside of it"
    if manager is None:
        return (
            "enable it in the parent's cgroup.subtree_control, or ask systemd to delegate it"
            f" (Delegate={controller} in the unit)"
        )
    directory = "/etc/systemd/system/user@.service.d"
    return (
        f"systemd does not delegate it to users unless told; as root: mkdir -p {directory} && printf"
        f" '[Service]\\nDelegate={' '.join(_SYSTEMD)}\\n' > {directory}/delegate.conf && systemctl daemon-reload"
        f" && systemctl restart {manager[1]}, which ends what runs under the user's systemd"
    )


def _ancestry(snapshot: Snapshot, procs: str) -> Iterator[str]:
    """Yield the stat files that tell whose descendants the processes are, one generation at a time."""
    for word in snapshot.words(procs):
        yield from (f"/proc/{pid}/stat" for pid in _line(snapshot, int(word)) if pid > 1)


def _line(snapshot: Snapshot, pid: int) -> Iterator[int]:
    """Yield a process and its ancestors, as far as they are known."""
    seen: set[int] = set()
    # What was read at several moments may have a circle: pids are used again.
    while pid > 0 and pid not in seen:
        seen.add(pid)
        yield pid
        match = _PPID.match(snapshot.text(f"/proc/{pid}/stat") or "")
        pid = int(match[1]) if match else 0


def _descends(snapshot: Snapshot, pid: int, caller: int) -> bool:
    return caller in _line(snapshot, pid)


def enabled_for(specs: Mapping[str, object], available: tuple[str, ...]) -> tuple[str, ...]:
    """Return the v2 controllers that specs need, in the order of the table."""
    return tuple(name for name in CONTROLLERS if name in specs and name in available and name != CORE)
