"""Who runs, and how fast: weights, quotas and processors.

A thread has at most one processor. What there is is divided by weights, at every level of the tree anew, as the
kernel's fair scheduler does over a while; where threads may run is a bound for all that may run there alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from cgctl.errors import UnsupportedError
from cgctl.fake.rules import cpu, cpuset
from cgctl.fake.time.bandwidth import Bandwidth
from cgctl.fake.time.filling import Bound, Node, fill
from cgctl.fake.time.usage import Usage, usage
from cgctl.fake.time.work import Burn
from cgctl.fake.tree import Group

if TYPE_CHECKING:
    from cgctl.fake.kernel import FakeKernel
    from cgctl.fake.task import Thread

__all__ = ["Place", "Running", "Scheduler"]

_WEIGHT: Final = 1024.0
_MOST_SETS: Final = 4096


@attrs.define(eq=False)
class Place:
    """What is the same for all threads in the same groups, between two events.

    Attributes:
        frozen: whether they are.
        counted: where their processor time is counted.
        line: the groups of the ``cpu`` controller that they are in, nearest first, without the root.
        cpus: where they may run.
        accounts: the quotas that they use.
        spent: those of them that hold them back.
    """

    frozen: bool
    counted: list[Usage]
    line: list[Group]
    cpus: frozenset[int]
    accounts: list[Bandwidth]
    spent: list[Bandwidth]


@attrs.define(eq=False)
class Running:
    """A thread that would run if it could, between two events.

    Attributes:
        thread: which.
        work: what it is at.
        place: where it is.
        node: how fast it goes; ``None`` while it is held back by a quota.
    """

    thread: Thread
    work: Burn
    place: Place
    node: Node | None

    @property
    def rate(self) -> float:
        """How many processors it has."""
        return self.node.rate if self.node else 0.0


class Scheduler:
    """The processors of one kernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._spending: dict[Bandwidth, float] = {}
        self._held: list[tuple[Usage, int]] = []
        self._throttled: dict[Bandwidth, int] = {}
        self.running: list[Running] = []

    # --- between two events -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Find out who runs, and how fast."""
        clock = self._kernel.clock
        places: dict[tuple[Group, ...], Place] = {}
        self.running = []
        for thread in clock.busy:
            work = thread.head
            if not isinstance(work, Burn):
                continue
            groups = tuple(thread.groups.values())
            place = places.get(groups)
            if place is None:
                place = places[groups] = _place(thread)
            if not place.frozen:
                self.running.append(Running(thread, work, place, None if place.spent else Node(_WEIGHT)))
        self._throttle()
        going = [each for each in self.running if each.node]
        if going:
            self._share(going)
        self._spending = {}
        for each in going:
            for account in each.place.accounts:
                account.start(clock.now)
                self._spending[account] = self._spending.get(account, 0.0) + each.rate

    def _throttle(self) -> None:
        """Hold back those in groups whose quota is used up, and find where that is counted."""
        before = {account for account, _ in self._held}
        throttled: dict[Bandwidth, int] = {}
        held: dict[Group, int] = {}
        for each in self.running:
            spent, line = each.place.spent, each.place.line
            for account in spent:
                throttled[account] = throttled.get(account, 0) + 1
            if spent:
                for group in line[: line.index(spent[-1].group) + 1]:
                    held[group] = held.get(group, 0) + 1
        for account in throttled:
            account.throttled = True
        cpus = self._kernel.cpus
        self._throttled = {account: min(number, cpus) for account, number in throttled.items()}
        self._held = [(usage(group), min(number, cpus)) for group, number in held.items()]
        for gone in before - {account for account, _ in self._held}:
            gone.release()

    def _share(self, going: list[Running]) -> None:
        root = Node(_WEIGHT)
        nodes: dict[Group, Node] = {}
        sets: dict[frozenset[int], list[Node]] = {}
        for each in going:
            above = root
            for group in reversed(each.place.line):
                node = nodes.get(group)
                if node is None:
                    node = nodes[group] = Node(cpu.weight(group))
                    above.children.append(node)
                above = node
            assert each.node is not None  # noqa: S101 - those that are held back were left out
            above.children.append(each.node)
            sets.setdefault(each.place.cpus, []).append(each.node)
        bounds = [Bound(1.0, [(node, 1.0)]) for members in sets.values() for node in members]
        for union in _unions(sets):
            parts = [(node, 1.0) for each, members in sets.items() if each <= union for node in members]
            if len(parts) > len(union):
                bounds.append(Bound(float(len(union)), parts))
        fill(root, bounds)

    # --- time -------------------------------------------------------------------------------------------------------

    def due(self) -> float:
        """Return how long everything stays as it is, in nanoseconds."""
        now = self._kernel.clock.now
        until = [each.work.left / each.rate for each in self.running if each.rate > 0]
        until += [account.runtime / rate for account, rate in self._spending.items() if rate > 0]
        until += [account.timer - now for account in self._kernel.clock.accounts if account.timer is not None]
        return min(until, default=math.inf)

    def elapse(self, time: int) -> None:
        """Let time pass in which nothing changes."""
        for each in self.running:
            amount = each.rate * time
            if amount:
                amount = min(amount, each.work.left)
                each.work.left -= amount
                for account in each.place.counted:
                    account.use(amount, system=each.work.system)
        for bandwidth, rate in self._spending.items():
            if rate:
                bandwidth.use(rate * time)
        for bandwidth, number in self._throttled.items():
            bandwidth.held += number * time
        for held, number in self._held:
            held.held += number * time

    def fire(self) -> bool:
        """Begin the periods that begin now; false if there are none."""
        clock = self._kernel.clock
        fired = False
        for account in list(clock.accounts):
            if account.group.gone or account.group.bandwidth is not account:
                del clock.accounts[account]
            elif account.timer is not None and account.timer <= clock.now:
                account.tick()
                fired = True
        return fired

    # --- what repeats -----------------------------------------------------------------------------------------------

    def phase(self) -> tuple[object, ...]:
        """Return what decides how it goes on: after the same twice, everything repeats."""
        now = self._kernel.clock.now
        accounts = tuple(
            (
                id(each),
                round(each.runtime),
                round(each.snap),
                each.idle,
                each.throttled,
                each.timer and each.timer - now,
            )
            for each in self._kernel.clock.accounts
        )
        return accounts, tuple((id(each.work), each.node is None) for each in self.running)

    def counters(self) -> Iterator[tuple[object, str]]:
        """Yield all that goes up or down by the same in each repetition, as object and attribute."""
        for each in self.running:
            yield each.work, "left"
        used = {account: None for each in self.running for account in each.place.counted}
        used |= {group.usage: None for each in self.running for group in each.place.line if group.usage}
        for account in used:
            yield from ((account, name) for name in ("user", "system", "throttled", "held"))
        for bandwidth in self._kernel.clock.accounts:
            names = ("periods", "throttles", "throttled_time", "held", "bursts", "burst_time")
            yield from ((bandwidth, name) for name in names)


