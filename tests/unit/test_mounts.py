"""What a path names, as the edge answers it."""

from __future__ import annotations

import pytest

from cgctl.formats import FormatError
from cgctl.mounts import Status, parse_mountinfo, parse_status

CASES = [
    ("b 254:1 on 0:6 mount 24\n", Status(type="b", device="254:1", filesystem="0:6", mount=24)),
    ("c 1:3 on 0:6 mount 24\n", Status(type="c", device="1:3", filesystem="0:6", mount=24)),
    ("- on 8:1 mount 30\n", Status(type="-", device="", filesystem="8:1", mount=30)),
]


@pytest.mark.parametrize(("text", "status"), CASES)
def test_status(text: str, status: Status) -> None:
    """A device is named by its number, and whatever it is, by what it lies on."""
    assert parse_status(text) == status


@pytest.mark.parametrize(
    "text", ["", "b on 0:6 mount 1", "- 8:1 on 0:6 mount 1", "b 8 on 0:6 mount 1", "- on 8:1", "x"]
)
def test_bad_status(text: str) -> None:
    """Anything else is no status."""
    with pytest.raises(FormatError):
        parse_status(text)


def test_mount_has_number_and_source() -> None:
    """The mount's id and what is mounted are read too, the latter without its escapes."""
    (mount,) = parse_mountinfo("61 27 0:45 / /mnt rw - btrfs /dev/my\\040disk rw\n")

    assert (mount.number, mount.filesystem, mount.source) == (61, "btrfs", "/dev/my disk")
