"""Processor time that groups have used."""

from __future__ import annotations

import attrs

from cgctl.fake.tree import Group

__all__ = ["Usage", "usage"]


@attrs.define(eq=False)
class Usage:
    """What was used in a group and below it. All times are nanoseconds.

    Attributes:
        user: processor time of programs.
        system: processor time in the kernel for them.
        held: what threads have been held back for, by a quota here or above, and still are.
        throttled: the same, of the times that are over.
    """

    user: float = 0.0
    system: float = 0.0
    held: float = 0.0
    throttled: float = 0.0

    def use(self, amount: float, *, system: bool) -> None:
        """Add processor time."""
        if system:
            self.system += amount
        else:
            self.user += amount

    def release(self) -> None:
        """Count the time for which threads were held back: it is over (``tg_unthrottle_up``)."""
        self.throttled += self.held
        self.held = 0.0


def usage(group: Group) -> Usage:
    """Return the account of a group, which is made when it is first needed."""
    found = group.usage
    if found is None:
        found = group.usage = Usage()
    return found
