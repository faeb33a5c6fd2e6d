"""The flags that say how a command is started, with docker's names, and what they mean to cgctl."""

from __future__ import annotations

import os
import pwd
import resource
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import click

from cgctl.launch.accounts import groups_of, user_ids

__all__ = ["environment", "process_options", "started_how"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_FLAGS: Final = (
    click.option(
        "-e",
        "--env",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="A variable, beside those that cgctl has. Repeatable.",
    ),
    click.option(
        "--env-file",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="Variables, one NAME=VALUE a line; -e goes before them. Repeatable.",
    ),
    click.option("-w", "--workdir", metavar="DIR", help="Where the command runs."),
    click.option(
        "-u",
        "--user",
        metavar="USER[:GROUP]",
        help="Whom it runs as: names or numbers. Without GROUP, in all groups of the user.",
    ),
    click.option(
        "--ulimit",
        multiple=True,
        metavar="NAME=SOFT[:HARD]",
        help="A resource limit such as nofile=100:200; -1: unlimited. Repeatable.",
    ),
)


def process_options(command: _Function) -> _Function:
    """Give a command the flags that say how a command is started."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def started_how(flags: dict[str, Any], root: str | None) -> dict[str, Any]:
    """Take these flags out of a command's parameters, as keywords of :func:`cgctl.popen`.

    Args:
        flags: the parameters.
        root: the command's root directory, if it has one: names of users are then those in there.

    Raises:
        UsageError: a value is nonsense.
    """
    env = environment(os.environ, flags.pop("env_file"), flags.pop("env"))
    return {
        "env": env,
        "cwd": flags.pop("workdir"),
        "rlimits": dict(_ulimit(word) for word in flags.pop("ulimit")),
    } | _identity(flags.pop("user"), root)


def environment(own: Mapping[str, str], files: Iterable[str], words: Iterable[str]) -> dict[str, str]:
    """Put together a command's environment: cgctl's own, then files, then words; a bare name is cgctl's own value.

    Raises:
        UsageError: a line or word has no name.
    """
    found = dict(own)
    for file in files:
        with open(file, encoding="utf-8", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, 1):
                text = line.strip("\n").lstrip()
                if text and not text.startswith("#"):
                    found |= _variable(text, own, f"--env-file {file}, line {number}")
    for word in words:
        found |= _variable(word, own, "--env")
    return found


def _variable(text: str, own: Mapping[str, str], where: str) -> dict[str, str]:
    name, equals, value = text.partition("=")
    if not name or any(c.isspace() for c in name):
        msg = f"{where}: {text!r} is not NAME=VALUE"
        raise click.UsageError(msg)
    if equals:
        return {name: value}
    return {name: own[name]} if name in own else {}


def _ulimit(word: str) -> tuple[str, tuple[int, int]]:
    name, equals, values = word.partition("=")
    soft, colon, hard = values.partition(":")
    if not name or not equals or not hasattr(resource, f"RLIMIT_{name.upper()}"):
        known = [each.removeprefix("RLIMIT_").lower() for each in dir(resource) if each.startswith("RLIMIT_")]
        msg = f"--ulimit {word!r} is not NAME=SOFT[:HARD]; the names are {', '.join(known)}"
        raise click.UsageError(msg)
    low = _rlimit(word, soft)
    high = _rlimit(word, hard) if colon else low
    if high != resource.RLIM_INFINITY and (low == resource.RLIM_INFINITY or low > high):
        msg = f"--ulimit {word!r}: the soft limit is above the hard one"
        raise click.UsageError(msg)
    return name, (low, high)


def _rlimit(word: str, text: str) -> int:
    if text in {"-1", "unlimited"}:
        return resource.RLIM_INFINITY
    if text.isascii() and text.isdigit():
        return int(text)
    msg = f"--ulimit {word!r}: {text!r} is not a whole number; -1 is unlimited"
    raise click.UsageError(msg)


def _identity(user: str | None, root: str | None) -> dict[str, Any]:
    """Read ``USER[:GROUP]`` as docker does: without GROUP, the user's own group and supplementary ones."""
    if user is None:
        return {}
    name, colon, group = user.partition(":")
    if not name or (colon and not group):
        msg = f"--user {user!r} is not USER[:GROUP]"
        raise click.UsageError(msg)
    number = int(name) if name.isascii() and name.isdigit() else None
    if group:
        gid: str | int = int(group) if group.isascii() and group.isdigit() else group
        return {"user": name if number is None else number, "group": gid, "extra_groups": ()}
    if root is not None:
        own = user_ids(name, root)
        return {"user": own[0], "group": own[1], "extra_groups": groups_of(name, root)}
    try:
        entry = pwd.getpwnam(name) if number is None else pwd.getpwuid(number)
    except KeyError:
        remedy = "" if number is None else "; give its group too, as UID:GID"
        msg = f"--user {user!r}: there is no such user{remedy}"
        raise click.UsageError(msg) from None
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
