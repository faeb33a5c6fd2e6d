"""``python3 -m cgctl.bpf write /sys/fs/cgroup/web/@devices LINE…``: what a printed plan says for attached programs.

``read`` in place of ``write`` prints the text. As with the shell's ``>``, the group must be there, and what the kernel
refuses ends it with status 1.
"""

from __future__ import annotations

import os
import sys

from cgctl import bpf

_USAGE = "usage: python3 -m cgctl.bpf {read PATH | write PATH LINE...}, such as /sys/fs/cgroup/web/@devices"


def main(arguments: list[str]) -> int:
    """Do what the arguments say; return the exit status."""
    verb, path, *lines = [*arguments, "", ""]
    if (verb, bool(any(lines))) not in {("read", False), ("write", True)} or not bpf.is_attached(path):
        sys.stderr.write(f"{_USAGE}\n")
        return 2
    directory, _, name = path.rpartition("/")
    try:
        group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if verb == "read":
                sys.stdout.write(bpf.read(group, name).decode())
            else:
                bpf.write(group, name, "".join(f"{line}\n" for line in lines if line).encode())
        finally:
            os.close(group)
    except OSError as error:
        sys.stderr.write(f"{path}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
