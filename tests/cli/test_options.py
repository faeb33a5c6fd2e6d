"""Flags of docker's, as specs of cgctl's."""

from __future__ import annotations

import shlex
from typing import Any

import click
import pytest
from click.testing import CliRunner

import cgctl
from cgctl.cli.options import limit_options, limits_of
from cgctl.controllers import parse_specs

_WEIGHT: dict[str, int | str] = {"/dev/vda": 10_000}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("-m 512m", {"memory": cgctl.Memory(max=512 << 20, swap_max=0)}),
    ("--memory 1g --memory-swap 1g", {"memory": cgctl.Memory(max=1 << 30, swap_max=0)}),
    ("-m 512m --memory-swap 1g", {"memory": cgctl.Memory(max=512 << 20, swap_max=512 << 20)}),
    ("-m 512m --memory-swap -1", {"memory": cgctl.Memory(max=512 << 20)}),
    ("--memory-reservation 64m", {"memory": cgctl.Memory(low=64 << 20)}),
    ("-m 64m --memory-reservation 32m", {"memory": cgctl.Memory(max=64 << 20, swap_max=0, low=32 << 20)}),
    ("--memory-swappiness 0", {"memory": cgctl.Memory(swappiness=0)}),
    ("--oom-kill-disable -m 64m", {"memory": cgctl.Memory(max=64 << 20, swap_max=0, oom_kill_disable=True)}),
    ("--cpus 1.5", {"cpu": cgctl.Cpu(max=1.5)}),
    ("--cpus .5 --cpu-period 20000", {"cpu": cgctl.Cpu(max=0.5, period_usec=20_000)}),
    ("--cpu-quota 50000", {"cpu": cgctl.Cpu(max=0.5)}),
    ("--cpu-quota 50000 --cpu-period 200000", {"cpu": cgctl.Cpu(max=0.25, period_usec=200_000)}),
    ("--cpu-quota -1", {"cpu": cgctl.Cpu(max=cgctl.MAX)}),
    ("--cpu-shares 1024", {"cpu": cgctl.Cpu(weight=100)}),
    ("--cpu-shares 2", {"cpu": cgctl.Cpu(weight=1)}),
    ("--cpu-weight 200", {"cpu": cgctl.Cpu(weight=200)}),
    ("--cpuset-cpus 0-1 --cpuset-mems 0", {"cpuset": cgctl.Cpuset(cpus=(0, 1), mems=(0,))}),
    ("--pids-limit 64", {"pids": cgctl.Pids(max=64)}),
    ("--pids-limit -1", {"pids": cgctl.Pids(max=cgctl.MAX)}),
    ("--device-read-bps /dev/vda:1mb", {"io": cgctl.Io(max={"/dev/vda": cgctl.IoMax(rbps=1 << 20)})}),
    (
        "--device-write-bps 8:0:4k --device-read-iops 8:0:100 --device-write-iops /dev/vda:7",
        {"io": cgctl.Io(max={"8:0": cgctl.IoMax(wbps=4096, riops=100), "/dev/vda": cgctl.IoMax(wiops=7)})},
    ),
    ("--blkio-weight 100", {"io": cgctl.Io(weight=100)}),
    ("--blkio-weight 500 --blkio-weight-device /dev/vda:1000", {"io": cgctl.Io(weight=4500, device_weight=_WEIGHT)}),
    ("--limit io=/dev/vda:1M,8:0:max", {"io": cgctl.Io(max={"/dev/vda": 1 << 20, "8:0": "max"})}),
    ("--limit io.max.rbps=/dev/vda:1M", {"io": cgctl.Io(max={"/dev/vda": cgctl.IoMax(rbps=1 << 20)})}),
    ("--limit io.cost_qos=8:0:enable=1", {"io": cgctl.Io(cost_qos={"8:0": cgctl.IoCostQos(enable=True)})}),
    ("--net-classid 1:10", {"net": cgctl.Net(classid=0x10010)}),
    (
        "--net-classid 1:10 --net-accounting --net-mark 0x2a",
        {"net": cgctl.Net(classid="1:10", mark=42, accounting=True)},
    ),
    ("--net-priority eth0=5 --net-priority lo=1", {"net": cgctl.Net(priority={"eth0": 5, "lo": 1})}),
    ("--device kvm", {"devices": cgctl.Devices(allow=["default", "kvm"])}),
    ("--device /dev/x --device fuse:r", {"devices": cgctl.Devices(allow=["default", "/dev/x", "fuse r"])}),
    ("--device /dev/x:/dev/x:rw", {"devices": cgctl.Devices(allow=["default", "/dev/x rw"])}),
    ("--device-cgroup-rule 'c 42:* rwm'", {"devices": cgctl.Devices(allow=["default", "c 42:* rwm"])}),
    ("--limit devices=null,zero", {"devices": cgctl.Devices(allow=["null", "zero"])}),
    ("--limit devices.deny=kmsg", {"devices": cgctl.Devices(deny=["kmsg"])}),
    ("--limit memory.high=400M", {"memory": cgctl.Memory(high=400 << 20)}),
    ("-m 512m --limit memory.high=400M", {"memory": cgctl.Memory(max=512 << 20, swap_max=0, high=400 << 20)}),
    ("--limit pids=3 --limit cpu.weight=7", {"pids": cgctl.Pids(max=3), "cpu": cgctl.Cpu(weight=7)}),
]

