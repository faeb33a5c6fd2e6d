"""The edge to the kernel: a small protocol, and what walks a plan over it.

Real and fake kernels implement the same :class:`Filesystem`; everything above speaks to nothing else.
"""

from __future__ import annotations

from cgctl.filesystem._protocol import Filesystem, Lock, Notifier, Remover, Series, Watch
from cgctl.filesystem.execute import execute, is_there, read_all, read_each, remove_tree, satisfy

__all__ = ["Filesystem", "Lock", "Notifier", "Remover", "Series", "Watch", "execute", "is_there", "read_all"]
__all__ += ["read_each", "remove_tree", "satisfy"]
