"""High-water marks from a moment on: of memory, or of swap.

Since 6.12 v2 keeps one for each open file: a write resets the peak that this descriptor reads. Who reads the file anew
does not see that; but other descriptors forget what was above the use at that moment (measured on
6.12: ``peak_write`` gives them the usage, and not the watermark). v1 has one for all.
"""

from __future__ import annotations

import os
from errno import EACCES, EINVAL, ENODEV, ENOENT
from typing import Final

from cgctl.closing import Closing
from cgctl.errors import GroupNotFoundError, SpecError, StepError, UnsupportedError, shown
from cgctl.filesystem import Filesystem, Watch
from cgctl.layout import UNIFIED
from cgctl.plan import GONE, Place

__all__ = ["Peak", "peak_file"]

_FILES: Final = {"memory": ("memory.max_usage_in_bytes", "memory.peak"), "swap": (None, "memory.swap.peak")}


def peak_file(place: Place, of: str) -> str:
    """Return the path of the file that has the peak.

    Raises:
        SpecError: nothing of this name has a peak.
        UnsupportedError: this version has none of it.
    """
    if of not in ("memory", "swap"):
        msg = f"peak({shown(of)}): nothing that has a peak; give 'memory' or 'swap'"
        raise SpecError(msg)
    v1, v2 = _FILES[of]
    name = v2 if place.hierarchy.label == UNIFIED else v1
    if name is None:
        raise UnsupportedError(f"a peak of {of}", "v1 counts memory and swap together")
    return place.file(name)


class Peak(Closing):
    """The highest use since a moment; ``with`` closes it. :meth:`cgctl.Group.peak` makes these.

    Raises:
        UnsupportedError: this kernel cannot reset a peak.
        GroupNotFoundError: the group is not there.
    """

    def __init__(self, filesystem: Filesystem, path: str) -> None:
        self._filesystem = filesystem
        self._path = path
        self._file: Watch | None = None
        try:
            self._file = filesystem.watch(path)
        except OSError as error:
            raise self._refused(error) from error
        try:
            self.reset()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._path}>"

    def read(self) -> int:
        """Return the most bytes in use at once since the last reset.

        Raises:
            GroupNotFoundError: the group has gone.
            ValueError: it was closed.
        """
        file = self._opened()
        try:
            return max(int(file.read()), 0)
        except OSError as error:
            raise self._refused(error) from error

    def reset(self) -> None:
        """Begin anew, from what is in use now.

        Raises:
            GroupNotFoundError: the group has gone.
        """
        file = self._opened()
        try:
            file.write(b"0")
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Give back the descriptor; again is fine."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __del__(self) -> None:
        self.close()

    def _opened(self) -> Watch:
        if self._file is None:
            msg = "the peak is closed"
            raise ValueError(msg)
        return self._file

    def _refused(self, error: OSError) -> Exception:
        group, _, file = self._path.rpartition("/")
        if error.errno == ENODEV or self._refusal(f"{group}/cgroup.procs") in GONE:
            return GroupNotFoundError(f"peak: the group {group} is not there; it was removed meanwhile")
        # Before 6.12 nobody may write to it, whatever root can open.
        if self._refusal(self._path) == ENOENT or error.errno == EINVAL or self._is_read_only(error.errno):
            reason = f"this kernel has no {file} that can be reset"
            return UnsupportedError("a peak from a moment on", reason, "6.12")
        return StepError(f"reset {self._path}", error.errno or 0, filename=self._path)

    def _refusal(self, path: str) -> int | None:
        """Return how a file refuses to be read."""
        try:
            self._filesystem.read(path)
        except OSError as error:
            return error.errno
        return None

    def _is_read_only(self, refused: int | None) -> bool:
        """Tell whether it is a file that nobody may write to, and not just this user."""
        if refused != EACCES:
            return False
        try:
            return not os.stat(self._path).st_mode & 0o222
        except OSError:  # in memory: there nobody tells
            return False
