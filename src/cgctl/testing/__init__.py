"""What any cgroup filesystem must do, as cases that can be run on a real kernel and on one in memory."""

from __future__ import annotations

from cgctl.testing.case import Case, Failure, Profile
from cgctl.testing.contract import cases, check_filesystem

__all__ = ["Case", "Failure", "Profile", "cases", "check_filesystem"]
