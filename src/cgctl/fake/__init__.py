"""An in-memory kernel: cgroup filesystems that refuse, round and limit as a real one does.

Pure: it touches no file and no process of the machine that it runs on. Users meet it as
:class:`cgctl.testing.FakeSystem`.
"""

from cgctl.fake.kernel import FakeKernel
from cgctl.fake.program import Program, ProgramTask
from cgctl.fake.task import Task

__all__ = ["FakeKernel", "Program", "ProgramTask", "Task"]
