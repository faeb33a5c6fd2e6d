"""The flags that say limits, with docker's names, and what they mean to cgctl."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, TypeVar

import attrs
import click

import cgctl
from cgctl.cli.io_options import IO_FLAGS, IO_NAMES, io_wishes
from cgctl.cli.settings import Wishes, parse_settings, specs

__all__ = ["limit_options", "limits_of"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_DEFAULT_PERIOD_USEC: Final = 100_000

_FLAGS: Final = (
    click.option(
        "-m", "--memory", metavar="SIZE", help="Memory, such as 512m; and no swap beyond (docker allows as much again)."
    ),
    click.option(
        "--memory-swap",
        metavar="SIZE",
        help="Memory and swap together; -1: unlimited swap. Needs --memory. Without it the command gets no swap.",
    ),
    click.option(
        "--memory-reservation", metavar="SIZE", help="Memory that is not reclaimed while others have more (memory.low)."
    ),
    click.option("--memory-swappiness", metavar="N", help="0 to 100; cgroup v1 only."),
    click.option(
        "--oom-kill-disable", is_flag=True, help="Wait at the memory limit instead of being killed; cgroup v1 only."
    ),
    click.option("--cpus", metavar="N", help="CPUs, such as 1.5."),
    click.option("--cpu-period", metavar="USEC", help="Over which time --cpus or --cpu-quota are counted (100000)."),
    click.option("--cpu-quota", metavar="USEC", help="CPU time in each period; -1: unlimited."),
    click.option(
        "--cpu-shares", metavar="N", help="Share under contention as cgroup v1 counts it, 2 to 262144 (1024)."
    ),
    click.option("--cpu-weight", metavar="N", help="Share under contention as cgroup v2 counts it, 1 to 10000 (100)."),
    click.option("--cpuset-cpus", metavar="LIST", help="CPUs to run on, such as 0-2,5."),
    click.option("--cpuset-mems", metavar="LIST", help="Memory nodes to allocate from."),
    click.option("--pids-limit", metavar="N", help="Processes and threads at once; -1: unlimited."),
    *IO_FLAGS,
    click.option("--net-classid", metavar="ID", help="Class of tc for what is sent: hexadecimal MAJOR:MINOR, as 1:10."),
    click.option(
        "--net-priority",
        multiple=True,
        metavar="IFACE=N",
        help="Priority of what is sent through an interface; cgroup v1 only. Repeatable.",
    ),
    click.option("--net-mark", metavar="N", help="Mark of new sockets, for ip rule, nftables and tc; cgroup v2 only."),
    click.option("--net-accounting", is_flag=True, help="Count bytes and packets, for --stats; cgroup v2 only."),
    click.option(
        "--device",
        "devices",
        multiple=True,
        metavar="DEVICE[:rwm]",
        help="Allow a device, such as /dev/fuse or kvm, and docker's default ones, and no others. Repeatable.",
    ),
    click.option(
        "--device-cgroup-rule",
        "device_rules",
        multiple=True,
        metavar="RULE",
        help="The same by numbers, such as 'c 42:* rwm'.",
    ),
    click.option(
        "--limit",
        "limits",
        multiple=True,
        metavar="SETTING",
        help="Any other limit: CONTROLLER.ATTRIBUTE=VALUE as of 'cgctl set', such as memory.high=400M. Repeatable.",
    ),
)

# Where docker reads 0 as "not set", the kernel reads it as "nothing at all".
_ZERO: Final = ("memory", "memory_swap", "cpus", "cpu_period", "cpu_quota", "cpu_shares", "pids_limit")
_OTHERS: Final = (
    *("memory_reservation", "memory_swappiness", "oom_kill_disable", "cpu_weight", "cpuset_cpus", "cpuset_mems"),
    *IO_NAMES,
    *("net_classid", "net_priority", "net_mark", "net_accounting"),
    *("devices", "device_rules", "limits"),
)


def limit_options(command: _Function) -> _Function:
    """Give a command the flags that say limits."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def limits_of(flags: dict[str, Any], settings: tuple[str, ...] = ()) -> dict[str, Any]:
    """Take the limits out of a command's parameters, as keywords of :class:`cgctl.Group`.

    Args:
        flags: the parameters; those of :func:`limit_options` are removed.
        settings: more limits, in words.

    Raises:
        UsageError: flags contradict each other.
        SpecError: a value is nonsense.
    """
    given = {name: flags.pop(name) for name in (*_ZERO, *_OTHERS)}
    words = (*given["limits"], *settings)
    for name in _ZERO:
        if given[name] is not None and given[name].strip() == "0":
            flag = f"--{name.replace('_', '-')}"
            msg = f"{flag} 0: docker reads this as not set, and the kernel as nothing at all; leave it out for no limit"
            raise click.UsageError(msg)
    wishes: Wishes = {
        "cpuset": _cpuset(given),
        "cpu": _cpu(given),
        "memory": _memory(given),
        "io": io_wishes(given),
        "pids": _pids(given),
        "devices": _devices(given),
        "net": _net(given),
    }
    return specs(parse_settings(words, {name: values for name, values in wishes.items() if values}))


