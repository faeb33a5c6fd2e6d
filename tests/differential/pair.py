"""Two kernels, one in memory and one real: the same steps done to both, and everything compared."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from errno import ENODEV
from pathlib import Path

import attrs

from cgctl.errors import errno_name
from cgctl.fake.rules import READ
from cgctl.fake.task import Task
from cgctl.fake.tree import Group
from cgctl.filesystem import Filesystem, remove_tree
from cgctl.filesystem.kernel import KernelFilesystem
from tests.differential.ground import Ground
from tests.differential.nursery import Nursery, Process
from tests.differential.step import Step, short

# How long what the kernel does a moment later may take: freezing, dying, leaving.
PATIENCE_SEC = 3.0
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

# v1 keeps what it once read for a second, as long as the file is open.
_FRESH = frozenset({"cgroup.procs", "tasks"})
_CORE = ("cgroup.", "tasks")
_MOST = 8192

Reader = Callable[[Group], str]


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


def _default(name: str) -> Reader:
    return lambda group: group.get(name)


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
        self._fds: dict[Group, dict[str, int]] = {}
        self._names: dict[object, tuple[list[str], list[tuple[str, Reader]]]] = {}

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
        for fds in self._fds.values():
            for fd in fds.values():
                os.close(fd)
        self._fds.clear()
        # All of it is tried, whichever part fails or is interrupted.
        with contextlib.ExitStack() as stack:
            stack.callback(remove_tree, self.real, self.top, timeout=10 * PATIENCE_SEC)
            for number, process in self.processes.items():
                stack.callback(self._release, number, process)
            for directory, _, files in os.walk(self.top):
                for file, thawed in (("cgroup.freeze", b"0"), ("freezer.state", b"THAWED")):
                    if file in files:
                        self.real.write(f"{directory}/{file}", thawed)

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
            os.kill(process.pid, 9)
            self.fake.signal(process.pid, 9)

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
            path = self.path(self.relative(group))
            self._compare_listing(step, group, path)
            self._compare_files(step, group, path, self._known(group))
        for number, process in self.processes.items():
            self._compare_membership(step, number, process)

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
            path = self.path(self.relative(group))
            if os.stat(path).st_nlink - 2 != len(group.children):
                self._compare_listing(step, group, path)
            known = self._known(group)
            if not everything and group is not touched:
                known = [each for each in known if each[0].startswith((prefix, *_CORE))]
            self._compare_files(step, group, path, known)

    def _close(self, groups: list[Group]) -> None:
        """Close the files of groups that are gone."""
        for group in self._fds.keys() - set(groups):
            for fd in self._fds.pop(group).values():
                os.close(fd)

    def files(self, group: Group) -> list[str]:
        """Return the files of a group; they are the same for all that have the same controllers."""
        return self._looked_up(group)[0]

    def _known(self, group: Group) -> list[tuple[str, Reader]]:
        """Return those that are compared, and how they are read."""
        return self._looked_up(group)[1]

    def _looked_up(self, group: Group) -> tuple[list[str], list[tuple[str, Reader]]]:
        key = (group.parent is None, group.controllers(), group.values.get("cgroup.pressure"))
        if key not in self._names:
            readers = READ[self.tree.version]
            names = sorted(group.files())
            self._names[key] = (
                names,
                [
                    (name, readers.get(name) or _default(name))
                    for name in names
                    if not _SKIPPED.match(name) and group.interface(name).mode & 0o444  # type: ignore[union-attr] # it has it
                ],
            )
        return self._names[key]

    def _compare_listing(self, step: Step | None, group: Group, path: str) -> None:
        directories: set[str] = set()
        files: set[str] = set()
        with os.scandir(path) as entries:
            for entry in entries:
                (directories if entry.is_dir() else files).add(entry.name)
        self._same(step, f"groups of {path}", set(group.children), directories)
        self._same(step, f"files of {path}", set(group.files()), files - self.ground.unknown)

    @staticmethod
    def _same(step: Step | None, what: str, here: set[str], there: set[str]) -> None:
        if here != there:
            raise Mismatch(step, what, str(sorted(here - there)), str(sorted(there - here)))

    def _compare_files(self, step: Step | None, group: Group, path: str, known: list[tuple[str, Reader]]) -> None:
        fds = self._fds.setdefault(group, {})
        fresh = self.tree.version == 1
        for name, reader in known:
            try:
                expected = reader(group).encode("utf-8", "surrogateescape")
                if fresh and name in _FRESH:
                    fd = os.open(f"{path}/{name}", os.O_RDONLY)
                    got = os.read(fd, _MOST)
                    os.close(fd)
                else:
                    fd = fds.get(name, -1)
                    if fd < 0:
                        fd = fds[name] = os.open(f"{path}/{name}", os.O_RDONLY)
                    got = os.pread(fd, _MOST, 0)
            except OSError as error:
                if error.errno == ENODEV and name in fds:
                    # It was gone for a while.
                    os.close(fds.pop(name))
            else:
                if expected == got:
                    continue
            self._compare_file(step, f"{path}/{name}")

    def _compare_file(self, step: Step | None, path: str) -> None:
        """Compare as a user of both would see it, as long as it takes."""
        fake = result(lambda: self.fake.read(path))
        deadline = time.monotonic() + self.patience
        while fake != (real := result(lambda: self.real.read(path))):
            if time.monotonic() > deadline:
                raise Mismatch(step, path, fake, real)
            time.sleep(0.002)

    def _compare_membership(self, step: Step | None, number: int, process: Process) -> None:
        label = "0::" if self.tree.version != 1 else f":{self.ground.label}:"
        for thread in self.tasks[number].threads:
            text = Path(f"/proc/{process.pid}/task/{thread.tid}/cgroup").read_text(encoding="utf-8")
            real = next(line for line in text.splitlines() if label in line).partition(label)[2]
            fake = thread.groups[self.tree].path
            if fake != real:
                raise Mismatch(step, f"where process {number} is", fake, real)
