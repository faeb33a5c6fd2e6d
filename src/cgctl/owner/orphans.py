"""Finding the groups whose owner has ended, and ending them by their lifetimes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from cgctl.filesystem import Filesystem
from cgctl.marks import OWNER, SUPERVISOR
from cgctl.owner.ending import Remains, children, end, obstacle, remove_way, settle
from cgctl.owner.mark import EPHEMERAL, LASTING, WAY, Mark, has_ended

__all__ = ["Found", "prune", "sweep"]

_SWEEP_SEC: Final = 2.0
_PRUNE_SEC: Final = 5.0
_REFUSED: Final = "it cannot be removed; is it yours, and is nobody making groups there?"


@attrs.frozen(kw_only=True)
class Found:
    """One group of cgctl's, or a leaf ``supervisor`` of one.

    Attributes:
        directories: where it is, or was.
        lifetime: ``"ephemeral"``, ``"lasting"``, ``"way"`` (made on the way to another), ``"unmarked"`` (its maker was
            killed before it had marked it), ``"supervisor"``.
        owner: the process that made it, as its own pid namespace counts; ``None`` where that is not known.
        orphan: whether it is to be removed.
        removed: whether it was.
        reason: why it was left.
    """

    directories: tuple[str, ...]
    lifetime: str
    owner: int | None = None
    orphan: bool = False
    removed: bool = False
    reason: str = ""


@attrs.frozen
class _Seen:
    """The groups in some directories.

    Attributes:
        groups: mark → the directories that have it.
        unmarked: those that were never marked.
        leaves: those to which the processes of a v2 group have moved.
    """

    groups: dict[bytes, list[str]] = attrs.field(factory=dict)
    unmarked: list[str] = attrs.field(factory=list)
    leaves: list[str] = attrs.field(factory=list)

    def look(self, filesystem: Filesystem, directory: str) -> None:
        """Look at one directory."""
        try:
            mark = filesystem.getxattr(directory, OWNER)
            if mark is not None:
                self.groups.setdefault(mark, []).append(directory)
            elif directory.endswith(f"/{SUPERVISOR}"):
                self.leaves.append(directory)
            elif filesystem.unfinished(directory):
                self.unmarked.append(directory)
        except OSError:  # gone meanwhile
            return


class _Owners:
    """Which owners have ended, each asked for once."""

    def __init__(self) -> None:
        self._ended: dict[tuple[int, int, int], bool | None] = {}

    def ended(self, mark: Mark) -> bool | None:
        """Tell whether a mark's owner has ended; ``None`` where that cannot be told from here."""
        key = (mark.pid, mark.start, mark.namespace)
        if key not in self._ended:
            self._ended[key] = has_ended(mark)
        return self._ended[key]


def sweep(filesystem: Filesystem, bases: Iterable[str]) -> None:
    """Remove what was left directly below some directories by processes that were killed, and their helpers with them.

    Groups that were made to last are left to :func:`prune`: who makes one and ends may want it to be there.
    """
    seen, owners = _Seen(), _Owners()
    bases = tuple(dict.fromkeys(bases))
    for base in bases:
        for name in children(filesystem, base):
            seen.look(filesystem, f"{base}/{name}")
    orphans = []
    for text, directories in seen.groups.items():
        mark = Mark.parse(text)
        if mark is None or mark.lifetime == LASTING or not owners.ended(mark):
            continue
        if mark.lifetime == EPHEMERAL:
            orphans.append(Remains(filesystem, directories, text))
        else:
            for directory in directories:
                remove_way(filesystem, directory)
    orphans.extend(_never_marked(filesystem, directory) for directory in seen.unmarked)
    end(orphans, patience=_SWEEP_SEC)
    for leaf in seen.leaves:
        settle(filesystem, leaf.rpartition("/")[0])


def _never_marked(filesystem: Filesystem, directory: str) -> Remains:
    # Nobody has come so far as to be in it: it is removed as one is that was made to last.
    return Remains(filesystem, [directory], b"", unmarked=True)


def prune(filesystem: Filesystem, roots: Sequence[str], *, dry_run: bool = False) -> list[Found]:
    """Remove all that was left by processes that have ended, by its lifetime; return what there is of cgctl's.

    Args:
        filesystem: the kernel.
        roots: where to look: below these directories.
        dry_run: whether only to look.
    """
    seen = _Seen()
    for root in roots:
        for directory in _walk(filesystem, root):
            seen.look(filesystem, directory)
    pruner = _Pruner(filesystem, dry_run=dry_run)
    return [
        *pruner.unmarked(seen.unmarked),
        *pruner.groups({text: dirs for text, dirs in seen.groups.items() if not text.startswith(WAY)}),
        *pruner.ways_and_leaves(
            {text: dirs for text, dirs in seen.groups.items() if text.startswith(WAY)}, seen.leaves
        ),
    ]