def _set(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _memory(given: dict[str, Any]) -> dict[str, Any]:
    found = _set(low=given["memory_reservation"], swappiness=given["memory_swappiness"])
    if given["oom_kill_disable"]:
        found["oom_kill_disable"] = True
    memory, both = given["memory"], given["memory_swap"]
    if both is None:
        return found | ({} if memory is None else {"": memory})
    if memory is None:
        msg = "--memory-swap without --memory: it counts memory and swap together; give --memory too"
        raise click.UsageError(msg)
    if both.strip() in {"-1", "max"}:
        return found | {"max": memory}  # a fresh group has no limit of swap
    size, total = cgctl.convert.parse_size(memory, "--memory"), cgctl.convert.parse_size(both, "--memory-swap")
    return found | {"max": size, "swap_max": cgctl.convert.memory_swap_to_swap_max(total, size)}


def _cpu(given: dict[str, Any]) -> dict[str, Any]:
    if given["cpus"] is not None and given["cpu_quota"] is not None:
        msg = "--cpus with --cpu-quota: both say how much CPU time; leave one of them out"
        raise click.UsageError(msg)
    if given["cpu_shares"] is not None and given["cpu_weight"] is not None:
        msg = "--cpu-shares with --cpu-weight: both say the share; leave one of them out"
        raise click.UsageError(msg)
    found = _set(max=given["cpus"], weight=given["cpu_weight"], period_usec=given["cpu_period"])
    if given["cpu_shares"] is not None:
        found["weight"] = cgctl.convert.shares_to_weight(_whole("--cpu-shares", given["cpu_shares"]))
    if given["cpu_quota"] is not None:
        quota = _whole("--cpu-quota", given["cpu_quota"])
        period = _DEFAULT_PERIOD_USEC if given["cpu_period"] is None else _whole("--cpu-period", given["cpu_period"])
        found["max"] = cgctl.MAX if quota == -1 else Decimal(quota) / period
    return found


def _cpuset(given: dict[str, Any]) -> dict[str, Any]:
    return _set(cpus=given["cpuset_cpus"], mems=given["cpuset_mems"])


def _pids(given: dict[str, Any]) -> dict[str, Any]:
    wanted = given["pids_limit"]
    return _set(max=cgctl.MAX if wanted is not None and wanted.strip() == "-1" else wanted)


def _devices(given: dict[str, Any]) -> dict[str, Any]:
    rules = [*map(_device, given["devices"]), *map(cgctl.DeviceRule.parse, given["device_rules"])]
    return {"allow": (*cgctl.DEVICES_DEFAULT, *rules)} if rules else {}


def _device(text: str) -> cgctl.DeviceRule:
    """Read docker's ``/dev/sdc:/dev/sdc:r``; cgctl makes no nodes, so it can have no other name inside."""
    name, *more = text.split(":")
    access = more.pop() if more and not more[-1].startswith("/") else "rwm"
    if more not in ([], [name]):
        msg = f"--device {text}: cgctl makes no node of another name; give {name}:{access}"
        raise click.UsageError(msg)
    rule = cgctl.DeviceRule.parse(name)
    return attrs.evolve(rule, access=access)


def _net(given: dict[str, Any]) -> dict[str, Any]:
    found = _set(classid=given["net_classid"], mark=given["net_mark"])
    if given["net_priority"]:
        found["priority"] = ",".join(given["net_priority"])
    return found | ({"accounting": True} if given["net_accounting"] else {})


def _whole(flag: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        msg = f"{flag} {text!r}: not a whole number"
        raise click.UsageError(msg) from None
