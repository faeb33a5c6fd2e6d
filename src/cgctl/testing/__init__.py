"""A machine in memory to test against, and what any cgroup filesystem must do, as cases for that one and real ones."""

from __future__ import annotations

from cgctl.fake import ProgramTask
from cgctl.testing.case import Case, Failure, Profile
from cgctl.testing.contract import cases, check_filesystem
from cgctl.testing.fake import FakeSystem

__all__ = ["Case", "Failure", "FakeSystem", "Profile", "ProgramTask", "cases", "check_filesystem"]
