"""Steps at random."""

from __future__ import annotations

import random
import re

import attrs

from cgctl.fake.tree import Group
from tests.differential import grammar
from tests.differential.pair import MOST_PROCESSES, Pair
from tests.differential.step import Step

__all__ = ["Driver"]

NAMES = ("a", "b", "c", "a", "b", "c", "d e", "ä", ".x", "cgroup.procs", "cgroup.foo", "n\nl", "x" * 256)
NUMBERS = ("PIDd", "PIDd\n", " PIDd ", "0xPIDx", "0PIDo", "+PIDd", "abc", "-1", "4194305")
_DEEPEST, _MOST_GROUPS = 3, 8
_AGAIN, _CONTROLS = 0.5, 0.6


class Driver:
    """Draws what to do next to a pair, from numbers that can be had again."""

    def __init__(self, pair: Pair, rng: random.Random) -> None:
        self.pair = pair
        self.rng = rng

    def step(self) -> Step:
        """Draw a step."""
        again = self._enabled_again()
        if again and self.rng.random() < _AGAIN:
            return again
        draw = self.rng.choices(
            (self.mkdir, self.rmdir, self.write, self.move, self.end, self.state, self.fork), (9, 6, 60, 14, 2, 7, 2)
        )[0]
        return draw()

    def _enabled_again(self) -> Step | None:
        """Return the step that enables what the last one has disabled: nothing of what was set may be left then."""
        last = self.pair.log[-1] if self.pair.log else None
        if last is None or not last.path.endswith("cgroup.subtree_control") or not re.fullmatch(r"-\w+", last.data):
            return None
        return attrs.evolve(last, data=f"+{last.data[1:]}")

    def group(self) -> Group:
        """Draw a group."""
        return self.rng.choice(self.pair.groups())

    def _in(self, group: Group, name: str) -> str:
        relative = self.pair.relative(group)
        return f"{relative}/{name}" if relative else name

    def mkdir(self) -> Step:
        """Make a group; of large trees nothing more is learned, and they take long to compare."""
        above = self.group()
        full = len(self.pair.groups()) >= _MOST_GROUPS or above.path.count("/") > _DEEPEST
        return self.rmdir() if full else Step("mkdir", self._in(above, self.rng.choice(NAMES)))

    def rmdir(self) -> Step:
        """Remove one."""
        group = self.group()
        return Step("rmdir", self.pair.relative(group)) if group is not self.pair.group else self.write()

    def write(self) -> Step:
        """Write something to a file."""
        group = self.group()
        files = self.pair.written(group)
        name = self.rng.choice(files if self.rng.random() < 0.97 else ("nosuch", "memory.foo", "cpu.max"))
        return Step("write", self._in(group, name), grammar.value(name, self.rng, self.pair.fake.disks))

    def state(self) -> Step:
        """Freeze, thaw, or enable: what random values do too seldom."""
        group = self.group()
        files = self.pair.files(group)
        if self.pair.tree.controllers and "cgroup.subtree_control" in files and self.rng.random() < _CONTROLS:
            controller = self.rng.choice(self.pair.tree.controllers)
            sign = "-" if controller in group.control else "+"
            return Step("write", self._in(group, "cgroup.subtree_control"), f"{sign}{controller}")
        choices = [
            (name, data)
            for name, data in (
                ("cgroup.freeze", "1"),
                ("cgroup.freeze", "0"),
                ("freezer.state", "FROZEN"),
                ("freezer.state", "THAWED"),
                ("cgroup.type", "threaded"),
                ("pids.max", "1"),
                ("cpuset.cpus", "0-1"),
                ("cpuset.mems", "0"),
            )
            if name in files
        ]
        if not choices:
            return self.move()
        name, data = self.rng.choice(choices)
        return Step("write", self._in(group, name), data)

    def move(self) -> Step:
        """Move a process or a thread."""
        at_root = self.rng.random() < 0.2
        group = self.pair.tree.root if at_root else self.group()
        files = [name for name in ("cgroup.procs", "cgroup.threads", "tasks") if name in self.pair.files(group)]
        name = self.rng.choice(files)
        path = f"../{name}" if at_root else self._in(group, name)
        return Step("write", path, self.rng.choice((*NUMBERS, "PIDd", "PIDd")), self._who())

    def _who(self) -> tuple[int, int]:
        return self.rng.choice(sorted(self.pair.processes)), self.rng.choice((0, 0, 1, 2))

    def end(self) -> Step:
        """Kill a process, or all that is in a group."""
        group = self.group()
        if "cgroup.kill" in self.pair.files(group) and self.rng.random() < 0.5:
            return Step("write", self._in(group, "cgroup.kill"), self.rng.choice(("1", "1", "1", "0", "abc")))
        return Step("kill", who=self._who())

    def fork(self) -> Step:
        """Have a process fork."""
        able = [number for number in sorted(self.pair.processes) if self.pair.can_fork(number)]
        if not able or len(self.pair.processes) == MOST_PROCESSES:
            return self.end()
        return Step("fork", who=(self.rng.choice(able), 0))
