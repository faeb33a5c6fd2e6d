"""net: to which class of traffic what a group sends belongs, its priority, its mark, and how much it was.

v1 has two controllers for it, ``net_cls`` and ``net_prio``, which may be mounted together, apart, or not
at all. v2 has none: there small programs that are attached to the group do it (:mod:`cgctl.bpf.network`),
and they count too. What a class may send is said by ``tc``, once for both versions: an HTB class is chosen
by its id, on v1 through a ``cgroup`` filter, on v2 because the packet's priority is that id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from cgctl.controllers._codec import Codec, Key, Number
from cgctl.controllers._lines import Lines
from cgctl.controllers._row import CORE, Clash, Controller, Row, Side
from cgctl.controllers._values import BYTES, CLASS, FLAGS, Values, by_name, whole
from cgctl.errors import SpecError, UnsupportedError, shown
from cgctl.formats import HIGHEST_CLASS, parse_classid
from cgctl.units import parse_count

__all__ = ["CONTROLLER", "HIGHEST_OWN_PRIORITY", "Net", "NetStats"]

_U32: Final = 2**32 - 1
HIGHEST_OWN_PRIORITY: Final = 15
"""Up to here priorities are a program's own (``TC_PRIO_MAX``): SO_PRIORITY and IP_TOS set them; above are class ids."""
_INTERFACE: Final = re.compile(r"[^\s/:]{1,15}", re.ASCII)
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-f]{1,8}", re.ASCII | re.IGNORECASE)


def _parse_mark(value: object, what: str) -> int:
    if isinstance(value, str) and _HEXADECIMAL.fullmatch(value.strip()):
        return int(value, 16)
    return parse_count(value, what, 0, _U32)


_CLASSID: Final = Values(unit=CLASS, parse=parse_classid, low=0, high=HIGHEST_CLASS)
_PRIORITY: Final = by_name("network interface", whole("priority", 0, _U32))
_MARK: Final = Values(unit="mark", parse=_parse_mark, low=0, high=_U32)


def _classid(value: int | str | None) -> int | None:
    return _CLASSID(value, "net.classid")


def _priority(value: Mapping[str, int | str] | str | None) -> dict[str, int] | None:
    priorities = _PRIORITY(value, "net.priority")
    for name in priorities or ():
        if not _INTERFACE.fullmatch(name) or name in {".", ".."}:
            msg = (
                f"net.priority[{shown(name)}]: not the name of a network interface; give one of 1 to 15 characters,"
                " without '/' and ':', such as 'eth0' ('ip link' lists them)"
            )
            raise SpecError(msg)
    return priorities


def _mark(value: int | str | None) -> int | None:
    return _MARK(value, "net.mark")


def _accounting(value: int | str | None) -> bool | None:
    return FLAGS(value, "net.accounting")


@attrs.frozen(kw_only=True)
class Net:
    """What to set on a group's network traffic; ``None`` leaves a setting as it is.

    On v2 the class and the mark of the nearest group that has one count; a new v1 group has its parent's.

    Attributes:
        classid: the class of ``tc`` to which what the group sends belongs: ``"1:10"``, hexadecimal as there, or an
            ``int`` such as 0x10010; 0 is none. v1 ``net_cls.classid``; on v2 a program gives it to each packet as its
            priority (since 4.20), where 1..15 are no class ids. A change is in force for open sockets too.
        priority: interface → priority, 0..4294967295, of what is sent there, as a dict or ``"eth0=5,eth1=2"``; the
            interfaces are those of the initial network namespace, and those not named stay as they are
            (``net_prio.ifpriomap``, v1 only).
        mark: the mark of new sockets (``SO_MARK``), 0..4294967295, for ``ip rule``, nftables and ``tc``; 0 is none.
            Open sockets keep theirs (a program, v2 only, since 4.14).
        accounting: whether bytes and packets are counted, for :class:`NetStats` (two programs, v2 only, since 4.20).

    Raises:
        SpecError: a value is out of range, or no such thing.
    """

    classid: int | None = attrs.field(default=None, converter=_classid)
    priority: Mapping[str, int] | None = attrs.field(default=None, converter=_priority)
    mark: int | None = attrs.field(default=None, converter=_mark)
    accounting: bool | None = attrs.field(default=None, converter=_accounting)

    @classmethod
    def shorthand(cls, value: Any) -> Net:
        """Make the spec of ``net="1:10"``: what the group sends belongs to that class."""
        return cls(classid=value)


