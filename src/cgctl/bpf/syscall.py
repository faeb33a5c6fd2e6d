"""The edge to the kernel's BPF: one function a command of ``bpf(2)``, and who has attached what to a group.

Law of this module: attributes are passed in a buffer that is larger than any kernel's, because since 6.17
``BPF_PROG_QUERY`` writes beyond what older ones had; ``EAGAIN`` (a signal came while a program was verified) is tried
again; the limit on locked memory, which only kernels before 5.11 ask about, is raised for the one call that it refused,
and put back. Every function raises ``OSError`` with the kernel's errno; descriptors are closed by whoever asked for
them (:func:`closing`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from enum import IntEnum
from errno import E2BIG, EACCES, EAGAIN, EBUSY, EINVAL, ENOMEM, ENOSYS, EPERM
from typing import Final

import attrs

__all__ = [
    "AttachType",
    "MapType",
    "Program",
    "ProgramType",
    "attach",
    "attached",
    "closing",
    "detach",
    "load",
    "look_up",
    "make_map",
    "open_map",
    "open_program",
    "program_info",
    "query",
    "update",
]


class ProgramType(IntEnum):
    """``enum bpf_prog_type``."""

    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    CGROUP_DEVICE = 15


class AttachType(IntEnum):
    """``enum bpf_attach_type``."""

    CGROUP_INET_INGRESS = 0
    CGROUP_INET_EGRESS = 1
    CGROUP_INET_SOCK_CREATE = 2
    CGROUP_DEVICE = 6


class MapType(IntEnum):
    """``enum bpf_map_type``."""

    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6


class _Command(IntEnum):
    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    PROG_LOAD = 5
    PROG_ATTACH = 8
    PROG_DETACH = 9
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16


_NUMBERS: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}
"""Machine → the number of ``bpf(2)``."""
_ROOM: Final = 256
_TRIES: Final = 30
_MOST_PROGRAMS: Final = 64
"""``BPF_CGROUP_MAX_PROGS``: how many a group can have of one type."""
_LOG: Final = 16384
_LICENSE: Final = b"GPL"
_ALLOW_MULTI, _REPLACE = 1 << 1, 1 << 2


@attrs.frozen(kw_only=True)
class Program:
    """What the kernel tells of a program.

    Attributes:
        id: its number, for as long as it is loaded.
        name: of at most 15 bytes, as it was loaded; empty where the kernel does not let us look.
        code: its instructions after verification; ``None`` where the kernel does not show them.
        maps: the numbers of the maps that it uses.
    """

    id: int
    name: str = ""
    code: bytes | None = None
    maps: tuple[int, ...] = ()


@contextlib.contextmanager
def closing(fd: int) -> Iterator[int]:
    """Close a descriptor at the end."""
    try:
        yield fd
    finally:
        os.close(fd)


def load(kind: ProgramType, attach_type: AttachType, name: str, code: bytes) -> int:
    """Load a program; return its descriptor.

    Raises:
        OSError: ``EPERM``: this takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN; ``EINVAL`` or ``EACCES``: the
            verifier refused it, and the text says why.
    """
    try:
        return _with_memory(lambda: _load(kind, attach_type, name, code, None))
    except OSError as error:
        if error.errno not in {EINVAL, EACCES}:
            raise
        log = ctypes.create_string_buffer(_LOG)
        with contextlib.suppress(OSError):
            return _with_memory(lambda: _load(kind, attach_type, name, code, log))
        said = log.value.decode(errors="replace").strip()
        raise OSError(error.errno, f"{error.strerror}; the verifier says: {said[-500:] or 'nothing'}") from None


def _load(
    kind: ProgramType, attach_type: AttachType, name: str, code: bytes, log: ctypes.Array[ctypes.c_char] | None
) -> int:
    instructions, license_ = _buffer(code), _buffer(_LICENSE)
    level, size, address = (1, len(log), ctypes.addressof(log)) if log else (0, 0, 0)
    what = (kind, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(license_))
    # … kernel version, flags, name, network interface, attach type
    attr = struct.pack("=IIQQIIQII16sII", *what, level, size, address, 0, 0, name.encode(), 0, attach_type)
    return _bpf(_Command.PROG_LOAD, attr)[0]


def attach(group: int, attach_type: AttachType, program: int, *, replace: int | None = None) -> None:
    """Attach a program to a group, beside those of others, or in place of one of ours.

    Raises:
        OSError: ``ENOENT``: what was to be replaced is not attached any more; ``EINVAL``: the kernel is older than
            5.6 and cannot replace, or was built without CONFIG_CGROUP_BPF; ``EPERM``: a program above was attached
            so that no others go with it; ``E2BIG``: the group has 64 programs already.
    """
    flags = _ALLOW_MULTI | (0 if replace is None else _REPLACE)
    try:
        _bpf(_Command.PROG_ATTACH, struct.pack("=5I", group, program, attach_type, flags, replace or 0))
    except OSError as error:
        if error.errno != E2BIG or replace is None:
            raise
        # An older kernel knows neither the flag nor the field.
        raise OSError(EINVAL, os.strerror(EINVAL)) from None


def detach(group: int, attach_type: AttachType, program: int) -> None:
    """Detach one program from a group.

    Raises:
        OSError: ``ENOENT``: it is not attached.
    """
    _bpf(_Command.PROG_DETACH, struct.pack("=4I", group, program, attach_type, 0))


def query(group: int, attach_type: AttachType) -> tuple[int, ...]:
    """Return the numbers of the programs that are attached to a group itself, in the order in which they run.

    Raises:
        OSError: ``EPERM``: looking takes CAP_NET_ADMIN; ``EINVAL``: the kernel was built without CONFIG_CGROUP_BPF;
            ``EBADF``: it is no v2 group.
    """
    found = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    attr = struct.pack("=4IQI", group, attach_type, 0, 0, ctypes.addressof(found), len(found))
    _, answer = _bpf(_Command.PROG_QUERY, attr)
    (count,) = struct.unpack_from("=I", answer, 24)
    return tuple(found[:count])


def attached(group: int, attach_type: AttachType) -> tuple[Program, ...]:
    """Return what is attached to a group itself; of a program that may not be looked at just its number.

    Raises:
        OSError: as :func:`query`; ``EBUSY``: whenever one is looked at it has been replaced meanwhile.
    """
    for _attempt in range(_TRIES):
        with contextlib.suppress(FileNotFoundError):
            return tuple(_look(number) for number in query(group, attach_type))
    raise OSError(EBUSY, os.strerror(EBUSY))


def _look(number: int) -> Program:
    try:
        with closing(open_program(number)) as fd:
            return program_info(fd)
    except PermissionError:  # another's policy hides it
        return Program(id=number)


def open_program(number: int) -> int:
    """Return a descriptor of a program, by its number.

    Raises:
        OSError: ``ENOENT``: there is none; ``EPERM``: this takes CAP_SYS_ADMIN, or a security module says no.
    """
    return _bpf(_Command.PROG_GET_FD_BY_ID, struct.pack("=I", number))[0]


def program_info(fd: int) -> Program:
    """Return what the kernel tells of a program.

    Raises:
        OSError: it is none.
    """
    # struct bpf_prog_info: type, id, tag; the compiled and the verified code, lengths and addresses; load time, owner;
    # maps, number and address; name.
    info = _info(fd, b"")
    number, size = struct.unpack_from("=4xI12xI", info)
    (count,) = struct.unpack_from("=I", info, 52)
    name = info[64:80].split(b"\0")[0].decode()
    code, maps = ctypes.create_string_buffer(size or 1), (ctypes.c_uint32 * (count or 1))()
    wanted = struct.pack("=16xIIQQ8x4xIQ", 0, size, 0, ctypes.addressof(code), count, ctypes.addressof(maps))
    info = _info(fd, wanted)
    # Who may not see the kernel's addresses is shown no code in which constants were hidden (bpf_jit_harden).
    shown = size and struct.unpack_from("=Q", info, 32)[0]
    return Program(id=number, name=name, code=code.raw[:size] if shown else None, maps=tuple(maps[:count]))


def _info(fd: int, wanted: bytes) -> bytes:
    info = ctypes.create_string_buffer(wanted, _ROOM)
    _bpf(_Command.OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, _ROOM, ctypes.addressof(info)))
    return info.raw


def make_map(kind: MapType, name: str, *, key_size: int, value_size: int, entries: int) -> int:
    """Make a map; return its descriptor.

    Raises:
        OSError: ``EPERM``: this takes CAP_BPF.
    """
    attr = struct.pack("=7I16s", kind, key_size, value_size, entries, 0, 0, 0, name.encode())
    return _with_memory(lambda: _bpf(_Command.MAP_CREATE, attr)[0])


def open_map(number: int) -> int:
    """Return a descriptor of a map, by its number.

    Raises:
        OSError: ``ENOENT``: there is none; ``EPERM``: this takes CAP_SYS_ADMIN.
    """
    return _bpf(_Command.MAP_GET_FD_BY_ID, struct.pack("=I", number))[0]


def look_up(fd: int, key: bytes, size: int) -> bytes:
    """Return a map's value of *size* bytes; of a map with values for each processor, all of them, in multiples of 8.

    Raises:
        OSError: ``ENOENT``: there is none.
    """
    key_buffer, value = _buffer(key), ctypes.create_string_buffer(size)
    attr = struct.pack("=I4xQQQ", fd, ctypes.addressof(key_buffer), ctypes.addressof(value), 0)
    _bpf(_Command.MAP_LOOKUP_ELEM, attr)
    return value.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    """Set a map's value.

    Raises:
        OSError: the key is beyond the map.
    """
    key_buffer, value_buffer = _buffer(key), _buffer(value)
    attr = struct.pack("=I4xQQQ", fd, ctypes.addressof(key_buffer), ctypes.addressof(value_buffer), 0)
    _bpf(_Command.MAP_UPDATE_ELEM, attr)


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data) + 1)


_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _bpf(command: _Command, attr: bytes) -> tuple[int, bytes]:
    """Call the kernel; return its answer, and the attributes as it left them."""
    machine = os.uname().machine
    if machine not in _NUMBERS or sys.maxsize < 1 << 32:
        raise OSError(ENOSYS, f"{os.strerror(ENOSYS)} (the number of bpf(2) on {machine} is not known)")
    number, buffer = ctypes.c_long(_NUMBERS[machine]), ctypes.create_string_buffer(attr, _ROOM)
    for _attempt in range(_TRIES):
        result = _libc.syscall(number, ctypes.c_int(command), ctypes.byref(buffer), ctypes.c_uint(_ROOM))
        if result >= 0:
            return result, buffer.raw
        if ctypes.get_errno() != EAGAIN:
            break
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _with_memory(action: Callable[[], int]) -> int:
    """Do what needs locked memory on kernels before 5.11, with the limit on it raised if it is refused first."""
    try:
        return action()
    except OSError as error:
        limits = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        if error.errno not in {EPERM, ENOMEM} or not _raised(*limits):
            raise
    try:
        return action()
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, limits)


def _raised(soft: int, hard: int) -> bool:
    """Raise the limit on locked memory as far as it goes; tell whether it went up."""
    for wanted in (resource.RLIM_INFINITY, hard):
        if soft not in {wanted, resource.RLIM_INFINITY}:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_MEMLOCK, (wanted, wanted))
                return True
    return False
