"""Whose a part of the tree is: what systemd's marks, and ours, say."""

from __future__ import annotations

from collections.abc import Mapping
from errno import ENOENT

import attrs
import pytest

from cgctl.systemd.delegation import OWN_MARK, Writer, limits_between, writer_of

_USER = "/g/user.slice/user-1000.slice/user@1000.service"


@attrs.frozen
class _Tree:
    """A filesystem of marks and files alone."""

    marks: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    files: Mapping[str, str] = attrs.field(factory=dict)

    def getxattr(self, path: str, name: str) -> bytes | None:
        return b"1" if name in self.marks.get(path, ()) else None

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise OSError(ENOENT, path)
        return self.files[path].encode()


@pytest.mark.parametrize(
    ("directory", "marks", "writer"),
    [
        ("/g", {}, Writer.SYSTEMD),
        ("/g/system.slice/a.service", {}, Writer.SYSTEMD),
        ("/g/system.slice/a.service", {"/g/system.slice/a.service": ("trusted.delegate",)}, Writer.DELEGATED),
        ("/g/system.slice/a.service/x/y", {"/g/system.slice/a.service": ("user.delegate",)}, Writer.DELEGATED),
        ("/g/cgctl.slice/a.scope/x", {"/g/cgctl.slice/a.scope": ("user.delegate", OWN_MARK)}, Writer.OURS),
        (f"{_USER}/app.slice/a.service", {_USER: ("user.delegate",)}, Writer.USER_MANAGER),
        (f"{_USER}/app.slice/a.service", {}, Writer.USER_MANAGER),
        (f"{_USER}/cgctl.slice/a.scope", {f"{_USER}/cgctl.slice/a.scope": (OWN_MARK,)}, Writer.OURS),
        ("/g/machine.slice/a.scope/payload/system.slice/b.service", {"/g/machine.slice/a.scope": ("trusted.delegate",)},
         Writer.SYSTEMD),
    ],
)  # fmt: skip
def test_writer(directory: str, marks: Mapping[str, tuple[str, ...]], writer: Writer) -> None:
    """The nearest mark decides; but units of a user's systemd, or of one in a container, are that one's."""
    assert writer_of(_Tree(marks), "/g", directory) is writer  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"/g/a.slice/b.scope/memory.max": "max", "/g/a.slice/cpu.max": "max 100000"}, []),
        ({"/g/a.slice/b.scope/memory.max": "4096"}, ["/g/a.slice/b.scope/memory.max = 4096"]),
        ({"/g/a.slice/cpu.max": "5000 100000\n"}, ["/g/a.slice/cpu.max = 5000 100000"]),
        ({"/g/a.slice/b.scope/cpuset.cpus": "\n", "/g/a.slice/io.max": ""}, []),
        ({"/g/a.slice/b.scope/memory.limit_in_bytes": "9223372036854771712"}, []),
        ({"/g/a.slice/b.scope/cpu.cfs_quota_us": "1000"}, ["/g/a.slice/b.scope/cpu.cfs_quota_us = 1000"]),
        ({"/g/a.slice/b.scope/pids.max": "77"}, []),
        ({"/g/a.slice/b.scope/pids.max": "78"}, ["/g/a.slice/b.scope/pids.max = 78"]),
        ({"/g/a.slice/pids.max": "78"}, []),
        ({"/g/memory.max": "4096"}, []),
    ],
)
def test_limits(files: Mapping[str, str], found: list[str]) -> None:
    """Limits between the two are found, whatever their file's word for none is."""
    assert [*limits_between(_Tree(files=files), "/g/a.slice/b.scope", "/g", 77)] == found  # type: ignore[arg-type]
