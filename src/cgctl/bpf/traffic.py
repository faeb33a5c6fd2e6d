"""The files of controller ``net`` on v2: ``@net_class`` and ``@net_mark`` hold a number, ``@net_counters`` counts."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from errno import EBADMSG, EINVAL
from typing import Final

import attrs

from cgctl.bpf import network, syscall
from cgctl.bpf.attachment import Kind, look, put, take
from cgctl.bpf.syscall import AttachType, MapType, ProgramType

__all__ = ["CLASS", "COUNTERS", "MARK"]

_U32: Final = 2**32 - 1
_VALUES: Final = struct.Struct(f"={len(network.COUNTERS)}Q")
_KEY: Final = bytes(4)
_EGRESS, _INGRESS = AttachType.CGROUP_INET_EGRESS, AttachType.CGROUP_INET_INGRESS
_SOCK_CREATE: Final = AttachType.CGROUP_INET_SOCK_CREATE


@attrs.frozen
class _Number:
    """A program with a number in it; 0 is no program.

    Attributes:
        kind: the program.
        make: number → code.
    """

    kind: Kind
    make: Callable[[int], bytes]

    def read(self, group: int) -> bytes:
        """Return the number.

        Raises:
            OSError: ``EBADMSG``: the kernel does not show the program's code, or it is of another release.
        """
        ours = look(group, self.kind).ours
        number = network.number_in(ours[-1].code or b"") if ours else 0
        if number is None:
            raise OSError(EBADMSG, f"{os.strerror(EBADMSG)} (the code of program {ours[-1].id} is not ours, or hidden)")
        return b"%d\n" % number

    def write(self, group: int, data: bytes) -> None:
        """Attach the program with this number, or none if it is 0."""
        text = data.strip()
        if not text.isdigit() or int(text) > _U32:
            raise _nonsense()
        if int(text):
            put(group, self.kind, self.make(int(text)))
        else:
            take(group, self.kind)


@attrs.frozen
class _Counters:
    """Two programs that count, or none; each has its own counters, which are gone with it.

    Attributes:
        kinds: what a count is called → the program.
    """

    kinds: Mapping[str, Kind]

    def read(self, group: int) -> bytes:
        """Return ``rx_bytes 0`` and so on, flat keyed; nothing where not all is counted."""
        lines: list[bytes] = []
        for prefix, kind in self.kinds.items():
            counted = _counted(group, kind)
            if counted is None:
                return b""
            lines += [b"%s_%s %d\n" % (prefix.encode(), name.encode(), n) for name, n in counted]
        return b"".join(lines)

    def write(self, group: int, data: bytes) -> None:
        """``1`` counts from now on, or goes on counting; ``0`` does no longer."""
        if data.strip() not in {b"0", b"1"}:
            raise _nonsense()
        if data.strip() == b"0":
            self._stop(group, self.kinds.values())
            return
        missing = [kind for kind in self.kinds.values() if _counted(group, kind) is None]
        try:
            for kind in missing:
                _count(group, kind)
        except BaseException:
            self._stop(group, missing)
            raise

    def _stop(self, group: int, kinds: Iterable[Kind]) -> None:
        for kind in kinds:
            take(group, kind)


def _count(group: int, kind: Kind) -> None:
    with syscall.closing(
        syscall.make_map(MapType.ARRAY, kind.name, key_size=len(_KEY), value_size=_VALUES.size, entries=1)
    ) as counters:
        put(group, kind, network.count_program(counters))


def _counted(group: int, kind: Kind) -> Iterator[tuple[str, int]] | None:
    """Return what a program has counted, or ``None`` where it is not there."""
    ours = look(group, kind).ours
    if not ours:
        return None
    try:
        with syscall.closing(syscall.open_map(ours[-1].maps[0])) as fd:
            return zip(network.COUNTERS, _VALUES.unpack(syscall.look_up(fd, _KEY, _VALUES.size)), strict=True)
    except FileNotFoundError:  # it was detached just now
        return None


def _nonsense() -> OSError:
    return OSError(EINVAL, os.strerror(EINVAL))


def _skb(name: str, attach_type: AttachType) -> Kind:
    return Kind(name=name, type=ProgramType.CGROUP_SKB, attach_type=attach_type)


CLASS: Final = _Number(_skb("cgctl_net_class", _EGRESS), network.class_program)
MARK: Final = _Number(
    Kind(name="cgctl_net_mark", type=ProgramType.CGROUP_SOCK, attach_type=_SOCK_CREATE), network.mark_program
)
COUNTERS: Final = _Counters({"rx": _skb("cgctl_net_rx", _INGRESS), "tx": _skb("cgctl_net_tx", _EGRESS)})
