"""Filters of system calls without a kernel: what each call is answered, and the instructions that say so."""

from __future__ import annotations

import functools
import re
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cgctl
from cgctl.bpf.assembly import Compare
from cgctl.bpf.classic import Item, Label, assemble, encode, jump, jump_if, leave, load, mask, run
from cgctl.bpf.machine import Fault
from cgctl.launch.capabilities import CAPABILITIES
from cgctl.launch.plan import plan
from cgctl.launch.seccomp import ABIS, CALLS, DENIED, LAST, compile_filter
from tests.require import skip_unless
from tests.unit import CALM

ALLOW, EPERM, ENOSYS = 0x7FFF_0000, 0x0005_0001, 0x0005_0026
X86_64, I386, AARCH64 = ABIS
ABI = st.sampled_from(ABIS)
CAPS = st.frozensets(st.sampled_from(CAPABILITIES), max_size=4).map(sorted).map(tuple)
# Whatever the upper half of an argument is: the kernel does not look at it.
WORD = st.integers(0, 2**64 - 1)
FLAGS = st.one_of(WORD, st.sampled_from([0, 17, 0x1000_0000, 0x0002_0000, 0x80, 0x5412, 0x541C, 40, 6, 37, 2**32 + 40]))

UNISTD = {
    "x86_64": (0, ("/usr/include/asm/unistd_64.h", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h")),
    "i386": (1, ("/usr/include/asm/unistd_32.h", "/usr/include/x86_64-linux-gnu/asm/unistd_32.h")),
    "aarch64": (2, ("/usr/include/asm-generic/unistd.h",)),
}


@functools.cache
def with_each() -> dict[str, bytes]:
    """Make the filter of each capability."""
    return {capability: compile_filter("default", (capability,)) for capability in CAPABILITIES}


def answer(code: bytes, audit: int, number: int, *arguments: int) -> int:
    """Ask a filter about one call."""
    six = [*arguments, *[0] * (6 - len(arguments))]
    return run(code, struct.pack("=IIQ6Q", number & 0xFFFF_FFFF, audit, 0x1234, *six))


def expected(profile: str, keep: tuple[str, ...], column: int, number: int, arguments: list[int]) -> int:
    """Answer by the table, as a person reads it."""
    low = [argument & 0xFFFF_FFFF for argument in arguments]
    names = {name for name, numbers in CALLS.items() if numbers[column] == number}
    admin = "SYS_ADMIN" in keep
    locks = {5, 6, 7, 12, 13, 14, 36, 37, 38, 1024, 1025, 1026}
    if number > LAST or "socketcall" in names or ("clone3" in names and not admin):
        return ENOSYS
    refused = (
        any(name in DENIED and not DENIED[name] & set(keep) for name in names)
        or ("ioctl" in names and low[1] in {0x5412, 0x541C})
        or ("socket" in names and low[0] == 40)
        or ("personality" in names and low[0] != 0xFFFF_FFFF and low[0] | 0x20008 != 0x20008)
        or ("clone" in names and not admin and low[0] & 0x7E02_0000)
        or ("unshare" in names and not admin and low[0] & 0x7E02_0080)
        or ("flock" in names and profile == "strict")
        or ("fcntl" in names | {name[:5] for name in names} and profile == "strict" and low[1] in locks)
    )
    return EPERM if refused else ALLOW


class TestAnswers:
    """What a filter says."""

    @CALM
    @given(profile=st.sampled_from(["default", "strict"]), keep=CAPS, abi=ABI, data=st.data())
    def test_as_the_table_says(
        self, profile: str, keep: tuple[str, ...], abi: tuple[int, int], data: st.DataObject
    ) -> None:
        """Every call with every argument, in all three ways to call."""
        audit, column = abi
        listed = sorted(number for numbers in CALLS.values() if (number := numbers[column]) is not None)
        number = data.draw(st.one_of(st.sampled_from(listed), st.integers(0, LAST + 40), st.integers(0, 2**32 - 1)))
        arguments = data.draw(st.lists(FLAGS, min_size=6, max_size=6))

        found = answer(compile_filter(profile, keep), audit, number, *arguments)

        assert found == expected(profile, keep, column, number, arguments)

    @pytest.mark.parametrize("audit", [0, 0x4000_00B7, 0xC000_00F3, 0xC000_003F])
    def test_other_ways_to_call(self, audit: int) -> None:
        """For these there are no numbers, so there are no calls."""
        assert answer(compile_filter("default", ()), audit, 39) == ENOSYS

    def test_x32(self) -> None:
        """x86_64's third way, whose numbers have a bit of their own."""
        assert answer(compile_filter("default", ()), X86_64.audit, 0x4000_0000 | 39) == ENOSYS

    @pytest.mark.parametrize(
        ("number", "arguments", "verdict"),
        [
            (59, (), ALLOW),  # execve
            (56, (0x0120_0011,), ALLOW),  # fork, as a C library does
            (56, (0x003D_0F00,), ALLOW),  # a thread
            (56, (0x1000_0011,), EPERM),  # with a user namespace
            (272, (0x1000_0000,), EPERM),
            (272, (0x80,), EPERM),  # a time namespace
            (272, (0x400,), ALLOW),  # just its descriptors
            (435, (), ENOSYS),
            (16, (0, 0x5412), EPERM),  # TIOCSTI
            (16, (0, 0xFFFF_FFFF_0000_5412), EPERM),  # CVE-2019-10063: the upper half is not looked at by the kernel
            (16, (0, 0x5413), ALLOW),  # TIOCGWINSZ
            (135, (0xFFFF_FFFF,), ALLOW),
            (135, (0x0004_0000,), EPERM),  # ADDR_NO_RANDOMIZE
            (135, (0x0002_0008,), ALLOW),
        ],
    )
    def test_on_x86_64(self, number: int, arguments: tuple[int, ...], verdict: int) -> None:
        """Some that are written down."""
        assert answer(compile_filter("default", ()), X86_64.audit, number, *arguments) == verdict

    @pytest.mark.parametrize("name", sorted(DENIED))
    def test_capabilities_leave_alone_what_they_are_for(self, name: str) -> None:
        """Who may mount may mount; some calls are nobody's."""
        for audit, column in ABIS:
            number = CALLS[name][column]
            if number is not None:
                assert answer(compile_filter("default", ()), audit, number) == EPERM
                for capability, code in with_each().items():
                    wanted = ALLOW if capability in DENIED[name] else EPERM
                    assert answer(code, audit, number) == wanted

    def test_tables_agree(self) -> None:
        """Every name has a number, and no number two names."""
        assert set(DENIED) <= set(CALLS)
        assert set().union(*DENIED.values()) <= set(CAPABILITIES)
        for column in range(3):
            numbers = [numbers[column] for numbers in CALLS.values() if numbers[column] is not None]
            assert len(numbers) == len(set(numbers))

    @pytest.mark.parametrize("machine", UNISTD)
    def test_numbers_are_the_kernels(self, machine: str) -> None:
        """As its headers have them, where they are installed; those that are newer than they have one everywhere."""
        column, places = UNISTD[machine]
        path = next((place for place in map(Path, places) if place.exists()), None)
        skip_unless("headers", None if path else f"none of {', '.join(places)} is there (package linux-libc-dev)")
        assert path is not None
        text = path.read_text(encoding="utf-8")
        numbers = {
            name: int(number)
            for name, number in re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", text, re.MULTILINE)
        }

        for name, known in CALLS.items():
            if known[column] is not None and name != "open_tree_attr":  # 6.15
                assert numbers[name] == known[column]


class TestClassic:
    """The assembler and its machine."""

    @pytest.mark.skipif(sys.byteorder != "little", reason="the bytes are written down for little endian")
    @pytest.mark.parametrize(
        ("items", "code"),
        [
            # As the macros BPF_STMT and BPF_JUMP of <linux/filter.h> make them.
            ([load(4)], "2000000004000000"),
            ([mask(0xFF)], "54000000ff000000"),
            ([leave(0x7FFF_0000)], "060000000000ff7f"),
            ([jump_if(Compare.EQ, 59, "x"), leave(0), Label("x")], "150001003b000000" + "0600000000000000"),
            ([jump_if(Compare.GT, 1, "x"), leave(0), Label("x")], "2500010001000000" + "0600000000000000"),
            ([jump_if(Compare.SET, 1, "x"), leave(0), Label("x")], "4500010001000000" + "0600000000000000"),
            ([jump("x"), leave(0), Label("x")], "0500000001000000" + "0600000000000000"),
        ],
    )
    def test_bytes(self, items: list[Item], code: str) -> None:
        """Each kind of instruction."""
        assert encode(assemble(items)).hex() == code

    @CALM
    @given(held=st.integers(0, 2**32 - 1), value=st.integers(0, 2**32 - 1), bits=st.integers(0, 2**32 - 1))
    def test_comparisons(self, held: int, value: int, bits: int) -> None:
        """Unsigned, of 32 bits."""
        tests = {
            Compare.EQ: held & bits == value,
            Compare.GT: held & bits > value,
            Compare.GE: held & bits >= value,
            Compare.SET: held & bits & value != 0,
        }
        for test, true in tests.items():
            code = encode(
                assemble([load(0), mask(bits), jump_if(test, value, "yes"), leave(0), Label("yes"), leave(1)])
            )
            assert run(code, struct.pack("=I", held)) == true

    @pytest.mark.parametrize(
        ("items", "words"),
        [
            ([jump("x")], "there is no label 'x'"),
            ([Label("x"), Label("x")], "'x' is there twice"),
            ([Label("x"), jump("x")], "is -1 instructions away"),
            ([jump_if(Compare.EQ, 0, "x"), *[leave(0)] * 256, Label("x")], "is 256 instructions away"),
            ([leave(0)] * 4097, "4097 instructions; the kernel takes 4096"),
        ],
    )
    def test_what_cannot_be_assembled(self, items: list[Item], words: str) -> None:
        """It is said."""
        with pytest.raises(ValueError, match=words):
            assemble(items)

    def test_values(self) -> None:
        """32 bits, and only those comparisons that there are."""
        with pytest.raises(ValueError, match="does not fit"):
            leave(1 << 32)
        with pytest.raises(ValueError, match="no comparison NE"):
            jump_if(Compare.NE, 0, "x")

    @pytest.mark.parametrize(
        "code",
        [
            b"",
            encode(assemble([load(0)])),
            encode(assemble([load(2), leave(0)])),
            encode(assemble([load(4), leave(0)])),
            encode(assemble([mask(1), leave(0)])),
            struct.pack("=HBBI", 0x04, 0, 0, 1) + encode([leave(0)]),
            encode([load(0)]) + struct.pack("=HBBI", 0x04, 0, 0, 1),
        ],
    )
    def test_faults(self, code: bytes) -> None:
        """What the kernel would refuse to load."""
        with pytest.raises(Fault):
            run(code, bytes(4))


class TestSandbox:
    """Which filter a sandbox has."""

    @pytest.mark.parametrize(
        ("keywords", "profile", "privileges"),
        [
            ({}, "unconfined", False),
            ({"namespaces": ["pid"]}, "default", True),
            ({"root": "/"}, "default", True),
            ({"namespaces": ["pid"], "no_new_privs": False}, "unconfined", False),
            ({"namespaces": ["pid"], "seccomp": "unconfined"}, "unconfined", True),
            ({"namespaces": ["pid"], "seccomp": "strict"}, "strict", True),
            ({"seccomp": "default"}, "default", True),
        ],
    )
    def test_profiles(self, keywords: dict[str, object], profile: str, *, privileges: bool) -> None:
        """With a namespace or a root, and where programs can gain nothing."""
        sandbox = cgctl.Sandbox(**keywords)  # type: ignore[arg-type]
        verbs = [step.verb for step in plan(sandbox)]

        assert (sandbox.profile, sandbox.gains_nothing) == (profile, privileges)
        assert ("seccomp" in verbs, "no_new_privs" in verbs) == (profile != "unconfined", privileges)
        assert "seccomp" not in verbs or verbs[-1] == "seccomp"

    @pytest.mark.parametrize(
        ("keywords", "words"),
        [
            ({"seccomp": "docker"}, "seccomp='docker': it is 'default', 'strict'"),
            ({"seccomp": True}, "seccomp=True: it is"),
            ({"seccomp": "strict", "no_new_privs": False}, "seccomp='strict' with no_new_privs=False"),
        ],
    )
    def test_nonsense(self, keywords: dict[str, object], words: str) -> None:
        """It is said before anything is touched."""
        with pytest.raises(cgctl.SpecError, match=words):
            cgctl.Sandbox(**keywords)  # type: ignore[arg-type]
