"""The programs of controller ``net`` on v2: what gives packets a class, sockets a mark, and what counts. Pure.

Programs of the groups above run too, after those of the groups below (``BPF_F_ALLOW_MULTI``). So a class or mark that
is there already is the nearer group's and stays, and what is counted below is counted above as well.

A class is given to each packet as it leaves, not to each socket when it is made: a program may change its socket's
priority (``SO_PRIORITY``, ``IP_TOS``) and would leave its class, and open sockets would keep the class of before.
"""

from __future__ import annotations

from typing import Final

from cgctl.bpf.assembly import (
    R0,
    R1,
    R2,
    R6,
    R10,
    Compare,
    Label,
    Op,
    add_atomically,
    alu,
    assemble,
    call,
    decode,
    encode,
    jump_if,
    leave,
    load,
    map_address,
    move,
    store,
)
from cgctl.controllers.net import HIGHEST_OWN_PRIORITY

__all__ = ["COUNTERS", "class_program", "count_program", "mark_program", "number_in"]

COUNTERS: Final = ("bytes", "packets")
"""What the one value of a counting program's map holds, 8 bytes each."""

# struct __sk_buff
_LEN, _PRIORITY, _GSO_SEGS = 0, 32, 164
# struct bpf_sock
_MARK: Final = 16
_LOOK_UP: Final = 1
_PASS: Final = 1


def class_program(classid: int) -> bytes:
    """Make the program that gives packets a class as their priority; for ``BPF_CGROUP_INET_EGRESS``.

    A priority above 15 stays: a group below gave it, or a program with CAP_NET_ADMIN chose it.
    """
    return encode(
        assemble(
            [
                load(R2, R1, _PRIORITY),
                jump_if(Compare.GT, R2, HIGHEST_OWN_PRIORITY, to="given"),
                move(R2, classid),
                store(R1, _PRIORITY, R2),
                Label("given"),
                move(R0, _PASS),
                leave(),
            ]
        )
    )


def mark_program(mark: int) -> bytes:
    """Make the program that marks sockets as they are made; for ``BPF_CGROUP_INET_SOCK_CREATE``."""
    return encode(
        assemble(
            [
                load(R2, R1, _MARK),
                jump_if(Compare.NE, R2, 0, to="given"),
                move(R2, mark),
                store(R1, _MARK, R2),
                Label("given"),
                move(R0, _PASS),
                leave(),
            ]
        )
    )


def number_in(code: bytes) -> int | None:
    """Return the class or the mark of a program of ours, as it was made or as the kernel shows it after verification.

    Verification changes how the context is reached, and nothing else here.
    """
    moved = move(R2, 0).code
    numbers = [each.imm for each in decode(code) if (each.code, each.dst) == (moved, R2)]
    return numbers[0] & 0xFFFF_FFFF if len(numbers) == 1 else None


def count_program(counters: int) -> bytes:
    """Make the program that counts bytes and packets; for ``BPF_CGROUP_INET_EGRESS`` and ``BPF_CGROUP_INET_INGRESS``.

    Args:
        counters: the descriptor of an array with one value, :data:`COUNTERS`.
    """
    return encode(
        assemble(
            [
                move(R6, R1),
                store(R10, -4, 0),
                move(R2, R10),
                alu(Op.ADD, R2, -4),
                *map_address(R1, counters),
                call(_LOOK_UP),
                jump_if(Compare.EQ, R0, 0, to="out"),
                load(R1, R6, _LEN),
                add_atomically(R0, 0, R1),
                load(R1, R6, _GSO_SEGS),
                jump_if(Compare.NE, R1, 0, to="cut later"),
                move(R1, 1),
                Label("cut later"),
                add_atomically(R0, 8, R1),
                Label("out"),
                move(R0, _PASS),
                leave(),
            ]
        )
    )
