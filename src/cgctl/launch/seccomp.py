"""Which system calls a program may make, as a seccomp filter: pure, from names to the kernel's bytes.

What ordinary programs have no use for is refused: what changes the kernel or the machine, what is known for what went
wrong in it, what reaches across the borders of namespaces, and what types into a terminal. It is what docker's list
leaves out, as a list of what is denied and not of what is allowed; calls that are newer than the list are not there, so
that a new kernel does not widen it. Some are refused by their arguments alone: new namespaces, two requests of
terminals, sockets to the hypervisor, odd personalities.

Who keeps a capability keeps the calls that it is for.

On x86_64 32-bit programs call in another way, with other numbers, which any program may: that is covered as well.
Arguments are compared as the kernel takes them, by their lower 32 bits.
"""

from __future__ import annotations

import errno
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from cgctl.bpf.assembly import Compare
from cgctl.bpf.classic import Item, Label, assemble, encode, jump, jump_if, leave, load, mask
from cgctl.launch.becoming import Profile

__all__ = ["ABIS", "CALLS", "DENIED", "LAST", "Abi", "compile_filter"]

LAST: Final = 470
"""The newest call that the list was made with (``listns``, 6.19); from 424 on all architectures number alike."""

_ALLOW: Final = 0x7FFF_0000
_ERRNO: Final = 0x0005_0000
_REFUSED: Final = _ERRNO | errno.EPERM
_ABSENT: Final = _ERRNO | errno.ENOSYS

# struct seccomp_data: nr, arch, instruction_pointer, args[6].
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_FEW: Final = 3  # so many comparisons in a row
_LOW: Final = 0 if sys.byteorder == "little" else 4


class Abi(NamedTuple):
    """One way to make system calls.

    Attributes:
        audit: its ``AUDIT_ARCH``.
        column: of the table of numbers.
    """

    audit: int
    column: int


ABIS: Final = (Abi(0xC000_003E, 0), Abi(0x4000_0003, 1), Abi(0xC000_00B7, 2))
"""Those of x86_64, i386 and aarch64. All others are refused: of these the list has no numbers."""

# Name → its numbers on x86_64, i386 and aarch64, by the kernel's unistd.h.
CALLS: Final[dict[str, tuple[int | None, int | None, int | None]]] = {
    "_sysctl": (156, 149, None),
    "acct": (163, 51, 89),
    "add_key": (248, 286, 217),
    "bpf": (321, 357, 280),
    "chroot": (161, 61, 51),
    "clock_settime": (227, 264, 112),
    "clock_settime64": (None, 404, None),
    "clone": (56, 120, 220),
    "clone3": (435, 435, 435),
    "create_module": (174, 127, None),
    "delete_module": (176, 129, 106),
    "fanotify_init": (300, 338, 262),
    "fcntl": (72, 55, 25),
    "fcntl64": (None, 221, None),
    "finit_module": (313, 350, 273),
    "flock": (73, 143, 32),
    "fsconfig": (431, 431, 431),
    "fsmount": (432, 432, 432),
    "fsopen": (430, 430, 430),
    "fspick": (433, 433, 433),
    "get_kernel_syms": (177, 130, None),
    "init_module": (175, 128, 105),
    "io_uring_enter": (426, 426, 426),
    "io_uring_register": (427, 427, 427),
    "io_uring_setup": (425, 425, 425),
    "ioctl": (16, 54, 29),
    "ioperm": (173, 101, None),
    "iopl": (172, 110, None),
    "kexec_file_load": (320, None, 294),
    "kexec_load": (246, 283, 104),
    "keyctl": (250, 288, 219),
    "lookup_dcookie": (212, 253, 18),
    "mount": (165, 21, 40),
    "mount_setattr": (442, 442, 442),
    "move_mount": (429, 429, 429),
    "nfsservctl": (180, 169, 42),
    "open_by_handle_at": (304, 342, 265),
    "open_tree": (428, 428, 428),
    "open_tree_attr": (467, 467, 467),
    "perf_event_open": (298, 336, 241),
    "personality": (135, 136, 92),
    "pivot_root": (155, 217, 41),
    "query_module": (178, 167, None),
    "quotactl": (179, 131, 60),
    "quotactl_fd": (443, 443, 443),
    "reboot": (169, 88, 142),
    "request_key": (249, 287, 218),
    "setdomainname": (171, 121, 162),
    "sethostname": (170, 74, 161),
    "setns": (308, 346, 268),
    "settimeofday": (164, 79, 170),
    "socket": (41, 359, 198),
    "socketcall": (None, 102, None),
    "stime": (None, 25, None),
    "swapoff": (168, 115, 225),
    "swapon": (167, 87, 224),
    "sysfs": (139, 135, None),
    "syslog": (103, 103, 116),
    "umount": (None, 22, None),
    "umount2": (166, 52, 39),
    "unshare": (272, 310, 97),
    "uselib": (134, 86, None),
    "userfaultfd": (323, 374, 282),
    "ustat": (136, 62, None),
    "vhangup": (153, 111, 58),
    "vm86": (None, 166, None),
    "vm86old": (None, 113, None),
}