def _place(thread: Thread) -> Place:
    kernel = thread.task.kernel
    line = _line(thread)
    accounts = [group.bandwidth for group in line if group.bandwidth and group.bandwidth.quota]
    return Place(
        frozen=kernel.processes.is_halted(thread),
        counted=_counted(thread),
        line=line,
        cpus=_processors(thread) & frozenset(range(kernel.cpus)),
        accounts=accounts,
        spent=[account for account in accounts if account.spent],
    )


def _line(thread: Thread) -> list[Group]:
    """Return the groups of the ``cpu`` controller that a thread is in, nearest first, without the root."""
    for tree, group in thread.groups.items():
        if "cpu" in tree.controllers:
            return [each for each in group.nearest("cpu").line() if each.parent]
    return []


def _counted(thread: Thread) -> list[Usage]:
    """Return the accounts of the groups that count a thread's time: all of v2, and those of v1's ``cpuacct``."""
    return [
        usage(each)
        for tree, group in thread.groups.items()
        if tree.version != 1 or "cpuacct" in tree.controllers
        for each in group.line()
    ]


def _processors(thread: Thread) -> frozenset[int]:
    for tree, group in thread.groups.items():
        if "cpuset" in tree.controllers:
            return cpuset.processors(group)
    return frozenset(range(thread.task.kernel.cpus))


def _unions(sets: dict[frozenset[int], list[Node]]) -> list[frozenset[int]]:
    """Return all unions of sets: for who may run in there only, that is all there is."""
    found: dict[frozenset[int], None] = {}
    for each in sets:
        found.update(dict.fromkeys([each, *(union | each for union in found if union & each)]))
        if len(found) > _MOST_SETS:
            reason = f"the kernel in memory shares at most {_MOST_SETS} unions of the sets that threads may run on"
            raise UnsupportedError("so many cpusets that overlap", reason)
    return list(found)
