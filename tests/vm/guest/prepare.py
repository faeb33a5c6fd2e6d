"""Brings a restored machine up to date: the clock, the random numbers, swap, and the project's tree."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

from tests.vm.guest.command import USER

_SWAP_DISK = "/dev/vdc"
_RNDADDENTROPY = 0x40085203
_RNDRESEEDCRNG = 0x5207


def prepare(job: dict[str, Any], blob: bytes) -> None:
    """Do all that *job* asks for before its command; *blob* has the files of the tree."""
    time.clock_settime(time.CLOCK_REALTIME, job["now"])
    # Each restored machine would draw the same random numbers as the one before. Entropy alone does not change that:
    # the kernel's generator takes it in minutes later, unless told to.
    entropy = bytes.fromhex(job["entropy"])
    with Path("/dev/urandom").open("wb") as device:
        fcntl.ioctl(device, _RNDADDENTROPY, struct.pack("ii", 8 * len(entropy), len(entropy)) + entropy)
        fcntl.ioctl(device, _RNDRESEEDCRNG)
    if job["swap"]:
        subprocess.run(["mkswap", _SWAP_DISK, str(job["swap"] // 1024)], check=True, capture_output=True)
        subprocess.run(["swapon", _SWAP_DISK], check=True, capture_output=True)
    owner = USER if job["user"] else 0
    content = memoryview(zlib.decompress(blob))
    made: set[Path] = set()
    os.chown(job["cwd"], owner, owner)
    for name, mode, mtime, size in job["files"]:
        path = Path(job["cwd"]) / name
        _make_directory(path.parent, owner, made)
        _write_file(path, mode, content[:size])
        os.utime(path, (mtime, mtime), follow_symlinks=False)
        os.chown(path, owner, owner, follow_symlinks=False)
        content = content[size:]


def _make_directory(path: Path, owner: int, made: set[Path]) -> None:
    """Make a directory of the tree, and those above it."""
    if path not in made and not path.exists():
        _make_directory(path.parent, owner, made)
        path.mkdir()
        os.chown(path, owner, owner)
    made.add(path)


def _write_file(path: Path, mode: int | None, content: memoryview) -> None:
    """Write a file of the tree; one without a mode is a symbolic link."""
    if mode is None:
        path.symlink_to(bytes(content).decode())
        return
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    while content:
        content = content[os.write(file, content) :]
    os.close(file)
