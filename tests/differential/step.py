"""What is done to both kernels, as data: so that it can be done again, and shortened."""

from __future__ import annotations

import re
from typing import Literal

import attrs

from cgctl.testing.case import filled

__all__ = ["Step", "short"]


def short(text: str) -> str:
    """Say how often where a letter is repeated very often."""
    return re.sub(r"(.)\1{39,}", lambda match: f"{match[1]}({len(match[0])} times)", text)


@attrs.frozen
class Step:
    """Something to do.

    Attributes:
        verb: a method of the filesystem, or what happens to a process.
        path: below the group that both have for it; ``../`` is the hierarchy's root.
        data: what is written, with ``PIDd``, ``PIDx`` and ``PIDo`` in the place of *who*'s number.
        who: which process, and which of its threads.
    """

    verb: Literal["mkdir", "rmdir", "write", "kill", "fork"]
    path: str = ""
    data: str = ""
    who: tuple[int, int] = (0, 0)

    def text(self, number: int) -> bytes:
        """Return what is written, if the thread has this number."""
        return filled(self.data, number).encode("utf-8", "surrogateescape")

    def __str__(self) -> str:
        """Write it as a case of the contract would have it."""
        return short(self._plain())

    def _plain(self) -> str:
        if self.verb == "write":
            whose = f"  # process {self.who[0]}, thread {self.who[1]}" if "PID" in self.data else ""
            return f"write({self.path!r}, {self.data!r}){whose}"
        return (
            f"{self.verb}({self.path!r})" if self.verb in {"mkdir", "rmdir"} else f"{self.verb}(process {self.who[0]})"
        )
