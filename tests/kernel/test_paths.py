"""What a path names, on the real kernel."""

from __future__ import annotations

import os
from errno import ENOENT, ENOTDIR
from pathlib import Path

import pytest

from cgctl.filesystem.kernel import KernelFilesystem
from cgctl.mounts import Status, parse_mountinfo, parse_status

pytestmark = pytest.mark.host


def _status(path: object) -> Status:
    return parse_status(KernelFilesystem().read(f"stat:{path}").decode())


def test_a_device_is_its_number(tmp_path: Path) -> None:
    """A device node, also through a symbolic link, is named by its number; it is not opened."""
    link = tmp_path / "link"
    link.symlink_to("/dev/null")

    assert (_status("/dev/null").type, _status("/dev/null").device) == ("c", "1:3")
    assert _status(link) == _status("/dev/null")


def test_a_file_is_on_a_filesystem(tmp_path: Path) -> None:
    """Files and directories are on the filesystem that stat names, by a mount that mountinfo has."""
    device = os.stat(tmp_path).st_dev
    status = _status(tmp_path)
    mounts = {mount.number: mount for mount in parse_mountinfo(Path("/proc/self/mountinfo").read_text("utf-8"))}

    assert (status.type, status.device) == ("-", "")
    assert status.filesystem == f"{os.major(device)}:{os.minor(device)}"
    assert str(tmp_path).startswith(mounts[status.mount].mount_point)


@pytest.mark.parametrize(("path", "number"), [("/nonexistent", ENOENT), ("/dev/null/below", ENOTDIR)])
def test_no_file(path: str, number: int) -> None:
    """A path that is not there is refused by the kernel's errno, and no descriptor stays open."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=r"No such file|Not a directory") as caught:
        _status(path)

    assert caught.value.errno == number
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("path", ["/proc/self/comm", "/sys/dev/block/1:1/size"])
def test_nothing_outside_is_written(path: str) -> None:
    """What describes the machine can be read, and not be written."""
    with pytest.raises(OSError, match="not on a cgroup filesystem"):
        KernelFilesystem().write(path, b"x")
