"""What may be said of a program to be started, checked and encoded before anything is touched."""

from __future__ import annotations

import grp
import os
import pwd
import resource
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, TypeAlias

from cgctl.errors import SpecError
from cgctl.launch.accounts import group_id, user_ids

__all__ = [
    "Argument",
    "Stream",
    "encode",
    "encode_argv",
    "encode_environment",
    "find_executables",
    "parse_fds",
    "parse_group",
    "parse_groups",
    "parse_rlimits",
    "parse_user",
]

Argument: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Stream: TypeAlias = int | IO[Any] | None

_FIRST_FREE = 3  # after stdin, stdout and stderr


def encode(value: Argument, what: str) -> bytes:
    """Encode a string as the kernel takes it, without NUL.

    Raises:
        SpecError: it is nonsense.
    """
    try:
        encoded = os.fsencode(value)
    except TypeError:
        msg = f"{what} must be a string, bytes or a path, not {value!r}"
        raise SpecError(msg) from None
    if b"\0" in encoded:
        msg = f"{what} holds a NUL character: {value!r}"
        raise SpecError(msg)
    return encoded


def encode_argv(argv: Sequence[Argument]) -> tuple[bytes, ...]:
    """Encode an argument list.

    Raises:
        SpecError: it is nonsense.
    """
    if isinstance(argv, str | bytes | os.PathLike):
        msg = f"argv must be a list of arguments, not {argv!r}; pass a list, or ['sh', '-c', {argv!r}]"
        raise SpecError(msg)
    encoded = tuple(encode(value, "an argument") for value in argv)
    if not encoded:
        msg = "argv is empty; its first item is the program to run"
        raise SpecError(msg)
    return encoded


def encode_environment(env: Mapping[Any, Any] | None) -> tuple[tuple[bytes, bytes], ...]:
    """Encode an environment; ``None`` is the caller's own.

    Raises:
        SpecError: it is nonsense.
    """
    if env is None:
        # Other threads may change it meanwhile.
        return tuple((name, value) for name in os.environb if (value := os.environb.get(name)) is not None)
    pairs = tuple((encode(name, "a name in env"), encode(value, f"env[{name!r}]")) for name, value in env.items())
    for name, _ in pairs:
        if not name or b"=" in name:
            msg = f"illegal environment variable name: {name!r}"
            raise SpecError(msg)
    return pairs


def find_executables(program: bytes, env: dict[bytes, bytes]) -> tuple[bytes, ...]:
    """Return what to try to execute, in order: the program itself, or along the PATH of its environment."""
    if b"/" in program:
        return (program,)
    path = env.get(b"PATH", os.fsencode(os.defpath))
    return tuple(os.path.join(directory, program) for directory in path.split(b":"))


def parse_fds(fds: Iterable[int]) -> tuple[int, ...]:
    """Return the descriptors to pass, beyond the first three.

    Raises:
        SpecError: it is nonsense.
    """
    numbers: tuple[Any, ...] = tuple(dict.fromkeys(fds))
    for fd in numbers:
        if not isinstance(fd, int) or fd < 0:
            msg = f"pass_fds holds {fd!r}, which is not a file descriptor"
            raise SpecError(msg)
    return tuple(fd for fd in numbers if fd >= _FIRST_FREE)


def parse_rlimits(rlimits: Mapping[int | str, int | tuple[int, int]]) -> tuple[tuple[int, int, int], ...]:
    """Return resource limits as (number, soft, hard).

    Raises:
        SpecError: it is nonsense.
    """
    limits = []
    for key, value in rlimits.items():
        number = key
        if isinstance(key, str):
            number = getattr(resource, f"RLIMIT_{key.upper().removeprefix('RLIMIT_')}", key)
        if not isinstance(number, int):
            msg = f"there is no resource limit {key!r}; they are named as in getrlimit(2), such as 'nofile'"
            raise SpecError(msg)
        soft, hard = (value, value) if isinstance(value, int) else value
        limits.append((number, soft, hard))
    return tuple(limits)


def parse_user(user: str | int | None, root: str | None = None) -> int | None:
    """Return the id of a user, of this machine or of a root directory.

    Raises:
        SpecError: it is nonsense.
    """
    if not isinstance(user, str):
        return user
    if root is not None:
        return user_ids(user, root)[0]
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        msg = f"there is no user {user!r}"
        raise SpecError(msg) from None


def parse_group(group: str | int | None, root: str | None = None) -> int | None:
    """Return the id of a group, of this machine or of a root directory.

    Raises:
        SpecError: it is nonsense.
    """
    if not isinstance(group, str):
        return group
    if root is not None:
        return group_id(group, root)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        msg = f"there is no group {group!r}"
        raise SpecError(msg) from None


def parse_groups(groups: Iterable[str | int] | None, root: str | None = None) -> tuple[int, ...] | None:
    """Return the ids of supplementary groups.

    Raises:
        SpecError: there is no such group.
    """
    if groups is None:
        return None
    numbers = []
    for group in groups:
        number = parse_group(group, root)
        if number is None:
            msg = "extra_groups holds None; pass the names or ids of groups"
            raise SpecError(msg)
        numbers.append(number)
    return tuple(numbers)
