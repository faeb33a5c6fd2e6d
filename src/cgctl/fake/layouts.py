"""Which hierarchies a machine in memory has mounted, and where."""

from __future__ import annotations

from typing import Final, Literal

from cgctl.errors import SpecError
from cgctl.fake.profile import Profile
from cgctl.layout import UNIFIED

__all__ = ["ROOT", "Layout", "Mounted", "mounted"]

Layout = Literal["v1", "v2", "hybrid"]
Mounted = tuple[int, tuple[str, ...], str]
"""A hierarchy: its version, its controllers, and where it is mounted."""
ROOT: Final = "/sys/fs/cgroup"
# Mounted together, as distributions do.
_TOGETHER: Final = (("cpu", "cpuacct"), ("net_cls", "net_prio"))


def mounted(layout: Layout, known: Profile) -> tuple[Mounted, ...]:
    """Return the hierarchies of a layout."""
    if layout not in {"v1", "v2", "hybrid"}:
        msg = f"layout={layout!r}: there is no such layout; give 'v1', 'v2' or 'hybrid'"
        raise SpecError(msg)
    if layout == "v2":
        return ((2, known.v2, ROOT),)
    together = [pair for pair in _TOGETHER if set(pair) <= set(known.v1)]
    first = {name: next((pair for pair in together if name in pair), (name,)) for name in known.v1}
    first_version = tuple((1, names, f"{ROOT}/{','.join(names)}") for names in dict.fromkeys(first.values()))
    if layout == "v1":
        return first_version
    rest = tuple(name for name in known.v2 if name not in known.v1 and not (name == "io" and "blkio" in known.v1))
    return (*first_version, (2, rest, f"{ROOT}/{UNIFIED}"))
