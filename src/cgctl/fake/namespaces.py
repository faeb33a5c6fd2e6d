"""Cgroup namespaces: what a process in one sees, and what a hierarchy mounted with ``nsdelegate`` keeps from it."""

from __future__ import annotations

from collections.abc import Mapping
from errno import ENOENT, EPERM
from typing import TYPE_CHECKING, Final, TypeAlias

from cgctl.fake.refusal import refuse
from cgctl.fake.tree import Group, Tree

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel

__all__ = ["Namespace", "path", "vet_move", "vet_write"]

Namespace: TypeAlias = "Mapping[Tree, Group] | None"
"""What is the root of each hierarchy; ``None``: the machine's own namespace."""

_DELEGATABLE: Final = frozenset(
    {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "memory.oom.group", "memory.reclaim"}
)
"""``/sys/kernel/cgroup/delegate``."""


def path(group: Group, namespace: Namespace) -> str:
    """Return where a group is, for who is in a namespace: ``/..`` for each group up from the root that he has."""
    root = (namespace or {}).get(group.tree)
    if root is None:
        return group.path
    own, its = list(reversed(list(root.line()))), list(reversed(list(group.line())))
    common = sum(1 for one, other in zip(own, its, strict=False) if one is other)
    return "/.." * (len(own) - common) + "".join(f"/{each.name}" for each in its[common:]) or "/"


def vet_write(kernel: FakeKernel, group: Group, name: str) -> None:
    """Refuse to limit the root of one's namespace, of which whoever made it has charge (``cgroup_file_write``)."""
    root = _bound(kernel, group)
    if root is group and name not in _DELEGATABLE:
        refuse(EPERM)


def vet_move(kernel: FakeKernel, source: Group | None, target: Group) -> None:
    """Refuse a move into one's namespace, out of it or beside it (``cgroup_procs_write_permission``)."""
    root = _bound(kernel, target)
    if root and not all(each is None or root in each.line() for each in (source, target)):
        refuse(ENOENT)


def _bound(kernel: FakeKernel, group: Group) -> Group | None:
    """Return the group that the caller is bound to, if ``nsdelegate`` has an effect on him."""
    namespace = kernel.caller.namespace
    return namespace[group.tree] if namespace and kernel.nsdelegate and group.tree.version != 1 else None
