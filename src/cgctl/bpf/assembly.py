"""BPF instructions: made, labelled, turned into bytes and back. Pure.

A program is a list of :class:`Instruction` and :class:`Label`; jumps name a label. :func:`assemble` resolves
the labels, :func:`encode` makes the bytes that the kernel takes, :func:`decode` reads what it gives back::

    code = encode(assemble([
        load(R2, R1, 4),                       # r2 = *(u32 *)(r1 + 4)
        jump_if(Compare.NE, R2, 1, to="no"),
        move(R0, 1), leave(),
        Label("no"), move(R0, 0), leave(),
    ]))

Only what cgctl's own programs use is here; the encoding is that of the kernel's
``Documentation/bpf/standardization/instruction-set.rst``.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final, TypeVar

import attrs

__all__ = [
    "ATOMIC",
    "CALL",
    "EXIT",
    "JA",
    "MEM",
    "R0",
    "R1",
    "R2",
    "R3",
    "R4",
    "R5",
    "R6",
    "R7",
    "R8",
    "R9",
    "R10",
    "SIZES",
    "Class",
    "Compare",
    "Instruction",
    "Item",
    "Label",
    "Op",
    "Register",
    "X",
    "add_atomically",
    "alu",
    "assemble",
    "call",
    "decode",
    "distance",
    "encode",
    "jump",
    "jump_if",
    "leave",
    "load",
    "map_address",
    "move",
    "parted",
    "store",
]


class Register(IntEnum):
    """``R1`` holds the context at the start, ``R1``..``R5`` a call's arguments, ``R10`` the stack's end."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register


class Op(IntEnum):
    """Arithmetic, on all 64 bits."""

    ADD = 0x00
    SUB = 0x10
    OR = 0x40
    AND = 0x50
    LSH = 0x60
    RSH = 0x70
    XOR = 0xA0
    MOV = 0xB0


class Compare(IntEnum):
    """What a jump depends on: unsigned comparison of 64 bits; ``SET`` is "any of these bits"."""

    EQ = 0x10
    GT = 0x20
    GE = 0x30
    SET = 0x40
    NE = 0x50
    LT = 0xA0
    LE = 0xB0


class Class(IntEnum):
    """The lowest three bits of a code."""

    LD = 0x00
    LDX = 0x01
    ST = 0x02
    STX = 0x03
    JMP = 0x05
    ALU64 = 0x07


SIZES: Final = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
"""Bytes of memory → the bits of a code that say so."""
MEM, ATOMIC = 0x60, 0xC0
"""How memory is used, in the code of a load or store."""
X: Final = 0x08
"""The bit of a code that says that the other operand is a register."""
JA, CALL, EXIT = 0x00, 0x80, 0x90
"""Jumps that depend on nothing."""

_PSEUDO_MAP_FD: Final = 1
_FORM: Final = struct.Struct("=BBhi")
_LITTLE: Final = sys.byteorder == "little"


@attrs.frozen
class Instruction:
    """One instruction of 8 bytes, as the kernel has it.

    Attributes:
        code: class, size or source, and operation.
        dst: the register that is changed, compared or stored to.
        src: the other register.
        offset: of memory, in bytes; of a jump, in instructions.
        imm: a number, signed, of 32 bits.
        to: the label that a jump goes to, until it is assembled.
    """

    code: int
    dst: int = 0
    src: int = 0
    offset: int = 0
    imm: int = 0
    to: str | None = None


@attrs.frozen
class Label:
    """A place in a program, before the instruction that follows."""

    name: str


Item = Instruction | Label
"""What a program is written of."""

Made = TypeVar("Made")  # an instruction, of either machine


def load(dst: Register, src: Register, offset: int, size: int = 4) -> Instruction:
    """``dst = *(size *)(src + offset)``, with the upper bits cleared."""
    return Instruction(Class.LDX | MEM | SIZES[size], dst, src, offset)


def store(dst: Register, offset: int, value: Register | int, size: int = 4) -> Instruction:
    """``*(size *)(dst + offset) = value``."""
    if isinstance(value, Register):
        return Instruction(Class.STX | MEM | SIZES[size], dst, value, offset)
    return Instruction(Class.ST | MEM | SIZES[size], dst, 0, offset, _signed(value))


def add_atomically(dst: Register, offset: int, src: Register, size: int = 8) -> Instruction:
    """``*(size *)(dst + offset) += src``, also against other processors."""
    return Instruction(Class.STX | ATOMIC | SIZES[size], dst, src, offset)


