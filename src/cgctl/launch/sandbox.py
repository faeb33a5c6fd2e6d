"""What a program sees and may do, as a frozen spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias, TypedDict

import attrs

from cgctl.errors import SpecError, shown
from cgctl.launch.becoming import (
    Profile,
    parse_extra_groups,
    parse_group,
    parse_rlimits,
    parse_seccomp,
    parse_umask,
    parse_user,
)
from cgctl.launch.capabilities import parse_capabilities
from cgctl.launch.interface import Veth
from cgctl.launch.mount import TMPFS_SIZE, Mount, parse_bytes, parse_inside, parse_outside
from cgctl.units import parse_duration, parse_size

__all__ = ["MASKED", "NAMESPACES", "READ_ONLY", "IdMap", "Mount", "Sandbox", "SandboxKeywords", "Veth"]

IdMap: TypeAlias = tuple[int, int, int]
"""A range of ids: the first inside, the first outside, how many."""

NAMESPACES: Final = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")

_LONGEST_NAME: Final = 64  # __NEW_UTS_LEN
_MOST_ID: Final = 2**32 - 2
_FIELDS: Final = 3
_MOST_RANGES: Final = 340  # UID_GID_MAP_MAX_EXTENTS

_MASKED_OF_PROC: Final = (
    *("acpi", "asound", "kcore", "keys", "latency_stats"),
    *("timer_list", "timer_stats", "sched_debug", "scsi"),
)
MASKED: Final = (*(f"/proc/{name}" for name in _MASKED_OF_PROC), "/sys/firmware")
"""What a fresh ``/proc`` and ``/sys`` say of the whole machine, runc's list."""

