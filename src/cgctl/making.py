"""Making, changing and removing a group: read, plan, execute, and leave nothing of it behind."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from errno import EBUSY, ENODEV, ENOENT, EOPNOTSUPP, ESRCH
from typing import Any, Final

import attrs

from cgctl import claim, killing, members, owning
from cgctl.address import Address
from cgctl.errors import GroupExistsError, GroupNotFoundError, StepError, UnsupportedError
from cgctl.filesystem import Filesystem, execute, read_all, remove_tree, satisfy
from cgctl.filesystem.kernel import KernelFilesystem
from cgctl.layout import UNIFIED
from cgctl.marks import SUPERVISOR, SUPERVISOR_MARK
from cgctl.plan import Mkdir, Place, Plan, Request, Rmdir, Snapshot

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
        evacuate=_takes_controllers(address, specs)
        and (os.environ.get("CGCTL_EVACUATE") == "1" or claim.is_ours(address)),
    )
    return satisfy(address.system.filesystem, request, address.system.learnt)


def _takes_controllers(address: Address, specs: Mapping[str, Any]) -> bool:
    """Tell whether controllers have to be enabled above a group: only then does anybody have to be out of the way."""
    layout = address.system.layout
    return any(layout.locate(name) is layout.unified for name in specs)


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
        mark: what says on the group whose it is.
    """

    where: Callable[[], Address]
    specs: Mapping[str, Any]
    exist_ok: bool
    address: Address | None = None
    token: int | None = None
    mark: bytes | None = None

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
            address = claim.claimed(self.now(), self.specs)
            self._make(address, ephemeral=ephemeral)
        self.address = address

    def _make(self, address: Address, *, ephemeral: bool) -> None:
        filesystem = address.system.filesystem
        owning.tidy(address)
        for attempt in itertools.count(1):
            if self.exist_ok:
                owning.end_orphan(filesystem, address.existing())
            try:
                with owning.Steady(address) if _takes_controllers(address, self.specs) else nullcontext():
                    self._make_once(address, ephemeral=ephemeral)
            except BaseException as error:
                self.release()
                again = _is_overtaken(error) or (
                    isinstance(error, GroupExistsError) and owning.end_orphan(filesystem, address.existing())
                )
                if attempt == _TRIES or not again:
                    # Whoever removed the last group beside it meanwhile has left that to us.
                    owning.remove_above(address, undo=True)
                    raise
            else:
                return

    def _make_once(self, address: Address, *, ephemeral: bool) -> None:
        filesystem = address.system.filesystem
        places = address.planned(self.specs)
        steps, snapshot = planned(address, places, self.specs)
        there = [place for place in places if place.there(snapshot)]
        if there and not self.exist_ok:
            where = there[0].directory
            msg = f"group {address.name!r} is there already ({where}); choose another name, or pass exist_ok=True"
            raise GroupExistsError(msg)
        claim = owning.claim(filesystem, there, ephemeral=ephemeral)
        self.mark = claim.mark if claim.mine else None
        # The helper is told before anything is made, so that a kill in between leaves nothing.
        if ephemeral and claim.mine and claim.mark and isinstance(filesystem, KernelFilesystem):
            directories = address.base.directories.values()
            name = "/".join((*address.base.parts, *address.parts))
            self.token = _guard(claim.mark, [f"{each}/{name}" for each in directories], owning.above(address))
        execute(filesystem, steps, owning.marks(claim.mark))
        if claim.mine and claim.mark:
            owning.adopt(filesystem, there, claim.mark)

    def remove(self, places: Mapping[str, Place]) -> None:
        """Remove the group and all below it; and, if nobody else uses them, the parents that were made for it.

        Args:
            places: where it is: hierarchy label → place.

        Raises:
            StepError: processes are still in it (``EBUSY``).
        """
        self._take_down(self.now(), places, settle=True)

    def _take_down(self, address: Address, places: Mapping[str, Place], *, settle: bool) -> None:
        _remove(address, places)
        with _tree_lock:
            owning.remove_above(address, undo=settle)
        self.address = None
        self.release()

    def kill_and_remove(self, *, settle: bool = True) -> None:
        """Kill what is in the group, and remove it if it is still there.

        Args:
            settle: whether to undo the emptying of the group above, if this was the last one below it.

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
                owning.remove_above(address, undo=settle)
        finally:
            self.release()

    def keep(self) -> None:
        """Let the group outlive this process, whatever becomes of it."""
        if self.mark is not None:
            address = self.now()
            owning.disown(address.system.filesystem, address.existing().values(), self.mark)
        self.release()

    def release(self) -> None:
        """Leave the group to its mark: it is not for this object to remove, or is gone."""
        self.mark = None
        if self.token is not None:
            from cgctl import guarding  # noqa: PLC0415 - the launcher is needed here only

            guarding.release(self.token)
            self.token = None


def _is_overtaken(error: BaseException) -> bool:
    """Tell whether somebody else may have changed the tree between the reading and the writing: then look again."""
    if isinstance(error, StepError):
        return error.errno in {EBUSY, ENOENT, ENODEV, EOPNOTSUPP}
    if isinstance(error, UnsupportedError):
        # The group above was removed and made again by others, who had not yet enabled the controller there.
        return isinstance(error.__cause__, OSError) and error.__cause__.errno == ENOENT
    return isinstance(error, GroupNotFoundError)


def _guard(mark: bytes, directories: list[str], above: list[str]) -> int:
    from cgctl import guarding  # noqa: PLC0415 - the launcher is needed here only

    return guarding.guard(mark, directories, above)


def extend(address: Address, before: Mapping[str, Place], specs: Mapping[str, Any]) -> dict[str, Place]:
    """Change a group's limits; where that takes it into another hierarchy, its processes follow.

    Args:
        address: the group.
        before: where it is: hierarchy label → place.
        specs: controller → spec.

    Returns:
        Where it is then.

    Raises:
        GroupNotFoundError: the group is not there any more.
        UnsupportedError: this layout cannot have what is asked.
        StepError: the kernel refused.
    """
    filesystem = address.system.filesystem
    added = {p.hierarchy.label: p for p in address.planned(specs) if p.hierarchy.label not in before}
    with owning.Steady(address) if _takes_controllers(address, specs) else nullcontext():
        try:
            steps, _ = planned(address, (*added.values(), *before.values()), specs)
        except UnsupportedError:
            # Files may also be missing because the whole group is, since a moment ago.
            address.require()
            raise
        execute(filesystem, steps, owning.marks(owning.mark_of(filesystem, before.values())))
    if added:
        _bring(filesystem, before, added, doors(address))
    return {**before, **added}


def _bring(
    filesystem: Filesystem, before: Mapping[str, Place], added: Mapping[str, Place], doors: Mapping[str, str]
) -> None:
    """Let the processes of a group follow it into more hierarchies."""
    targets = {label: directory for label, directory in doors.items() if label in added}
    for _round in range(_TRIES):
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
    if directory is None or not filesystem.read(f"{directory}/cgroup.subtree_control").strip():
        return targets
    # A threaded domain has its processes beside the controllers for the groups of their threads.
    kind = read_all(filesystem, [f"{directory}/cgroup.type"])[f"{directory}/cgroup.type"]
    if kind != b"domain threaded\n":
        targets[UNIFIED] = f"{directory}/{SUPERVISOR}"
        execute(filesystem, Plan((Mkdir(path=targets[UNIFIED], shared=True, marks={SUPERVISOR_MARK: b"1"}),)))
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


def _remove_directory(filesystem: Filesystem, directory: str) -> None:
    """Remove a directory and all below it, patient with processes that are ending, not with those that just run."""
    try:
        remove_tree(filesystem, directory, timeout=_RUNNING_TIMEOUT)
    except OSError as error:
        if error.errno != EBUSY or any(members.procs(filesystem, each) for each in members.walk(filesystem, directory)):
            raise
        remove_tree(filesystem, directory, timeout=_REMOVE_TIMEOUT)