def alu(op: Op, dst: Register, value: Register | int) -> Instruction:
    """``dst op= value``; a number is extended by its sign to 64 bits."""
    if isinstance(value, Register):
        return Instruction(Class.ALU64 | op | X, dst, value)
    return Instruction(Class.ALU64 | op, dst, 0, 0, _signed(value))


def move(dst: Register, value: Register | int) -> Instruction:
    """``dst = value``; a number is extended by its sign to 64 bits."""
    return alu(Op.MOV, dst, value)


def jump(to: str) -> Instruction:
    """Go on at a label."""
    return Instruction(Class.JMP | JA, to=to)


def jump_if(test: Compare, dst: Register, value: Register | int, to: str) -> Instruction:
    """Go on at a label if ``dst test value``."""
    if isinstance(value, Register):
        return Instruction(Class.JMP | test | X, dst, value, to=to)
    return Instruction(Class.JMP | test, dst, 0, 0, _signed(value), to)


def call(helper: int) -> Instruction:
    """``r0 = helper(r1, …, r5)``, by its number in ``enum bpf_func_id``; ``r1``..``r5`` are lost."""
    return Instruction(Class.JMP | CALL, imm=helper)


def leave() -> Instruction:
    """End the program; ``r0`` is its verdict."""
    return Instruction(Class.JMP | EXIT)


def map_address(dst: Register, fd: int) -> tuple[Instruction, Instruction]:
    """``dst = &map``, by the file descriptor that it has when the program is loaded. Two instructions."""
    return Instruction(Class.LD | SIZES[8], dst, _PSEUDO_MAP_FD, 0, fd), Instruction(0)


def assemble(items: Iterable[Item]) -> tuple[Instruction, ...]:
    """Resolve the labels.

    Raises:
        ValueError: a label is missing, is there twice, or a jump is longer than 16 bits can say.
    """
    instructions, places = parted(items)
    return tuple(_resolved(instruction, at, places) for at, instruction in enumerate(instructions))


def parted(items: Iterable[Made | Label]) -> tuple[list[Made], dict[str, int]]:
    """Return the instructions, and before which of them each label stands.

    Raises:
        ValueError: a label is there twice.
    """
    places: dict[str, int] = {}
    instructions: list[Made] = []
    for item in items:
        if not isinstance(item, Label):
            instructions.append(item)
        elif item.name in places:
            msg = f"label {item.name!r} is there twice"
            raise ValueError(msg)
        else:
            places[item.name] = len(instructions)
    return instructions, places


def distance(label: str, at: int, places: Mapping[str, int]) -> int:
    """Return how many instructions a jump from *at* to a label passes over; fewer than none if that is behind.

    Raises:
        ValueError: there is no such label.
    """
    if label not in places:
        msg = f"there is no label {label!r}"
        raise ValueError(msg)
    return places[label] - at - 1


def _resolved(instruction: Instruction, at: int, places: dict[str, int]) -> Instruction:
    if instruction.to is None:
        return instruction
    offset = distance(instruction.to, at, places)
    if not -(1 << 15) <= offset < 1 << 15:
        msg = f"label {instruction.to!r} is {offset} instructions away, more than a jump of 16 bits can say"
        raise ValueError(msg)
    return attrs.evolve(instruction, offset=offset, to=None)


def encode(instructions: Iterable[Instruction]) -> bytes:
    """Make the bytes that the kernel takes, in this machine's byte order."""
    return b"".join(
        _FORM.pack(each.code, _registers(each.dst, each.src), each.offset, each.imm) for each in instructions
    )


def decode(code: bytes) -> tuple[Instruction, ...]:
    """Read what the kernel gives back.

    Raises:
        ValueError: it is no whole number of instructions.
    """
    if len(code) % _FORM.size:
        msg = f"{len(code)} bytes are no whole number of instructions"
        raise ValueError(msg)
    return tuple(_decoded(code))


def _decoded(code: bytes) -> Iterator[Instruction]:
    for operation, registers, offset, imm in _FORM.iter_unpack(code):
        low, high = registers & 0xF, registers >> 4
        dst, src = (low, high) if _LITTLE else (high, low)
        yield Instruction(operation, dst, src, offset, imm)


def _registers(dst: int, src: int) -> int:
    return dst | src << 4 if _LITTLE else dst << 4 | src


def _signed(value: int) -> int:
    """Return the number of 32 bits that is written for a value of up to 32 bits, signed or not."""
    if not -(1 << 31) <= value < 1 << 32:
        msg = f"{value} does not fit into 32 bits"
        raise ValueError(msg)
    return value - (1 << 32) if value >= 1 << 31 else value
