"""Programs that use as much as they can get: argument lists for ``group.run``."""

from __future__ import annotations

import sys


def _python(source: str, *arguments: object) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", source, *map(str, arguments)]


_EATER = """
import mmap, sys
size = int(sys.argv[1])
held = mmap.mmap(-1, size)
for offset in range(0, size, 4096):
    held[offset] = 1
print("done", flush=True)
"""

_SPINNERS = """
import os, sys, time
seconds, cpus, many = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if cpus:
    os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
for _ in range(many - 1):
    if os.fork() == 0:
        break
print("ready", flush=True)
end, seen = time.monotonic() + seconds, set()
while time.monotonic() < end:
    for _ in range(2000):
        pass
    with open("/proc/self/stat", "rb") as stat:
        seen.add(int(stat.read().rpartition(b")")[2].split()[36]))
print("ran", *sorted(seen), flush=True)
"""

_PULSE = """
import sys, time
time.sleep(float(sys.argv[1]))
used = time.process_time()
last, stopped = time.monotonic(), time.monotonic() + 5
while last < stopped:
    now = time.monotonic()
    if now - last > 0.01:
        break
    last = now
print((time.process_time() - used) * 1000, flush=True)
"""

_FORKER = """
import os, signal, sys
children = []
while len(children) < int(sys.argv[1]):
    try:
        pid = os.fork()
    except OSError:
        break
    if pid == 0:
        signal.pause()
        os._exit(0)
    children.append(pid)
print(len(children) + 1, flush=True)
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""

_WRITER = """
import os, sys, time
path, size = sys.argv[1], int(sys.argv[2])
fd = os.open(path, os.O_WRONLY)
block, begun = bytes(1 << 20), time.monotonic()
for _ in range(size >> 20):
    os.write(fd, block)
written = time.monotonic() - begun
os.fsync(fd)
print(size / written, size / (time.monotonic() - begun), flush=True)
"""

_OPENER = """
import os, sys
for node in sys.argv[1:]:
    try:
        os.close(os.open(node, os.O_RDWR))
        print(1)
    except PermissionError:
        print(0)
    except OSError:
        print(1)
"""


def eater(size: int) -> list[str]:
    """Touch so many bytes, page by page."""
    return _python(_EATER, size)


def spinners(seconds: float, *, cpus: str = "", many: int = 1) -> list[str]:
    """Use processors, so many at a time; each says ``ready``, and then where it ran."""
    return _python(_SPINNERS, seconds, cpus, many)


def pulse(rest: float) -> list[str]:
    """Rest so many seconds, then use a processor until it is held up, and print for how many milliseconds."""
    return _python(_PULSE, rest)


def forker(most: int) -> list[str]:
    """Fork until the kernel refuses, and print how many processes there were."""
    return _python(_FORKER, most)


def writer(path: str, size: int) -> list[str]:
    """Write through the page cache; print bytes a second until all was taken, and until all was on the disk."""
    return _python(_WRITER, path, size)


def opener(*nodes: str) -> list[str]:
    """Print 1 for each device node that may be opened, and 0 for each that may not."""
    return _python(_OPENER, *nodes)
