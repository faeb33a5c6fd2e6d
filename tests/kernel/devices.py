"""Device nodes to try, and who tries them: what the tests of devices share."""

from __future__ import annotations

import contextlib
import json
import os
import random
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator

import attrs
import pytest

import cgctl
from cgctl import DeviceRule, Devices
from cgctl.bpf import attachment, syscall
from cgctl.bpf.attachment import Kind
from cgctl.bpf.syscall import AttachType, ProgramType
from cgctl.layout import UNIFIED
from tests.kernel import lacks, payloads

# (type, major, minor): some that every kernel has, and some that no driver answers for, so that opening does nothing.
NODES = [("c", 1, 3), ("c", 1, 5), ("c", 1, 7), ("c", 1, 200), ("c", 511, 7), ("b", 1, 200), ("b", 259, 77_777)]
OURS = Kind(name="cgctl_devices", type=ProgramType.CGROUP_DEVICE, attach_type=AttachType.CGROUP_DEVICE)

_ASKER = r"""
import json, os, stat, sys
print("ready", flush=True)
for line in sys.stdin:
    answers = []
    for path, kind, major, minor, access in json.loads(line):
        try:
            if access == "m":
                mode = (stat.S_IFCHR if kind == "c" else stat.S_IFBLK) | 0o600
                os.mknod(path + ".new", mode, os.makedev(major, minor))
                os.unlink(path + ".new")
            else:
                flags = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}[access]
                os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))
            answers.append(0)
        except OSError as error:
            answers.append(error.errno)
    print(json.dumps(answers), flush=True)
"""


def system_of(version: int) -> cgctl.System:
    """Return this machine, without the hierarchies of the other version."""
    lacks.require("v1 devices" if version == 1 else "attached programs")
    system = cgctl.System.detect()
    left = tuple(each for each in system.layout.hierarchies if each.version == version)
    return attrs.evolve(system, layout=attrs.evolve(system.layout, hierarchies=left))


@contextlib.contextmanager
def made_nodes() -> Iterator[dict[tuple[str, int, int], str]]:
    """Make nodes: (type, major, minor) → path."""
    with tempfile.TemporaryDirectory(dir=_where_nodes_are_devices()) as directory:
        made = {}
        for kind, major, minor in NODES:
            path = os.path.join(directory, f"{kind}-{major}-{minor}")
            os.mknod(path, (stat.S_IFCHR if kind == "c" else stat.S_IFBLK) | 0o600, os.makedev(major, minor))
            made[kind, major, minor] = path
        yield made


def _where_nodes_are_devices() -> str:
    """Return a directory that is not mounted ``nodev``."""
    for path in (tempfile.gettempdir(), "/dev/shm", "/dev"):  # noqa: S108 - made and removed by this test alone
        if not os.statvfs(path).f_flag & os.ST_NODEV:
            return path
    pytest.fail("every writable directory is mounted nodev")


Ask = Callable[[list[tuple[str, str, int, int, str]]], list[int]]


@contextlib.contextmanager
def asker(group: cgctl.Group) -> Iterator[Ask]:
    """Start a process in a group, not below it, that tries what it is told, and tells the errno of each."""
    process = subprocess.Popen(payloads.python(_ASKER), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def ask(requests: list[tuple[str, str, int, int, str]]) -> list[int]:
        stdin.write(json.dumps(requests) + "\n")
        stdin.flush()
        answers: list[int] = json.loads(stdout.readline())
        return answers

    try:
        assert stdout.readline() == "ready\n"
        group.add(process)
        yield ask
    finally:
        process.kill()
        process.communicate()


def programs(group: cgctl.Group) -> attachment.Attached:
    """Return what is attached to a group to restrict its devices."""
    with syscall.closing(os.open(group.paths()[UNIFIED], os.O_RDONLY | os.O_DIRECTORY)) as fd:
        return attachment.look(fd, OURS)


def _random_rule(rng: random.Random) -> DeviceRule:
    kind, major, minor = rng.choice(NODES)
    letters = "".join(rng.sample("rwm", rng.randint(1, 3)))
    return DeviceRule(
        rng.choice([kind, kind, "a"]), rng.choice([major, major, "*"]), rng.choice([minor, minor, "*"]), letters
    )


def random_devices(rng: random.Random, version: int) -> Devices:
    """Make up rules that a version can have and tell."""
    allow, deny = ([_random_rule(rng) for _ in range(rng.randint(0, 5))] for _ in range(2))
    if version == 1:  # its deny-lists add up, and cannot be read back
        return Devices(allow=allow)
    return rng.choice([Devices(allow=allow), Devices(deny=deny), Devices(allow=allow, deny=deny)])