READ_ONLY: Final = tuple(f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger"))
"""What a fresh ``/proc`` lets change of the whole machine, runc's list."""


def _tmp(value: Any) -> int | None:
    return parse_bytes(value, "tmp")


def _overlay_size(value: Any) -> int:
    return parse_bytes(value, "overlay_size") or parse_size(TMPFS_SIZE)


def _root(value: Any) -> str | None:
    return parse_outside(value, "root")


def _names(value: Any) -> frozenset[str]:
    if value == "all":
        return frozenset(NAMESPACES)
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    try:
        names = frozenset(value)
    except TypeError:
        names = frozenset((value,))
    for name in names:
        if name not in NAMESPACES:
            msg = f"namespaces: there is none of the kind {shown(name)}; they are {', '.join(NAMESPACES)}, or 'all'"
            raise SpecError(msg)
    return names


def _uts(value: Any, what: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        msg = f"{what}={shown(value)}: not a name"
        raise SpecError(msg)
    if not 0 < len(value) <= _LONGEST_NAME:
        msg = f"{what}={shown(value)}: a name has 1 to {_LONGEST_NAME} characters"
        raise SpecError(msg)
    return value


def _hostname(value: Any) -> str | None:
    return _uts(value, "hostname")


def _domainname(value: Any) -> str | None:
    return _uts(value, "domainname")


def _join(value: Any) -> tuple[tuple[str, Any], ...]:
    """Read ``{"net": 1234}``: a process, a path or something open stands for each kind."""
    found = []
    for kind, what in dict(value or {}).items():
        if kind not in NAMESPACES:
            msg = f"join: there is none of the kind {shown(kind)}; they are {', '.join(NAMESPACES)}"
            raise SpecError(msg)
        is_pid = type(what) is int and what > 0
        is_path = isinstance(what, str) or hasattr(what, "__fspath__")
        if not (is_pid or is_path or hasattr(what, "fileno")):
            msg = f"join[{kind!r}]={shown(what)}: give a process id, a path such as /run/netns/x, or an open file"
            raise SpecError(msg)
        found.append((kind, parse_outside(what, f"join[{kind!r}]") if is_path else what))
    # The user namespace first: it gives the right to the others.
    return tuple(sorted(found, key=lambda item: (item[0] != "user", item[0])))


def _overlay(value: Any) -> str | bool:
    return value if isinstance(value, bool) else str(parse_outside(value, "overlay"))


class _Offsets(tuple[tuple[str, int], ...]):
    """Offsets in microseconds: attrs.evolve() hands them to the converter again."""

    __slots__ = ()


def _offsets(value: Any) -> tuple[tuple[str, int], ...]:
    """Read ``{"boottime": "+7d"}`` into microseconds; what was read before stays as it is."""
    if isinstance(value, _Offsets):
        return value
    found = {}
    for clock, offset in dict(value or {}).items():
        if clock not in {"boottime", "monotonic"}:
            msg = f"time_offsets: there is no clock {shown(clock)} that can be shifted; they are boottime and monotonic"
            raise SpecError(msg)
        sign, rest = 1, offset
        if isinstance(offset, str) and offset.strip()[:1] in {"+", "-"}:
            sign, rest = (-1 if offset.strip()[0] == "-" else 1), offset.strip()[1:]
        elif isinstance(offset, int | float) and offset < 0:
            sign, rest = -1, -offset
        found[clock] = sign * parse_duration(rest, f"time_offsets[{clock!r}]")
    return _Offsets(sorted(found.items()))


def _uid_map(value: Any) -> tuple[IdMap, ...] | None:
    return None if value is None else _ranges(value, "uid_map")


def _gid_map(value: Any) -> tuple[IdMap, ...] | None:
    return None if value is None else _ranges(value, "gid_map")


def _ranges(value: Any, what: str) -> tuple[IdMap, ...]:
    """Read ranges of ids; a single one may stand for a list of one."""
    single = isinstance(value, tuple) and len(value) == _FIELDS and type(value[0]) is int
    ranges = [tuple(each) for each in ([value] if single else value)]
    if not 0 < len(ranges) <= _MOST_RANGES:
        msg = f"{what}: give 1 to {_MOST_RANGES} ranges"
        raise SpecError(msg)
    for each in ranges:
        if len(each) != _FIELDS or not all(type(number) is int for number in each):
            msg = f"{what}: {shown(each)} is not (first inside, first outside, how many)"
            raise SpecError(msg)
        inside, outside, count = each
        if min(inside, outside) < 0 or count < 1 or max(inside, outside) + count - 1 > _MOST_ID:
            msg = f"{what}: {shown(each)} leaves the ids from 0 to {_MOST_ID}"
            raise SpecError(msg)
    for side, name in ((0, "inside"), (1, "outside")):
        taken = sorted((each[side], each[side] + each[2]) for each in ranges)
        for before, after in pairwise(taken):
            if after[0] < before[1]:
                msg = f"{what}: the ids {name} from {after[0]} on are in two ranges; each may be mapped once"
                raise SpecError(msg)
    return tuple(ranges)


def _mounts(value: Iterable[Mount]) -> tuple[Mount, ...]:
    mounts = tuple(value)
    for each in mounts:
        if not isinstance(each, Mount):
            msg = f"mounts: {shown(each)} is not a cgctl.Mount"
            raise SpecError(msg)
    return mounts


def _paths(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(parse_inside(each, "a masked or read-only path") for each in value)


@attrs.frozen(kw_only=True)
class Sandbox:
    """What a program sees and may do: its namespaces, its files, its privileges. Says nothing by default.

    As soon as there is any namespace or a root, all capabilities are dropped, ``no_new_privs`` is set, system calls
    that ordinary programs have no use for are refused, and the program has a session of its own.

    Attributes:
        namespaces: the kinds that are to be new: any of ``cgroup ipc mnt net pid time user uts``, or ``"all"``. What
            else is asked for brings those that it takes.
        root: the directory that becomes ``/``; ``"/"`` is the host's tree, mounted anew.
        join: namespaces that are there and to be joined: kind → a process id, a path (``/run/netns/x``), or something
            open with a ``fileno``.
        overlay: whether changes in the root are thrown away; or the directory that keeps them, in ``upper`` below it.
        overlay_size: how much they may take when they are thrown away; they are in memory.
        chroot: whether by plain ``chroot`` instead of ``pivot_root``. That is no boundary: who has
            ``CAP_SYS_CHROOT``, or a descriptor of a directory outside, can leave.
        read_only: whether nothing can be changed in the root.
        mounts: what is mounted besides, in this order.
        tmp: the size of a tmpfs on ``/tmp``.
        masked: paths of a fresh ``/proc`` and ``/sys`` that are hidden, where they are there.
        read_only_paths: paths of them that cannot be written.
        hostname: the host's name (uts).
        domainname: its NIS domain (uts).
        time_offsets: by how much the clocks ``boottime`` and ``monotonic`` are shifted (time), such as ``"+7d"``;
            held in microseconds.
        network: ``"none"``: just the loopback device, which is up (net); ``"host"``: the caller's; a :class:`Veth`:
            an interface of its own (net).
        uid_map: ranges (first inside, first outside, how many) of user ids (user). By default the caller's own id is 0
            inside.
        gid_map: the same of group ids.
        init: whether PID 1 is a reaper, which forwards signals to the program, PID 2 (pid).
        capabilities: those that the program keeps; ``None`` are none in a sandbox, and else the caller's.
        no_new_privs: whether programs with setuid bits or file capabilities gain nothing by them.
        seccomp: which system calls the program may make: ``"default"``, ``"strict"`` (which has no locks on files
            besides), or all (``"unconfined"``); ``None`` is ``"default"`` in a sandbox, unless programs may gain
            privileges (``no_new_privs=False``), and else all.
        user: whom the program becomes: a name, of the root's own ``/etc/passwd`` where there is a root, or a number.
            This and what follows is what keywords of :func:`cgctl.run` with the same names say; those go before.
        group: the same of its group.
        extra_groups: its supplementary groups.
        umask: its file mode mask.
        rlimits: resource limits by name, as in getrlimit(2): a number, or the soft and the hard limit.
        tty: whether the program has a terminal of its own, of its own ``/dev/pts`` where there is one, with job
            control. It is all of its standard streams that are given no file.
        new_session: whether the program has a session of its own, and so cannot write into the caller's terminal as if
            it were typed.
    """

    namespaces: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    root: str | None = attrs.field(default=None, converter=_root)
    join: tuple[tuple[str, Any], ...] = attrs.field(default=(), converter=_join)
    overlay: bool | str = attrs.field(default=False, converter=_overlay)
    overlay_size: int = attrs.field(default=parse_size(TMPFS_SIZE), converter=_overlay_size)
    chroot: bool = False
    read_only: bool = False
    mounts: tuple[Mount, ...] = attrs.field(default=(), converter=_mounts)
    tmp: int | None = attrs.field(default=None, converter=_tmp)
    masked: tuple[str, ...] = attrs.field(default=MASKED, converter=_paths)
    read_only_paths: tuple[str, ...] = attrs.field(default=READ_ONLY, converter=_paths)
    hostname: str | None = attrs.field(default=None, converter=_hostname)
    domainname: str | None = attrs.field(default=None, converter=_domainname)
    time_offsets: tuple[tuple[str, int], ...] = attrs.field(default=_Offsets(), converter=_offsets)
    network: Literal["none", "host"] | Veth | None = None
    uid_map: tuple[IdMap, ...] | None = attrs.field(default=None, converter=_uid_map)
    gid_map: tuple[IdMap, ...] | None = attrs.field(default=None, converter=_gid_map)
    init: bool = False
    capabilities: tuple[str, ...] | None = attrs.field(default=None, converter=parse_capabilities)
    no_new_privs: bool | None = None
    seccomp: Profile | None = attrs.field(default=None, converter=parse_seccomp)
    user: str | int | None = attrs.field(default=None, converter=parse_user)
    group: str | int | None = attrs.field(default=None, converter=parse_group)
    extra_groups: tuple[str | int | None, ...] | None = attrs.field(default=None, converter=parse_extra_groups)
    umask: int | None = attrs.field(default=None, converter=parse_umask)
    rlimits: tuple[tuple[str, tuple[int, int]], ...] = attrs.field(default=(), converter=parse_rlimits)
    tty: bool = False
    new_session: bool | None = None

    def __attrs_post_init__(self) -> None:
        if self.network not in {None, "none", "host"} and not isinstance(self.network, Veth):
            msg = f"network={shown(self.network)}: it is 'none', 'host' or a cgctl.Veth"
            raise SpecError(msg)
        if self.chroot and self.root is None:
            msg = "chroot=True without root: it says how the root is changed; give root= too"
            raise SpecError(msg)
        if self.overlay and (self.root is None or self.chroot):
            msg = "overlay takes a root that is mounted; give root=, and not chroot=True"
            raise SpecError(msg)
        for kind, _ in self.join:
            if kind in self.kinds:
                msg = f"the {kind} namespace cannot be joined and new at once; leave one of them out"
                raise SpecError(msg)
        if self.read_only and self.root is None:
            msg = "read_only=True without root: it is the root that cannot be changed; root='/' is the host's tree"
            raise SpecError(msg)
        if self.chroot and self.read_only and "mnt" not in self.kinds:
            msg = (
                "read_only=True with chroot=True: it takes a mount namespace; add namespaces=['mnt'], or leave one out"
            )
            raise SpecError(msg)
        if (self.uid_map is None) != (self.gid_map is None):
            msg = "uid_map and gid_map go together; give both"
            raise SpecError(msg)
        self._check_privileges()

    def _check_privileges(self) -> None:
        if self.no_new_privs is False and self.profile != "unconfined":
            msg = (
                f"seccomp={self.seccomp!r} with no_new_privs=False: programs with setuid bits would be filtered as"
                " well; leave one of them out"
            )
            raise SpecError(msg)
        if self.tty and self.new_session is False:
            msg = "tty=True with new_session=False: a terminal belongs to a session; leave one of them out"
            raise SpecError(msg)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of namespaces that are made, of which some were named, and others are brought by the rest."""
        implied = {
            "uts": self.hostname is not None or self.domainname is not None,
            "time": bool(self.time_offsets),
            "net": self.network not in {None, "host"},
            "mnt": bool(self.mounts or self.tmp) or (self.root is not None and not self.chroot),
            "pid": self.init,
            "user": self.uid_map is not None,
        }
        found = self.namespaces | {name for name, wanted in implied.items() if wanted}
        return found - {"net"} if self.network == "host" else found

    @property
    def confined(self) -> bool:
        """Whether it is more than nothing, and so privileges are dropped unless they are asked for."""
        return bool(self.kinds or self.join) or self.root is not None

    @property
    def waits(self) -> bool:
        """Whether the child waits for what only the caller can do for it."""
        return "user" in self.kinds or isinstance(self.network, Veth)

    @property
    def has_own_session(self) -> bool:
        """Whether the program has a session of its own."""
        return self.tty or (self.confined if self.new_session is None else self.new_session)

    @property
    def keep(self) -> tuple[str, ...] | None:
        """The capabilities that the program keeps; ``None`` are the caller's."""
        return () if self.capabilities is None and self.confined else self.capabilities

    @property
    def profile(self) -> Profile:
        """Which system calls the program may make."""
        if self.seccomp is not None:
            return self.seccomp
        return "default" if self.confined and self.no_new_privs is not False else "unconfined"

    @property
    def gains_nothing(self) -> bool:
        """Whether exec gives no privileges, without which there is no filter either."""
        if self.no_new_privs is not None:
            return self.no_new_privs
        return self.confined or self.profile != "unconfined"


class SandboxKeywords(TypedDict, total=False):
    """The fields of a :class:`Sandbox`, as keywords of what runs a program."""

    namespaces: Iterable[str] | str
    root: Any
    join: Mapping[str, Any]
    overlay: Any
    overlay_size: int | str
    chroot: bool
    read_only: bool
    mounts: Iterable[Mount]
    tmp: int | str | None
    masked: Iterable[str]
    read_only_paths: Iterable[str]
    hostname: str | None
    domainname: str | None
    time_offsets: Mapping[str, str | float]
    network: Literal["none", "host"] | Veth | None
    uid_map: Iterable[IdMap] | IdMap | None
    gid_map: Iterable[IdMap] | IdMap | None
    init: bool
    capabilities: Iterable[str] | str | None
    no_new_privs: bool | None
    seccomp: Profile | None
    tty: bool
    new_session: bool | None
