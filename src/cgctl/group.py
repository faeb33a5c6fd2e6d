"""Groups: the verbs. Each is *needs → read → plan → execute* over the places where the group lives."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from cgctl import delegating, freezing, joined, killing, members
from cgctl.address import Address
from cgctl.block import Block
from cgctl.claim import require_known, set_as_unit, writable
from cgctl.controllers import ControllerKeywords, Limits, Stats, parse_specs
from cgctl.errors import GroupNotFoundError, SpecError, StepError, UnsupportedError, shown
from cgctl.filesystem import execute
from cgctl.making import Existence, doors, extend, planned
from cgctl.names import parse_file, parse_name
from cgctl.plan import Place, Plan, Write
from cgctl.reading import find_file, read_limits, read_stats
from cgctl.system import Base, System, default_system
from cgctl.units import parse_duration, parse_size

if TYPE_CHECKING:
    from subprocess import Popen

    import psutil

    from cgctl.events import Events, Kind
    from cgctl.fake import Program
    from cgctl.launch.arguments import Argument
    from cgctl.launch.process import Process
    from cgctl.peaks import Peak
    from cgctl.runner import Completed, LaunchKeywords, RunKeywords
    from cgctl.sampling import Sampler

__all__ = ["Group", "current"]

_NO_SPECS: Mapping[str, Any] = MappingProxyType({})
_ON_EXIT = ("kill", "wait", "keep")
_KILL_TIMEOUT = 10.0
_FREEZE_TIMEOUT = 5.0


class Group:
    """A group of processes with limits of its own, in every hierarchy that it needs.

    Args:
        name: one or more components such as ``"web"`` or ``"jobs/17"``, below the base; with a leading
            ``/`` below the hierarchies' root. Missing parents are made.
        parent: the group to be below, instead of the base.
        system: the machine; by default this one.
        join: whether ``with`` moves the calling process into the group.
        exist_ok: whether the group may be there already.
        on_exit: what leaving ``with`` does to processes that are still in the group: ``"kill"`` them,
            ``"wait"`` for them, or ``"keep"`` them and the group.
        **controllers: one keyword a controller: its spec, or the shorthand for its main limit, such as
            ``memory="100M"``, ``cpu=1.5``, ``cpuset="0-1"``, ``pids=64``. See :class:`cgctl.Memory` and
            the others.

    Nothing is done until the group is created or entered, and no attribute does I/O.

    Attributes:
        name: as given.
        specs: controller → spec, as asked for.

    Raises:
        SpecError: an argument is nonsense.
    """

    name: str
    specs: Mapping[str, Any]
    _system: System | None
    _found: Address | None = None
    _made: Existence | None = None
    _block: Block | None = None
    _exist_ok: bool = False
    _parent: Group | None = None
    _absolute: bool = False
    _parts: tuple[str, ...] = ()
    _join: bool = True
    _on_exit: Literal["kill", "wait", "keep"] = "kill"

    def __init__(
        self,
        name: str,
        *,
        parent: Group | None = None,
        system: System | None = None,
        join: bool = True,
        exist_ok: bool = False,
        on_exit: Literal["kill", "wait", "keep"] = "kill",
        **controllers: Unpack[ControllerKeywords],
    ) -> None:
        absolute, parts = parse_name(name)
        if parent is not None and not isinstance(parent, Group):
            msg = f"parent={parent!r}: not a Group; give Group(...) or cgctl.current()"
            raise SpecError(msg)
        if absolute and parent is not None:
            msg = f"group name {name!r} with parent={parent.name!r}: an absolute name has no parent; give one of them"
            raise SpecError(msg)
        if on_exit not in _ON_EXIT:
            msg = f"on_exit={on_exit!r}: not a way to leave; give 'kill', 'wait' or 'keep'"
            raise SpecError(msg)
        self.name = name
        self.specs = parse_specs(controllers)
        self._system = system or (parent.system if parent else None)
        self._parent = parent
        self._absolute = absolute
        self._parts = parts
        self._join = join
        self._on_exit = on_exit
        self._exist_ok = exist_ok

    @classmethod
    def at(cls, address: Address) -> Group:
        """Return the object of a group whose place is known, such as one that was found."""
        # Others' groups may have names that ours may not, so nothing is checked.
        group = cls.__new__(cls)
        group.name = address.name
        group.specs = _NO_SPECS
        group._system = address.system  # noqa: SLF001 - it is one of these
        group._found = address  # noqa: SLF001 - the same
        return group

    def __repr__(self) -> str:
        asked = "".join(f", {name}={spec!r}" for name, spec in self.specs.items())
        return f"Group({self.name!r}{asked})"

    # --- where it is ------------------------------------------------------------------------------------------------

    @property
    def system(self) -> System:
        """The machine that the group is on."""
        return self._system or default_system()

    @property
    def address(self) -> Address:
        """Where the group is, or would be as things are now."""
        return self._existence.now()

    @property
    def _existence(self) -> Existence:
        # Made when it is asked for, as who lists ten thousand groups makes none of them; the same for all threads, and
        # without a lock, which a fork might leave taken.
        if self._made is None:
            found = self._found
            where = self._find if found is None else lambda: found
            self.__dict__.setdefault("_made", Existence(where, self.specs, exist_ok=self._exist_ok))
        made: Existence = self.__dict__["_made"]
        return made

    def _find(self) -> Address:
        system = self.system
        return Address(system, self._base(system), self._parts)

    def _base(self, system: System) -> Base:
        """Return where the group goes: the first of parent, absolute name, joined group, CGCTL_BASE, own cgroup."""
        if self._parent is not None:
            return self._parent.address.below()
        if self._absolute:
            return system.root_base()
        block = joined.innermost()
        if block is not None and block.group.address.system.filesystem is system.filesystem:
            return block.group.address.below()
        return system.current_base()

    def paths(self) -> dict[str, str]:
        """Return the group's directory in each hierarchy that it is, or would be, in.

        The keys are the hierarchies' labels: ``memory``, ``cpu,cpuacct``, ``unified`` for v2.

        Raises:
            UnsupportedError: it would be in a scope that systemd is yet to be asked for.
        """
        address = self.address
        places = {place.hierarchy.label: place for place in address.planned(self.specs)} | address.existing()
        require_known(address, places)
        return {label: place.directory for label, place in places.items()}

    def exists(self) -> bool:
        """Tell whether the group is there, in any hierarchy."""
        return bool(self.address.existing())

    def group(self, name: str, **keywords: Any) -> Group:
        """Return a group below this one; the keywords are those of :class:`Group`."""
        return Group(name, parent=self, **keywords)

    def children(self) -> list[Group]:
        """Return the groups directly below.

        Raises:
            GroupNotFoundError: the group is not there.
        """
        address = self.address
        names: set[str] = set()
        for place in address.require().values():
            with self._vanishing():
                names.update(self.system.filesystem.listdir(place.directory))
        return [Group.at(Address(address.system, address.base, (*address.parts, name))) for name in sorted(names)]

    def walk(self) -> Iterator[Group]:
        """Yield all groups below, parents before children.

        Raises:
            GroupNotFoundError: the group is not there.
        """
        for child in self.children():
            yield child
            with contextlib.suppress(GroupNotFoundError):
                yield from child.walk()

    # --- making and changing ----------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Return the steps that :meth:`create` would do now, without doing them; ``str()`` of it is a shell script.

        Raises:
            UnsupportedError: this layout cannot have what is asked.
        """
        address = self.address
        places = address.planned(self.specs)
        require_known(address, {place.hierarchy.label for place in places})
        steps, _ = planned(address, places, self.specs)
        return steps

    def create(self) -> Self:
        """Make the group, with its limits; it stays until :meth:`remove`.

        Once this process has ended and no other is in the group, it is an orphan, which ``cgctl doctor --prune``
        removes; one that was made with ``on_exit="keep"`` never is.

        Raises:
            GroupExistsError: it is there already, and ``exist_ok`` is false.
            UnsupportedError: this layout cannot have what is asked.
            StepError: the kernel refused; what was made is removed again.
        """
        self._existence.make(ephemeral=False)
        if self._on_exit == "keep":
            self._existence.keep()
        return self

    def update(self, **controllers: Unpack[ControllerKeywords]) -> Limits:
        """Change limits, and return what the kernel then holds.

        A controller that the group was made without is added, and its processes join it. The limits of a unit of
        systemd's are set by asking systemd.

        Raises:
            GroupNotFoundError: the group is not there.
            UnsupportedError: this layout cannot have what is asked.
            StepError: the kernel refused; limits before it in the plan are changed.
        """
        address, specs = self.address, parse_specs(controllers)
        if set_as_unit(address, specs):
            return self.limits()
        return self._limits(extend(address, writable(address), specs))

    def limits(self) -> Limits:
        """Return what the kernel holds, one spec a controller; it rounds and clamps what was asked.

        Raises:
            GroupNotFoundError: the group is not there.
        """
        return self._limits(self.address.require())

    def _limits(self, places: Mapping[str, Place]) -> Limits:
        with self._vanishing():
            system = self.address.system
            return read_limits(system.filesystem, system.layout, places)

    def stats(self, *controllers: str) -> Stats:
        """Return what the kernel tells, of these controllers or of all.

        Raises:
            GroupNotFoundError: the group is not there.
            SpecError: a name is no controller's.
        """
        address = self.address
        places, system = address.require(), address.system
        with self._vanishing():
            return read_stats(system.filesystem, system.layout, places, controllers)

    def remove(self) -> None:
        """Remove the group and all groups below it, waiting a while for processes that are just ending.

        A process that entered the group by ``with`` goes home first.

        Raises:
            GroupNotFoundError: the group is not there.
            StepError: processes are still in it (``EBUSY``).
        """
        places = writable(self.address)
        if self._block is not None:
            self._block.go_home()
        self._existence.remove(places)

    def read(self, file: str) -> str:
        """Return an interface file's text, as the kernel gives it: of any, also where cgctl has no attribute for it.

        Args:
            file: its name, such as ``"memory.numa_stat"``. It is looked for in its controller's hierarchy, then in
                v2's, then in the others that the group is in.

        Raises:
            GroupNotFoundError: the group is not there.
            SpecError: it is no interface file's name.
            StepError: there is no such file, or it cannot be read.
        """
        path = self._file(file)
        try:
            return os.fsdecode(self.system.filesystem.read(path))
        except OSError as error:
            raise StepError(f"read {path}", error.errno or 0, filename=path) from error

    def write(self, file: str, data: str | bytes) -> None:
        """Write to an interface file, one ``write(2)``, as it is; it is looked for as by :meth:`read`.

        Raises:
            GroupNotFoundError: the group is not there.
            SpecError: it is no interface file's name.
            StepError: the kernel refused.
        """
        path = self._file(file)
        writable(self.address)
        execute(self.system.filesystem, Plan((Write(path=path, data=os.fsencode(data)),)))

    # --- processes --------------------------------------------------------------------------------------------------

    def add(self, process: int | psutil.Process | Process | Popen[Any]) -> None:
        """Move a running process, with all its threads, into the group; what it started before stays where it is.

        Raises:
            SpecError: it is no process.
            GroupNotFoundError: the group is not there.
            StepError: the kernel refused (``ESRCH``: it has ended); the process is where it was.
        """
        pid = process if isinstance(process, int) and not isinstance(process, bool) else getattr(process, "pid", None)
        if not isinstance(pid, int) or pid <= 0:
            msg = f"add({process!r}): not a process; give a pid of 1 or more (os.getpid()), or an object that has one"
            raise SpecError(msg)
        address = self.address
        writable(address)
        targets = doors(address)
        members.join(self.system.filesystem, pid, targets, self.system.directories_of(pid))

    def add_thread(self, thread: int) -> None:
        """Move one thread into the group; the others of its process stay where they are.

        v1 takes any. v2 wants a threaded group (``core=Core(type="threaded")``) below the one of the process.

        Args:
            thread: its number, as ``threading.get_native_id()`` or ``/proc/PID/task`` has it.

        Raises:
            SpecError: it is no thread.
            GroupNotFoundError: the group is not there.
            StepError: the kernel refused (``EOPNOTSUPP``: its process is elsewhere); the thread is where it was.
        """
        if not _is_number(thread):
            msg = f"add_thread({shown(thread)}): not a thread; give a number from 1, such as threading.get_native_id()"
            raise SpecError(msg)
        address = self.address
        address.require()
        homes = self.system.directories_of(thread)
        members.join(self.system.filesystem, thread, address.nearest(), homes, thread=True)

    def threads(self) -> list[int]:
        """Return the threads in the group and below, sorted: those of its processes, and those that were added.

        Raises:
            GroupNotFoundError: the group is not there.
        """
        return sorted(members.tids(self.system.filesystem, self.address.require()))

    def pids(self) -> list[int]:
        """Return the processes in the group and below, sorted; of a threaded group they are in one above it.

        Raises:
            GroupNotFoundError: the group is not there.
        """
        return sorted(members.pids(self.system.filesystem, self.address.require()))

    def processes(self) -> list[psutil.Process]:
        """Return the processes in the group and below, as :mod:`psutil` objects; those that end meanwhile are left out.

        Raises:
            GroupNotFoundError: the group is not there.
        """
        import psutil  # noqa: PLC0415 - heavy, and needed here only

        found = []
        for pid in self.pids():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return found

    def run(self, argv: Sequence[Argument] | Program, **keywords: Unpack[RunKeywords]) -> Completed:
        """Run a program below the group, in a leaf of its own, and wait for it; see :func:`cgctl.run`."""
        from cgctl.runner import run_in  # noqa: PLC0415 - the launcher is needed here only

        return run_in(self, argv, **keywords)

    def popen(self, argv: Sequence[Argument] | Program, **keywords: Unpack[LaunchKeywords]) -> Process:
        """Start a program below the group, in a leaf of its own; see :func:`cgctl.popen`."""
        from cgctl.runner import popen_in  # noqa: PLC0415 - the launcher is needed here only

        return popen_in(self, argv, **keywords)

    def kill(self, *, timeout: float | str = _KILL_TIMEOUT) -> None:
        """Kill all processes in the group and below, and wait until they are gone.

        A caller inside is spared, and so is its launch helper, which is a part of it. A frozen group is killed as
        well: on v2 it stays frozen, on v1 it is thawed, because only so its processes die.

        Args:
            timeout: for how long to wait: seconds, or a string such as ``"500ms"``.

        Raises:
            GroupNotFoundError: the group is not there.
            SpecError: it is the root of every hierarchy.
            UnsupportedError: it is threaded and holds threads, which are killed with their process only.
            TimeoutExpired: some are still there.
        """
        limit = parse_duration(timeout, "timeout") / 1e6
        killing.kill(
            self.system.filesystem,
            self.address.require(),
            timeout=limit,
            name=self.name,
            companions=_helpers(),
        )

    def freeze(self, *, timeout: float | str = _FREEZE_TIMEOUT) -> None:
        """Stop all processes in the group and below, and wait until they have.

        Whoever is moved into a frozen group stops, and whoever is moved out of it goes on.

        Args:
            timeout: for how long to try: seconds, or a string such as ``"500ms"``.

        Raises:
            SpecError: the caller is inside.
            GroupNotFoundError: the group is not there.
            TimeoutExpired: they have not stopped; they run again.
        """
        limit = parse_duration(timeout, "timeout") / 1e6
        freezing.freeze(self.system.filesystem, writable(self.address), timeout=limit, name=self.name)

    def thaw(self) -> None:
        """Let the processes run again.

        Raises:
            GroupNotFoundError: the group is not there.
            UnsupportedError: a group above it is frozen, and so is all that is below; this one is thawed with it.
        """
        freezing.thaw(self.system.filesystem, writable(self.address), self.name)

    def peak(self, of: str = "memory") -> Peak:
        """Watch the highest use from now on. One watcher at a time: a reset makes others forget what was before.

        On v2 ``stats().memory.peak`` goes on as it was; v1 has one for all, and there it begins anew too.

        ::

            with group.peak() as peak:
                phase_one()
                print(peak.read())
                peak.reset()
                phase_two()

        Args:
            of: ``"memory"``, or ``"swap"`` (not on v1).

        Raises:
            SpecError: nothing of that name has a peak.
            UnsupportedError: the group is without memory, or the kernel cannot reset a peak (v2 before 6.12).
            GroupNotFoundError: the group is not there.
        """
        from cgctl.peaks import Peak, peak_file  # noqa: PLC0415 - for the few who want it

        home = self.system.layout.locate("memory")
        place = self.address.require().get(home.label) if home else None
        if place is None:
            raise UnsupportedError(f"a peak of {of}", f"group {self.name!r} is without the controller memory")
        return Peak(self.system.filesystem, peak_file(place, of))

    def events(
        self,
        *kinds: Kind,
        timeout: float | str | None = None,
        some: float | str | None = None,
        full: float | str | None = None,
        window: float | str | None = None,
        usage: int | str | None = None,
    ) -> Events:
        """Listen to what happens to the group from now on.

        ::

            with group.events("oom_kill", "empty", timeout="1h") as events:
                for event in events:
                    print(event.kind, event.count)

        The iteration ends after *timeout*, or with the event ``"removed"``, which is told always.

        Args:
            *kinds: what is to be told, see :class:`cgctl.Event`; by default all that can be told of this group without
                a threshold.
            timeout: for how long to listen in all: seconds, or a string such as ``"10m"``; by default for ever.
            some: for the kinds of pressure: how much time some task has to lose within a *window* (``"150ms"``).
            full: the same, all tasks at once. Give one of both.
            window: 500 ms to 10 s, by default 2 s; who lacks ``CAP_SYS_RESOURCE`` may have multiples of that alone.
            usage: for the kind ``"usage"``, which v1 alone has: bytes of memory, or such as ``"80M"``.

        Raises:
            SpecError: an argument is nonsense.
            UnsupportedError: this layout, kernel or group cannot tell of one of them.
            GroupNotFoundError: the group is not there.
        """
        from cgctl.events import Events, parse_request  # noqa: PLC0415 - for the few who wait

        threshold = parse_request(kinds, some=some, full=full, window=window, usage=usage)
        limit = None if timeout is None else parse_duration(timeout, "timeout") / 1e6
        system = self.system
        places = self.address.require()
        return Events(system.filesystem, system.layout, places, kinds, threshold, name=self.name, timeout=limit)

    def sampler(
        self, *controllers: str, interval: float | str = "100ms", timeout: float | str | None = None
    ) -> Sampler:
        """Look at what the group uses again and again, with its files open all the time.

        ::

            with group.sampler("cpu", "memory", interval="100ms", timeout="1m") as sampler:
                for sample in sampler:
                    print(sample.time, sample.cpu, sample.memory)

        The iteration ends after *timeout*, or when the group is removed.

        Args:
            *controllers: what is read: controllers, or just some of what they tell, such as ``"memory.current"``, which
                is quicker; by default ``cpu``, ``memory``, ``pids`` and ``io``.
            interval: from one sample to the next: seconds, or a string such as ``"100ms"``.
            timeout: for how long in all; by default for ever.

        Raises:
            SpecError: an argument is nonsense.
            GroupNotFoundError: the group is not there.
        """
        from cgctl.sampling import Sampler  # noqa: PLC0415 - for the few who sample

        system = self.system
        return Sampler(
            system.filesystem,
            system.layout,
            self.address.require(),
            controllers,
            interval=interval,
            timeout=timeout,
            name=self.name,
        )

    def reclaim(self, size: int | str, *, swappiness: int | str | None = None) -> None:
        """Have the kernel take memory back from the group, proactively (``memory.reclaim``, since 5.19).

        Args:
            size: how much, in bytes or such as ``"10M"``; the kernel may take somewhat more.
            swappiness: how gladly it takes anonymous memory for it, 0..200 (since 6.9), or ``"max"`` for nothing else
                (since 6.18); the machine's by default.

        Raises:
            SpecError: an argument is nonsense.
            UnsupportedError: v1 has no such thing, or the kernel is older.
            GroupNotFoundError: the group is not there.
            StepError: it could not take back so much (``EAGAIN``), but maybe a part of it.
        """
        from cgctl.controllers import parse_swappiness  # noqa: PLC0415 - of a controller, which may not be imported yet

        wish = parse_swappiness(swappiness)
        layout = self.system.layout
        if layout.locate("memory") is not layout.unified:
            reason = "v1 cannot reclaim an amount (memory.force_empty takes all); lower max for a while instead"
            raise UnsupportedError("memory.reclaim", reason)
        path = self._file("memory.reclaim")
        data = f"{parse_size(size, 'reclaim')}{wish}".encode()
        execute(self.system.filesystem, Plan((Write(path=path, data=data, feature="memory.reclaim", since="5.19"),)))

    def delegate(self, user: str | int, group: str | int | None = None) -> None:
        """Give the group to a user, who may then make groups below it, limit them, and move processes between them.

        Its own limits stay as they are, and who is outside cannot be moved in, nor who is inside out. v2 only: of a
        group that is in v1 hierarchies too, those parts are not given away. ``delegate(0)`` takes it back; what the
        user has made below stays his.

        Args:
            user: the name or uid.
            group: the name or gid of the group of users that is to own it; the user's primary one by default.

        Raises:
            SpecError: there is no such user or group of users.
            GroupNotFoundError: the group is not there.
            UnsupportedError: it is in no v2 hierarchy.
            StepError: the kernel refused (``EPERM``: only root may).
        """
        owner = delegating.parse_owner(user, group)
        delegating.delegate(self.system.filesystem, writable(self.address), owner, self.name)

    def wait_empty(self, timeout: float | str | None = None) -> None:
        """Wait until no process is in the group or below.

        Raises:
            GroupNotFoundError: the group is not there.
            TimeoutExpired: some are still there.
            RuntimeError: on a machine in memory, there is no timeout, and nothing is to happen by which they would go.
        """
        limit = None if timeout is None else parse_duration(timeout, "timeout") / 1e6
        members.wait_empty(self.system.filesystem, self.address.require(), timeout=limit, name=self.name)

    # --- with -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Create the group and, with ``join``, move the calling process into it."""
        if self._block is not None and self._block.pid == os.getpid():
            msg = f"with Group({self.name!r}): the block is entered already; make another Group for another block"
            raise SpecError(msg)
        block = Block(self._existence, self._on_exit)
        block.enter(self, join=self._join)
        self._block = block
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Move the calling process back, then kill, await or keep what is in the group."""
        if self._block is not None and self._block.pid == os.getpid():
            self._block.go_home()
            block, self._block = self._block, None
            block.leave()

    @contextlib.contextmanager
    def _vanishing(self) -> Iterator[None]:
        """Turn the errors of a group that is removed meanwhile into one that says so."""
        try:
            yield
        except OSError as error:
            if self.exists():
                raise
            msg = f"group {self.name!r} was removed meanwhile"
            raise GroupNotFoundError(msg) from error

    def _file(self, name: str) -> str:
        parse_file(name)
        return find_file(self.system.filesystem, self.system.layout, self.address.require(), name)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _helpers() -> frozenset[int]:
    """Return the caller's launch helpers; it has none where the launcher was not even imported."""
    client = sys.modules.get("cgctl.launch.client")
    helpers: frozenset[int] = client.helpers() if client else frozenset()
    return helpers


def current() -> Group:
    """Return the group that the calling process is in: its own cgroup in each hierarchy.

    Raises:
        UnsupportedError: no cgroup filesystem is mounted.
    """
    system = default_system()
    directories, refused = system.own_directories()
    # Where no group can be made, this one can be read all the same.
    directories = system.directories_of(os.getpid()) | directories
    return Group.at(Address(system, Base(directories=directories, refused=refused, own=True), ()))
