"""Device nodes and network traffic on the kernel in memory: what groups allow, and what they count."""

from __future__ import annotations

from typing import Literal

import pytest

import cgctl
from cgctl.testing import FakeSystem

LAYOUTS: tuple[Literal["v1", "v2", "hybrid"], ...] = ("v1", "v2", "hybrid")


@pytest.fixture(params=LAYOUTS)
def system(request: pytest.FixtureRequest) -> FakeSystem:
    """A machine in memory, of each layout."""
    return FakeSystem(request.param, kernel="6.1")


class TestDevices:
    """v1's ``devices.list``, and v2's program."""

    def test_only_what_is_allowed(self, system: FakeSystem) -> None:
        """By name or by numbers, in each way by itself."""
        group = cgctl.Group("p1", devices=["null", "urandom r", "c 5:* m"], system=system).create()
        task = system.kernel.spawn(group)
        task.open("/dev/null", "rw")
        task.open("/dev/urandom")
        task.open("c 5:7", "m")

        for node, mode in (("/dev/urandom", "rw"), ("/dev/zero", "r"), ("c 5:7", "r"), ("b 8:0", "r")):
            with pytest.raises(PermissionError):
                task.open(node, mode)

    def test_all_but_what_is_denied(self, system: FakeSystem) -> None:
        """The other way round."""
        group = cgctl.Group("p1", devices=cgctl.Devices(default="allow", deny=["zero w"]), system=system).create()
        task = system.kernel.spawn(group)
        task.open("/dev/zero", "r")

        with pytest.raises(PermissionError):
            task.open("/dev/zero", "rw")

    def test_groups_above_count_too(self, system: FakeSystem) -> None:
        """What one of them denies is denied."""
        parent = cgctl.Group("p1", devices=["null", "zero"], system=system).create()
        child = parent.group("a", devices=["null"]).create()
        child.update(devices=["null"])
        task = system.kernel.spawn(child)
        task.open("/dev/null")
        for node in ("/dev/zero", "/dev/full"):
            with pytest.raises(PermissionError):
                task.open(node)

    def test_traffic_needs_it(self, system: FakeSystem) -> None:
        """Who may not open a disk reads nothing from it."""
        task = system.kernel.spawn(cgctl.Group("p1", devices=["b 8:0 r"], system=system).create())
        task.read("8:0", "1M")
        with pytest.raises(PermissionError):
            task.write("8:0", "1M")

    def test_nonsense(self, system: FakeSystem) -> None:
        """Nodes that are not there, and what is none."""
        task = system.kernel.spawn()
        with pytest.raises(FileNotFoundError):
            task.open("/dev/nosuch")
        for node, mode in (("null", "r"), ("/dev/null", "x"), ("/dev/null", "")):
            with pytest.raises(cgctl.SpecError):
                task.open(node, mode)


class TestNetworks:
    """What v2's programs count."""

    def test_where_it_is_counted(self) -> None:
        """In the group and above, from when it is switched on."""
        system = FakeSystem("v2")
        parent = cgctl.Group("p1", net=cgctl.Net(accounting=True), system=system).create()
        child = parent.group("a", pids=5).create()
        task = system.kernel.spawn(child)
        task.send(3000)
        child.update(net=cgctl.Net(accounting=True))
        task.send("1M", packets=700)
        task.receive(1501)

        stats = [group.stats("net").net for group in (parent, child)]
        assert stats == [
            cgctl.NetStats(tx_bytes=1_051_576, tx_packets=702, rx_bytes=1501, rx_packets=2),
            cgctl.NetStats(tx_bytes=1_048_576, tx_packets=700, rx_bytes=1501, rx_packets=2),
        ]

    def test_switched_off(self) -> None:
        """Counters are gone with the programs, and begin anew."""
        system = FakeSystem("v2")
        group = cgctl.Group("p1", net=cgctl.Net(accounting=True), system=system).create()
        task = system.kernel.spawn(group)
        task.send(1000)
        group.update(net=cgctl.Net(accounting=False))
        assert group.stats("net").net in (None, cgctl.NetStats())
        group.update(net=cgctl.Net(accounting=True))

        assert group.stats("net").net == cgctl.NetStats(tx_bytes=0, tx_packets=0, rx_bytes=0, rx_packets=0)

    def test_classes_and_marks(self) -> None:
        """They are read back."""
        system = FakeSystem("v2")
        group = cgctl.Group("p1", net=cgctl.Net(classid="1:10", mark=7), system=system).create()
        net = group.limits().net

        assert net is not None
        assert (net.classid, net.mark, net.accounting) == (0x10010, 7, False)

    @pytest.mark.parametrize("text", ["-1", "abc", "4294967296", "1 2", "²"])
    @pytest.mark.parametrize("name", ["@net_class", "@net_counters", "@net_mark"])
    def test_nonsense(self, name: str, text: str) -> None:
        """As for real ones, ``EINVAL``."""
        kernel = FakeSystem("v2").kernel
        kernel.mkdir("/sys/fs/cgroup/a")
        with pytest.raises(OSError, match="Invalid argument"):
            kernel.write(f"/sys/fs/cgroup/a/{name}", text.encode())

    def test_packets(self) -> None:
        """A packet has a byte or more."""
        task = FakeSystem("v2").kernel.spawn()
        for packets in (0, -1, 11):
            with pytest.raises(cgctl.SpecError, match="packets="):
                task.send(10, packets)
        task.send(0)
