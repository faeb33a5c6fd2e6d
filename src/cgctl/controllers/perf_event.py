"""perf_event: being counted apart by perf. There is nothing to set; a group is in the hierarchy, or it is not.

On v2 every group can be counted by itself. On v1 it has to be in the hierarchy of ``perf_event``: then
``perf stat -G NAME`` and ``perf_event_open(2)`` with ``PERF_FLAG_PID_CGROUP`` find it there
(``group.paths()["perf_event"]``, or ``["unified"]`` on v2).
"""

from __future__ import annotations

from typing import Any

import attrs

from cgctl.controllers._row import Controller
from cgctl.errors import SpecError, shown

__all__ = ["CONTROLLER", "PerfEvent", "PerfEventStats"]


@attrs.frozen(kw_only=True)
class PerfEvent:
    """Be where perf can count the group by itself. It has no settings."""

    @classmethod
    def shorthand(cls, value: Any) -> PerfEvent:
        """Make the spec of ``perf_event=True``."""
        if value is True or value == "1":
            return cls()
        msg = f"perf_event={shown(value)}: it has nothing to set; give True, or leave it out"
        raise SpecError(msg)


@attrs.frozen(kw_only=True)
class PerfEventStats:
    """The controller has no files; what it counts, perf tells."""


CONTROLLER = Controller(
    name="perf_event",
    spec=PerfEvent,
    stats=PerfEventStats,
    settings=(),
    readings=(),
    domain=False,
)