@attrs.frozen(kw_only=True)
class NetStats:
    """What the sockets that were made in the group or below it sent and received, since accounting was switched on.

    That is IP and IPv6, over the loopback interface too. A packet's bytes are those of its IP header and all behind
    it. What the kernel hands on as a whole, to be cut for the wire later (GSO), has one header, and counts as the
    packets that it will be.

    Attributes:
        rx_bytes: bytes received (a program; not on v1).
        tx_bytes: bytes sent (a program; not on v1).
        rx_packets: packets received (a program; not on v1).
        tx_packets: packets sent (a program; not on v1).
    """

    rx_bytes: int | None = None
    tx_bytes: int | None = None
    rx_packets: int | None = None
    tx_packets: int | None = None


class _Class(Number):
    """A class id that is a packet's priority too."""

    def encode(self, value: int, spec: Any) -> str:
        del spec
        if 0 < value <= HIGHEST_OWN_PRIORITY:
            reason = (
                f"on v2 a packet's priority is its class, and priorities up to {HIGHEST_OWN_PRIORITY} are those that"
                " programs set themselves (SO_PRIORITY); give a class with a major number, such as '1:10'"
            )
            raise UnsupportedError(f"net.classid={value}", reason)
        return str(value)


class _Counting(Codec):
    """Whether there are counters."""

    def encode(self, value: bool, spec: Any) -> str:  # noqa: FBT001 - the value is the argument
        del spec
        return str(int(value))

    def decode(self, text: str, texts: Mapping[str, str]) -> bool:
        del texts
        return bool(text.strip())

    def same(self, held: str, wanted: str, page_size: int) -> bool:
        del page_size
        return bool(held.strip()) == (wanted == "1")


_BESIDE_V1: Final = Clash(
    controllers=("net_cls", "net_prio"),
    symbol="cgroup_sk_alloc_disable",
    reason=(
        "before Linux 5.15 a socket has either its v2 group or its v1 class: as soon as anybody uses net_cls or"
        " net_prio, programs of v2 groups see no packet of new sockets; unmount both and boot anew, or take a newer"
        " kernel"
    ),
    since="5.15",
)


def _program(name: str, codec: Codec, **more: Any) -> Side:
    return Side(controller=CORE, file=f"@net_{name}", codec=codec, clash=_BESIDE_V1, **more)


def _counter(attribute: str, unit: str) -> Row:
    return Row(attribute=attribute, v1=None, v2=_program("counters", Key(key=attribute), since="4.20"), unit=unit)


_PACKETS: Final = "packets"
_NO_V2: Final = "this takes a program attached to a v2 group; v1 has no such thing; mount cgroup2 beside it"

CONTROLLER = Controller(
    name="net",
    spec=Net,
    stats=NetStats,
    settings=(
        Row(
            attribute="classid",
            # A new group has its parent's, so what it reads is not known before it is made.
            v1=Side(controller="net_cls", file="net_cls.classid", codec=Number()),
            v2=_program("class", _Class(), default="0", since="4.20"),
            values=_CLASSID,
            # Where it is mounted, filters of tc and iptables ask for it.
            prefer=1,
            lossy=(
                "v1's is found by tc's cgroup filter, v2's is the packet's priority, which chooses HTB's class of that"
                " id alone; v1 copies the parent's when a group is made, on v2 the nearest one above counts"
            ),
        ),
        Row(
            attribute="priority",
            v1=Side(controller="net_prio", file="net_prio.ifpriomap", codec=Lines(unlimited=_U32 + 1)),
            v2=None,
            values=_PRIORITY,
            reason=(
                "this takes v1's controller net_prio, which v2 has not, and which is mounted nowhere here; mount it"
                " (mount -t cgroup -o net_prio none DIR), or give a classid, which is the priority on v2"
            ),
        ),
        Row(
            attribute="mark",
            v1=None,
            v2=_program("mark", Number(), default="0", since="4.14"),
            values=_MARK,
            reason=_NO_V2,
        ),
        Row(
            attribute="accounting",
            v1=None,
            v2=_program("counters", _Counting(), default="", since="4.20"),
            values=FLAGS,
            reason=_NO_V2,
        ),
    ),
    readings=(
        _counter("rx_bytes", BYTES),
        _counter("tx_bytes", BYTES),
        _counter("rx_packets", _PACKETS),
        _counter("tx_packets", _PACKETS),
    ),
    domain=False,
    # A new group has a copy of what is set, which does not follow when that changes.
    flat=True,
)
