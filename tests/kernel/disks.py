"""A disk to limit: under QEMU an empty one of the machine's own, elsewhere the one that the root directory is on."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.kernel.pace import EMULATED, eventually

OWN = "/dev/vdb"
"""The machine's own, which may be written to."""


def number(path: str) -> str:
    """Return the number of a block device, or of the one that a directory is on; empty where that is none."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    device = status.st_rdev if stat.S_ISBLK(status.st_mode) else status.st_dev
    return f"{os.major(device)}:{os.minor(device)}" if os.major(device) else ""


def is_own() -> bool:
    """Tell whether there is a disk that belongs to this machine's tests alone."""
    return EMULATED and os.geteuid() == 0 and bool(number(OWN))


def is_under_bfq() -> bool:
    """Tell whether the disk's scheduler is BFQ."""
    with contextlib.suppress(OSError):
        return "[bfq]" in Path("/sys/dev/block", NUMBER, "queue/scheduler").read_text(encoding="utf-8")
    return False


NAME = OWN if is_own() else "/"
"""How the disk is named to cgctl."""
NUMBER = number(NAME)
"""What the kernel calls it."""


@contextlib.contextmanager
def scheduled_by(scheduler: str) -> Iterator[None]:
    """Give the machine's own disk a scheduler."""
    path = Path("/sys/dev/block", NUMBER, "queue/scheduler")
    before = next(word for word in path.read_text(encoding="utf-8").split() if word.startswith("["))
    path.write_text(scheduler, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before.strip("[]"), encoding="utf-8")


@contextlib.contextmanager
def slow_under_bfq() -> Iterator[str]:
    """Make a disk in memory that does one operation at a time, in 2 ms, under BFQ; yield its path."""
    timing = ["queue_mode=2", "irqmode=2", "completion_nsec=2000000", "hw_queue_depth=1", "submit_queues=1"]
    subprocess.run(["modprobe", "null_blk", "nr_devices=1", "gb=1", *timing], check=True)
    try:
        queue = Path("/sys/block/nullb0/queue")
        (queue / "scheduler").write_text("bfq", encoding="utf-8")
        # Shares are to be exact, whatever that costs, and nobody is favoured for being interactive.
        (queue / "iosched/strict_guarantees").write_text("1", encoding="utf-8")
        (queue / "iosched/low_latency").write_text("0", encoding="utf-8")
        # How long it waits for who is in turn, in ms: an emulated program may need longer than 8 to ask again.
        (queue / "iosched/slice_idle").write_text("50", encoding="utf-8")
        yield "/dev/nullb0"
    finally:
        assert eventually(lambda: subprocess.run(["modprobe", "-r", "null_blk"], check=False).returncode == 0)


@contextlib.contextmanager
def partitioned() -> Iterator[tuple[str, str]]:
    """Make a disk in memory that has partitions; yield the paths of the disk and of a partition."""
    before = set(os.listdir("/sys/block"))
    subprocess.run(["modprobe", "-a", "sd_mod"], check=True)
    subprocess.run(["modprobe", "scsi_debug", "dev_size_mb=32", "num_parts=2"], check=True)
    try:
        assert eventually(lambda: any(os.path.exists(f"/dev/{name}1") for name in {*os.listdir("/sys/block")} - before))
        (disk,) = {*os.listdir("/sys/block")} - before
        yield f"/dev/{disk}", f"/dev/{disk}1"
    finally:
        assert eventually(lambda: subprocess.run(["modprobe", "-r", "scsi_debug"], check=False).returncode == 0)


_DIRECT = """
import mmap, os, sys, threading, time
path, way, total, block, many = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
fd = os.open(path, (os.O_RDONLY if way == "read" else os.O_WRONLY) | os.O_DIRECT)
move = os.preadv if way == "read" else os.pwritev
moved, started, ended = [0] * many, threading.Barrier(many + 1, timeout=30), False
def work(number):
    # Several at once, so that some are always waiting to be let through.
    buffer = mmap.mmap(-1, block)
    while not ended:
        moved[number] += move(fd, [buffer], (number << 20) + moved[number] % (1 << 20))
        if moved[number] == block:
            started.wait()
threads = [threading.Thread(target=work, args=(number,)) for number in range(many)]
for thread in threads:
    thread.start()
started.wait()
print("ready", flush=True)
begun, before = time.monotonic(), sum(moved)
while sum(moved) - before < total:
    time.sleep(0.001)
print(sum(moved) - before, time.monotonic() - begun, flush=True)
ended = True
for thread in threads:
    thread.join()
print(sum(moved))
"""


def direct(path: str, way: str, total: int, block: int = 65536, many: int = 8) -> list[str]:
    """Read or write past the page cache, so many blocks at a time, and say ``ready`` once all of them have begun.

    Then print the bytes moved since, the seconds that they took, and all bytes that were moved.
    """
    return [sys.executable, "-I", "-S", "-c", _DIRECT, path, way, str(total), str(block), str(many)]
