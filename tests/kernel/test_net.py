"""Classes of traffic, marks and counters, over a cable between two network namespaces of the test's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import cgctl
from cgctl import Net
from cgctl.bpf import attachment, syscall, traffic
from cgctl.bpf.attachment import Kind
from tests.kernel import lacks, payloads, scripts, wire
from tests.kernel.conftest import Make, ready
from tests.kernel.pace import PATIENCE_SEC, eventually
from tests.kernel.wire import FAR, Wire

pytestmark = pytest.mark.host

_HEADERS = 28  # IPv4 and UDP
_PACKET = 1000 + _HEADERS + 14
"""What a class counts of a datagram: with its headers, Ethernet's included."""
_KINDS = (traffic.CLASS.kind, traffic.MARK.kind, *traffic.COUNTERS.kinds.values())


@pytest.fixture(scope="module")
def cable() -> Iterator[Wire]:
    """Lay a cable with classes, and an echo at its far end; for all tests, because laying it takes a while."""
    lacks.require("host", "traffic classes", "net classes")
    with wire.laid() as cable:
        cable.divide({"1:10": 100, "1:20": 100}, by_group=_by_group())
        with wire.running(cable.at_far(payloads.echo(FAR))):
            yield cable


@attrs.frozen
class Talker:
    """A process in a group that sends datagrams when it is told to."""

    process: cgctl.Process

    def say(self, number: int = 1, size: int = 1000) -> int:
        """Have it send, and wait until all has come back; return its socket's mark."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"%d %d\n" % (number, size))
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


Talk = Callable[..., Talker]
Sent = Callable[[], dict[str, int]]


@pytest.fixture
def talk(cable: Wire, tidy: None) -> Iterator[Talk]:  # noqa: ARG001 - to end before it
    """Start talkers at the near end, each in a group."""
    begun = []

    def begin(group: cgctl.Group, **how: Any) -> Talker:
        argv = cable.at_near(payloads.talker(FAR, **how))
        process = group.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        begun.append(ready(process))
        begun[-1].__enter__()
        return Talker(process)

    yield begin
    for each in begun:
        each.__exit__(None, None, None)


def _by_group() -> bool:
    """Tell whether v1's groups are what ``tc`` sees."""
    return lacks.version_of("net_cls") == 1


def _net(group: cgctl.Group) -> cgctl.NetStats:
    net = group.stats("net").net
    assert net is not None
    return net


@pytest.fixture
def sent(cable: Wire) -> Callable[[], dict[str, int]]:
    """Return what tells how many bytes each class has let through since it was last asked, or since now."""
    before = cable.sent()

    def since() -> dict[str, int]:
        after = cable.sent()
        grown = {name: size - before[name] for name, size in after.items() if size != before[name]}
        before.update(after)
        return grown

    return since


def test_the_class_of_open_sockets_changes(make: Make, talk: Talk, sent: Sent) -> None:
    """What a group sends is in its class, from one update to the next, through sockets that are open already too."""
    group = make(net=0)
    talker = talk(group)
    for classid, into in ((0, "1:99"), ("1:10", "1:10"), (0x10020, "1:20"), (0, "1:99")):
        held = group.update(net=classid).net
        talker.say(10)

        assert sent() == {into: 10 * _PACKET}
        assert held is not None
        assert held.classid == cgctl.convert.parse_classid(classid)


def test_a_program_cannot_leave_its_class(make: Make, talk: Talk, sent: Sent) -> None:
    """A priority that a program gives its socket (SO_PRIORITY) does not change its class."""
    talk(make(net="1:10"), priority=6).say(10)

    assert sent() == {"1:10": 10 * _PACKET}


def test_the_nearest_class_counts(make: Make, talk: Talk, sent: Sent) -> None:
    """A group below one with a class is in that class, unless it has one of its own."""
    parent = make(net="1:10")
    talk(make(name="own", parent=parent, net="1:20")).say(1)
    talk(make(name="none", parent=parent)).say(10)

    assert sent() == {"1:20": _PACKET, "1:10": 10 * _PACKET}


class TestPriority:
    """v1's priorities by interface."""

    def test_others_stay(self, make: Make) -> None:
        """A group's map has all interfaces; those that are not named stay as they are."""
        lacks.require("v1 net_prio")
        group = make(net=Net(priority={"lo": 5}))
        held = group.limits().net

        assert held is not None
        assert held.priority is not None
        assert held.priority["lo"] == 5
        assert len(group.plan()) == 0
        assert group.update(net=Net(classid="1:10", priority={})).net == attrs.evolve(held, classid=0x10010)

    def test_unknown_interface(self, name: str, make: Make) -> None:
        """An interface that is not there is refused by its name, and leaves no group behind."""
        lacks.require("v1 net_prio")
        with pytest.raises(cgctl.StepError, match=r"ifpriomap: ENODEV .*no interface 'nosuch0' in the initial network"):
            make(name=name, net=Net(priority={"nosuch0": 5}))

        assert not cgctl.Group(name).exists()


