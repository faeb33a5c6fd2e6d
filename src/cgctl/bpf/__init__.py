"""Programs in the kernel that cgctl attaches to v2 groups, for what v2 has no interface file of.

To everything above they are files: a name that begins with ``@`` in a group's directory is read and written as text
(:mod:`cgctl.bpf.files`). Below that, from the pure to the edge:

- :mod:`cgctl.bpf.assembly`: instructions, labels, bytes;
- :mod:`cgctl.bpf.machine`: what a program answers, without a kernel;
- a module for each sort of program: text ↔ code;
- :mod:`cgctl.bpf.attachment`: exactly one program of ours on a group;
- :mod:`cgctl.bpf.syscall`: ``bpf(2)``.

They are imported when the first such name is read or written, which for most groups is never.
"""

from __future__ import annotations

__all__ = ["is_attached", "read", "write"]


def is_attached(path: str) -> bool:
    """Tell whether a path is that of an attached program, as ``/sys/fs/cgroup/web/@devices`` is."""
    return "/@" in path and path.rpartition("/")[2].startswith("@")


def read(group: int, name: str) -> bytes:
    """Return the text of a program of a group, given by a descriptor of its directory; see :mod:`cgctl.bpf.files`."""
    from cgctl.bpf import files  # noqa: PLC0415 - see above

    return files.read(group, name)


def write(group: int, name: str, data: bytes) -> None:
    """Attach what a text says to a group, given by a descriptor of its directory; see :mod:`cgctl.bpf.files`."""
    from cgctl.bpf import files  # noqa: PLC0415 - see above

    files.write(group, name, data)
