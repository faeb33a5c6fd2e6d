"""What may be said of whom a program becomes: users and groups, a mode, limits, calls. Errors are `SpecError`."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from cgctl.errors import SpecError, shown

__all__ = [
    "PROFILES",
    "Profile",
    "parse_extra_groups",
    "parse_group",
    "parse_rlimits",
    "parse_seccomp",
    "parse_umask",
    "parse_user",
]

Profile: TypeAlias = Literal["default", "strict", "unconfined"]
PROFILES: Final[tuple[Profile, ...]] = ("default", "strict", "unconfined")
"""Which system calls; ``strict`` refuses locks on files as well, by which programs that see the same could talk."""

_MOST_ID: Final = 2**32 - 2
_PAIR: Final = 2
_MOST_MODE: Final = 0o777
_RLIMITS: Final = frozenset({
    "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
    "sigpending", "stack",
})  # fmt: skip


def parse_rlimits(value: Any) -> tuple[tuple[str, tuple[int, int]], ...]:
    """Read ``{"nofile": 64, "cpu": (1, 2)}``: a limit, or the soft and the hard one; -1 is none."""
    found = {}
    for key, limit in dict(value or {}).items():
        name = key.lower().removeprefix("rlimit_") if isinstance(key, str) else key
        if name not in _RLIMITS:
            msg = f"rlimits: there is none of the name {shown(key)}; they are {', '.join(sorted(_RLIMITS))}"
            raise SpecError(msg)
        pair = (limit, limit) if type(limit) is int else tuple(limit) if isinstance(limit, tuple | list) else ()
        if len(pair) != _PAIR or not all(type(each) is int and each >= -1 for each in pair):
            msg = f"rlimits[{shown(key)}]={shown(limit)}: give a number, or the soft and the hard limit; -1 is none"
            raise SpecError(msg)
        found[name] = pair
    return tuple(sorted(found.items()))


def _who(value: Any, what: str) -> str | int | None:
    if value is None or (isinstance(value, str) and value):
        return value
    if type(value) is int and 0 <= value <= _MOST_ID:
        return value
    msg = f"{what}={shown(value)}: give a name or a number"
    raise SpecError(msg)


def parse_user(value: Any) -> str | int | None:
    """Read whom a program becomes."""
    return _who(value, "user")


def parse_group(value: Any) -> str | int | None:
    """Read of which group it is."""
    return _who(value, "group")


def parse_extra_groups(value: Any) -> tuple[str | int | None, ...] | None:
    """Read which other groups it is in."""
    return None if value is None else tuple(_who(each, "extra_groups") for each in value)


def parse_umask(value: Any) -> int | None:
    """Read a file mode mask."""
    if value is None:
        return None
    if type(value) is int and 0 <= value <= _MOST_MODE:
        return value
    msg = f"umask={shown(value)}: give a mode such as 0o077"
    raise SpecError(msg)


def parse_seccomp(value: Any) -> Profile | None:
    """Read which system calls it may make."""
    for profile in PROFILES:
        if value == profile:
            return profile
    if value is None:
        return None
    msg = f"seccomp={shown(value)}: it is 'default', 'strict' (no locks on files, besides) or 'unconfined'"
    raise SpecError(msg)
