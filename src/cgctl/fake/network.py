"""Network traffic, as far as groups see it: the programs that count."""

from __future__ import annotations

from errno import ESRCH
from typing import TYPE_CHECKING, Final, Literal

from cgctl.errors import SpecError, shown
from cgctl.fake.refusal import refuse
from cgctl.fake.rules import attached
from cgctl.units import parse_size

if TYPE_CHECKING:
    from cgctl.fake.task import Task

__all__ = ["move"]

_MTU: Final = 1500


def move(task: Task, way: Literal["rx", "tx"], size: int | str, packets: int | None) -> None:
    """Send or receive.

    Raises:
        OSError: ``ESRCH``: the process has ended.
        SpecError: it is no size, or no number of packets for it.
    """
    with task.kernel.mutex:
        if not task.alive:
            refuse(ESRCH)
        number = parse_size(size)
        count = -(-number // _MTU) if packets is None else packets
        if not count <= number or (number and count < 1):
            msg = f"packets={shown(packets)}: {number} bytes are not in so many packets"
            raise SpecError(msg)
        for tree, group in task.threads[0].groups.items():
            if tree.version != 1:
                attached.count(group, way, number, count)
