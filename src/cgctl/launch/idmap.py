"""The maps of a user namespace: which ids inside are which outside."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from cgctl.errors import LaunchError, UnsupportedError
from cgctl.launch.helper.kernel import write_proc
from cgctl.launch.obstacles import of_namespaces
from cgctl.launch.sandbox import IdMap, Sandbox

__all__ = ["write_maps"]


def write_maps(pid: int, sandbox: Sandbox) -> None:
    """Write the maps of a process that was born in a user namespace, and waits for them.

    Root writes them as they are. An ordinary user may map its own ids alone, and then nobody inside may change groups;
    for ranges, the setuid programs ``newuidmap`` and ``newgidmap`` look into ``/etc/subuid`` and ``/etc/subgid``.

    Raises:
        LaunchError: the kernel refused.
        UnsupportedError: those programs are not there, or refused.
    """
    own = (("u", os.geteuid(), sandbox.uid_map), ("g", os.getegid(), sandbox.gid_map))
    for kind, number, given in own:
        ranges: Sequence[IdMap] = ((0, number, 1),) if given is None else given
        if os.geteuid() == 0 or [each[1:] for each in ranges] == [(number, 1)]:
            if kind == "g" and os.geteuid() != 0:
                _write(pid, "setgroups", "deny")
            _write(pid, f"{kind}id_map", "".join(f"{inside} {outside} {count}\n" for inside, outside, count in ranges))
        else:
            _by_program(f"new{kind}idmap", pid, ranges)


def _write(pid: int, name: str, text: str) -> None:
    path = f"/proc/{pid}/{name}"
    try:
        write_proc(path.encode(), text.encode())
    except OSError as error:
        hint = "in a user namespace, only ids that are mapped there can be mapped again; see /proc/self/uid_map"
        if os.geteuid() != 0:
            hint = of_namespaces(["user"])
        raise LaunchError(f"write {text.strip()!r} to {path}", error.errno or 0, filename=path, hint=hint) from error


def _by_program(name: str, pid: int, ranges: Sequence[IdMap]) -> None:
    program = shutil.which(name)
    feature = f"a map of {'users' if name == 'newuidmap' else 'groups'} {list(ranges)}"
    if program is None:
        raise UnsupportedError(feature, f"an ordinary user needs {name} for it, of the package uidmap or shadow-utils")
    numbers = [str(number) for each in ranges for number in each]
    done = subprocess.run([program, str(pid), *numbers], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        file = "/etc/subuid" if name == "newuidmap" else "/etc/subgid"
        raise UnsupportedError(feature, f"{done.stderr.strip()}; {file} has the ranges that a user may map")
