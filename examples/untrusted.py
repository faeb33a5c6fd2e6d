"""Run a script that nobody has read: it sees nothing, reaches nobody, changes nothing, and ends in time."""

from __future__ import annotations

import sys

import cgctl

SCRIPT = """
import os, socket
print("processes:", sum(name.isdigit() for name in os.listdir("/proc")))
print("user:", os.getuid())
for what, attempt in {
    "write": lambda: open("/usr/bin/evil", "w"),
    "connect": lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
    "rename the host": lambda: socket.sethostname("evil"),
}.items():
    try:
        attempt()
        print(what, "worked")
    except OSError as error:
        print(f"{what}: {error.strerror}")
open("/tmp/scratch", "w").write("this is its own")
"""


def main() -> int:
    """Run it, and say what became of it."""
    done = cgctl.run(
        ["python3", "-I", "-"],
        input=SCRIPT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
        root="/",
        read_only=True,
        tmp="16M",
        namespaces=["pid", "mnt", "net", "ipc", "uts", "cgroup"],
        network="none",
        hostname="nowhere",
        user=65534,
        group=65534,
        cwd="/",
        memory="128M",
        cpu=0.5,
        pids=16,
        timeout=10,
    )
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    print("exit status", done.returncode)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
