"""BPF without a kernel: instructions and their bytes, and the machine in Python."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgctl.bpf.assembly import (
    R0,
    R1,
    R2,
    R3,
    R10,
    Compare,
    Instruction,
    Item,
    Label,
    Op,
    add_atomically,
    alu,
    assemble,
    call,
    decode,
    encode,
    jump,
    jump_if,
    leave,
    load,
    map_address,
    move,
    store,
)
from cgctl.bpf.hardened import revealed
from cgctl.bpf.machine import Fault, MapReference, Pointer, run
from tests.unit import CALM

_U64 = st.integers(0, 2**64 - 1)
_IMM = st.integers(-(2**31), 2**31 - 1)
_MASK = 2**64 - 1
little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes are written down for little endian")


def _run(items: Iterable[Item], context: bytearray | None = None, **helpers: Any) -> int:
    return run(encode(assemble(items)), bytearray(16) if context is None else context, **helpers)


class TestAssembly:
    """Labels, bytes and back."""

    @little_endian
    @pytest.mark.parametrize(
        ("instruction", "code"),
        [
            # As `llvm-mc -triple bpfel` and the tables of the kernel's instruction-set.rst have them.
            (move(R0, 1), "b700000001000000"),
            (move(R3, R2), "bf23000000000000"),
            (load(R2, R1, 4), "6112040000000000"),
            (load(R2, R1, 8, 8), "7912080000000000"),
            (store(R10, -4, 7), "620afcff07000000"),
            (store(R10, -8, R1, 8), "7b1af8ff00000000"),
            (add_atomically(R0, 8, R1), "db10080000000000"),
            (alu(Op.RSH, R3, 16), "7703000010000000"),
            (alu(Op.AND, R2, 0xFFFF), "57020000ffff0000"),
            (call(1), "8500000001000000"),
            (leave(), "9500000000000000"),
            (Instruction(0x55, 2, 0, -1, 3), "5502ffff03000000"),
        ],
    )
    def test_bytes(self, instruction: Instruction, code: str) -> None:
        """Each kind of instruction is encoded as the kernel has it, and read back."""
        assert encode([instruction]).hex() == code
        assert decode(bytes.fromhex(code)) == (instruction,)

    @little_endian
    def test_map_address(self) -> None:
        """A map's descriptor takes two instructions."""
        assert encode(map_address(R1, 7)).hex() == "1811000007000000" + "0000000000000000"

    def test_labels(self) -> None:
        """Jumps are counted from the instruction after them, forwards and backwards."""
        items: list[Item] = [
            Label("a"),
            jump("b"),
            move(R0, 1),
            Label("b"),
            jump_if(Compare.EQ, R0, 1, to="a"),
            leave(),
        ]

        assert [each.offset for each in assemble(items)] == [1, 0, -3, 0]

    @pytest.mark.parametrize(
        ("items", "said"),
        [
            ([jump("x")], "no label 'x'"),
            ([Label("x"), Label("x")], "twice"),
            ([jump("x"), *[leave()] * 40_000, Label("x")], "16 bits"),
        ],
    )
    def test_wrong_labels(self, items: list[Item], said: str) -> None:
        """What cannot be resolved is refused."""
        with pytest.raises(ValueError, match=said):
            assemble(items)

    @pytest.mark.parametrize("value", [-(2**31) - 1, 2**32])
    def test_numbers_of_32_bits(self, value: int) -> None:
        """A number that does not fit is refused, not cut."""
        with pytest.raises(ValueError, match="32 bits"):
            move(R0, value)

    def test_half_an_instruction(self) -> None:
        """What is no whole number of instructions is refused."""
        with pytest.raises(ValueError, match="12 bytes"):
            decode(bytes(12))

    @CALM
    @given(st.lists(st.builds(Instruction, *[st.integers(0, n) for n in (255, 15, 15)], st.integers(-9, 9), _IMM)))
    def test_there_and_back(self, instructions: list[Instruction]) -> None:
        """Reading what was encoded gives the same instructions."""
        assert list(decode(encode(instructions))) == instructions


