"""A network of two: a pair of virtual interfaces, one end in the program's namespace, the other in the caller's."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cgctl.errors import LaunchError, UnsupportedError
from cgctl.launch.sandbox import Veth
from cgctl.launch.syscalls import setns

__all__ = ["connect"]

_CLONE_NEWNET = 0x4000_0000


def connect(pid: int, veth: Veth) -> None:
    """Give a process that was born in a network namespace an interface, before it becomes its program.

    Both ends are gone when the namespace is: nothing is left, however the program ends.

    Raises:
        LaunchError: the kernel refused.
        UnsupportedError: pyroute2 is not installed.
    """
    try:
        from pyroute2 import IPRoute  # noqa: PLC0415 - an extra
        from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415 - the same
    except ImportError:
        raise UnsupportedError("network=Veth(…)", "pyroute2 is not installed; pip install 'cgctl[net]'") from None
    host = veth.host_name or f"cg{pid}"
    step = f"ip link add {host} type veth peer name {veth.name} netns {pid}"
    try:
        with IPRoute() as outside:
            outside.link("add", ifname=host, kind="veth", peer={"ifname": veth.name, "net_ns_pid": pid})
            step = f"set up {host}"
            _host_end(outside, host, veth)
        step = f"set up {veth.name}"
        _within(pid, lambda: _inner_end(IPRoute, veth))
    except NetlinkError as error:
        raise LaunchError(step, error.code, hint=_hint(error.code, veth)) from error
    except OSError as error:
        raise LaunchError(step, error.errno or errno.EIO, hint=_hint(error.errno or 0, veth)) from error


def _host_end(route: Any, name: str, veth: Veth) -> None:
    index = route.link_lookup(ifname=name)[0]
    if veth.bridge is not None:
        bridges = route.link_lookup(ifname=veth.bridge)
        if not bridges:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), veth.bridge)
        route.link("set", index=index, master=bridges[0])
    elif veth.gateway is not None:
        route.addr("add", index=index, address=veth.gateway, prefixlen=veth.prefix)
    route.link("set", index=index, state="up")


def _inner_end(open_route: Callable[[], Any], veth: Veth) -> None:
    with open_route() as route:
        index = route.link_lookup(ifname=veth.name)[0]
        route.addr("add", index=index, address=veth.ip, prefixlen=veth.prefix)
        route.link("set", index=index, state="up")
        if veth.gateway is not None:
            route.route("add", dst="default", gateway=veth.gateway)


def _within(pid: int, act: Callable[[], None]) -> None:
    """Act in the network namespace of a process: in a thread, which ends with it, so that nobody else is moved."""
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            with _namespace(pid) as fd:
                setns(fd, _CLONE_NEWNET)
                act()
        except BaseException as error:  # noqa: BLE001 - raised where it belongs
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


@contextmanager
def _namespace(pid: int) -> Iterator[int]:
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _hint(number: int, veth: Veth) -> str:
    return {
        errno.EEXIST: "an interface of this name is there already; give another host_name",
        errno.ENODEV: f"there is no bridge {veth.bridge!r}; make it first (ip link add NAME type bridge)",
        errno.EOPNOTSUPP: "this kernel has no veth interfaces (CONFIG_VETH)",
        errno.EPERM: "only root (CAP_NET_ADMIN) may connect a program to this network; network='none' takes nothing",
    }.get(number, "")
