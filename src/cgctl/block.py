"""``with Group(…):`` moves the calling process into the group, and back home when the block ends."""

from __future__ import annotations

import os
from collections.abc import Mapping

import attrs

from cgctl import joined, members, owning
from cgctl.making import Existence, doors

__all__ = ["Block"]


@attrs.define(eq=False)
class Block:
    """One ``with`` block over a group, while the process is in it.

    Attributes:
        existence: the group's.
        on_exit: what is done to processes that are still in the group at the end.
        populated: whether the group held others' processes before; then it is neither emptied nor removed.
        entry: where the process came from, if it joined and has not gone home.
        homes: where it was in all hierarchies, those included in which it did not join: label → directory.
        pid: the process that entered; one that it forked has inherited the block, but not the duty to end it.
    """

    existence: Existence
    on_exit: str
    populated: bool = False
    entry: joined.Joined | None = None
    homes: Mapping[str, str] = attrs.field(factory=dict)
    pid: int = attrs.field(factory=os.getpid)

    def enter(self, group: joined.Named, *, join: bool) -> None:
        """Make the group and, with *join*, move the calling process into it.

        Raises:
            SpecError: another thread or task is inside another block.
            GroupExistsError: the group is there already, and may not be.
            StepError: the kernel refused; nothing is left of it.
        """
        if join:
            joined.check_enter(group.name)
        address = self.existence.now()
        owning.tidy(address)
        there = address.existing()
        if there and owning.end_orphan(address.system.filesystem, there):
            there = {}
        self.populated = bool(there and members.pids(address.system.filesystem, there))
        self.existence.make(ephemeral=not self.populated)
        if join:
            try:
                self._join(group)
            except BaseException:
                self._end("kill")
                raise

    def leave(self) -> None:
        """Go home, then kill, await or keep what is in the group.

        Raises:
            SpecError: it is not this block's turn, or not this thread's.
        """
        if self.pid == os.getpid():
            self.go_home()
            self._end(self.on_exit)

    def go_home(self) -> None:
        """Move the calling process back to where it was before it joined.

        Raises:
            SpecError: it is not this block's turn, or not this thread's.
        """
        if self.entry is not None and self.pid == os.getpid():
            joined.check_leave(self.entry)
            members.go_home(
                self.existence.now().system.filesystem, {**self._from_below(self.entry), **self.entry.homes}
            )
            joined.pop(self.entry)
            self.entry = None

    def _from_below(self, entry: joined.Joined) -> dict[str, str]:
        """Return where to go from groups below that are in more hierarchies than this one, if it moved there itself."""
        address = self.existence.now()
        return {
            label: self.homes[label]
            for label, place in address.existing().items()
            if label in self.homes.keys() - entry.homes and members.inside(address.system.filesystem, {label: place})
        }

    def _join(self, group: joined.Named) -> None:
        address = self.existence.now()
        self.homes = homes = address.system.directories_of(os.getpid())
        targets = doors(address)
        members.join(address.system.filesystem, 0, targets, homes)
        self.entry = joined.Joined(group, {label: homes[label] for label in targets if label in homes})
        joined.push(self.entry)

    def _end(self, on_exit: str) -> None:
        address = self.existence.now()
        if self.populated:
            self.existence.release()
            return
        if on_exit == "keep":
            self.existence.keep()
            return
        if on_exit == "wait" and (places := address.existing()):
            members.wait_empty(address.system.filesystem, places, timeout=None, name=address.name)
        self.existence.kill_and_remove()
