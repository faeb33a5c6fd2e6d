"""Limits in systemd's words."""

from __future__ import annotations

from typing import Any

import pytest

from cgctl import MAX, Cpu, Cpuset, Devices, Io, IoMax, Memory, Pids, UnsupportedError
from cgctl.systemd.properties import Property, properties

_INFINITY = 18446744073709551615


@pytest.mark.parametrize(
    ("specs", "found"),
    [
        ({"memory": Memory(max="100M", swap_max=0)}, [("MemoryMax", ("t", 100 << 20)), ("MemorySwapMax", ("t", 0))]),
        ({"memory": Memory(high=MAX)}, [("MemoryHigh", ("t", _INFINITY))]),
        ({"memory": Memory.shorthand("1M")}, [("MemoryMax", ("t", 1 << 20)), ("MemorySwapMax", ("t", 0))]),
        ({"cpu": Cpu(max=1.5, weight=200)}, [("CPUQuotaPerSecUSec", ("t", 1_500_000)), ("CPUWeight", ("t", 200))]),
        ({"cpu": Cpu(max=MAX, period_usec=5000)},
         [("CPUQuotaPerSecUSec", ("t", _INFINITY)), ("CPUQuotaPeriodUSec", ("t", 5000))]),
        ({"cpuset": Cpuset(cpus="0-1,9", mems="0")}, [("AllowedCPUs", ("ay", b"\x03\x02")),
                                                        ("AllowedMemoryNodes", ("ay", b"\x01"))]),
        ({"pids": Pids(max=5), "memory": Memory()}, [("TasksMax", ("t", 5))]),
        ({"devices": Devices(allow=["c 1:3 rw", "b", "/dev/vdb r"])},
         [("DeviceAllow", ("a(ss)", [])),
          ("DeviceAllow", ("a(ss)", [("block-*", "rwm"), ("/dev/char/1:3", "rw"), ("/dev/vdb", "r")])),
          ("DevicePolicy", ("s", "strict"))]),
        ({"io": Io(weight=50, max={"/dev/vda": "1M", "8:0": IoMax(riops=MAX)})},
         [("IOWeight", ("t", 50)),
          ("IOReadBandwidthMax", ("a(st)", [("/dev/vda", 1 << 20)])),
          ("IOWriteBandwidthMax", ("a(st)", [("/dev/vda", 1 << 20)])),
          ("IOReadIOPSMax", ("a(st)", [("/dev/block/8:0", _INFINITY)]))]),
        ({"devices": Devices(default="allow")}, [("DeviceAllow", ("a(ss)", [])), ("DevicePolicy", ("s", "auto"))]),
    ],
)  # fmt: skip
def test_properties(specs: dict[str, Any], found: list[Property]) -> None:
    """Each setting has one property; of devices, the list goes before the policy."""
    assert properties(specs) == found


@pytest.mark.parametrize(
    ("specs", "feature"),
    [
        ({"cpu": Cpu(burst_usec=1)}, "cpu.burst_usec"),
        ({"memory": Memory(oom_group=True)}, "memory.oom_group"),
        ({"devices": Devices(deny=["null"])}, "devices.deny"),
        ({"devices": Devices(allow=["c 136:* rw"])}, "devices.allow of c 136:* rw"),
    ],
)
def test_what_systemd_has_not(specs: dict[str, Any], feature: str) -> None:
    """What systemd has no property for is refused by its name."""
    with pytest.raises(UnsupportedError) as caught:
        properties(specs)

    assert caught.value.feature == feature
