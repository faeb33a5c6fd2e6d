"""Exactly one program of ours on a group, whoever else has attached some.

A program is ours if it has the name of its :class:`Kind`; all others are left alone. Where several processes change
the same group at once, the program that was loaded last stays::

    DEVICES = Kind(name="cgctl_devices", type=ProgramType.CGROUP_DEVICE, attach_type=AttachType.CGROUP_DEVICE)
    put(group_fd, DEVICES, code)        # in place of ours, if there is one
    look(group_fd, DEVICES)             # → Attached(ours=(Program(…),), others=())
    take(group_fd, DEVICES)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from errno import EBUSY, EINVAL, ENOENT, EOPNOTSUPP
from typing import Final

import attrs

from cgctl.bpf import syscall
from cgctl.bpf.hardened import revealed
from cgctl.bpf.syscall import AttachType, Program, ProgramType

__all__ = ["Attached", "Kind", "look", "put", "take"]

_TRIES: Final = 10


@attrs.frozen(kw_only=True)
class Kind:
    """A sort of program that cgctl attaches.

    Attributes:
        name: of its programs, at most 15 bytes of letters, digits and ``_``.
        type: what it is to the verifier.
        attach_type: when it is called.
    """

    name: str
    type: ProgramType
    attach_type: AttachType


@attrs.frozen(kw_only=True)
class Attached:
    """What is attached to one group, of one sort.

    Attributes:
        ours: programs of the kind's name, with their code as it was loaded, the last one at the end; more than one only
            where an update before Linux 5.6 was interrupted.
        others: those of other owners.
    """

    ours: tuple[Program, ...]
    others: tuple[Program, ...]


def look(group: int, kind: Kind) -> Attached:
    """Return what is attached to a group, itself.

    Args:
        group: a descriptor of its directory.
        kind: of which sort.

    Raises:
        OSError: ``EOPNOTSUPP`` or ``ENOSYS``: the kernel was built without CONFIG_CGROUP_BPF or CONFIG_BPF_SYSCALL;
            ``EPERM``: looking takes CAP_NET_ADMIN; ``EBADF``: it is no v2 group.
    """
    try:
        found = syscall.attached(group, kind.attach_type)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        raise OSError(EOPNOTSUPP, os.strerror(EOPNOTSUPP)) from None
    ours = sorted((program for program in found if program.name == kind.name), key=lambda program: program.id)
    others = tuple(program for program in found if program.name != kind.name)
    return Attached(ours=tuple(map(_readable, ours)), others=others)


def _readable(program: Program) -> Program:
    return program if program.code is None else attrs.evolve(program, code=revealed(program.code))


def put(group: int, kind: Kind, code: bytes) -> None:
    """Attach a program in place of ours, at once where the kernel can (5.6), else beside it until ours is detached.

    Args:
        group: a descriptor of its directory.
        kind: of which sort.
        code: what it does.

    Raises:
        OSError: as :func:`look`; ``EPERM`` also where programs may be attached but not looked at (CAP_BPF without
            CAP_SYS_ADMIN), and where a program above was attached so that no others go with it.
    """
    look(group, kind)  # whatever is wrong with the group is told before anything is loaded
    with syscall.closing(syscall.load(kind.type, kind.attach_type, kind.name, code)) as program:
        # Who may attach programs but not look at them (CAP_BPF without CAP_SYS_ADMIN) would attach one after the other.
        os.close(syscall.open_program(syscall.program_info(program).id))
        for _attempt in range(_TRIES):
            if _swapped(group, kind, program) and _is_left(group, kind):
                return
    raise OSError(EBUSY, f"{os.strerror(EBUSY)} (others change the group's program all the time)")


def take(group: int, kind: Kind) -> None:
    """Detach ours, if there is one.

    Args:
        group: a descriptor of its directory.
        kind: of which sort.

    Raises:
        OSError: as :func:`look`.
    """
    for program in look(group, kind).ours:
        _detach(group, kind, program)


def _swapped(group: int, kind: Kind, program: int) -> bool:
    """Attach a program in place of ours; tell whether it was still there."""
    ours = look(group, kind).ours
    if not ours:
        syscall.attach(group, kind.attach_type, program)
        return True
    with _opened(ours[-1]) as old:
        if old is None:
            return False
        try:
            syscall.attach(group, kind.attach_type, program, replace=old)
        except OSError as error:
            if error.errno == ENOENT:
                return False
            if error.errno != EINVAL:
                raise
            syscall.attach(group, kind.attach_type, program)
    return True


def _is_left(group: int, kind: Kind) -> bool:
    """Detach all of ours but the one that was loaded last; tell whether others who do the same have left one."""
    *old, _last = look(group, kind).ours or (None,)
    for program in old:
        _detach(group, kind, program)
    return bool(look(group, kind).ours) if old else _last is not None


def _detach(group: int, kind: Kind, program: Program) -> None:
    with _opened(program) as fd:
        if fd is not None:
            with contextlib.suppress(FileNotFoundError):
                syscall.detach(group, kind.attach_type, fd)


@contextlib.contextmanager
def _opened(program: Program) -> Iterator[int | None]:
    """Give a descriptor of a program, or ``None`` if it has gone meanwhile."""
    try:
        fd = syscall.open_program(program.id)
    except FileNotFoundError:
        yield None
        return
    with syscall.closing(fd):
        yield fd
