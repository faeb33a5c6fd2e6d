"""What this process may have, seen without cgctl: the judge of every ``UnsupportedError``."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cgctl
from tests.kernel import lacks
from tests.require import skip_unless


@functools.cache
def _places() -> dict[str, str]:
    """Return where this process was at first: hierarchy as :func:`lacks.hierarchies` names it → directory."""
    places = {}
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        for label in [f"v1:{one}" for one in controllers.split(",")] if controllers else ["v2"]:
            if label in lacks.hierarchies():
                places[label] = f"{lacks.hierarchies()[label]}{path}".rstrip("/")
    return places


def why_not(controller: str) -> str | None:
    """Say why this process cannot give a group a controller (``"group"``: any group at all), or ``None`` if it can."""
    v2 = _places().get("v2")
    if controller == "group":
        home = v2 if v2 and _may(v2) else _places().get("v1:freezer", v2)
    elif controller in lacks.v2_controllers():
        home = v2
        if v2 is not None and controller not in Path(v2, "cgroup.controllers").read_text(encoding="utf-8").split():
            return f"v2's {controller} is not delegated to this group"
    else:
        home = _places().get(f"v1:{controller}")
    if home is None:
        return f"no mounted hierarchy has {controller}"
    if not _may(home):
        return f"this user may not make groups in {'v2' if home == v2 else 'v1'} ({controller})"
    return None if controller == "group" else why_not("group")


def _may(directory: str) -> bool:
    return os.access(directory, os.W_OK | os.X_OK)


@contextmanager
def needs(*controllers: str) -> Iterator[None]:
    """Go on where these can be had; elsewhere, the body must raise an ``UnsupportedError``, and the test is skipped."""
    _places()  # before the first group moves this process
    lacking, why = next(((one, reason) for one in ("group", *controllers) if (reason := why_not(one))), ("", None))
    try:
        yield
    except cgctl.UnsupportedError as error:
        if why is None:
            raise
        skip_unless(lacking, f"{error.reason} [{why}]")
    else:
        if why is not None:
            pytest.fail(f"no UnsupportedError, though {why}")
