"""Programs in sandboxes: a root directory with a Python in it, and what they say of their view."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import attrs

import cgctl

PYTHON = os.path.realpath(sys.executable)
"""The interpreter itself: the environment that it may have been called by is not in there."""

MOUNT_POINTS = ("dev", "proc", "sys", "tmp", "mnt", "etc")


@attrs.frozen
class Root:
    """A root directory that borrows this machine's programs, read-only, and has nothing else.

    Attributes:
        path: the directory.
        mounts: what has to be mounted into it.
    """

    path: Path
    mounts: tuple[cgctl.Mount, ...]

    def run(self, script: str, *arguments: str, **keywords: Any) -> cgctl.Completed:
        """Run a script of Python's in it, with all namespaces that need no map."""
        keywords["mounts"] = (*self.mounts, *keywords.get("mounts", ()))
        how: dict[str, Any] = {
            "root": self.path,
            "namespaces": ["pid", "mnt", "ipc", "uts", "net", "cgroup"],
            "capture_output": True,
            "text": True,
            "env": {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        }
        return cgctl.run([PYTHON, "-I", "-S", "-c", script, *arguments], **how | keywords)

    def facts(self, script: str, *arguments: str, **keywords: Any) -> Any:
        """Run a script that prints JSON, and return that."""
        done = self.run(f"import json, os, sys\n{script}", *arguments, **keywords)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return json.loads(done.stdout)


def make_root(path: Path) -> Root:
    """Make one."""
    for name in MOUNT_POINTS:
        (path / name).mkdir(parents=True)
    mounts: list[cgctl.Mount] = []
    for place in dict.fromkeys(("/usr", "/bin", "/sbin", "/lib", "/lib64", sys.base_prefix)):
        outside, inside = Path(place), path / place.lstrip("/")
        if outside.is_symlink():
            inside.symlink_to(outside.readlink())
        elif outside.is_dir() and not any(place.startswith(f"{mount.target}/") for mount in mounts):
            inside.mkdir(parents=True, exist_ok=True)
            mounts.append(cgctl.Mount(place, place, read_only=True, nosuid=False, nodev=False))
    return Root(path, tuple(mounts))


TRY = """
def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def syscall(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
"""
"""For scripts: what comes of a call, in a word."""
