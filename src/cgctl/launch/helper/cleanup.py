"""When the caller is gone: ending what it had running, and removing its groups."""

from __future__ import annotations

from cgctl.launch.helper.files import Files
from cgctl.owner.ending import Remains, end, remove_way, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Guarded", "clean"]

Guarded = tuple[bytes, tuple[str, ...], tuple[str, ...]]
"""A group's mark, its directories in all hierarchies, and the groups above it, innermost first."""

_PATIENCE_SEC = 5.0


def clean(guarded: Collection[Guarded]) -> None:
    """Remove the caller's groups, those that were made on the way to them, and the leaf that it may have moved to.

    Args:
        guarded: its groups.
    """
    files = Files()
    # What has never been there, or has gone, is fine; and so is what somebody else has made there meanwhile. One
    # without a mark is what the caller had just made when it was killed.
    end([Remains(files, directories, mark, unmarked=True) for mark, directories, _ in guarded], patience=_PATIENCE_SEC)
    for _, directories, above in guarded:
        for parent in dict.fromkeys(directory.rpartition("/")[0] for directory in directories):
            settle(files, parent)
        for directory in above:
            if remove_way(files, directory):
                settle(files, directory.rpartition("/")[0])
