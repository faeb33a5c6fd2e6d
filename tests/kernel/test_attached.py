"""Programs on v2 groups: exactly one of ours, whoever else has some, on whatever kernel this is."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import attrs
import pytest

from cgctl.bpf import attachment, syscall
from cgctl.bpf.assembly import R0, encode, leave, move
from cgctl.bpf.attachment import Kind
from cgctl.bpf.syscall import AttachType, MapType, ProgramType
from tests.kernel import lacks
from tests.kernel.pace import PATIENCE_SEC, eventually

pytestmark = pytest.mark.host

_OURS = Kind(name="cgctl_test", type=ProgramType.CGROUP_DEVICE, attach_type=AttachType.CGROUP_DEVICE)
_FOREIGN = Kind(name="somebody", type=ProgramType.CGROUP_DEVICE, attach_type=AttachType.CGROUP_DEVICE)
_ALLOW = encode([move(R0, 1), leave()])
_DENY = encode([move(R0, 0), leave()])


@pytest.fixture
def group() -> Iterator[int]:
    """Make a v2 group, bare."""
    lacks.require("v2", "attached programs")
    with lacks.bare_group(lacks.hierarchies()["v2"]) as path:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)


def _attach_beside(group: int, kind: Kind, code: bytes) -> None:
    with syscall.closing(syscall.load(kind.type, kind.attach_type, kind.name, code)) as program:
        syscall.attach(group, kind.attach_type, program)


def test_one_after_many_updates(group: int) -> None:
    """Each update replaces ours, and what the kernel gives back is what was loaded."""
    seen = set()
    for number in range(20):
        code = (_ALLOW, _DENY)[number % 2]
        attachment.put(group, _OURS, code)
        (program,) = attachment.look(group, _OURS).ours
        seen.add(program.id)

        assert (program.name, program.code) == (_OURS.name, code)
    assert len(seen) == 20
    attachment.take(group, _OURS)
    assert attachment.look(group, _OURS) == attachment.Attached(ours=(), others=())


def test_others_stay(group: int) -> None:
    """A program of another owner is neither replaced nor detached."""
    _attach_beside(group, _FOREIGN, _ALLOW)
    (before,) = attachment.look(group, _OURS).others
    attachment.put(group, _OURS, _DENY)
    attachment.put(group, _OURS, _ALLOW)

    assert [program.name for program in attachment.look(group, _OURS).ours] == [_OURS.name]
    assert attachment.look(group, _OURS).others == (before,)
    attachment.take(group, _OURS)
    assert attachment.look(group, _OURS) == attachment.Attached(ours=(), others=(before,))


def test_what_an_interrupted_update_left_goes(group: int) -> None:
    """Several of ours become one with the next update."""
    for _ in range(3):
        _attach_beside(group, _OURS, _DENY)
    attachment.put(group, _OURS, _ALLOW)

    assert [program.code for program in attachment.look(group, _OURS).ours] == [_ALLOW]


def test_many_at_once(group: int) -> None:
    """Whoever changes a group at the same time: there is a program at every moment, and one at the end."""
    attachment.put(group, _OURS, _DENY)
    seen, is_over = [], threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            seen.append(len(attachment.look(group, _OURS).ours))

    def change(_number: int) -> None:
        for _ in range(8):
            attachment.put(group, _OURS, _DENY)

    with ThreadPoolExecutor(5) as pool:
        watching = pool.submit(watch)
        try:
            list(pool.map(change, range(4)))
        finally:
            is_over.set()
        watching.result()

    assert 0 not in seen
    assert len(attachment.look(group, _OURS).ours) == 1


def test_gone_with_the_group() -> None:
    """When its group is removed, a program is gone with it."""
    lacks.require("v2", "attached programs")
    with lacks.bare_group(lacks.hierarchies()["v2"]) as path:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with syscall.closing(fd):
            attachment.put(fd, _OURS, _ALLOW)
            (program,) = attachment.look(fd, _OURS).ours

    assert eventually(lambda: _is_gone(program.id), PATIENCE_SEC)


def _is_gone(number: int) -> bool:
    try:
        os.close(syscall.open_program(number))
    except FileNotFoundError:
        return True
    return False


def test_maps(group: int) -> None:
    """A map is made, changed, looked up and found again by its number."""
    del group
    with syscall.closing(syscall.make_map(MapType.ARRAY, "cgctl_test", key_size=4, value_size=16, entries=2)) as fd:
        syscall.update(fd, b"\1\0\0\0", b"x" * 16)

        assert syscall.look_up(fd, b"\1\0\0\0", 16) == b"x" * 16
        assert syscall.look_up(fd, b"\0\0\0\0", 16) == bytes(16)
        with pytest.raises(FileNotFoundError):
            syscall.look_up(fd, b"\2\0\0\0", 16)


def test_no_such_attachment(group: int) -> None:
    """Where the kernel cannot attach such programs it says EINVAL, which means that it is not supported."""
    kind = attrs.evolve(_OURS, attach_type=cast("AttachType", 4095))
    with pytest.raises(OSError, match="not supported"):
        attachment.look(group, kind)


def test_the_verifier_is_heard(group: int) -> None:
    """A program that is no program is refused in the verifier's own words."""
    del group
    with pytest.raises(OSError, match="R0 !read_ok"):
        syscall.load(_OURS.type, _OURS.attach_type, _OURS.name, encode([leave()]))


def test_no_v2_group() -> None:
    """A directory that is no v2 group has no programs."""
    lacks.require("attached programs")
    with (
        syscall.closing(os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)) as fd,
        pytest.raises(OSError, match="Bad file"),
    ):
        attachment.look(fd, _OURS)
