"""Device rules as a program of type BPF_PROG_TYPE_CGROUP_DEVICE, and back. Pure.

The kernel asks it with ``struct bpf_cgroup_dev_ctx``: the access in the upper half of the first word (1: mknod,
2: read, 4: write) and the type of the node in the lower (1: block, 2: character); major; minor. 1 allows.

The program has one block for each rule, the rules to deny first::

    r2 = type; r3 = access; r4 = major; r5 = minor
    if type, major, minor or access is another, go to the next block
    r0 = verdict; leave

Blocks are made of what a rule says and of nothing else, and canonical rules leave no instruction that the verifier
would find dead; so what the kernel gives back is what was loaded, and the rules can be read from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from cgctl.bpf.assembly import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    Class,
    Compare,
    Instruction,
    Item,
    Label,
    Op,
    X,
    alu,
    assemble,
    decode,
    encode,
    jump_if,
    leave,
    load,
    move,
)
from cgctl.controllers.devices import DeviceRule, Devices

__all__ = ["ACCESS", "TYPES", "compile_rules", "read_rules"]

ACCESS: Final = {"m": 1, "r": 2, "w": 4}
"""``BPF_DEVCG_ACC_*``."""
TYPES: Final = {"b": 1, "c": 2}
"""``BPF_DEVCG_DEV_*``."""

_ALL: Final = 7
_START: Final = (
    load(R2, R1, 0),
    move(R3, R2),
    alu(Op.RSH, R3, 16),
    alu(Op.AND, R2, 0xFFFF),
    load(R4, R1, 4),
    load(R5, R1, 8),
)
_VERDICTS: Final = {"deny": 0, "allow": 1}
_JUMP_IF_NOT: Final = Class.JMP | Compare.NE
_SET: Final = Class.ALU64 | Op.MOV
_NOT_OURS: Final = "it is no program of device rules"


def compile_rules(devices: Devices) -> bytes:
    """Make the program.

    Args:
        devices: rules that say something, without paths.
    """
    rules = [("deny", rule) for rule in devices.deny or ()] + [("allow", rule) for rule in devices.allow or ()]
    items: list[Item] = [*_START]
    for number, (verdict, rule) in enumerate(rules):
        items += _block(verdict, rule, f"after {number}")
    items += (move(R0, _VERDICTS[devices.default or "allow"]), leave())
    return encode(assemble(items))


def _block(verdict: str, rule: DeviceRule, after: str) -> Iterator[Item]:
    yield jump_if(Compare.NE, R2, TYPES[rule.type], after)
    if rule.major != "*":
        yield jump_if(Compare.NE, R4, rule.major, after)
    if rule.minor != "*":
        yield jump_if(Compare.NE, R5, rule.minor, after)
    access = sum(ACCESS[letter] for letter in rule.access)
    if access != _ALL:
        # To be denied, some of it is enough; to be allowed, nothing else may be asked for.
        yield move(R0, R3)
        yield alu(Op.AND, R0, access if verdict == "deny" else _ALL & ~access)
        yield jump_if(Compare.EQ if verdict == "deny" else Compare.NE, R0, 0, after)
    yield move(R0, _VERDICTS[verdict])
    yield leave()
    yield Label(after)


def read_rules(code: bytes) -> Devices:
    """Read the rules from a program.

    Raises:
        ValueError: :func:`compile_rules` makes no such program.
    """
    reader = _Reader(decode(code)[len(_START) :])
    rules: dict[int, list[DeviceRule]] = {0: [], 1: []}
    while (kind := reader.take(_JUMP_IF_NOT, R2)) is not None:
        verdict, rule = _read_block(reader, kind)
        rules[verdict].append(rule)
    default = "allow" if reader.take(_SET, R0) else "deny"
    devices = Devices(default=default, allow=rules[1] if default == "deny" else (), deny=rules[0])
    # However it was read, it is ours only if this is what we would have made.
    if compile_rules(devices) != code:
        raise ValueError(_NOT_OURS)
    return devices


def _read_block(reader: _Reader, kind: int) -> tuple[int, DeviceRule]:
    major, minor = reader.take(_JUMP_IF_NOT, R4), reader.take(_JUMP_IF_NOT, R5)
    mask = None
    if reader.take(_SET | X, R0) is not None:
        mask = reader.take(Class.ALU64 | Op.AND, R0)
        reader.take(Class.JMP | Compare.EQ, R0)
        reader.take(_JUMP_IF_NOT, R0)
    verdict = reader.take(_SET, R0)
    reader.take(leave().code, R0)
    access = _ALL if mask is None else _ALL & ~mask if verdict else mask
    letters = "".join(letter for letter, bit in ACCESS.items() if access & bit)
    if kind not in TYPES.values() or not letters:
        raise ValueError(_NOT_OURS)
    (name,) = (name for name, number in TYPES.items() if number == kind)
    rule = DeviceRule(name, "*" if major is None else major, "*" if minor is None else minor, letters)
    return verdict or 0, rule


@attrs.define
class _Reader:
    program: tuple[Instruction, ...]
    at: int = 0

    def take(self, code: int, register: int) -> int | None:
        """Go past the next instruction if it is this one, on this register; return its number, or ``None``."""
        if self.at < len(self.program):
            instruction = self.program[self.at]
            if (instruction.code, instruction.dst) == (code, register):
                self.at += 1
                return instruction.imm
        return None
