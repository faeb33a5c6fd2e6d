"""``cgctl doctor --prune``: removing what processes have left that were killed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cgctl.cli import in_memory
from cgctl.cli.output import print_json, print_table, shown
from cgctl.owner.orphans import Found, prune

__all__ = ["report"]


def report(*, dry_run: bool, as_json: bool) -> int:
    """Prune all hierarchies, or only look, and tell what was found; return the exit status."""
    system = in_memory.look()
    roots = [each.mount_point for each in system.layout.hierarchies if not each.name and not each.read_only]
    found = prune(system.filesystem, roots, dry_run=dry_run)
    clean = all(each.removed for each in found if each.orphan)
    if as_json:
        print_json({"clean": clean, "groups": found})
    else:
        print_table(_rows(found, dry_run=dry_run), {"removed": "green", "orphan": "yellow", "failed": "red"})
    return 0 if clean else 1


def _rows(found: Sequence[Found], *, dry_run: bool) -> Iterator[tuple[str, str, str]]:
    for each in found:
        word = "left" if not each.orphan else "removed" if each.removed else "orphan" if dry_run else "failed"
        why = each.reason or _what(each)
        for directory in each.directories:
            yield word, shown(directory), why
    if not found:
        yield "clean", "there is no group of cgctl's", ""


def _what(found: Found) -> str:
    if found.lifetime == "supervisor":
        return "the leaf to which processes had moved; the last group beside it is gone"
    if found.lifetime == "unmarked":
        return "its maker was killed while it made it"
    return f"{found.lifetime}, of process {found.owner}, which has ended"