class TestPrograms:
    """What is attached to a v2 group."""

    @pytest.fixture(autouse=True)
    def _on_v2(self) -> None:
        lacks.require("net")

    def _attached(self, group: cgctl.Group) -> list[tuple[syscall.Program, ...]]:
        """Return our programs of a group, by kind."""
        with syscall.closing(os.open(group.paths()["unified"], os.O_RDONLY | os.O_DIRECTORY)) as fd:
            return [attachment.look(fd, kind).ours for kind in _KINDS]

    def test_one_of_each_kind(self, make: Make) -> None:
        """After each update there is one program of each kind that is asked for, and those of others are left alone."""
        kind = attrs.evolve(traffic.MARK.kind, name="somebody")
        group = make(net=Net())
        with syscall.closing(os.open(group.paths()["unified"], os.O_RDONLY | os.O_DIRECTORY)) as fd:
            attachment.put(fd, kind, traffic.MARK.make(1))
        (first, *_) = _programs(group, kind)
        v2_class = not _by_group()
        for number in range(1, 21):
            group.update(net=Net(classid=number << 16, mark=number, accounting=True))

            assert [len(ours) for ours in self._attached(group)] == [int(v2_class), 1, 1, 1]
        assert _programs(group, kind) == (first,)
        assert len(group.plan()) == 0
        group.update(net=Net(classid=0, mark=0, accounting=False))
        assert self._attached(group) == [(), (), (), ()]
        assert _programs(group, kind) == (first,)

    def test_plan_of_what_is_held(self, make: Make) -> None:
        """What is attached already is not attached again: the plan is empty, and the programs are the same."""
        group = make(net=Net(mark=7, accounting=True))
        before = self._attached(group)
        held = group.update(net=Net(mark=7, accounting=True)).net

        assert held is not None
        assert (held.mark, held.accounting) == (7, True)
        assert len(group.plan()) == 0
        assert self._attached(group) == before

    def test_gone_with_the_group(self, make: Make) -> None:
        """Programs and counters are gone with their group."""
        group = make(net=Net(classid="1:10", mark=7, accounting=True))
        programs = [program for ours in self._attached(group) for program in ours]
        group.remove()

        assert eventually(lambda: not any(map(_is_loaded, programs)))

    def test_killed_in_the_middle(self, make: Make) -> None:
        """A process that is killed while it changes programs leaves what the next update puts right."""
        group = make(net=Net())
        script = """
            group = cgctl.Group(sys.argv[1])
            tell(ready=True)
            for number in range(1, 10_000):
                group.update(net=cgctl.Net(classid=number << 16, mark=number, accounting=number % 2 == 0))
        """
        with scripts.start(script, group.name) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert eventually(lambda: any(self._attached(group)))
            process.send_signal(signal.SIGKILL)
            process.wait()
        group.update(net=Net(classid="1:10", mark=3, accounting=True))

        assert [len(ours) for ours in self._attached(group)] == [int(not _by_group()), 1, 1, 1]

    def test_an_ordinary_user_may_look(self, make: Make) -> None:
        """Who may not see programs is told nothing of them, and that attaching one takes root."""
        group = make(net=Net(mark=7, accounting=True))
        facts = scripts.run(
            """
            # Before the interpreter's own files may be out of reach.
            import cgctl.bpf.files, cgctl.controllers, cgctl.group
            [*cgctl.controllers.CONTROLLERS.values()]
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
            group = cgctl.Group(sys.argv[1])
            tell(stats=repr(group.stats().net), mark=repr(group.limits().net.mark))
            try:
                group.update(net=cgctl.Net(mark=8))
            except cgctl.CgctlError as error:
                tell(error=str(error))
            """,
            f"/{group.paths()['unified'].removeprefix(lacks.hierarchies()['v2']).lstrip('/')}",
        )

        assert (facts["stats"], facts["mark"]) == ("None", "None")
        assert "run as root" in facts["error"]


class TestMark:
    """The mark of sockets."""

    def test_new_sockets_have_it(self, make: Make, talk: Talk) -> None:
        """Sockets have the mark of the nearest group that has one as they are made, and keep it."""
        lacks.require("net")
        parent = make(net=Net(mark="0x2a"))
        talker, below = talk(parent), talk(make(name="own", parent=parent, net=Net(mark=7)))
        parent.update(net=Net(mark=43))

        assert [talker.say(), below.say(), talk(parent).say()] == [42, 7, 43]


