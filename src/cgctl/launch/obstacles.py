"""What keeps an ordinary user from having namespaces on this machine: looked up, not guessed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

__all__ = ["PRIVILEGES", "of_namespaces"]

PRIVILEGES: Final = "it takes privileges that this process has not: run as root, or add the user namespace"

_SYSCTLS: Final = (
    ("kernel/unprivileged_userns_clone", "0", "only root may make user namespaces here; set sysctl {name}=1"),
    ("user/max_user_namespaces", "0", "no user namespaces are allowed here; raise sysctl {name}"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor takes all rights from user namespaces; set sysctl {name}=0, or give this program a 'userns,' profile",
    ),
)


def of_namespaces(kinds: Iterable[str], sysctls: str = "/proc/sys") -> str:
    """Say why namespaces of these kinds are refused.

    Args:
        kinds: those that were asked for.
        sysctls: where the machine's settings are.
    """
    if "user" not in kinds:
        return PRIVILEGES
    for path, value, text in _SYSCTLS:
        if _read(f"{sysctls}/{path}") == value:
            return text.format(name=path.replace("/", "."))
    for kind in sorted(kinds):
        if _read(f"{sysctls}/user/max_{kind}_namespaces") == "0":
            return f"no {kind} namespaces are allowed here; raise sysctl user.max_{kind}_namespaces"
    return (
        "a seccomp filter forbids it, as in most containers, or this process is in a chroot, where no user namespace is"
    )


def _read(path: str) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, 64).decode().strip()
    finally:
        os.close(fd)
