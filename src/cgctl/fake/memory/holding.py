"""What processes do with memory: they touch it, give it back, read files, and leave it behind when they move."""

from __future__ import annotations

from errno import ESRCH
from typing import TYPE_CHECKING, Literal

from cgctl.fake.memory import oom, throttling
from cgctl.fake.memory.counters import MEMSW, PAGE, adjust, event, pages, tightest
from cgctl.fake.memory.reclaim import reclaim
from cgctl.fake.refusal import refuse
from cgctl.fake.time.work import Blocked, Stall
from cgctl.fake.tree import Group
from cgctl.units import parse_size

if TYPE_CHECKING:
    from cgctl.fake.task import Task

__all__ = ["allocate", "cache", "free", "migrate", "reparent", "touch"]

Kind = Literal["anon", "file", "swap"]


def _whole(size: int | str) -> int:
    """Round up to pages."""
    return -(-parse_size(size) // PAGE) * PAGE


def allocate(task: Task, size: int | str) -> None:
    """Let a process touch new memory; where a limit does not allow it, the kernel kills."""
    _begin(task, _whole(size), "anon")


def cache(task: Task, size: int | str) -> None:
    """Let a process read so much of files that nobody has in the page cache: it is charged to its group."""
    _begin(task, _whole(size), "file")


def touch(task: Task, size: int | str | None = None) -> None:
    """Let a process use memory that was swapped out: it comes back."""
    wanted = task.swapped if size is None else min(_whole(size), task.swapped)
    _begin(task, wanted, "swap")


def _begin(task: Task, size: int, kind: Kind) -> None:
    with task.kernel.mutex:
        if not task.alive:
            refuse(ESRCH)
        _go_on(task, size, kind)


def _go_on(task: Task, size: int, kind: Kind) -> None:
    """Charge piece by piece, as page after page is touched."""
    place = _place(task)
    if place is None:
        _take(task, None, size, kind)
        return
    slept = 0
    while size > 0 and task.alive:
        room, group, counter = tightest(place)
        part = min(size, room)
        if part <= 0:
            assert group is not None  # noqa: S101 - it is what left no room
            if not _make_room(task, group, counter, size, kind):
                break
            continue
        before_high = throttling.room(place)
        above = before_high is not None and before_high < part
        if above and before_high is not None:
            part = min(part, before_high if before_high > 0 else throttling.BATCH)
        _take(task, place, part, kind)
        size -= part
        if above and before_high is not None and before_high <= 0:
            slept += throttling.penalty(place, part)
    if slept and task.alive:
        task.kernel.clock.give(task.threads[0], Stall(slept), first=True)


def _make_room(task: Task, group: Group, counter: str, size: int, kind: Kind) -> bool:
    """Make room at a limit; false if the process has to wait until there is some."""
    event(group, "max", counter=counter)
    # To swap does not help against a limit on the sum (try_charge_memcg).
    if reclaim(group, min(size, throttling.BATCH), swap=counter != MEMSW):
        reclaim(group, max(size - throttling.BATCH, 0), swap=counter != MEMSW)
        return True
    if group.tree.version == 1 and group.values.get("memory.oom_control") == "1":
        group.counts["memory.under_oom"] = group.counts.get("memory.under_oom", 0) + 1

        def retry() -> bool:
            if tightest(group)[0] <= 0 and not reclaim(group, PAGE, swap=counter != MEMSW):
                return False
            group.counts["memory.under_oom"] -= 1
            _go_on(task, size, kind)
            return True

        task.kernel.clock.give(task.threads[0], Blocked(retry), first=True)
        return False
    oom.kill(group)
    return True


def _place(task: Task) -> Group | None:
    """Return the group that is charged with what a process does now."""
    return next(
        (group.nearest("memory") for tree, group in task.threads[0].groups.items() if "memory" in tree.controllers),
        None,
    )


def _take(task: Task, place: Group | None, size: int, kind: Kind) -> None:
    if kind == "file":
        if place is not None:
            pages(place).cache += size
            adjust(place, file=size)
        return
    if kind == "swap":
        _give_up_swap(task, size)
    task.anon += size
    if place is not None:
        own = pages(place).anon
        own[task] = own.get(task, 0) + size
        adjust(place, anon=size)
        _remember(task, place)


def _remember(task: Task, place: Group) -> None:
    if task.places is None:
        task.places = {}
    task.places[place] = None


def free(task: Task, size: int | str | None = None) -> None:
    """Let a process give memory back; all of it, if *size* is not given. Swap goes last."""
    with task.kernel.mutex:
        wanted = task.anon + task.swapped if size is None else min(_whole(size), task.anon + task.swapped)
        resident = min(wanted, task.anon)
        _give_up_swap(task, wanted - resident)
        task.anon -= resident
        for place in task.places or ():
            own = pages(place).anon
            part = min(own.get(task, 0), resident)
            if part:
                _less(own, task, part)
                adjust(place, anon=-part)
                resident -= part
        if not task.anon and not task.swapped:
            task.places = None


def _give_up_swap(task: Task, size: int) -> None:
    task.swapped -= size
    task.kernel.swapped -= size
    for place in task.places or ():
        own = pages(place).swapped
        part = min(own.get(task, 0), size)
        if part:
            _less(own, task, part)
            adjust(place, swap=-part)
            size -= part


def _less(own: dict[Task, int], task: Task, size: int) -> None:
    own[task] -= size
    if not own[task]:
        del own[task]


# --- moving ---------------------------------------------------------------------------------------------------------


def migrate(task: Task, source: Group, target: Group) -> None:
    """Move what a process holds along with it, where v1 is asked to; else it stays charged where it was touched."""
    if target.tree.version != 1 or not int(target.get("memory.move_charge_at_immigrate")) & 1:
        return
    here, there = pages(source), pages(target)
    anon, swap = here.anon.pop(task, 0), here.swapped.pop(task, 0)
    for kept, size in ((there.anon, anon), (there.swapped, swap)):
        if size:
            kept[task] = kept.get(task, 0) + size
            _remember(task, target)
    adjust(source, anon=-anon, swap=-swap)
    adjust(target, anon=anon, swap=swap)


def reparent(group: Group) -> None:
    """Leave to the group above what was charged to one that is removed: there it has been counted all the time."""
    own, parent = group.pages, group.parent
    if own is None or parent is None:
        return
    group.pages = None
    heir = parent.nearest("memory")
    above = pages(heir)
    above.cache += own.cache
    for here, there in ((own.anon, above.anon), (own.swapped, above.swapped)):
        for task, size in here.items():
            there[task] = there.get(task, 0) + size
            _remember(task, heir)
            (task.places or {}).pop(group, None)
