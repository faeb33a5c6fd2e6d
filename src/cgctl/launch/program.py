"""The helper's program: the code of its rooms, packed for a Python that knows nothing of cgctl.

It is this package's code as it was when this process imported it, even if it is replaced on disk meanwhile, or in a zip
file.
"""

from __future__ import annotations

import importlib.util
import marshal
from importlib.abc import InspectLoader
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import cast

__all__ = ["BOOT", "NAME", "ROOMS", "pack"]

NAME = "cgctl.launch.helper"
"""What those who look at the list of processes see."""

ROOMS = (
    "cgctl.marks",
    "cgctl.filesystem.locking",
    "cgctl.owner.mark",
    "cgctl.owner.ending",
    *(f"{NAME}.{room}" for room in ("kernel", "terminal", "sandbox", "child", "files", "cleanup", "server")),
)
"""Each imports only those before it; the last one has ``main``."""

# Each room is put where an import looks first. Arguments: the name, a descriptor of the program, and what is main's.
BOOT = (
    "import marshal,sys\n"
    "for name,code in marshal.load(open(int(sys.argv[2]),'rb')):\n"
    " room=sys.modules[name]=type(sys)(name);exec(code,room.__dict__)\n"
    "room.main(sys.argv[3:])"
)


def pack() -> bytes:
    """Return the program, to be read by :data:`BOOT`."""
    return marshal.dumps([(room, _code(room)) for room in ROOMS])


def _code(module: str) -> CodeType | None:
    spec = importlib.util.find_spec(module)
    if spec is None:
        return None
    loader = spec.loader
    if not hasattr(loader, "get_code") and spec.origin:
        # pytest's, which rewrites what the distribution of a plugin consists of, and gives no code.
        loader = SourceFileLoader(module, spec.origin)
    return cast("InspectLoader", loader).get_code(module)
