"""The cases: a group's life, its limits and its statistics, each with the same system calls written by hand."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cgctl
from cgctl.filesystem import Filesystem, read_each
from cgctl.plan import Mkdir, Write
from measuring import Case, Result, pair

WISHES: dict[int, dict[str, Any]] = {
    1: {"memory": "64M"},
    3: {"memory": "64M", "cpu": 0.5, "pids": 64},
    8: {
        "cpuset": "0",
        "cpu": 0.5,
        "memory": "64M",
        "io": cgctl.Io(),
        "pids": 64,
        "devices": cgctl.Devices(default="allow"),
        "hugetlb": cgctl.Hugetlb(),
        "core": cgctl.Core(),
    },
}
"""Number of controllers → limits."""


def name_of(what: str) -> str:
    """Make the name of a group of this process."""
    return f"cgctl-bench-{os.getpid()}-{what}"


@contextlib.contextmanager
def beside(wishes: dict[str, Any]) -> Iterator[None]:
    """Have another group beside those that are measured: on v2 the controllers then stay enabled above them."""
    with cgctl.Group(name_of("beside"), join=False, **wishes):
        yield


def bare(group: cgctl.Group, *, marked: bool) -> Case:
    """Return the system calls that make and remove a group, by hand.

    Args:
        group: as it would be made.
        marked: whether with what makes it safe against kills: the lock, the mark and the mode.
    """
    steps = [*group.plan()]
    directories = [step.path for step in steps if isinstance(step, Mkdir)]
    writes = [(step.path, step.data) for step in steps if isinstance(step, Write)]
    mark = b"lasting 1234567 1234567890 4026531836 123456789012345"

    def plain() -> None:
        for path in directories:
            os.mkdir(path, 0o755)

    def safe() -> None:
        for path in directories:
            above = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(above, fcntl.LOCK_SH)
            os.mkdir(path, 0o1755)
            made = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.setxattr(made, "user.cgctl.owner", mark)
            os.fchmod(made, 0o755)
            os.close(made)
            os.close(above)

    def life() -> None:
        (safe if marked else plain)()
        for path, data in writes:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            os.write(fd, data)
            os.close(fd)
        for path in directories:
            os.rmdir(path)

    return life


def supported(wishes: dict[str, Any]) -> dict[str, Any]:
    """Leave out what this machine has not."""
    found = {}
    for keyword, wish in wishes.items():
        with contextlib.suppress(cgctl.CgctlError):
            cgctl.Group(name_of("try"), **{keyword: wish}).create().remove()
            found[keyword] = wish
    return found


def lives(rounds: int) -> Iterator[Result]:
    """Make a group, with limits, and remove it."""
    for count, all_wishes in WISHES.items():
        wishes = supported(all_wishes)
        name = name_of(str(count))

        def life(name: str = name, wishes: dict[str, Any] = wishes) -> None:
            cgctl.Group(name, **wishes).create().remove()

        with beside(wishes):
            floor, marked = (bare(cgctl.Group(name, **wishes), marked=marked) for marked in (False, True))
            left_out = sorted(all_wishes.keys() - wishes.keys())
            note = f"{len(wishes)} controllers" + (f"; not here: {', '.join(left_out)}" if left_out else "")
            peers = {"by hand, with lock and mark": marked}
            yield pair(f"create and remove, {count}", life, floor, rounds, peers=peers, note=note)


class Recording:
    """A filesystem that writes down which files are read."""

    def __init__(self, filesystem: Filesystem) -> None:
        self._filesystem = filesystem
        self.read_paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._filesystem, name)

    def read(self, path: str) -> bytes:
        """Read a file."""
        data = self._filesystem.read(path)
        if "/@" not in path:
            self.read_paths.append(path)
        return data

    def read_each(self, directory: str, names: Sequence[str]) -> list[bytes | int]:
        """Read files of one directory."""
        answers = read_each(self._filesystem, directory, names)
        read = zip(names, answers, strict=True)
        self.read_paths += [f"{directory}/{name}" for name, each in read if isinstance(each, bytes) and name[0] != "@"]
        return answers


def recorded(group: cgctl.Group, verb: Callable[[cgctl.Group], object]) -> list[str]:
    """Return the files that a verb reads."""
    system = group.system
    recording = Recording(system.filesystem)
    watched = cgctl.System(recording, system.layout, system.base)
    verb(cgctl.Group(group.name, system=watched))
    return recording.read_paths


def reading(paths: list[str]) -> Case:
    """Return the reading of some files, by hand."""

    def read() -> None:
        for path in paths:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            os.read(fd, 65536)
            os.close(fd)

    return read


def changes(rounds: int) -> Iterator[Result]:
    """Change a limit, and read limits and statistics."""
    wishes = supported(WISHES[3])
    with cgctl.Group(name_of("changed"), join=False, **wishes) as group:
        kinds: dict[str, tuple[str, ...]] = {"of all": (), "of memory, cpu, pids": ("memory", "cpu", "pids")}
        for which, names in kinds.items():

            def stats(each: cgctl.Group = group, names: tuple[str, ...] = names) -> object:
                return each.stats(*names)

            files = recorded(group, stats)
            yield pair(f"stats {which}", stats, reading(files), rounds, note=f"{len(files)} files")
        files = recorded(group, lambda each: each.limits())
        yield pair("limits", group.limits, reading(files), rounds, note=f"{len(files)} files")
        if "pids" in wishes:
            place = next(path for label, path in group.paths().items() if "pids" in label or label == "unified")
            numbers = iter(range(100, 10**9))
            by_hand = iter(range(100, 10**9))

            held = reading(files)

            def floor() -> None:
                fd = os.open(f"{place}/pids.max", os.O_WRONLY | os.O_CLOEXEC)
                os.write(fd, str(next(by_hand) % 1000 + 100).encode())
                os.close(fd)
                held()

            yield pair(
                "update of one limit",
                lambda: group.update(pids=next(numbers) % 1000 + 100),
                floor,
                rounds,
                note="and reading all limits, which update() returns",
            )


def listing(rounds: int, count: int) -> Iterator[Result]:
    """List many groups."""
    with cgctl.Group(name_of("many"), join=False) as group:
        directories = [*group.paths().values()]
        try:
            for directory in directories:
                for number in range(count):
                    os.mkdir(f"{directory}/{number}")

            def floor() -> None:
                for directory in directories:
                    with os.scandir(directory) as entries:
                        sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

            yield pair(f"list {count} groups", group.children, floor, rounds)
        finally:
            for directory in directories:
                for number in range(count):
                    with contextlib.suppress(OSError):
                        os.rmdir(f"{directory}/{number}")