class TestAccounting:
    """Bytes and packets, counted."""

    @pytest.fixture(autouse=True)
    def _on_v2(self) -> None:
        lacks.require("net")

    def test_datagrams_are_counted_exactly(self, make: Make, talk: Talk) -> None:
        """So many packets, and their bytes with IP and UDP headers, both ways; on and off, and from zero again."""
        group = make(net=Net(accounting=True))
        talker = talk(group)
        talker.say(10, 1000)
        talker.say(5, 1)
        size = 10 * (1000 + _HEADERS) + 5 * (1 + _HEADERS)

        assert _net(group) == cgctl.NetStats(rx_bytes=size, tx_bytes=size, rx_packets=15, tx_packets=15)
        group.update(net=Net(classid="1:10", mark=7))
        assert _net(group).tx_packets == 15
        group.update(net=Net(accounting=False))
        talker.say()
        assert group.stats("net").net is None
        group.update(net=Net(accounting=True))
        talker.say()
        assert _net(group).tx_packets == 1

    def test_a_group_counts_what_is_below_it(self, make: Make, talk: Talk) -> None:
        """A group counts for itself, and for those below; not for its siblings."""
        parent = make(net=Net(accounting=True))
        child = make(name="child", parent=parent, net=Net(accounting=True))
        sibling = make(net=Net(accounting=True))
        talk(child).say(3)
        talk(parent).say(4)

        assert [_net(group).tx_packets for group in (parent, child, sibling)] == [7, 3, 0]

    def test_a_stream_is_counted_within_headers(self, cable: Wire, make: Make) -> None:
        """Of a TCP connection: all bytes of the data, and no more than headers beside them."""
        group = make(net=Net(accounting=True))
        with wire.running(cable.at_far(payloads.receiver(FAR, 1))) as receiver:
            done = group.run(cable.at_near(payloads.sender(FAR, "a", 0.3)), capture_output=True)
            ((_, size),) = json.loads(receiver.communicate(timeout=PATIENCE_SEC)[0]).values()
        net = _net(group)

        assert done.returncode == 0
        assert net.tx_bytes is not None
        assert net.tx_packets is not None
        assert net.rx_bytes is not None
        assert size <= net.tx_bytes <= size + 60 * net.tx_packets
        assert size / 1448 <= net.tx_packets <= size / 1448 + size / (1 << 14) + 10
        assert 0 < net.rx_bytes < size / 4

    def test_another_process_reads_it(self, make: Make, talk: Talk) -> None:
        """The counters are the group's, not those of the process that asked for them; ``cgctl stat`` shows them."""
        group = make(net=Net(accounting=True))
        talk(group).say(10, 1000)
        argv = [sys.executable, "-m", "cgctl", "stat", group.name, "net"]
        shown = subprocess.run(argv, check=True, capture_output=True, text=True).stdout

        assert shown.split() == [
            *("net.rx_bytes", "10.0K", "net.tx_bytes", "10.0K", "net.rx_packets", "10", "net.tx_packets", "10"),
        ]

    def test_a_run_tells_its_own(self, cable: Wire) -> None:
        """The statistics of a run have what it sent."""
        argv = cable.at_near(payloads.talker(FAR))
        done = cgctl.run(argv, input=b"3 100\n", capture_output=True, net=Net(accounting=True))

        assert done.stats.net is not None
        assert done.stats.net.tx_bytes == 3 * (100 + _HEADERS)


class TestBesideV1:
    """On a machine whose v1 controllers of traffic are mounted beside v2."""

    @pytest.fixture(autouse=True)
    def _on_both(self) -> None:
        lacks.require("net beside v1")

    def test_both_at_once(self, make: Make, talk: Talk, sent: Sent) -> None:
        """A class by v1, a mark and counters by v2: what is sent is in the class, marked and counted."""
        lacks.require("net")
        group = make(net=Net(classid="1:10", mark=7, accounting=True))
        talker = talk(group)

        assert talker.say(10) == 7
        assert sent() == {"1:10": 10 * _PACKET}
        assert _net(group).tx_packets == 10

    @pytest.mark.parametrize("asked", [{"mark": 7}, {"accounting": True}, {"accounting": True, "classid": "1:10"}])
    def test_where_v1_ends_it(self, asked: dict[str, Any], name: str, make: Make) -> None:
        """Before 5.15 what would see nothing is refused, in a new group and in one that is there; a class is had."""
        if lacks.FEATURES["net"].probe():
            pytest.skip("net beside v1: since Linux 5.15 both work at once")
        group = make(name=name, net=Net(classid="1:10", mark=0, accounting=False))
        with pytest.raises(cgctl.UnsupportedError, match=r"before Linux 5\.15 a socket has either .* unmount both"):
            group.update(net=Net(**asked))
        with pytest.raises(cgctl.UnsupportedError, match="net_cls or net_prio"):
            make(name=f"{name}-b", net=Net(**asked))

        assert not cgctl.Group(f"{name}-b").exists()
        assert getattr(group.limits().net, "classid", None) == 0x10010


def _programs(group: cgctl.Group, kind: Kind) -> tuple[int, ...]:
    with syscall.closing(os.open(group.paths()["unified"], os.O_RDONLY | os.O_DIRECTORY)) as fd:
        return tuple(program.id for program in attachment.look(fd, kind).ours)


def _is_loaded(program: syscall.Program) -> bool:
    try:
        os.close(syscall.open_program(program.id))
    except FileNotFoundError:
        return False
    return True
