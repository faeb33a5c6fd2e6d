"""Two kernels, one in memory and one real: the same steps done to both, and everything compared."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator

import attrs

from cgctl.errors import errno_name
from cgctl.fake.rules import READ
from cgctl.fake.task import Task
from cgctl.fake.tree import Group
from cgctl.filesystem import Filesystem, remove_tree
from cgctl.filesystem.kernel import KernelFilesystem
from tests.differential.ground import Ground
from tests.differential.nursery import Nursery, Process
from tests.differential.reading import Opened, Reader, Sheet
from tests.differential.step import Step, short
from tests.kernel.pace import EMULATED

# How long what the kernel does a moment later may take: freezing, dying, leaving. An emulated machine that shares its
# processors with others may not be heard of for seconds; and a mismatch, such as each broken rule is to make, takes all
# of it.
PATIENCE_SEC = 10.0 if EMULATED else 3.0
PROCESSES = (1, 1, 3)
"""How many threads each process has that is always there; what they fork comes after them."""
MOST_PROCESSES = 6

NOT_COMPARED = {
    r"^(cpu|memory|io|irq)\.pressure$": "how long tasks waited",
    r"^cpu\.stat|^cpuacct\.": "how long tasks ran",
    r"^cgroup\.stat(\.local)?$": "removed groups stay for a while that nothing tells, and clocks differ",
    r"^(memory|hugetlb\.\w+)\.(numa_)?stat$": "where pages lie is the allocator's affair",
    r"^memory\.(current|peak|swap\.current|zswap\.current|swap\.peak|events|events\.local)$": "kernel memory of tasks",
    r"^memory\.(memsw\.|kmem\.|kmem\.tcp\.)?(usage|max_usage)_in_bytes$|^memory\.(memsw\.)?failcnt$": "the same on v1",
    r"^memory\.oom_control$": "whether a group is out of memory just now",
    r"^memory\.kmem\.slabinfo$|^memory\.pressure_level$|^cgroup\.event_control$": "the kernel's own objects",
    r"^(io\.stat|blkio\.(bfq|throttle)\.io_)": "what the disk did",
    r"^net_prio\.prioidx$": "a number that goes up with every group of the machine",
    r"^cpuset\.memory_pressure$": "a rate over time",
    r"^release_agent$|^cgroup\.sane_behavior$": "the root's alone",
}
"""Files that are not compared, and why."""
_SKIPPED = re.compile("|".join(NOT_COMPARED))

NOT_WRITTEN = {
    r"^(cgroup\.event_control|memory\.pressure_level)$": "takes descriptors",
    r"^memory\.(force_empty|reclaim)$": "what there is to reclaim is the allocator's affair",
    r"^(cgroup\.procs|cgroup\.threads|tasks|cgroup\.kill)$": "processes have steps of their own",
    r"^cpu\.rt_": "no kernel that was measured has it",
    r"^cpuset\.cpus\.partition$": "whether it holds depends on how it came to be so; the contract has it",
    r"^cpuset\.sched_relax_domain_level$": "how many levels there are is the machine's affair",
}
"""Files to which nothing random is written, and why."""
UNWRITTEN = re.compile("|".join(NOT_WRITTEN))

# Read anew each time: v1 keeps what it once read for a second, as long as the file is open.
_FRESH = ("cgroup.procs", "tasks")
_REFUSED = "cgroup.procs"
"""What v2 refuses to be read of threaded groups."""
_CORE = ("cgroup.", "tasks")


@attrs.frozen
class Mismatch(Exception):
    """Both kernels did not agree."""

    step: Step | None
    what: str
    fake: str
    real: str

    def __str__(self) -> str:
        return short(f"after {self.step}: {self.what}: in memory {self.fake!r}, really {self.real!r}")

    def kind(self) -> str:
        """Return what is alike of mismatches with one cause."""
        return self.what.rpartition("/")[2]


def result(what: Callable[[], object]) -> str:
    """Do something, and return what it gave: the text, or the errno's name."""
    try:
        found = what()
    except OSError as error:
        return errno_name(error.errno or 0)
    return found.decode("utf-8", "surrogateescape") if isinstance(found, bytes) else str(found)