class TestMachine:
    """What a program answers."""

    @pytest.mark.parametrize(
        ("op", "expected"),
        [
            (Op.ADD, lambda a, b: a + b),
            (Op.SUB, lambda a, b: a - b),
            (Op.OR, lambda a, b: a | b),
            (Op.AND, lambda a, b: a & b),
            (Op.XOR, lambda a, b: a ^ b),
            (Op.LSH, lambda a, b: a << b % 64),
            (Op.RSH, lambda a, b: a >> b % 64),
            (Op.MOV, lambda _a, b: b),
        ],
    )
    @CALM
    @given(held=_U64, other=_IMM)
    def test_arithmetic(self, op: Op, expected: Any, held: int, other: int) -> None:
        """All operations are on 64 bits, and numbers are extended by their sign."""
        context = bytearray(struct.pack("=Q", held))
        items = [load(R2, R1, 0, 8), alu(op, R2, other), move(R0, R2), leave()]

        assert _run(items, context) == expected(held, other & _MASK) & _MASK

    @pytest.mark.parametrize(
        ("test", "expected"),
        [
            (Compare.EQ, lambda a, b: a == b),
            (Compare.NE, lambda a, b: a != b),
            (Compare.GT, lambda a, b: a > b),
            (Compare.GE, lambda a, b: a >= b),
            (Compare.LT, lambda a, b: a < b),
            (Compare.LE, lambda a, b: a <= b),
            (Compare.SET, lambda a, b: a & b > 0),
        ],
    )
    @CALM
    @given(held=st.integers(0, 9) | _U64, other=st.integers(0, 9) | _IMM)
    def test_comparison(self, test: Compare, expected: Any, held: int, other: int) -> None:
        """All comparisons are unsigned, of 64 bits."""
        context = bytearray(struct.pack("=Q", held))
        items: list[Item] = [
            *(load(R2, R1, 0, 8), jump_if(test, R2, other, to="yes"), move(R0, 0), leave()),
            *(Label("yes"), move(R0, 1), leave()),
        ]

        assert _run(items, context) == expected(held, other & _MASK)

    def test_memory(self) -> None:
        """The context and the stack can be written; what was written is seen."""
        context = bytearray(8)
        items = [store(R1, 4, 7), store(R10, -8, 5, 8), load(R0, R10, -8, 8), leave()]

        assert _run(items, context) == 5
        assert context == struct.pack("=II", 0, 7)

    def test_a_helper_and_a_map(self) -> None:
        """A helper gets what is in r1..r5; what it returns can be tested for NULL and used as an address."""
        counter, seen = bytearray(8), []

        def look_up(map_: MapReference, key: Pointer, *_others: object) -> Pointer:
            seen.append((map_.fd, key.read(4)))
            return Pointer(counter)

        items: list[Item] = [
            *(store(R10, -4, 3), move(R2, R10), alu(Op.ADD, R2, -4), *map_address(R1, 9), call(1)),
            *(jump_if(Compare.EQ, R0, 0, to="out"), move(R1, 40), add_atomically(R0, 0, R1), add_atomically(R0, 0, R1)),
            *(Label("out"), move(R0, 1), leave()),
        ]

        assert _run(items, helpers={1: look_up}) == 1
        assert (seen, counter) == ([(9, struct.pack("=I", 3))], bytearray(struct.pack("=Q", 80)))
        assert _run(items, helpers={1: lambda *_: 0}) == 1

    @pytest.mark.parametrize(
        ("items", "said"),
        [
            ([move(R0, 1)], "runs out"),
            ([leave()], "r0 is read before"),
            ([move(R0, R3), leave()], "r3 is read before"),
            ([load(R0, R1, 16), leave()], "4 bytes at 16"),
            ([load(R0, R10, 0), leave()], "4 bytes at 512"),
            ([move(R2, 1), load(R0, R2, 0), leave()], "not the address"),
            ([move(R0, R1), leave()], "used as a number"),
            ([call(7), leave()], "no helper 7"),
            ([call(1), move(R0, R1), leave()], "r1 is read before"),
            ([Label("x"), jump("x")], "does not end"),
            ([Instruction(0x04), leave()], "no such instruction"),
            ([Instruction(0x37, 10, 0, 0, 2), leave()], "no such instruction"),
            ([Instruction(0x65, 1), leave()], "no such instruction"),
            ([Instruction(0x18)], "no such instruction"),
        ],
    )
    def test_faults(self, items: list[Item], said: str) -> None:
        """What the verifier would have refused is a fault."""
        with pytest.raises(Fault, match=said):
            _run(items, helpers={1: lambda *_: 0})


def _blinded(instruction: Instruction, random: int, hidden: int) -> list[Instruction]:
    """Hide one instruction's number, as ``bpf_jit_blind_insn`` in kernel/bpf/core.c does."""
    kind, operation = instruction.code & 0x07, instruction.code & 0xF0
    if kind not in {0x05, 0x07} or instruction.code & 0x08 or (kind == 0x05 and operation in {0x00, 0x80, 0x90}):
        return [instruction]
    if kind == 0x07 and operation == Op.MOV and instruction.imm == 0:
        return [Instruction(0xAF, instruction.dst, instruction.dst)]
    other = attrs.evolve(instruction, code=instruction.code | 0x08, src=hidden, imm=0)
    return [Instruction(0xB7, hidden, 0, 0, instruction.imm ^ random), Instruction(0xA7, hidden, 0, 0, random), other]


class TestHardened:
    """Programs whose constants the kernel has hidden."""

    @CALM
    @given(st.integers(-(2**31), 2**31 - 1), st.sampled_from([11, 12]), st.data())
    def test_as_it_was_loaded(self, random: int, hidden: int, data: st.DataObject) -> None:
        """What was hidden is found again, and every jump goes where it went."""
        body: list[Item] = [
            *(load(R2, R1, 0), alu(Op.AND, R2, 0xFFFF), move(R3, R2), alu(Op.RSH, R3, 16)),
            *(jump_if(Compare.NE, R2, 7, to="no"), jump_if(Compare.NE, R2, R3, to="yes"), jump("no")),
            *(Label("yes"), move(R0, 1), leave(), Label("no"), move(R0, 0), leave()),
        ]
        order = data.draw(st.integers(0, 3))
        program = assemble([*body[:order], move(R2, 0), *body[order:]])
        parts = [_blinded(each, random, hidden) for each in program]
        starts = [sum(map(len, parts[:number])) for number in range(len(parts) + 1)]
        loaded: list[Instruction] = []
        for number, part in enumerate(parts):
            each = program[number]
            if each.offset and each.code & 0x07 == 0x05:
                target = starts[number + 1 + each.offset]
                part[-1] = attrs.evolve(part[-1], offset=target - starts[number] - len(part))
            loaded += part

        assert decode(revealed(encode(loaded))) == program

    def test_nothing_hidden(self) -> None:
        """A program in which nothing was hidden stays as it is."""
        code = encode(assemble([jump_if(Compare.NE, R1, 0, to="x"), move(R0, 1), Label("x"), move(R0, 5), leave()]))

        assert revealed(code) == code
