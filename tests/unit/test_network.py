"""The programs of controller ``net``, run without a kernel."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgctl import Net, UnsupportedError
from cgctl.bpf.assembly import R2, Instruction, decode, encode
from cgctl.bpf.machine import MapReference, Pointer, run
from cgctl.bpf.network import class_program, count_program, mark_program, number_in
from cgctl.layout import Layout
from tests.unit import CALM
from tests.unit.machine import Machine, v1, v2

_NUMBERS = st.integers(1, 2**32 - 1)
_LOOK_UP = 1


def _packet(**fields: int) -> bytearray:
    """Make a ``struct __sk_buff``; only what the programs look at is in it."""
    packet = bytearray(184)
    for name, value in fields.items():
        struct.pack_into("=I", packet, {"len": 0, "mark": 8, "priority": 32, "gso_segs": 164}[name], value)
    return packet


def _socket(mark: int) -> bytearray:
    """Make a ``struct bpf_sock``."""
    return bytearray(struct.pack("=4I2I", 0, 2, 1, 6, mark, 0).ljust(80, b"\0"))


class TestBesideV1:
    """On kernels before 5.15 v2's programs see no sockets once v1's controllers of traffic are used."""

    _OLD = b"ffffffff81000000 T cgroup_sk_alloc\nffffffff81000010 T cgroup_sk_alloc_disable\n"
    _NEW = b"ffffffff81000000 T cgroup_sk_alloc\nffffffff81000010 T cgroup_sk_free\n"

    def _plan(self, symbols: bytes, *v1s: str, **asked: Any) -> list[str]:
        machine = Machine(Layout((*(v1(name) for name in v1s), v2())))
        machine.files["/proc/kallsyms"] = symbols.decode()
        return machine.steps("a", net=Net(**asked))

    @pytest.mark.parametrize("asked", [{"mark": 7}, {"accounting": True}])
    @pytest.mark.parametrize("beside", ["net_cls", "net_prio"])
    def test_refused(self, asked: dict[str, Any], beside: str) -> None:
        """What would see nothing is refused, with the reason and the release that mends it."""
        with pytest.raises(UnsupportedError, match=r"net\.(mark|accounting) .*either its v2 group or its v1 class"):
            self._plan(self._OLD, beside, **asked)

    def test_a_class_on_v2(self) -> None:
        """A class that v2's programs are to give would not be given either, where only ``net_prio`` is mounted."""
        with pytest.raises(UnsupportedError, match=r"net\.classid"):
            self._plan(self._OLD, "net_prio", classid="1:10")

    @pytest.mark.parametrize(
        ("symbols", "beside", "asked"),
        [
            (_NEW, ("net_cls",), {"mark": 7, "accounting": True}),
            (_OLD, (), {"mark": 7, "accounting": True, "classid": "1:10"}),
            (_OLD, ("pids",), {"accounting": True}),
            (_OLD, ("net_cls",), {"classid": "1:10", "mark": 0, "accounting": False}),
        ],
    )
    def test_taken(self, symbols: bytes, beside: tuple[str, ...], asked: dict[str, Any]) -> None:
        """A newer kernel, a machine without those controllers, and what asks for no program."""
        assert self._plan(symbols, *beside, **asked)


class TestClass:
    """The class of packets."""

    @CALM
    @given(_NUMBERS, st.integers(0, 2**32 - 1))
    def test_the_nearest_group_gives_it(self, classid: int, priority: int) -> None:
        """A program's own priority, up to 15, gives way to the class; a class stays. Nothing is dropped."""
        packet = _packet(priority=priority, len=100, mark=7)

        assert run(class_program(classid), packet) == 1
        assert packet == _packet(priority=classid if priority <= 15 else priority, len=100, mark=7)

    def test_below_goes_first(self) -> None:
        """Of two groups with a class, the lower one's program runs first, and its class stays."""
        packet = _packet(priority=6)
        for classid in (0x10020, 0x10010):
            run(class_program(classid), packet)

        assert packet == _packet(priority=0x10020)


class TestMark:
    """The mark of sockets."""

    @CALM
    @given(_NUMBERS, st.integers(0, 2**32 - 1))
    def test_the_nearest_group_gives_it(self, mark: int, held: int) -> None:
        """A socket without a mark gets it; one with a mark keeps its own. Nothing is refused."""
        socket = _socket(held)

        assert run(mark_program(mark), socket) == 1
        assert socket == _socket(held or mark)


class TestCounters:
    """What is counted."""

    def _count(self, counters: bytearray, *packets: bytearray) -> None:
        def look_up(reference: MapReference, key: Pointer, *_: Any) -> Pointer | int:
            assert (reference.fd, key.read(4)) == (42, bytes(4))
            return Pointer(counters) if counters else 0

        for packet in packets:
            assert run(count_program(42), packet, helpers={_LOOK_UP: look_up}) == 1

    @CALM
    @given(st.lists(st.tuples(st.integers(20, 2**16), st.integers(0, 64)), max_size=5))
    def test_bytes_and_packets(self, packets: list[tuple[int, int]]) -> None:
        """Bytes are those of the packets; one that is to be cut counts as what it will be cut into."""
        counters = bytearray(16)
        self._count(counters, *(_packet(len=size, gso_segs=segments) for size, segments in packets))

        size, number = sum(size for size, _ in packets), sum(segments or 1 for _, segments in packets)
        assert struct.unpack("=2Q", counters) == (size, number)

    def test_without_counters(self) -> None:
        """Where the map cannot be reached, packets pass."""
        self._count(bytearray(), _packet(len=100))


class TestReadingBack:
    """A program's number, from its code."""

    @CALM
    @given(_NUMBERS)
    def test_number(self, number: int) -> None:
        """The number that a program was made with is found in it."""
        assert [number_in(make(number)) for make in (class_program, mark_program)] == [number, number]

    @pytest.mark.parametrize("code", [b"", encode([Instruction(0x95)]), class_program(1) * 2])
    def test_no_number(self, code: bytes) -> None:
        """In what is none of these programs there is no number, and several are none either."""
        assert number_in(code) is None

    def test_other_registers(self) -> None:
        """The verdict is no number of ours."""
        moves = [each for each in decode(mark_program(9)) if each.code == 0xB7]

        assert [(each.dst == R2, each.imm) for each in moves] == [(True, 9), (False, 1)]