REFUSED = [
    ("--memory-swap 1g", "--memory-swap without --memory"),
    ("-m 1g --memory-swap 512m", "is below memory"),
    ("-m 0", "leave it out for no limit"),
    ("--cpus 0", "leave it out for no limit"),
    ("--pids-limit 0", "leave it out for no limit"),
    ("-m lots", "not a size"),
    ("--cpus many", "not an amount of CPU"),
    ("--cpus 1 --cpu-quota 1000", "leave one of them out"),
    ("--cpu-shares 2 --cpu-weight 2", "leave one of them out"),
    ("--cpu-shares x", "not a whole number"),
    ("--cpu-quota 1.5", "not a whole number"),
    ("--cpu-quota 100000 --cpu-period x", "not a whole number"),
    ("--cpuset-cpus 3-1", "ascending range"),
    ("--pids-limit -2", "out of range"),
    ("--device /dev/x:/dev/y:r", "makes no node of another name; give /dev/x:r"),
    ("--device /dev/x:q", "access='q': not an access"),
    ("--net-classid 1:1:1", "not a class id"),
    ("--net-priority eth0", "not a mapping"),
    ("--net-mark x", "not a whole number"),
    ("--device nosuch", "no name that cgctl knows"),
    ("--device-cgroup-rule 'c 1'", "is not a rule"),
    ("--device kvm --limit devices.allow=null", "was given before"),
    ("--memory-swappiness 1000", "out of range"),
    ("--device-read-bps /dev/vda", "not a device and its value"),
    ("--device-read-bps /dev/vda:", "not a device and its value"),
    ("--device-read-bps vda:1m", "'vda' is not a device"),
    ("--device-read-bps /dev/vda:0", "give at least 1, or MAX"),
    ("--device-write-iops /dev/vda:1m", "not a whole number"),
    ("--device-read-bps /dev/vda:1m --device-read-bps /dev/vda:2m", "is named twice"),
    ("--blkio-weight 9", "give 10 to 1000"),
    ("--blkio-weight 1001", "give 10 to 1000"),
    ("--blkio-weight x", "give 10 to 1000"),
    ("--blkio-weight-device /dev/vda:0", "give 10 to 1000"),
    ("--limit memory", "is not a setting"),
    ("--limit nosuch=1", "no controller 'nosuch'"),
    ("--pids-limit 5 --limit pids.max=6", "was given before"),
]


def _limits(arguments: str) -> tuple[dict[str, Any], str]:
    found: dict[str, Any] = {}

    @click.command()
    @limit_options
    def probe(**flags: Any) -> None:
        found.update(parse_specs(limits_of(flags)))
        assert flags == {}

    result = CliRunner().invoke(probe, shlex.split(arguments), standalone_mode=False)
    if isinstance(result.exception, AssertionError):
        raise result.exception
    return found, str(result.exception or "")


@pytest.mark.parametrize(("arguments", "expected"), CASES)
def test_means(arguments: str, expected: dict[str, Any]) -> None:
    """Flags mean these specs."""
    found, error = _limits(arguments)

    assert error == ""
    assert found == expected


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_refuses(arguments: str, message: str) -> None:
    """Nonsense and contradictions are refused, in words."""
    _, error = _limits(arguments)

    assert message in error


def test_no_swap_beyond_only_where_it_is_accounted() -> None:
    """What --memory implies of swap is dropped where the kernel does not count it; what is said in words is not."""
    implied, _ = _limits("-m 64m --memory-reservation 1m")
    said, _ = _limits("-m 64m --memory-swap 64m")

    assert implied["memory"].where_accounted == {"swap_max"}
    assert said["memory"].where_accounted == set()
