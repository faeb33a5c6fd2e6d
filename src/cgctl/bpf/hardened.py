"""Programs whose constants the kernel has hidden, made readable again. Pure.

With ``net.core.bpf_jit_harden`` the kernel replaces each number in a program, before it compiles it, by two random ones
whose exclusive or it is (``bpf_jit_blind_constants`` in kernel/bpf/core.c), in a register that programs cannot name::

    r3 &= 7      →      r11 = 0x5a17; r11 ^= 0x5a10; r3 &= r11

and ``r0 = 0`` by ``r0 ^= r0``. What it gives back of a loaded program is that.
"""

from __future__ import annotations

from typing import Final

import attrs

from cgctl.bpf.assembly import CALL, EXIT, Class, Instruction, Op, X, decode, encode

__all__ = ["revealed"]

_LAST: Final = 10
"""The last register that programs can name. ``BPF_REG_AX`` is 11 until 6.18, and 12 in 7.3."""
_SET, _MIX = Class.ALU64 | Op.MOV, Class.ALU64 | Op.XOR


def revealed(code: bytes) -> bytes:
    """Return a program as it was loaded; one in which nothing was hidden as it is.

    Raises:
        ValueError: it is no whole number of instructions.
    """
    program = decode(code)
    found: list[Instruction] = []
    where: dict[int, int] = {}  # place in what was given back → place in what was loaded
    at = 0
    while at < len(program):
        where[at] = len(found)
        length = 3 if _is_hidden(program[at : at + 3]) else 1
        found.append(_reveal(program[at : at + length], at))
        at += length
    where[at] = len(found)
    return encode(_relative(each, number, where) for number, each in enumerate(found))


def _is_hidden(three: tuple[Instruction, ...]) -> bool:
    hidden = three[0].dst
    codes = [(each.code, each.dst) for each in three[:2]]
    return hidden > _LAST and codes == [(_SET, hidden), (_MIX, hidden)] and [each.src for each in three[2:]] == [hidden]


def _reveal(these: tuple[Instruction, ...], at: int) -> Instruction:
    """Return one instruction for those that stand for it; the offset of a jump is its target, for now."""
    last = these[-1]
    if len(these) > 1:
        last = attrs.evolve(last, code=last.code & ~X, src=0, imm=these[0].imm ^ these[1].imm)
    elif (last.code, last.src) == (_MIX | X, last.dst):
        last = Instruction(_SET, last.dst)
    return attrs.evolve(last, offset=at + len(these) + last.offset) if _is_jump(last) else last


def _relative(instruction: Instruction, number: int, where: dict[int, int]) -> Instruction:
    if not _is_jump(instruction):
        return instruction
    return attrs.evolve(instruction, offset=where.get(instruction.offset, 0) - number - 1)


def _is_jump(instruction: Instruction) -> bool:
    return instruction.code & 0x07 == Class.JMP and instruction.code & 0xF0 not in {CALL, EXIT}
