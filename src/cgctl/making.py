"""Making, changing and removing a group: read, plan, execute, and leave nothing of it behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Mapping
from errno import EBUSY, ENODEV, ENOENT, EOPNOTSUPP, ESRCH
from typing import Any, Final

import attrs

from cgctl import killing, members
from cgctl.address import Address
from cgctl.controllers import CONTROLLERS
from cgctl.errors import GroupExistsError, GroupNotFoundError, StepError
from cgctl.filesystem import Filesystem, execute, remove_tree, satisfy
from cgctl.layout import UNIFIED
from cgctl.plan import SUPERVISOR, SUPERVISOR_MARK, Mkdir, Place, Plan, Request, Rmdir, Snapshot
from cgctl.reading import controllers_in

__all__ = ["Existence", "doors", "extend", "planned"]

_TRIES: Final = 5
_RUNNING_TIMEOUT: Final = 0.5
_REMOVE_TIMEOUT: Final = 5.0
_KILL_TIMEOUT: Final = 10.0


def planned(address: Address, places: tuple[Place, ...], specs: Mapping[str, Any]) -> tuple[Plan, Snapshot]:
    """Return the steps that make a group hold specs in these places, and what they were decided on.

    Raises:
        UnsupportedError: this layout cannot have it.
    """
    request = Request(
        layout=address.system.layout,
        places=places,
        specs=specs,
        caller=os.getpid(),
        evacuate=os.environ.get("CGCTL_EVACUATE") == "1",
    )
    return satisfy(address.system.filesystem, request)


_tree_lock = threading.RLock()
"""Threads take turns in changing what lies above their groups: who is where, and which controllers are enabled."""


def _after_fork() -> None:
    global _tree_lock  # noqa: PLW0603 - another thread of the parent may have held it
    _tree_lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


@attrs.define(eq=False)
class Existence:
    """Whether one group is there: makes it, remembers what that brought about, and takes it back.

    Attributes:
        where: returns the group's address, as things are now.
        specs: controller → spec, to be held from the start.
        exist_ok: whether it may be there already.
        address: where it was made, once it was.
        token: under which the launch helper guards it: it ends with this process, however that ends.
    """

    where: Callable[[], Address]
    specs: Mapping[str, Any]
    exist_ok: bool
    address: Address | None = None
    token: int | None = None

    def now(self) -> Address:
        """Return the address: of what was made, or of what would be."""
        return self.address or self.where()

    def make(self, *, ephemeral: bool) -> None:
        """Make the group.

        Args:
            ephemeral: whether it is to be gone with this process.

        Raises:
            GroupExistsError: it is there already, in any hierarchy, and may not be.
            UnsupportedError: this layout cannot have what is asked.
            StepError: the kernel refused; what was made is removed again.
        """
        with _tree_lock:
            address = self.now()
            steps = self._execute(address, ephemeral=ephemeral)
        self.address = address
        _note_above(steps, address)

    def _execute(self, address: Address, *, ephemeral: bool) -> Plan:
        filesystem = address.system.filesystem
        for attempt in itertools.count(1):
            places = address.planned(self.specs)
            steps, snapshot = planned(address, places, self.specs)
            there = [place.directory for place in places if place.there(snapshot)]
            if there and not self.exist_ok:
                msg = (
                    f"group {address.name!r} is there already ({there[0]}); choose another name, or pass exist_ok=True"
                )
                raise GroupExistsError(msg)
            try:
                # The helper is told before anything is made, so that a kill in between leaves nothing.
                if ephemeral:
                    above = _above(address, _made_above | _made_by(steps))
                    self.token = _guard([place.directory for place in places], above)
                execute(filesystem, steps)
            except BaseException as error:
                self.keep()
                if attempt == _TRIES or not _is_overtaken(error):
                    raise
                continue
            return steps
        raise AssertionError  # the loop has no other end

    def remove(self, *, settle: bool = True) -> None:
        """Remove the group and all below it; and, if nobody else uses them, the parents that were made for it.

        Args:
            settle: whether to undo the emptying of the group above, if this was the last one below it.

        Raises:
            GroupNotFoundError: it is not there.
            StepError: processes are still in it (``EBUSY``).
        """
        address = self.now()
        self._take_down(address, address.require(), settle=settle)

    def _take_down(self, address: Address, places: Mapping[str, Place], *, settle: bool) -> None:
        _remove(address, places)
        if settle and UNIFIED in places:
            with _tree_lock:
                _settle(address.system.filesystem, places[UNIFIED].directory.rpartition("/")[0])
        self.address = None
        self.keep()

    def kill_and_remove(self, *, settle: bool = True) -> None:
        """Kill what is in the group, and remove it if it is still there.

        Args:
            settle: as for :meth:`remove`.

        Raises:
            TimeoutExpired: some do not die.
            StepError: new ones keep coming in.
        """
        address = self.now()
        try:
            if places := address.existing():
                killing.kill(address.system.filesystem, places, timeout=_KILL_TIMEOUT, name=address.name)
                self._take_down(address, places, settle=settle)
            else:
                _remove_above(address)
        finally:
            self.keep()

    def keep(self) -> None:
        """Tell the helper that the group is gone, or is to outlive this process."""
        if self.token is not None:
            from cgctl import guarding  # noqa: PLC0415 - the launcher is needed here only

            guarding.release(self.token)
            self.token = None


def _is_overtaken(error: BaseException) -> bool:
    """Tell whether somebody else may have changed the tree between the reading and the writing: then look again."""
    if isinstance(error, StepError):
        return error.errno in {EBUSY, ENOENT, ENODEV, EOPNOTSUPP}
    return isinstance(error, GroupNotFoundError)


def _guard(directories: list[str], above: list[str]) -> int:
    from cgctl import guarding  # noqa: PLC0415 - the launcher is needed here only

    return guarding.guard(directories, above)


def extend(address: Address, specs: Mapping[str, Any]) -> None:
    """Change a group's limits; where that takes it into another hierarchy, its processes follow.

    Raises:
        GroupNotFoundError: the group is not there.
        UnsupportedError: this layout cannot have what is asked.
        StepError: the kernel refused.
    """
    filesystem = address.system.filesystem
    before = address.require()
    held = {name: CONTROLLERS[name].spec() for name in controllers_in(filesystem, address.system.layout, before)}
    added = {p.hierarchy.label: p for p in address.planned(held | dict(specs)) if p.hierarchy.label not in before}
    steps, _ = planned(address, (*added.values(), *before.values()), specs)
    execute(filesystem, steps)
    targets = {label: directory for label, directory in doors(address).items() if label in added}
    for _round in range(_TRIES if added else 0):
        missed = members.pids(filesystem, before) - members.pids(filesystem, added)
        for pid in missed:
            _move(filesystem, pid, targets)
        if not missed:
            return


def doors(address: Address) -> dict[str, str]:
    """Return the directories through which processes join a group: hierarchy label → directory.

    A v2 group that has enabled controllers for groups below it takes no process itself; its leaf ``supervisor`` does.
    """
    filesystem = address.system.filesystem
    targets = address.nearest()
    directory = targets.get(UNIFIED)
    if directory is not None and filesystem.read(f"{directory}/cgroup.subtree_control").strip():
        targets[UNIFIED] = f"{directory}/{SUPERVISOR}"
        execute(filesystem, Plan((Mkdir(path=targets[UNIFIED], shared=True, mark=SUPERVISOR_MARK),)))
    return targets


def _move(filesystem: Filesystem, pid: int, targets: Mapping[str, str]) -> None:
    try:
        members.join(filesystem, pid, targets, {})
    except StepError as error:
        if error.errno != ESRCH:
            raise


def _remove(address: Address, places: Mapping[str, Place]) -> None:
    filesystem = address.system.filesystem
    for label, place in places.items():
        try:
            _remove_directory(filesystem, place.directory)
        except OSError as error:
            held = sorted(members.pids(filesystem, {label: place}))
            what = f"processes {held[:5]}" if held else "dying processes or new groups"
            caller = " (the caller is one of them)" if os.getpid() in held else ""
            hint = f"it still holds {what}{caller}; kill() it first, or move them elsewhere"
            step = Rmdir(path=place.directory)
            raise StepError(step, error.errno or 0, hint=hint, filename=place.directory) from error
    _remove_above(address)


def _remove_directory(filesystem: Filesystem, directory: str) -> None:
    """Remove a directory and all below it, patient with processes that are ending, not with those that just run."""
    try:
        remove_tree(filesystem, directory, timeout=_RUNNING_TIMEOUT)
    except OSError as error:
        if error.errno != EBUSY or any(members.procs(filesystem, each) for each in members.walk(filesystem, directory)):
            raise
        remove_tree(filesystem, directory, timeout=_REMOVE_TIMEOUT)


_made_above: Final[set[str]] = set()
"""Directories that this process made on the way to its groups; each goes with the last group below it."""


def _note_above(steps: Plan, address: Address) -> None:
    _made_above.update(_made_by(steps))
    # One that is asked for by its own name is no longer just on the way.
    name = "/".join((*address.base.parts, *address.parts))
    _made_above.difference_update(f"{directory}/{name}" for directory in address.base.directories.values())


def _made_by(steps: Plan) -> set[str]:
    return {step.path for step in steps if isinstance(step, Mkdir) and step.shared and not _is_leaf(step.path)}


def _above(address: Address, made: set[str]) -> list[str]:
    """Return what goes with a group if nobody else uses it: what was made on the way to it, and ``CGCTL_BASE``."""
    base, parts = address.base, (*address.base.parts, *address.parts)
    from_environment = len(base.parts) if base.origin.startswith("CGCTL_BASE") else 0
    return [
        path
        for depth in range(len(parts) - 1, 0, -1)
        for directory in base.directories.values()
        if (path := "/".join((directory, *parts[:depth]))) in made or depth <= from_environment
    ]


def _remove_above(address: Address) -> None:
    for directory in _above(address, _made_above):
        with contextlib.suppress(OSError):
            address.system.filesystem.rmdir(directory)
            _made_above.discard(directory)


def _is_leaf(directory: str) -> bool:
    return directory.endswith(f"/{SUPERVISOR}")


def _settle(filesystem: Filesystem, above: str) -> None:
    """Undo the emptying of a group, once the last group below it is gone: controllers off, home, rmdir."""
    leaf = f"{above}/{SUPERVISOR}"
    with contextlib.suppress(OSError):
        if filesystem.listdir(above) != [SUPERVISOR] or not filesystem.getxattr(leaf, SUPERVISOR_MARK):
            return
        enabled = filesystem.read(f"{above}/cgroup.subtree_control").decode().split()
        if enabled:
            filesystem.write(f"{above}/cgroup.subtree_control", " ".join(f"-{name}" for name in enabled).encode())
        for _round in range(_TRIES):
            for pid in filesystem.read(f"{leaf}/cgroup.procs").split():
                with contextlib.suppress(ProcessLookupError):
                    filesystem.write(f"{above}/cgroup.procs", pid)
        filesystem.rmdir(leaf)