def _unlocked() -> Iterator[tuple[str, frozenset[str]]]:
    nobody = (
        *("_sysctl", "add_key", "create_module", "get_kernel_syms", "io_uring_enter", "io_uring_register"),
        *("io_uring_setup", "keyctl", "nfsservctl", "query_module", "request_key", "sysfs", "uselib", "userfaultfd"),
        *("ustat", "vm86", "vm86old"),
    )
    with_one = {
        "BPF": ("bpf",),
        "DAC_READ_SEARCH": ("open_by_handle_at",),
        "PERFMON": ("perf_event_open",),
        "SYS_BOOT": ("kexec_file_load", "kexec_load", "reboot"),
        "SYS_CHROOT": ("chroot",),
        "SYS_MODULE": ("delete_module", "finit_module", "init_module"),
        "SYS_PACCT": ("acct",),
        "SYS_RAWIO": ("ioperm", "iopl"),
        "SYS_TIME": ("clock_settime", "clock_settime64", "settimeofday", "stime"),
        "SYS_TTY_CONFIG": ("vhangup",),
        "SYSLOG": ("syslog",),
        "SYS_ADMIN": (
            *("fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount", "mount_setattr"),
            *("move_mount", "open_tree", "open_tree_attr", "pivot_root", "quotactl", "quotactl_fd", "setdomainname"),
            *("sethostname", "setns", "swapoff", "swapon", "umount", "umount2"),
        ),
    }
    for name in nobody:
        yield name, frozenset()
    for capability, names in with_one.items():
        for name in names:
            # What these two took before they had capabilities of their own.
            more = {"SYS_ADMIN"} if capability in {"BPF", "PERFMON"} else set()
            yield name, frozenset({capability, *more})


DENIED: Final[dict[str, frozenset[str]]] = dict(_unlocked())
"""What is refused whatever its arguments: the call, and the capabilities any of which leaves it alone."""

# Of include/uapi/linux/sched.h: mnt, cgroup, uts, ipc, user, pid, net. Where time's is, clone has a signal.
_NEW_NAMESPACES: Final = 0x7E02_0000
_NEW_TIME: Final = 0x80
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_AF_VSOCK: Final = 40
_PERSONALITIES: Final = 0x0002_0008  # PER_LINUX32 and UNAME26, in any mixture
_ASK_PERSONALITY: Final = 0xFFFF_FFFF
# F_GETLK to F_SETLKW, those of 64 bits, those of open files, leases and news of directories.
_LOCKS: Final = (5, 6, 7, 12, 13, 14, 36, 37, 38, 1024, 1025, 1026)


@functools.lru_cache(maxsize=32)
def compile_filter(profile: Profile, keep: tuple[str, ...]) -> bytes:
    """Make a filter: a program of classic BPF, the same for all machines.

    Args:
        profile: which one, of those that filter.
        keep: the capabilities that the program keeps.
    """
    return encode(assemble(_program(profile, frozenset(keep))))


