"""Two kernels, one in memory and one real: the same steps done to both, and everything compared."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator

import attrs

from cgctl.errors import errno_name
from cgctl.fake import FakeKernel
from cgctl.filesystem import Filesystem, remove_tree
from cgctl.filesystem.kernel import KernelFilesystem
from tests.differential import grammar
from tests.kernel import payloads

# How long what the kernel does a moment later may take: freezing, dying, leaving.
PATIENCE_SEC = 3.0

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
    r"^cpuset\.sched_relax_domain_level$": "how many levels there are is the machine's affair",
}
"""Files to which nothing random is written, and why."""
_UNWRITTEN = re.compile("|".join(NOT_WRITTEN))


@attrs.frozen
class Mismatch(Exception):
    """Both kernels did not agree."""

    step: str
    what: str
    fake: str
    real: str

    def __str__(self) -> str:
        return f"after {self.step}: {self.what}: in memory {self.fake!r}, really {self.real!r}"


def result(what: object) -> str:
    """Do something, and return what it gave: the text, or the errno's name."""
    try:
        found = what()  # type: ignore[operator]
    except OSError as error:
        return errno_name(error.errno or 0)
    return found.decode("utf-8", "surrogateescape") if isinstance(found, bytes) else str(found)


class Pair:
    """One hierarchy, in memory and really, with a group of its own in both."""

    def __init__(self, make: Callable[[frozenset[str]], FakeKernel], name: str, seed: int) -> None:
        self.make = make
        self.fake = make(frozenset())
        self.tree = self.fake.trees[0]
        self.real: Filesystem = KernelFilesystem()
        self.top = f"{self.tree.mount_point}/{name}"
        self.unknown: frozenset[str] = frozenset()
        self.rng = random.Random(seed)  # noqa: S311 - to be had again, from its seed
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.steps = 0
        self.log: list[str] = []

    # --- beginning and end ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def made(self, processes: int = 3) -> Iterator[Pair]:
        """Make the group and some processes; take all away at the end."""
        self.real.mkdir(self.top)
        try:
            self._match()
            for _ in range(processes):
                self._start()
            yield self
        finally:
            self._clear()

    def _match(self) -> None:
        """Make the kernel in memory what the real one is: without some files, with controllers enabled above."""
        self._mirror()
        there = self._there(self.top)
        known = set(self.tree.below)
        self.unknown = frozenset(there - known)
        lacking = frozenset(set(self.fake.files(self.top)) - there) | self._unknown_controllers()
        if lacking:
            self.fake = self.make(lacking)
            self.tree = self.fake.trees[0]
            self._mirror()

    def _unknown_controllers(self) -> frozenset[str]:
        if self.tree.version == 1:
            return frozenset()
        path = f"{self.top}/cgroup.subtree_control"
        known = self.fake.profile.v2
        return frozenset(n for n in known if result(lambda n=n: self.real.write(path, f"-{n}".encode())) == "EINVAL")

    def _mirror(self) -> None:
        root = self.tree.mount_point
        if self.tree.version != 1:
            enabled = self.real.read(f"{root}/cgroup.subtree_control").decode().split()
            if enabled:
                self.fake.write(f"{root}/cgroup.subtree_control", " ".join(f"+{name}" for name in enabled).encode())
        self.fake.mkdir(self.top)

    @staticmethod
    def _there(group: str) -> set[str]:
        return {entry.name for entry in os.scandir(group) if not entry.is_dir()}

    def _start(self) -> None:
        process = subprocess.Popen(payloads.SLEEPER, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        self.processes[process.pid] = process
        self.fake.spawn(pid=process.pid)

    def _clear(self) -> None:
        for group in self._groups(self.real):
            for file, thawed in (("cgroup.freeze", b"0"), ("freezer.state", b"THAWED")):
                with contextlib.suppress(OSError):
                    self.real.write(f"{group}/{file}", thawed)
        for process in self.processes.values():
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        remove_tree(self.real, self.top, timeout=PATIENCE_SEC)

    def _groups(self, kernel: Filesystem, directory: str | None = None) -> list[str]:
        directory = directory or self.top
        found = [directory]
        for name in kernel.listdir(directory):
            found += self._groups(kernel, f"{directory}/{name}")
        return found

    # --- steps ------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Do something at random to both, and compare."""
        self.steps += 1
        doing = self.rng.choices(
            (self._mkdir, self._rmdir, self._write, self._move, self._end, self._state), (8, 6, 60, 14, 1, 6)
        )[0]
        doing()
        self._replace_the_dead()
        self.compare()

    def _both(self, step: str, verb: str, *arguments: object) -> str:
        self.log.append(step)
        fake = result(lambda: getattr(self.fake, verb)(*arguments))
        real = self._patiently(lambda: getattr(self.real, verb)(*arguments), fake)
        if fake != real:
            raise Mismatch(step, "result", fake, real)
        return fake

    @staticmethod
    def _patiently(what: object, expected: str) -> str:
        """Do it, again while it is refused and should not be, or otherwise: what was removed goes a little later."""
        deadline, pause = time.monotonic() + PATIENCE_SEC, 0.001
        while (got := result(what)) not in {expected, "None"} and time.monotonic() < deadline:
            time.sleep(pause)
            pause *= 2
        return got

    def _any_group(self) -> str:
        return self.rng.choice(self._groups(self.fake))

    def _mkdir(self) -> None:
        name = self.rng.choice(
            ("a", "b", "c", "a", "b", "c", "d e", "ä", ".x", "cgroup.procs", "cgroup.foo", "n\nl", "x" * 256)
        )
        above = self._any_group()
        # Deep trees take long to compare.
        if above.count("/") - self.top.count("/") < 3:
            self._both(f"mkdir {above}/{name}", "mkdir", f"{above}/{name}")

    def _rmdir(self) -> None:
        group = self._any_group()
        if group != self.top:
            self._both(f"rmdir {group}", "rmdir", group)

    def _write(self) -> None:
        group = self._any_group()
        files = [name for name in self._files(group) if not _UNWRITTEN.match(name)]
        name = (
            self.rng.choice(files) if self.rng.random() < 0.97 else self.rng.choice(("nosuch", "memory.foo", "cpu.max"))
        )
        data = grammar.value(name, self.rng, self.fake.disks)
        self._both(f"write {data!r} to {group}/{name}", "write", f"{group}/{name}", data.encode())

    def _state(self) -> None:
        """Freeze, thaw, or enable: what random values do too seldom."""
        group = self._any_group()
        files = self._files(group)
        choices = [
            (name, data)
            for name, data in (
                ("cgroup.freeze", "1"),
                ("cgroup.freeze", "0"),
                ("freezer.state", "FROZEN"),
                ("freezer.state", "THAWED"),
                ("cgroup.type", "threaded"),
                *(("cgroup.subtree_control", f"+{name}") for name in self.tree.controllers),
                ("pids.max", "1"),
                ("cpuset.cpus", "0-1"),
                ("cpuset.mems", "0"),
            )
            if name in files
        ]
        if choices:
            name, data = self.rng.choice(choices)
            self._both(f"write {data!r} to {group}/{name}", "write", f"{group}/{name}", data.encode())

    def _move(self) -> None:
        pid = self.rng.choice(list(self.processes))
        group = self.rng.choice((self._any_group(), self._any_group(), self.tree.mount_point))
        name = self.rng.choice(
            [name for name in ("cgroup.procs", "cgroup.threads", "tasks") if name in self._files(group)]
        )
        text = self.rng.choice(
            (f"{pid}", f"{pid}\n", f" {pid} ", f"0x{pid:x}", f"0{pid:o}", f"+{pid}", "abc", "-1", "4194305")
        )
        self._both(f"write {text!r} to {group}/{name}", "write", f"{group}/{name}", text.encode())

    def _end(self) -> None:
        """Kill a process, or all that is in a group."""
        group = self._any_group()
        if "cgroup.kill" in self._files(group) and self.rng.random() < 0.5:
            self._both(f"write '1' to {group}/cgroup.kill", "write", f"{group}/cgroup.kill", b"1")
        else:
            pid = self.rng.choice(list(self.processes))
            self.log.append(f"kill {pid}")
            self.processes[pid].kill()
            self.fake.signal(pid, 9)

    def _replace_the_dead(self) -> None:
        """Wait for those that are dead in memory, which must be dead really, and start as many."""
        for pid in [pid for pid in self.processes if pid not in self.fake.tasks]:
            process = self.processes.pop(pid)
            process.wait(PATIENCE_SEC)
            assert process.stdout is not None
            process.stdout.close()
            self._start()

    # --- comparing --------------------------------------------------------------------------------------------------

    def _files(self, group: str) -> list[str]:
        return self.fake.files(group)

    def compare(self) -> None:
        """Compare what there is, and what all files of all groups read."""
        step = self.log[-1] if self.log else "nothing"
        groups, really = self._groups(self.fake), self._groups(self.real)
        if groups != really:
            raise Mismatch(step, "groups", str(groups), str(really))
        for group in groups:
            here = set(self._files(group))
            there = self._there(group) - self.unknown
            if here != there:
                raise Mismatch(step, f"files of {group}", str(sorted(here - there)), str(sorted(there - here)))
            for name in here:
                if not _SKIPPED.match(name):
                    self._compare_file(step, f"{group}/{name}")

    def _compare_file(self, step: str, path: str) -> None:
        fake = result(lambda: self.fake.read(path))
        if fake == (real := result(lambda: self.real.read(path))):
            return
        deadline = time.monotonic() + PATIENCE_SEC
        while fake != (real := result(lambda: self.real.read(path))):
            if time.monotonic() > deadline:
                raise Mismatch(step, path, fake, real)
            time.sleep(0.002)
