"""A BPF machine in Python: what a compiled program answers, without a kernel. Pure.

It knows the instructions that :mod:`cgctl.bpf.assembly` makes and nothing else. Registers hold numbers of 64
bits, or a :class:`Pointer` into a ``bytearray``; what leaves one raises :class:`Fault`, as the kernel's verifier would
have refused the program::

    context = bytearray(struct.pack("=III", access << 16 | kind, major, minor))
    verdict = run(code, context)

Helpers are given by number, and get the registers ``r1``..``r5``; ``map_address`` leaves a :class:`MapReference`::

    counters = bytearray(16)
    run(code, context, helpers={1: lambda map_, key, *_: Pointer(counters)})      # bpf_map_lookup_elem; 0 is NULL
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from cgctl.bpf.assembly import ATOMIC, CALL, EXIT, JA, MEM, SIZES, Class, Compare, Instruction, Op, X, decode

__all__ = ["Fault", "MapReference", "Pointer", "run"]

_ALL: Final = (1 << 64) - 1
_STACK: Final = 512
_LONGEST: Final = 1_000_000


class Fault(Exception):
    """The program did what the kernel would never have let it do."""


@attrs.frozen
class Pointer:
    """A place in memory.

    Attributes:
        memory: what it points into; shared, so a program's writes are seen in it.
        offset: how far.
    """

    memory: bytearray = attrs.field(repr=False)
    offset: int = 0

    def moved(self, by: int) -> Pointer:
        """Return the place that is so many bytes further."""
        return Pointer(self.memory, self.offset + by)

    def read(self, size: int) -> bytes:
        """Return what is there.

        Raises:
            Fault: it is outside of the memory.
        """
        if not 0 <= self.offset <= len(self.memory) - size:
            msg = f"{size} bytes at {self.offset} of a memory of {len(self.memory)}"
            raise Fault(msg)
        return bytes(self.memory[self.offset : self.offset + size])

    def write(self, data: bytes) -> None:
        """Change what is there.

        Raises:
            Fault: it is outside of the memory.
        """
        self.read(len(data))
        self.memory[self.offset : self.offset + len(data)] = data


@attrs.frozen
class MapReference:
    """The address of a map: what a helper gets for it.

    Attributes:
        fd: its file descriptor, as in the program.
    """

    fd: int


Value = int | Pointer | MapReference
Helper = Callable[..., Value]

_OPS: Final[Mapping[int, Callable[[int, int], int]]] = {
    Op.ADD: operator.add,
    Op.SUB: operator.sub,
    Op.OR: operator.or_,
    Op.AND: operator.and_,
    Op.LSH: lambda a, b: a << (b & 63),
    Op.RSH: lambda a, b: a >> (b & 63),
    Op.XOR: operator.xor,
}
_TESTS: Final[Mapping[int, Callable[[int, int], bool]]] = {
    Compare.EQ: operator.eq,
    Compare.GT: operator.gt,
    Compare.GE: operator.ge,
    Compare.SET: lambda a, b: a & b != 0,
    Compare.NE: operator.ne,
    Compare.LT: operator.lt,
    Compare.LE: operator.le,
}
_BYTES: Final = {code: size for size, code in SIZES.items()}


def run(code: bytes, context: bytearray, *, helpers: Mapping[int, Helper] | None = None) -> int:
    """Run a program and return its verdict.

    Args:
        code: as :func:`cgctl.bpf.assembly.encode` makes it.
        context: what ``r1`` points to; the program may change it.
        helpers: number → what is called.

    Raises:
        Fault: it did what the kernel would not have let it do.
    """
    machine = _Machine(decode(code), helpers or {})
    machine.registers[1] = Pointer(context)
    for _step in range(_LONGEST):
        if machine.step():
            return _number(machine.get(0))
    msg = "it does not end"
    raise Fault(msg)


class _Machine:
    def __init__(self, program: tuple[Instruction, ...], helpers: Mapping[int, Helper]) -> None:
        self.program = program
        self.helpers = helpers
        self.at = 0
        # What was never set is None, and may not be read.
        self.registers: list[Value | None] = [*[None] * 10, Pointer(bytearray(_STACK), _STACK)]

    def step(self) -> bool:
        """Do one instruction; return whether it was the last."""
        if not 0 <= self.at < len(self.program):
            msg = f"it runs out of its instructions at {self.at}"
            raise Fault(msg)
        instruction = self.program[self.at]
        self.at += 1
        kind = instruction.code & 0x07
        if kind == Class.JMP:
            return self._jump(instruction)
        action = {
            Class.LD: self._load_wide,
            Class.LDX: self._load,
            Class.ST: self._store,
            Class.STX: self._store,
            Class.ALU64: self._compute,
        }
        if kind not in action:
            raise _unknown(instruction)
        action[Class(kind)](instruction)
        return False

    def _jump(self, instruction: Instruction) -> bool:
        operation = instruction.code & 0xF0
        if operation == EXIT:
            return True
        if operation == CALL:
            if instruction.imm not in self.helpers:
                msg = f"there is no helper {instruction.imm}"
                raise Fault(msg)
            self.registers[0] = self.helpers[instruction.imm](*self.registers[1:6])
            self.registers[1:6] = [None] * 5
        elif operation == JA or _compare(instruction, self.get(instruction.dst), self._other(instruction)):
            self.at += instruction.offset
        return False

    def _load_wide(self, instruction: Instruction) -> None:
        if instruction.code != Class.LD | SIZES[8] or self.at >= len(self.program):
            raise _unknown(instruction)
        upper = self.program[self.at]
        self.at += 1
        if instruction.src:
            self.registers[instruction.dst] = MapReference(instruction.imm)
        else:
            self.registers[instruction.dst] = instruction.imm & 0xFFFFFFFF | (upper.imm & 0xFFFFFFFF) << 32

    def _load(self, instruction: Instruction) -> None:
        if instruction.code & 0xE0 != MEM:
            raise _unknown(instruction)
        data = self._place(instruction.src, instruction.offset).read(_BYTES[instruction.code & 0x18])
        self.registers[instruction.dst] = int.from_bytes(data, sys.byteorder)

    def _store(self, instruction: Instruction) -> None:
        size, mode = _BYTES[instruction.code & 0x18], instruction.code & 0xE0
        if mode not in {MEM, ATOMIC}:
            raise _unknown(instruction)
        place = self._place(instruction.dst, instruction.offset)
        value = instruction.imm if instruction.code & 0x07 == Class.ST else _number(self.get(instruction.src))
        if mode == ATOMIC:
            value += int.from_bytes(place.read(size), sys.byteorder)
        place.write((value & (1 << 8 * size) - 1).to_bytes(size, sys.byteorder))

    def _compute(self, instruction: Instruction) -> None:
        operation, other = instruction.code & 0xF0, self._other(instruction)
        if operation == Op.MOV:
            self.registers[instruction.dst] = other
            return
        held = self.get(instruction.dst)
        if isinstance(held, Pointer) and operation in {Op.ADD, Op.SUB}:
            by = _number(other)
            by -= (by >> 63) << 64  # a number of 64 bits, with its sign
            self.registers[instruction.dst] = held.moved(by if operation == Op.ADD else -by)
        elif operation in _OPS:
            self.registers[instruction.dst] = _OPS[operation](_number(held), _number(other)) & _ALL
        else:
            raise _unknown(instruction)

    def get(self, register: int) -> Value:
        value = self.registers[register]
        if value is None:
            msg = f"r{register} is read before it was set"
            raise Fault(msg)
        return value

    def _other(self, instruction: Instruction) -> Value:
        return self.get(instruction.src) if instruction.code & X else instruction.imm & _ALL

    def _place(self, register: int, offset: int) -> Pointer:
        value = self.get(register)
        if not isinstance(value, Pointer):
            msg = f"r{register} holds {value!r}, not the address of memory"
            raise Fault(msg)
        return value.moved(offset)


def _unknown(instruction: Instruction) -> Fault:
    return Fault(f"no such instruction: {instruction}")


def _compare(instruction: Instruction, held: Value, other: Value) -> bool:
    operation = instruction.code & 0xF0
    if operation not in _TESTS:
        raise _unknown(instruction)
    # Of an address only one thing may be asked: whether it is NULL, which is 0.
    return _TESTS[operation](held if isinstance(held, int) else 1, _number(other))


def _number(value: Value) -> int:
    if not isinstance(value, int):
        msg = f"{value!r} is used as a number"
        raise Fault(msg)
    return value