def _program(profile: Profile, keep: frozenset[str]) -> Iterator[Item]:
    yield load(_ARCHITECTURE)
    for abi in ABIS:
        yield jump_if(Compare.EQ, abi.audit, f"to {abi.column}")
    yield leave(_ABSENT)
    for abi in ABIS:  # which are farther away than a comparison reaches
        yield Label(f"to {abi.column}")
        yield jump(f"abi {abi.column}")
    for abi in ABIS:
        yield Label(f"abi {abi.column}")
        yield from _calls(profile, keep, abi)


def _calls(profile: Profile, keep: frozenset[str], abi: Abi) -> Iterator[Item]:
    """Write the part for one way of making calls."""
    special = _special(profile, keep)
    absent, refused, allowed = (f"{verdict} {abi.column}" for verdict in ("absent", "refused", "allowed"))
    yield load(_NUMBER)
    yield jump_if(Compare.GT, LAST, absent)  # x32's among them, and -1
    denied = [name for name, capabilities in DENIED.items() if not capabilities & keep]
    denied += ["flock"] if profile == "strict" else []
    here = {name: number for name in special if (number := CALLS[name][abi.column]) is not None}
    targets = {number: refused for name in denied if (number := CALLS[name][abi.column]) is not None}
    targets |= {number: f"{name} {abi.column}" for name, number in here.items()}
    yield from _search(sorted(targets.items()), f"{abi.column}")
    for name in here:
        yield Label(f"{name} {abi.column}")
        yield from special[name](refused, absent)
        yield jump(allowed)
    for label, verdict in ((allowed, _ALLOW), (refused, _REFUSED), (absent, _ABSENT)):
        yield Label(label)
        yield leave(verdict)


def _search(targets: list[tuple[int, str]], name: str) -> Iterator[Item]:
    """Find a number by halves; what is not among them is allowed.

    The kernel asks a filter about every number when it is installed, to know which it need not look at later: in a row
    of comparisons that was most of what a filter costs.
    """
    if len(targets) <= _FEW:
        for number, target in targets:
            yield jump_if(Compare.EQ, number, target)
        yield leave(_ALLOW)
        return
    half = len(targets) // 2
    yield jump_if(Compare.GE, targets[half][0], f"{name}>")
    yield from _search(targets[:half], f"{name}<")
    yield Label(f"{name}>")
    yield from _search(targets[half:], f"{name}>")


Rule = Callable[[str, str], Iterator[Item]]


def _special(profile: Profile, keep: frozenset[str]) -> dict[str, Rule]:
    """Return what looks at the arguments of a call, or answers that there is no such call."""
    rules: dict[str, Rule] = {
        "ioctl": lambda refused, _: _equal(1, (_TIOCSTI, _TIOCLINUX), refused),
        "socket": lambda refused, _: _equal(0, (_AF_VSOCK,), refused),
        # Its arguments are in memory, where a filter cannot look; C libraries know the call of their own for it.
        "socketcall": lambda _, absent: iter((jump(absent),)),
        "personality": _personality,
    }
    if "SYS_ADMIN" not in keep:
        rules["clone"] = lambda refused, _: _any_of(0, _NEW_NAMESPACES, refused)
        rules["unshare"] = lambda refused, _: _any_of(0, _NEW_NAMESPACES | _NEW_TIME, refused)
        # The same, with its flags in memory: C libraries then take clone.
        rules["clone3"] = lambda _, absent: iter((jump(absent),))
    if profile == "strict":
        rules["fcntl"] = rules["fcntl64"] = lambda refused, _: _equal(1, _LOCKS, refused)
    return rules


def _argument(index: int) -> Item:
    return load(_ARGUMENTS + 8 * index + _LOW)


def _equal(index: int, values: tuple[int, ...], to: str) -> Iterator[Item]:
    yield _argument(index)
    for value in values:
        yield jump_if(Compare.EQ, value, to)


def _any_of(index: int, bits: int, to: str) -> Iterator[Item]:
    yield _argument(index)
    yield jump_if(Compare.SET, bits, to)


def _personality(refused: str, absent: str) -> Iterator[Item]:
    del absent
    asked = f"asked, not {refused}"
    yield _argument(0)
    yield jump_if(Compare.EQ, _ASK_PERSONALITY, asked)
    yield mask(~_PERSONALITIES & 0xFFFF_FFFF)
    yield jump_if(Compare.GT, 0, refused)
    yield Label(asked)
