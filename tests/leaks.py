"""What a run of the tests must not leave behind: groups, processes, mounts, temporary directories.

A pytest plugin (``pytest_plugins = ["tests.leaks"]`` in ``tests/conftest.py``): it looks once, after the last test, and
a leak fails the run. Other programs, other runs of these tests among them, may share the machine, so all that is looked
at is this run's own: groups by :data:`PREFIX`, processes by descent and by a variable in their environment, mounts by
what was there before, temporary directories by a ``TMPDIR`` of this run's own.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

PREFIX = f"cgctl-{secrets.token_hex(3)}-"
"""Every group that a test makes on the real machine has a name that begins with this."""

PATIENCE_SEC = 3.0
"""How long what is on its way out may take: a helper that ends, a group whose processes are still exiting."""

# Mounts that come and go by themselves on a machine that is used: logins, services, containers, automounts.
_OTHERS_MOUNTS = (
    "/proc/sys/fs/binfmt_misc",
    "/run/credentials/",
    "/run/docker/",
    "/run/user/",
    "/var/lib/containers/",
    "/var/lib/docker/",
)
_MARK = "CGCTL_TEST_RUN"
_LEAKS = pytest.StashKey[str]()


def _mountinfo() -> Iterator[tuple[str, str, str]]:
    """Each mount's root, mount point and file system type."""
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        yield fields[3], fields[4], after.split(" ")[0]


def _temporary_directories() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("cgctl*"))


_mounts_before = Counter(_mountinfo())
_temporary_before = _temporary_directories()


def groups(prefix: str) -> list[str]:
    """Find the cgroups below any mounted hierarchy that have *prefix* in their name."""
    roots = {mount_point for _, mount_point, kind in _mountinfo() if kind in {"cgroup", "cgroup2"}}
    return sorted(
        str(Path(parent, name))
        for root in roots
        for parent, names, _ in os.walk(root)  # what vanishes under way is passed over
        for name in names
        if prefix in name
    )


def _is_ours_to_keep(process: psutil.Process) -> bool:
    """Tell from a leak what rightly lives as long as its caller: the launch helper, and Python's own tracker."""
    words = " ".join(process.cmdline())
    return any(name in words for name in ("launch/helper", "cgctl.launch.helper", "multiprocessing.resource_tracker"))


def _is_marked(process: psutil.Process) -> bool:
    try:
        return process.environ().get(_MARK) == PREFIX
    except (psutil.Error, OSError):
        return False


def processes() -> list[str]:
    """Find what this process has started, also what was reparented since, but for the launch helper."""
    own = psutil.Process()
    found = {process.pid: process for process in psutil.process_iter() if _is_marked(process)}
    found |= {process.pid: process for process in own.children(recursive=True)}
    found.pop(own.pid, None)
    described = []
    for pid, process in sorted(found.items()):
        try:
            if not _is_ours_to_keep(process):
                described.append(f"{pid} {process.status()} {' '.join(process.cmdline()) or process.name()}")
        except psutil.ZombieProcess:
            described.append(f"{pid} zombie, not waited for")
        except psutil.Error:  # gone while we looked
            continue
    return described


def mounts() -> list[str]:
    """Find the mounts that were not there when this module was imported."""
    new = Counter(_mountinfo()) - _mounts_before
    return sorted(
        f"{mount_point} ({kind}, root {root})"
        for root, mount_point, kind in new.elements()
        if not mount_point.startswith(_OTHERS_MOUNTS)
    )


def temporary_directories() -> list[str]:
    """Find the ``cgctl*`` entries of the temporary directory that were not there before."""
    return sorted(str(path) for path in _temporary_directories() - _temporary_before)


def find_leaks(prefix: str) -> list[str]:
    """Look at all four kinds once, and say one line for each thing that is left."""
    return [
        *(f"group: {path}" for path in groups(prefix)),
        *(f"process: {process}" for process in processes()),
        *(f"mount: {mount}" for mount in mounts()),
        *(f"temporary: {path}" for path in temporary_directories()),
    ]


def assert_clean(prefix: str) -> None:
    """Fail if anything is left of this run: groups that have *prefix* in their name, processes, mounts, files.

    What is on its way out is given :data:`PATIENCE_SEC`.
    """
    deadline = time.monotonic() + PATIENCE_SEC
    pause = 0.01
    while (leaks := find_leaks(prefix)) and time.monotonic() < deadline:
        time.sleep(pause)
        pause *= 2
    if leaks:
        raise AssertionError("left behind by this run of the tests:\n" + "\n".join(f"  {leak}" for leak in leaks))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Mark this run's processes, and give it a temporary directory of its own."""
    environment = pytest.MonkeyPatch()
    config.add_cleanup(environment.undo)
    environment.setenv(_MARK, PREFIX)
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ:  # tmp_path stays where people look for it after a failure
        environment.setenv("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    temporary = tempfile.mkdtemp(prefix="tests-of-cgctl-")
    config.add_cleanup(lambda: shutil.rmtree(temporary, ignore_errors=True))
    Path(temporary).chmod(0o1777)  # as /tmp: tests run programs as other users too
    environment.setenv("TMPDIR", temporary)
    environment.setattr(tempfile, "tempdir", temporary)
    _temporary_before.clear()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look for leaks after the last fixture is gone; one makes the run fail."""
    try:
        assert_clean(PREFIX)
    except AssertionError as error:
        session.config.stash[_LEAKS] = str(error)
        if session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left behind."""
    if leaks := config.stash.get(_LEAKS, None):
        terminalreporter.section("leaks", red=True)
        terminalreporter.line(leaks)
