"""Users and groups of a root directory, whose own files say who is who."""

from __future__ import annotations

from cgctl.errors import SpecError
from cgctl.rootfs.source import Source

__all__ = ["group_id", "groups_of", "user_ids"]

_PASSWD_FIELDS = 7
_GROUP_FIELDS = 4


def user_ids(name: str, root: str) -> tuple[int, int]:
    """Return the ids of a user and of its own group.

    Args:
        name: the user's name, or its number in digits.
        root: the root directory.

    Raises:
        SpecError: there is no such user in its ``/etc/passwd``.
    """
    for fields in _lines(root, "/etc/passwd", _PASSWD_FIELDS):
        if name in {fields[0], fields[2]}:
            return int(fields[2]), int(fields[3])
    msg = f"there is no user {name!r} in {root}/etc/passwd; give numbers"
    raise SpecError(msg)


def group_id(name: str, root: str) -> int:
    """Return the id of a group.

    Raises:
        SpecError: there is no such group in its ``/etc/group``.
    """
    for fields in _lines(root, "/etc/group", _GROUP_FIELDS):
        if name == fields[0]:
            return int(fields[2])
    msg = f"there is no group {name!r} in {root}/etc/group; give a number"
    raise SpecError(msg)


def groups_of(name: str, root: str) -> tuple[int, ...]:
    """Return the ids of all groups of a user, its own first."""
    number, own = user_ids(name, root)
    names = {fields[0] for fields in _lines(root, "/etc/passwd", _PASSWD_FIELDS) if fields[2] == str(number)}
    groups = _lines(root, "/etc/group", _GROUP_FIELDS)
    return tuple(dict.fromkeys((own, *(int(fields[2]) for fields in groups if names & set(fields[3].split(","))))))


def _lines(root: str, path: str, count: int) -> list[list[str]]:
    text = Source(root).read(path).decode(errors="surrogateescape")
    found = (line.split(":") for line in text.splitlines())
    return [fields for fields in found if len(fields) == count and fields[2].isdigit()]
