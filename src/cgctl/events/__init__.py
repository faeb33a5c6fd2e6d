"""What happens to a group, told when it happens: processes come and go, memory runs out, pressure rises."""

from __future__ import annotations

from cgctl.events.events import Events
from cgctl.events.kinds import KINDS, Event, Kind, Threshold, parse_request

__all__ = ["KINDS", "Event", "Events", "Kind", "Threshold", "parse_request"]