class Pair:
    """One hierarchy, in memory and really, with a group of its own in both.

    Args:
        ground: the hierarchy.
        name: of the group.
        nursery: where its processes come from.
        every: after so many steps, all files of all groups are compared. In between, they are those of the group of
            the step, and of the others those of the core and of the controller whose file was written.
        patience: seconds that the real kernel has to do what it does in the background.
    """

    def __init__(
        self, ground: Ground, name: str, nursery: Nursery, *, every: int = 1, patience: float = PATIENCE_SEC
    ) -> None:
        self.ground = ground
        self.nursery = nursery
        self.every = every
        self.patience = patience
        self.fake = ground.fake()
        self.tree = self.fake.trees[0]
        self.real: Filesystem = KernelFilesystem()
        self.top = f"{self.tree.mount_point}/{name}"
        self.name = name
        self.processes: dict[int, Process] = {}
        self.tasks: dict[int, Task] = {}
        self.killed: set[int] = set()
        self.steps = 0
        self.log: list[Step] = []
        self._opened: dict[Group, Opened] = {}
        self._names: dict[object, list[str]] = {}
        self._written: dict[object, list[str]] = {}
        self._sheets: dict[object, Sheet] = {}
        readers = READ[self.tree.version]
        self._fresh = {name: readers[name] for name in _FRESH} if self.tree.version == 1 else {}

    # --- beginning and end ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def made(self) -> Iterator[Pair]:
        """Make the group and some processes; take all away at the end."""
        self.real.mkdir(self.top)
        self.fake.mkdir(self.top)
        try:
            for number, threads in enumerate(PROCESSES):
                self._start(number, threads)
            yield self
        finally:
            self._clear()

    @property
    def group(self) -> Group:
        """The group in memory."""
        return self.tree.root.children[self.name]

    def groups(self) -> list[Group]:
        """Return the group and those below it, as they are in memory."""
        return list(self.group.below())

    def relative(self, group: Group) -> str:
        """Return a group's path below the pair's own, as steps have it."""
        return group.path[len(self.name) + 2 :]

    def path(self, relative: str) -> str:
        """Return where a step's path is."""
        if relative.startswith("../"):
            return f"{self.tree.mount_point}/{relative[3:]}"
        return f"{self.top}/{relative}" if relative else self.top

    def _start(self, number: int, threads: int) -> None:
        process = self.nursery.take(threads)
        self.real.write(f"{self.tree.mount_point}/cgroup.procs", b"%d" % process.pid)
        task = self.fake.spawn(pid=process.pid)
        for tid in process.tids[1:]:
            self.fake.processes.start_thread(task, tid=tid)
        self.processes[number], self.tasks[number] = process, task

    def _clear(self) -> None:
        self._close([])
        # All of it is tried, whichever part fails or is interrupted.
        with contextlib.ExitStack() as stack:
            stack.callback(remove_tree, self.real, self.top, timeout=30)
            stack.callback(self._end_the_unknown)
            for number, process in self.processes.items():
                stack.callback(self._release, number, process)
            for directory, _, files in os.walk(self.top):
                for file, thawed in (("cgroup.freeze", b"0"), ("freezer.state", b"THAWED")):
                    if file in files:
                        self.real.write(f"{directory}/{file}", thawed)

    def _end_the_unknown(self) -> None:
        """Kill who was born after nobody waited any longer, as in a group that may hardly run."""
        for directory, _, _ in os.walk(self.top):
            with contextlib.suppress(OSError):  # of a threaded group nobody is told; its root names all
                for pid in self.real.read(f"{directory}/cgroup.procs").split():
                    os.kill(int(pid), signal.SIGKILL)

    def _release(self, number: int, process: Process) -> None:
        if number < len(PROCESSES) and number not in self.killed:
            self.real.write(f"{self.tree.mount_point}/cgroup.procs", b"%d" % process.pid)
            self.nursery.give_back(process)
        else:
            self.nursery.end(process)

    # --- steps ------------------------------------------------------------------------------------------------------

    def do(self, step: Step) -> None:
        """Do a step to both, and compare.

        Raises:
            Mismatch: both do not agree.
        """
        self.steps += 1
        self.log.append(step)
        touched = self._group_of(step)
        if step.verb == "kill":
            self._kill(step.who[0])
        elif step.verb == "fork":
            self._fork(step)
        else:
            self._both(step)
        self._replace_the_dead()
        if self.steps % self.every == 0:
            self.compare()
        else:
            self._compare_some(step, touched)

    def _group_of(self, step: Step) -> Group | None:
        """Return the group of a step: the one whose file it is, or the one above the one that is made or removed."""
        if step.verb in {"kill", "fork"}:
            return self.fake.group_of(self.tasks[step.who[0]], self.tree) if step.who[0] in self.tasks else None
        group = self.group
        for name in step.path.split("/")[:-1]:
            if name not in group.children:
                return None
            group = group.children[name]
        return group

    def _both(self, step: Step) -> None:
        path = self.path(step.path)
        arguments: tuple[object, ...] = (path,)
        if step.verb == "write":
            process = self.processes.get(step.who[0])
            number = process.tids[min(step.who[1], len(process.tids) - 1)] if process else 4_194_305
            arguments = (path, step.text(number))
            if step.who[0] in self.killed and step.path.endswith("tasks") and process and len(process.tids) > 1:
                return
        fake = result(lambda: getattr(self.fake, step.verb)(*arguments))
        real = self._patiently(lambda: getattr(self.real, step.verb)(*arguments), fake)
        if fake != real:
            raise Mismatch(step, "result", fake, real)

    def _patiently(self, what: Callable[[], object], expected: str) -> str:
        """Do it, again while it is refused and should not be, or otherwise: what was removed goes a little later."""
        deadline, pause = time.monotonic() + self.patience, 0.001
        while (got := result(what)) not in {expected, "None"} and time.monotonic() < deadline:
            time.sleep(pause)
            pause *= 2
        return got

    def _kill(self, number: int) -> None:
        process = self.processes.get(number)
        if process and not self._may_die_in_part(number):
            # One that v1 has frozen ends later.
            self.killed.add(number)
            os.kill(process.pid, signal.SIGKILL)
            self.fake.signal(process.pid, signal.SIGKILL)

    def _may_die_in_part(self, number: int) -> bool:
        """Tell whether v1 may have some threads frozen and others not, when a signal arrives: then the others die."""
        places = {thread.groups[self.tree] for thread in self.tasks[number].threads}
        return len(places) > 1 and "freezer" in self.tree.controllers and self.tree.version == 1

    def can_fork(self, number: int) -> bool:
        """Tell whether a process may be had fork: none whose memory is charged, which frames of the stack would be."""
        task = self.tasks.get(number)
        if task is None or len(task.threads) > 1 or task.state != "running":
            return False
        return not any(each.has("memory") and each.parent for each in self.fake.group_of(task, self.tree).line())

    def _fork(self, step: Step) -> None:
        number = next(number for number in range(len(PROCESSES), MOST_PROCESSES + 1) if number not in self.processes)
        if not self.can_fork(step.who[0]) or number == MOST_PROCESSES:
            return
        child = self.nursery.fork(self.processes[step.who[0]])
        if isinstance(child, Process):
            self.processes[number] = child
        real = "None" if isinstance(child, Process) else errno_name(child)
        parent = self.tasks[step.who[0]]

        def fork() -> None:
            self.tasks[number] = self.fake.processes.fork(parent, pid=child.pid if isinstance(child, Process) else None)

        if (fake := result(fork)) != real:
            raise Mismatch(step, "result", fake, real)

    def _replace_the_dead(self) -> None:
        """Wait for those that are dead in memory, which must be dead really, and start as many."""
        for number, task in list(self.tasks.items()):
            if task.alive:
                continue
            process = self.processes[number]
            if not process.ended(self.patience):
                raise Mismatch(self.log[-1], f"process {number}", task.state, "alive")
            self.nursery.ended(self.processes.pop(number))
            self.killed.discard(number)
            del self.tasks[number]
            for parent in self.tasks.values():
                # As the real ones do, who ignore SIGCHLD.
                while parent.wait():
                    pass
            if number < len(PROCESSES):
                self._start(number, PROCESSES[number])

    # --- comparing --------------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Compare what there is, and what all files of all groups read."""
        step = self.log[-1] if self.log else None
        groups = self.groups()
        self._close(groups)
        for group in groups:
            opened = self._open(group)
            self._compare_listing(step, group, opened)
            self._compare_files(step, group, opened, self._sheet(group, ""))
        for number in self.processes:
            self._compare_membership(step, number)

    def _compare_some(self, step: Step, touched: Group | None) -> None:
        """Compare the groups that there are, and the files that the step may have changed."""
        groups = self.groups()
        if step.verb == "rmdir":
            self._close(groups)
        name = step.path.rpartition("/")[2]
        # What is moved or ends is counted there, and nowhere else.
        prefix = f"{name.split('.')[0]}." if step.verb == "write" and not name.startswith("cgroup.") else "pids."
        everything = self.tree.version == 1
        for group in groups:
            opened = self._open(group)
            if opened.children() != len(group.children):
                self._compare_listing(step, group, opened)
            sheet = self._sheet(group, "" if everything or group is touched else prefix)
            self._compare_files(step, group, opened, sheet)

    def _open(self, group: Group) -> Opened:
        opened = self._opened.get(group)
        if opened is None:
            opened = self._opened[group] = Opened(self.path(self.relative(group)))
        return opened

    def _close(self, groups: list[Group]) -> None:
        """Close the files of groups that are gone."""
        for group in self._opened.keys() - set(groups):
            self._opened.pop(group).close()

    def files(self, group: Group) -> list[str]:
        """Return the files of a group; they are the same for all that have the same controllers."""
        key = self._kind(group)
        if key not in self._names:
            self._names[key] = sorted(group.files())
        return self._names[key]

    def written(self, group: Group) -> list[str]:
        """Return those to which something random is written."""
        key = self._kind(group)
        if key not in self._written:
            self._written[key] = [name for name in self.files(group) if not UNWRITTEN.match(name)]
        return self._written[key]

    @staticmethod
    def _kind(group: Group) -> tuple[object, ...]:
        return group.parent is None, group.threaded, group.controllers(), group.values.get("cgroup.pressure")

    def _sheet(self, group: Group, prefix: str) -> Sheet:
        """Return what is read of a group: files whose names begin so, and the core's; of those that are compared."""
        key = (*self._kind(group), prefix)
        if key not in self._sheets:
            readers = READ[self.tree.version]
            self._sheets[key] = Sheet(
                (
                    (name, readers.get(name))
                    for name in self.files(group)
                    if name.startswith((prefix, *_CORE))
                    and name not in self._fresh
                    and not (group.threaded and name == _REFUSED)
                    and not _SKIPPED.match(name)
                    and group.interface(name).mode & 0o444  # type: ignore[union-attr] # it has it
                ),
                group,
            )
        return self._sheets[key]

    def _compare_listing(self, step: Step | None, group: Group, opened: Opened) -> None:
        directories, files = opened.listing()
        self._same(step, f"groups of {opened.path}", set(group.children), directories)
        self._same(step, f"files of {opened.path}", set(group.files()), files - self.ground.unknown)

    @staticmethod
    def _same(step: Step | None, what: str, here: set[str], there: set[str]) -> None:
        if here != there:
            raise Mismatch(step, what, str(sorted(here - there)), str(sorted(there - here)))

    def _compare_files(self, step: Step | None, group: Group, opened: Opened, sheet: Sheet) -> None:
        try:
            alike = sheet.expected(group) == opened.read(sheet)
        except OSError:
            alike = False
        if not alike:
            for name, reader in sheet.each():
                self._compare_one(step, group, opened, name, reader)
        for name, reader in self._fresh.items():
            self._compare_one(step, group, opened, name, reader)
        if group.threaded:
            self._compare_file(step, f"{opened.path}/{_REFUSED}")

    def _compare_one(self, step: Step | None, group: Group, opened: Opened, name: str, reader: Reader) -> None:
        try:
            if reader(group) == opened.read_one(name, anew=name in self._fresh):
                return
        except OSError:
            pass
        self._compare_file(step, f"{opened.path}/{name}")

    def _compare_file(self, step: Step | None, path: str) -> None:
        """Compare as a user of both would see it, as long as it takes."""
        fake = result(lambda: self.fake.read(path))
        deadline = time.monotonic() + self.patience
        while fake != (real := result(lambda: self.real.read(path))):
            if time.monotonic() > deadline:
                raise Mismatch(step, path, fake, real)
            time.sleep(0.002)

    def _compare_membership(self, step: Step | None, number: int) -> None:
        label = "0::" if self.tree.version != 1 else f":{self.ground.label}:"
        process = self.processes[number]
        for thread in self.tasks[number].threads:
            text = process.membership(thread.tid)
            real = next(line for line in text.splitlines() if label in line).partition(label)[2]
            fake = thread.groups[self.tree].path
            if fake != real:
                raise Mismatch(step, f"where process {number} is", fake, real)
