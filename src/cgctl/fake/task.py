"""Processes and their threads: who is in which group, and what they hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from cgctl.fake import access, network
from cgctl.fake.memory import holding
from cgctl.fake.time import traffic
from cgctl.fake.time.work import Burn, Call, Work
from cgctl.units import parse_duration

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.namespaces import Namespace
    from cgctl.fake.signals import Handler
    from cgctl.fake.tree import Group, Tree

__all__ = ["SIGKILL", "Task", "Thread"]

SIGKILL: Final = 9
_NSEC_IN_USEC: Final = 1_000
_REQUEST: Final = "128K"


class Thread:
    """One thread.

    Attributes:
        tid: its number; that of the first thread is the process's.
        task: its process.
        groups: hierarchy → the group that it is in, or was in when it ended.
        work: what it has to do, while the clock advances; ``None``: nothing.
    """

    __slots__ = ("groups", "task", "tid", "work")

    def __init__(self, tid: int, task: Task, groups: dict[Tree, Group]) -> None:
        self.tid = tid
        self.task = task
        self.groups = groups
        self.work: list[Work] | None = None

    @property
    def head(self) -> Work | None:
        """What it is at."""
        return self.work[0] if self.work else None

    def done(self, work: Work) -> None:
        """Take away what it has done."""
        if self.work:
            self.work.remove(work)

    @property
    def busy(self) -> bool:
        """Whether it has something left to do."""
        return bool(self.work)

    def burn(self, cpu_time: float | str, *, system: bool = False) -> None:
        """Give it processor time to use, after all else that it has to do; it is used while the clock advances.

        Args:
            cpu_time: how much; a number is seconds.
            system: whether the kernel uses it on its behalf.
        """
        usec = parse_duration(cpu_time, "cpu_time")
        self.task.kernel.give(self, Burn(usec * _NSEC_IN_USEC, system))

    def read(self, device: str, size: int | str, *, request: int | str = _REQUEST, direct: bool = False) -> None:
        """Have it read from a block device, after all else that it has to do.

        Args:
            device: a path of it, or its numbers: ``"8:0"``.
            size: how many bytes.
            request: how many of them it asks for at once.
            direct: past the page cache; without, what is read is charged to the group's memory when it is asked for.

        Raises:
            OSError: ``EPERM``: its group may not use the device; ``ENOENT``, ``ENXIO``: there is none; ``ESRCH``: the
                process has ended.
        """
        traffic.read(self, device, size, request, direct=direct)

    def write(self, device: str, size: int | str, *, request: int | str = _REQUEST, direct: bool = False) -> None:
        """Have it write to a block device, after all else that it has to do.

        Args:
            device: a path of it, or its numbers: ``"8:0"``.
            size: how many bytes.
            request: how many of them it writes at once.
            direct: past the page cache. Without, nobody waits: it is in memory, and goes to the disk after 30 seconds
                or when it is synchronized; on v2 as its group's traffic, on v1 as the kernel's own.

        Raises:
            OSError: ``EPERM``: its group may not use the device; ``ENOENT``, ``ENXIO``: there is none; ``ESRCH``: the
                process has ended.
        """
        traffic.write(self, device, size, request, direct=direct)

    def sync(self) -> None:
        """Have it wait until all that was written on the machine is on the disks, after all else that it has to do."""
        traffic.sync(self)

    def then(self, action: Callable[[], object]) -> None:
        """Have a function called when all else that it has to do is done; the clock waits for it."""
        self.task.kernel.give(self, Call(action))


class Task:
    """One process of a :class:`FakeKernel`.

    Attributes:
        pid: its number.
        parent: who started it; ``None``: init, which waits for it at once.
        children: processes that it started, and has not waited for.
        threads: the first is the main one.
        state: ``running``, ``frozen``, ``stopped``, ``zombie`` (ended, its parent has not waited for it) or ``dead``.
        status: once it has ended, its exit status; a signal's is negative.
        anon: bytes of memory that it holds, without those in swap.
        swapped: bytes of it that are in swap.
        places: the groups that were charged with them; ``None``: none.
        started: when, in ticks of the clock, all of them different.
        namespace: its cgroup namespace: hierarchy → the group that is the root for it; ``None``: the machine's own.
    """

    __slots__ = (
        "anon",
        "children",
        "kernel",
        "namespace",
        "parent",
        "pid",
        "places",
        "started",
        "status",
        "swapped",
        "threads",
        "zombie",
    )

    def __init__(
        self, kernel: FakeKernel, pid: int, parent: Task | None, groups: dict[Tree, Group], started: int
    ) -> None:
        self.kernel = kernel
        self.pid = pid
        self.parent = parent
        self.children: list[Task] = []
        self.threads = [Thread(pid, self, groups)]
        self.status: int | None = None
        self.zombie = False
        self.anon = 0
        self.swapped = 0
        self.places: dict[Group, None] | None = None
        self.started = started
        self.namespace: Namespace = parent.namespace if parent else None

    def __repr__(self) -> str:
        return f"Task({self.pid}, {self.state})"

    @property
    def busy(self) -> bool:
        """Whether one of its threads has something left to do."""
        return any(thread.busy for thread in self.threads)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.status is None

    @property
    def state(self) -> Literal["running", "frozen", "stopped", "zombie", "dead"]:
        """Whether it runs."""
        if self.alive:
            if self.kernel.processes.is_frozen(self.threads[0]):
                return "frozen"
            return "stopped" if self.kernel.signals.is_stopped(self) else "running"
        return "zombie" if self.zombie else "dead"

    def fork(self) -> Task:
        """Start a child in the same groups.

        Raises:
            OSError: ``EAGAIN`` at a limit of the pids controller.
        """
        return self.kernel.processes.fork(self)

    def thread(self) -> Thread:
        """Start another thread.

        Raises:
            OSError: ``EAGAIN`` at a limit of the pids controller.
        """
        return self.kernel.processes.start_thread(self)

    def burn(self, cpu_time: float | str, *, system: bool = False) -> None:
        """Let its main thread use processor time: :meth:`.Thread.burn`."""
        self.threads[0].burn(cpu_time, system=system)

    def read(self, device: str, size: int | str, *, request: int | str = _REQUEST, direct: bool = False) -> None:
        """Let its main thread read from a block device: :meth:`.Thread.read`."""
        self.threads[0].read(device, size, request=request, direct=direct)

    def write(self, device: str, size: int | str, *, request: int | str = _REQUEST, direct: bool = False) -> None:
        """Let its main thread write to a block device: :meth:`.Thread.write`."""
        self.threads[0].write(device, size, request=request, direct=direct)

    def sync(self) -> None:
        """Let its main thread wait until all is on the disks: :meth:`.Thread.sync`."""
        self.threads[0].sync()

    def then(self, action: Callable[[], object]) -> None:
        """Have a function called when its main thread has done all else: :meth:`.Thread.then`."""
        self.threads[0].then(action)

    def open(self, node: str, mode: str = "r") -> None:
        """Open a device node, as far as the groups that it is in allow.

        Args:
            node: a path of it, or its kind and numbers: ``"c 1:3"``.
            mode: ``r``, ``w`` or both; ``m`` makes a node.

        Raises:
            OSError: ``EPERM``: one of its groups does not; ``ENOENT``: there is no such path.
        """
        access.use(self, node, mode)

    def send(self, size: int | str, packets: int | None = None) -> None:
        """Send so much over the network, from a socket made for it: groups that count it do (``Net(accounting=True)``).

        Args:
            size: bytes, those of the IP headers included.
            packets: in how many packets; by default of 1500 bytes each.
        """
        network.move(self, "tx", size, packets)

    def receive(self, size: int | str, packets: int | None = None) -> None:
        """Receive so much: :meth:`send`."""
        network.move(self, "rx", size, packets)

    def unshare(self) -> None:
        """Have it in a cgroup namespace of its own, whose root is where it is (``CLONE_NEWCGROUP``).

        Raises:
            OSError: ``EPERM``: it is an ordinary user's; ``ESRCH``: it has ended.
        """
        self.kernel.processes.unshare(self)

    def exit(self, status: int = 0) -> None:
        """End."""
        self.kernel.processes.end(self, status)

    def on_signal(self, number: int, handler: Handler) -> None:
        """Say what it does with a signal, as ``signal.signal`` does.

        Args:
            number: such as ``signal.SIGTERM``.
            handler: is called with the number; or ``SIG_IGN``; or ``SIG_DFL``, as ``None``. What it raises is raised
                where a program waits, as Python does; of a process that runs none, who has sent the signal gets it.

        Raises:
            SpecError: there is no such signal, or it cannot be caught.
        """
        self.kernel.signals.handle(self, number, handler)

    def interrupt(self, handler: Callable[[int], object], number: int) -> None:
        """Have it do what it does with a signal."""
        handler(number)

    def ended(self) -> None:
        """Take note of its end, whoever brought that about."""

    def wait(self) -> tuple[int, int] | None:
        """Wait for a child that has ended: its pid and status; ``None`` if there is none."""
        return self.kernel.processes.reap(self)

    def allocate(self, size: int | str) -> None:
        """Touch new memory. Where a limit does not allow it, the kernel kills, and it may be this process.

        Above ``memory.high`` it sleeps for that, before whatever else it has to do.

        Raises:
            OSError: ``ESRCH``: it has ended.
        """
        holding.allocate(self, size)

    def touch(self, size: int | str | None = None) -> None:
        """Use memory that was swapped out; all of it, if *size* is not given.

        Raises:
            OSError: ``ESRCH``: it has ended.
        """
        holding.touch(self, size)

    def cache(self, size: int | str) -> None:
        """Read so much of files that nobody has read: it stays in the page cache, charged to the group, until reclaim.

        Raises:
            OSError: ``ESRCH``: it has ended.
        """
        holding.cache(self, size)

    def free(self, size: int | str | None = None) -> None:
        """Give memory back; all of it, if *size* is not given."""
        holding.free(self, size)
