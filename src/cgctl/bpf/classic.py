"""Classic BPF, which seccomp filters are written in: instructions, their bytes, and what they answer. Pure.

The older machine has an accumulator of 32 bits, jumps that only go forward, and returns a number. Labels and
comparisons are those of :mod:`cgctl.bpf.assembly`, which has them with the same bits::

    code = encode(assemble([
        load(0),                                   # A = the first word
        jump_if(Compare.EQ, 59, "no"),
        leave(1),
        Label("no"), leave(0),
    ]))

Only what cgctl's own filters use is here, and of each comparison the side that jumps is the one that is true.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from cgctl.bpf.assembly import Compare, Label, distance, parted
from cgctl.bpf.machine import Fault

__all__ = [
    "MOST",
    "Instruction",
    "Item",
    "Label",
    "assemble",
    "encode",
    "jump",
    "jump_if",
    "leave",
    "load",
    "mask",
    "run",
]

MOST: Final = 4096
"""How many instructions the kernel takes (``BPF_MAXINSNS``)."""

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP: Final = 0x05  # BPF_JMP
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_WORD: Final = 0xFFFF_FFFF
_FARTHEST: Final = 255  # a comparison has 8 bits for it
_FORM: Final = struct.Struct("=HBBI")
_TESTS: Final[Mapping[int, Callable[[int, int], object]]] = {
    Compare.EQ: operator.eq,
    Compare.GT: operator.gt,
    Compare.GE: operator.ge,
    Compare.SET: operator.and_,
}


@attrs.frozen
class Instruction:
    """One instruction of 8 bytes, as the kernel has it.

    Attributes:
        code: class and operation.
        yes: how many instructions are passed over where a comparison is true.
        no: and where it is not.
        k: a number of 32 bits.
        to: the label that a jump goes to, until it is assembled.
    """

    code: int
    yes: int = 0
    no: int = 0
    k: int = 0
    to: str | None = None


Item = Instruction | Label
"""What a program is written of."""


def load(offset: int) -> Instruction:
    """``A = *(u32 *)(data + offset)``."""
    return Instruction(_LOAD, k=offset)


def mask(value: int) -> Instruction:
    """``A &= value``."""
    return Instruction(_AND, k=_checked(value))


def jump(to: str) -> Instruction:
    """Go on at a label."""
    return Instruction(_JUMP, to=to)


def jump_if(test: Compare, value: int, to: str) -> Instruction:
    """Go on at a label if ``A test value``: one of ``EQ``, ``GT``, ``GE``, ``SET``."""
    if test not in _TESTS:
        msg = f"classic BPF has no comparison {test.name}"
        raise ValueError(msg)
    return Instruction(_JUMP | test, k=_checked(value), to=to)


def leave(verdict: int) -> Instruction:
    """End the program."""
    return Instruction(_RETURN, k=_checked(verdict))


def assemble(items: Iterable[Item]) -> tuple[Instruction, ...]:
    """Resolve the labels.

    Raises:
        ValueError: a label is missing, is there twice, lies behind, or is farther than a comparison can say; or there
            are more instructions than the kernel takes.
    """
    instructions, places = parted(items)
    if len(instructions) > MOST:
        msg = f"{len(instructions)} instructions; the kernel takes {MOST}"
        raise ValueError(msg)
    return tuple(_resolved(instruction, at, places) for at, instruction in enumerate(instructions))


def _resolved(instruction: Instruction, at: int, places: dict[str, int]) -> Instruction:
    if instruction.to is None:
        return instruction
    passed = distance(instruction.to, at, places)
    always = instruction.code == _JUMP
    if passed < 0 or (passed > _FARTHEST and not always):
        msg = f"label {instruction.to!r} is {passed} instructions away; a comparison reaches 0 to {_FARTHEST}"
        raise ValueError(msg)
    if always:
        return attrs.evolve(instruction, k=passed, to=None)
    return attrs.evolve(instruction, yes=passed, to=None)


def encode(instructions: Iterable[Instruction]) -> bytes:
    """Make the bytes that the kernel takes, in this machine's byte order."""
    return b"".join(_FORM.pack(each.code, each.yes, each.no, each.k) for each in instructions)


def run(code: bytes, data: bytes) -> int:
    """Run a program and return its verdict.

    Args:
        code: as :func:`encode` makes it.
        data: what it looks at, such as a ``struct seccomp_data``.

    Raises:
        Fault: it did what the kernel would have refused to load.
    """
    program = list(_FORM.iter_unpack(code))
    held: int | None = None
    at = 0
    while at < len(program):
        operation, yes, no, k = program[at]
        at += 1
        if operation == _RETURN:
            return int(k)
        if operation == _LOAD:
            if k % 4 or k + 4 > len(data):
                msg = f"4 bytes at {k} of {len(data)}"
                raise Fault(msg)
            (held,) = struct.unpack_from("=I", data, k)
        elif operation == _JUMP:
            at += k
        elif held is None:
            msg = "the accumulator is used before it was loaded"
            raise Fault(msg)
        elif operation == _AND:
            held &= k
        elif operation & 0x0F == _JUMP and operation & 0xF0 in _TESTS:
            at += yes if _TESTS[operation & 0xF0](held, k) else no
        else:
            msg = f"no such instruction: {operation:#x}"
            raise Fault(msg)
    msg = "it runs out of its instructions"
    raise Fault(msg)


def _checked(value: int) -> int:
    if not 0 <= value <= _WORD:
        msg = f"{value} does not fit into 32 bits"
        raise ValueError(msg)
    return value