class _Pruner:
    """Judges groups and, unless it is a dry run, carries out the judgement."""

    def __init__(self, filesystem: Filesystem, *, dry_run: bool) -> None:
        self._filesystem = filesystem
        self._dry_run = dry_run
        self._owners = _Owners()
        # What was removed, or would have been.
        self._gone: set[str] = set()

    def unmarked(self, directories: Iterable[str]) -> Iterator[Found]:
        """Prune groups that were never marked."""
        yield from self._end(
            [
                (
                    Found(directories=(directory,), lifetime="unmarked", orphan=True),
                    _never_marked(self._filesystem, directory),
                )
                for directory in directories
            ]
        )

    def groups(self, groups: Mapping[bytes, Sequence[str]]) -> Iterator[Found]:
        """Prune groups that were made for their own sake, those below others first."""
        orphans: list[tuple[Found, Remains]] = []
        for text in sorted(groups, key=lambda text: -max(map(_depth, groups[text]))):
            found, mark = self._owned(text, groups[text])
            if found.reason or mark is None:
                yield found
                continue
            reason = obstacle(self._filesystem, groups[text], text)
            found = attrs.evolve(found, orphan=not reason or mark.lifetime == EPHEMERAL, reason=reason)
            if found.orphan:
                orphans.append((found, Remains(self._filesystem, groups[text], text)))
            else:
                yield found
        yield from self._end(orphans)

    def ways_and_leaves(self, ways: Mapping[bytes, Sequence[str]], leaves: Sequence[str]) -> Iterator[Found]:
        """Prune what was made on the way to groups, and undo the emptying of groups; those below others first."""
        of = {directory: text for text, directories in ways.items() for directory in directories}
        # The leaf of a group comes after all others below that group.
        for directory in sorted([*of, *leaves], key=lambda each: (-_depth(each), each not in of)):
            yield self._way(of[directory], directory) if directory in of else self._leaf(directory)

    def _way(self, text: bytes, directory: str) -> Found:
        found, _ = self._owned(text, [directory])
        if found.reason:
            return found
        if self._needed(directory):
            return attrs.evolve(found, reason="there are groups below it")
        found = attrs.evolve(found, orphan=True)
        if self._dry_run or remove_way(self._filesystem, directory) or self._is_gone(directory):
            self._gone.add(directory)
            return attrs.evolve(found, removed=not self._dry_run)
        return attrs.evolve(found, reason=_REFUSED)

    def _leaf(self, leaf: str) -> Found:
        above = leaf.rpartition("/")[0]
        found = Found(directories=(leaf,), lifetime="supervisor")
        if self._needed(above, but=leaf):
            return attrs.evolve(found, reason="there are groups beside it")
        found = attrs.evolve(found, orphan=True)
        if self._dry_run or settle(self._filesystem, above) or self._is_gone(leaf):
            self._gone.add(leaf)
            return attrs.evolve(found, removed=not self._dry_run)
        return attrs.evolve(found, reason=_REFUSED)

    def _owned(self, text: bytes, directories: Sequence[str]) -> tuple[Found, Mark | None]:
        """Tell of a group whose owner has ended, or else why it is left."""
        mark = Mark.parse(text)
        if mark is None:
            reason = f"its mark is none that is known ({text!r})"
            return Found(directories=tuple(directories), lifetime="unknown", reason=reason), None
        ended, reason = self._owners.ended(mark), ""
        if ended is None:
            reason = f"its owner, process {mark.pid}, is of another pid namespace"
        elif not ended:
            reason = f"its owner, process {mark.pid}, lives"
        found = Found(directories=tuple(directories), lifetime=mark.lifetime.decode(), owner=mark.pid, reason=reason)
        return found, mark

    def _end(self, orphans: Sequence[tuple[Found, Remains]]) -> Iterator[Found]:
        """End groups, all at once: processes take their time to die."""
        if not self._dry_run:
            end([remains for _, remains in orphans], patience=_PRUNE_SEC)
        for found, remains in orphans:
            if self._dry_run or not remains.directories:
                self._gone.update(found.directories)
                yield attrs.evolve(found, removed=not self._dry_run)
            else:
                yield attrs.evolve(found, reason=remains.reason)

    def _is_gone(self, directory: str) -> bool:
        try:
            self._filesystem.count(directory)
        except OSError:
            return True
        return False

    def _needed(self, directory: str, but: str = "") -> bool:
        below = {f"{directory}/{name}" for name in children(self._filesystem, directory)}
        return bool(below - self._gone - {but})


def _depth(directory: str) -> int:
    return directory.count("/")


def _walk(filesystem: Filesystem, root: str) -> Iterator[str]:
    for name in children(filesystem, root):
        yield f"{root}/{name}"
        yield from _walk(filesystem, f"{root}/{name}")
