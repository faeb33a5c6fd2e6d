"""What a path names: which device it is, or which one it lies on."""

from __future__ import annotations

import os
import stat

__all__ = ["read_status"]


def read_status(path: str) -> bytes:
    """Answer for :data:`cgctl.mounts.STATUS`; symbolic links are followed, and no device is opened.

    Raises:
        OSError: there is no such file (``ENOENT``), or it cannot be reached.
    """
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        # st_dev of a btrfs subvolume is in no line of mountinfo; the id of the mount always is.
        with open(f"/proc/thread-self/fdinfo/{fd}", "rb") as file:
            mount = next(line.split()[1] for line in file if line.startswith(b"mnt_id:"))
    finally:
        os.close(fd)
    kind = "b" if stat.S_ISBLK(status.st_mode) else "c" if stat.S_ISCHR(status.st_mode) else "-"
    device = "" if kind == "-" else f" {_number(status.st_rdev)}"
    return f"{kind}{device} on {_number(status.st_dev)} mount {int(mount)}\n".encode()


def _number(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"
