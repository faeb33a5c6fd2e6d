"""Traffic with block devices: what limits let through while time passes (``block/blk-throttle.c``).

The kernel lets bios pass in slices of a tenth of a second or less; here they flow, as fast as every limit on the way
allows. Disks have no end of speed unless they were given one, and no weights: nothing here has a scheduler for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from cgctl.fake.rules import io
from cgctl.fake.time.filling import Bound, Node, fill
from cgctl.fake.time.work import Transfer
from cgctl.fake.tree import Group, Tree

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.task import Thread

__all__ = ["DiskUse", "Disks", "Flow"]

_NSEC: Final = 1e9
# dirty_expire_centisecs: so long a page may be dirty before it is written.
_DIRTY: Final = 30_000_000_000


@attrs.define(eq=False)
class DiskUse:
    """What a group did with one device: on v2 with those below, on v1 without.

    Attributes:
        rbytes: bytes read.
        wbytes: bytes written.
        rios: requests that read.
        wios: requests that wrote.
        delayed: of what was written, bytes that nobody waited for.
        delayed_ios: requests of those.
    """

    rbytes: float = 0.0
    wbytes: float = 0.0
    rios: float = 0.0
    wios: float = 0.0
    delayed: float = 0.0
    delayed_ios: float = 0.0


@attrs.define(eq=False)
class Flow:
    """One transfer between two events.

    Attributes:
        thread: whose; ``None``: nobody waits for it.
        work: what is transferred.
        uses: where it is counted.
        limited: the groups that may limit it.
        rate: bytes a second.
    """

    thread: Thread | None
    work: Transfer
    uses: list[DiskUse]
    limited: list[Group]
    rate: float = math.inf


class Disks:
    """The block devices of one kernel.

    Attributes:
        flows: what is on its way.
        passed: whether something was through at once, the last time that it was looked, because nothing limits it.
    """

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._dirty: list[tuple[int, Transfer, dict[Tree, Group]]] = []
        self.flows: list[Flow] = []
        self.passed = False

    # --- what is written later --------------------------------------------------------------------------------------

    def soil(self, thread: Thread, work: Transfer) -> None:
        """Take what was written to the page cache: it goes to the disk when it is old enough."""
        groups = {}
        for tree, group in thread.groups.items():
            # v1 does not know whose page it is, so the kernel's own threads write it: they are in the root.
            groups[tree] = group if tree.version != 1 else tree.root
        self._dirty.append((self._kernel.clock.now + _DIRTY, work, groups))

    def sync(self) -> list[Transfer]:
        """Begin to write all that is to be written, and return it."""
        now = self._kernel.clock.now
        self._dirty = [(min(due, now), work, groups) for due, work, groups in self._dirty]
        return [work for _, work, _ in self._dirty]

    # --- between two events -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Find out what flows, and how fast; what nothing limits is done at once."""
        clock = self._kernel.clock
        self._dirty = [each for each in self._dirty if each[1].left > 0]
        self.flows = [
            self._flow(thread, work, thread.groups)
            for thread in clock.busy
            if isinstance(work := thread.head, Transfer) and not self._kernel.processes.is_halted(thread)
        ]
        self.flows += [self._flow(None, work, groups) for due, work, groups in self._dirty if due <= clock.now]
        if self.flows:
            self._share()
        free = [flow for flow in self.flows if math.isinf(flow.rate)]
        for flow in free:
            _pass(flow, flow.work.left)
        self.passed = bool(free)

    def _flow(self, thread: Thread | None, work: Transfer, groups: dict[Tree, Group]) -> Flow:
        uses, limited = [], []
        for tree, group in groups.items():
            if tree.version == 1 and "blkio" in tree.controllers:
                # Flat: a v1 group is neither limited nor counted above.
                line = [group]
            elif tree.version != 1 and "io" in tree.controllers:
                line = list(group.nearest("io").line())
            else:
                continue
            io.know(group if tree.version == 1 else line[0], work.device)
            uses += [_use(each, work.device) for each in line]
            limited += line
        return Flow(thread, work, uses, limited)

    def _share(self) -> None:
        nodes = {flow: Node(1.0) for flow in self.flows}
        bounds = list(self._bounds(nodes))
        bound = {node for each in bounds for node, _ in each.parts}
        root = Node(1.0, [node for node in nodes.values() if node in bound])
        fill(root, bounds)
        for flow, node in nodes.items():
            flow.rate = node.rate if node in bound else math.inf

    def _bounds(self, nodes: dict[Flow, Node]) -> Iterator[Bound]:
        found: dict[tuple[Group | None, str, str], list[tuple[Node, float]]] = {}
        for flow, node in nodes.items():
            work = flow.work
            ways = ((f"{work.way}bps", 1.0), (f"{work.way}iops", 1.0 / work.request))
            for group in flow.limited:
                for key, factor in ways:
                    found.setdefault((group, work.device, key), []).append((node, factor))
            found.setdefault((None, work.device, "speed"), []).append((node, 1.0))
        for (where, device, key), parts in found.items():
            most = io.limit(where, device, key) if where else self._kernel.speeds.get(device)
            if most is not None:
                yield Bound(most, parts)

    # --- time -------------------------------------------------------------------------------------------------------

    def due(self) -> float:
        """Return how long everything stays as it is, in nanoseconds."""
        now = self._kernel.clock.now
        until = [flow.work.left / flow.rate * _NSEC for flow in self.flows if flow.rate > 0]
        until += [float(due - now) for due, _, _ in self._dirty if due > now]
        return min(until, default=math.inf)

    def elapse(self, time: int) -> None:
        """Let time pass in which nothing changes."""
        for flow in self.flows:
            _pass(flow, min(flow.rate * time / _NSEC, flow.work.left))

    def begins(self, end: int) -> int:
        """Return when something that was written later begins to be, at most *end*."""
        return min((due for due, _, _ in self._dirty if due > self._kernel.clock.now), default=end)

    def phase(self) -> tuple[object, ...]:
        """Return what is on its way."""
        return tuple(id(flow.work) for flow in self.flows)

    def counters(self) -> Iterator[tuple[object, str]]:
        """Yield all that goes up or down by the same in each repetition, as object and attribute."""
        for flow in self.flows:
            yield flow.work, "left"
        for use in {use: None for flow in self.flows for use in flow.uses}:
            for name in ("rbytes", "wbytes", "rios", "wios", "delayed", "delayed_ios"):
                yield use, name


def _use(group: Group, device: str) -> DiskUse:
    if group.disks is None:
        group.disks = {}
    return group.disks.setdefault(device, DiskUse())


def _pass(flow: Flow, size: float) -> None:
    """Let bytes through, and count them."""
    work = flow.work
    work.left -= size
    if work.left < 1e-6:  # noqa: PLR2004 - what floating point leaves of a byte
        size, work.left = size + work.left, 0.0
    requests = size / work.request
    for use in flow.uses:
        if work.way == "r":
            use.rbytes += size
            use.rios += requests
        else:
            use.wbytes += size
            use.wios += requests
            if flow.thread is None:
                use.delayed += size
                use.delayed_ios += requests
