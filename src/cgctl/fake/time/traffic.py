"""What threads do with block devices."""

from __future__ import annotations

from errno import ESRCH
from typing import TYPE_CHECKING, Literal

from cgctl.errors import SpecError
from cgctl.fake import access
from cgctl.fake.memory import holding
from cgctl.fake.refusal import refuse
from cgctl.fake.time.work import Blocked, Call, Transfer
from cgctl.units import parse_size

if TYPE_CHECKING:
    from cgctl.fake.task import Thread

__all__ = ["read", "sync", "write"]


def read(thread: Thread, device: str, size: int | str, request: int | str, *, direct: bool) -> None:
    """Have a thread read."""
    kernel = thread.task.kernel
    with kernel.mutex:
        work = _transfer(thread, device, "r", size, request)
        kernel.give(thread, work)
        if not direct:
            holding.cache(thread.task, int(work.left))


def write(thread: Thread, device: str, size: int | str, request: int | str, *, direct: bool) -> None:
    """Have a thread write: to the disk, or to the page cache, from which it is written later."""
    kernel = thread.task.kernel
    with kernel.mutex:
        work = _transfer(thread, device, "w", size, request)
        if direct:
            kernel.give(thread, work)
            return
        holding.cache(thread.task, int(work.left))
        if thread.task.alive:
            kernel.give(thread, Call(lambda: kernel.clock.disks.soil(thread, work)))


def sync(thread: Thread) -> None:
    """Have a thread wait until all that was written is on the disks."""
    kernel = thread.task.kernel
    begun: list[Transfer] | None = None

    def attempt() -> bool:
        nonlocal begun
        if begun is None:
            begun = kernel.clock.disks.sync()
        return all(work.left <= 0 for work in begun)

    kernel.give(thread, Blocked(attempt, io=True))


def _transfer(thread: Thread, device: str, way: Literal["r", "w"], size: int | str, request: int | str) -> Transfer:
    if not thread.task.alive:
        refuse(ESRCH)
    numbers = access.disk(thread.task, device, way)
    wanted, each = parse_size(size), parse_size(request, "request")
    if each < 1:
        msg = f"request={request!r}: a request is of 1 byte or more"
        raise SpecError(msg)
    # The last one is smaller; the sum is right if all are.
    return Transfer(numbers, way, float(wanted), wanted / -(-wanted // each) if wanted else 1.0)
