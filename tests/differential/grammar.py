"""What is written to each file: values that are right, on the edge, and nonsense."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

ANYTHING = (
    *("0", "1", "2", "3", "10", "99", "100", "101", "1000", "4095", "4096", "4097", "10000", "10001", "1048576"),
    *("-1", "-2", "+5", "0x10", "010", "08", "1.5", "1K", "1M", "1G", "16E", "1KB", "max", "MAX", "abc", "", " ", "\n"),
    *("2147483647", "2147483648", "4294967295", "4294967296", "9223372036854775807", "9223372036854775808"),
    *(
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999",
        "5 6",
        "1 ",
        " 1",
        "1\n",
        "1\n\n",
        "1\x002",
    ),
)
_LISTS = (
    *(
        "0",
        "1",
        "0-1",
        "0,1",
        "1-0",
        "",
        "\n",
        " ",
        "0-",
        "-",
        "all",
        "N",
        "0-N",
        "0,,1",
        "0 1",
        "9999",
        "abc",
        "0-1:1/2",
    ),
    *("4294967295", "99999999999", "0-1\n1", "00-01", "0x1", ",0", "0,"),
)
_RULES = (
    *("a", "a *:* rwm", "all", "c 1:3 rwm", "c 1:3 r", "c 1:3 w", "c 1:5 rw", "c 1:* rwm", "c *:* m", "b 8:0 rw"),
    *("b 8:* mr", "c 5:1 mrw", "c  1:3 r", "c 1:3", "x 1:3 r", "c 1:3 rx", "c 0x1:3 r", "c 4294967296:3 r", "c -1:3 r"),
    *("c 01:03 rwm", "c 1:3 rwmrwm", "c 1:3 r\nc 1:5 r", "C 1:3 r", "b *:* rwm", "c 4294967295:3 rwm"),
)
_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc")


_MEMORY_LIMITS = r"memory\.(.*limit_in_bytes|max)"
_RATES = ("0", "1", "1048576", "4294967295", "4294967296", "-1", "abc", "max", "1M", "5 6")
# Rounded to hundredths, and kept as one of 1024 steps.
_CLAMPS = (
    *("0", "0.00", "1.5", "12.5", "33.33", "50.055", "50.054", "66.7", "0.005", "99.94", "99.96", "99.999", "100"),
    *("100.00", "100.004", "100.01", "100.1", "max", "max ", "7.", ".5", "1.5x", "-1", "-0.5", "1,5", "5e1", "abc", ""),
)
_TRIGGERS = (
    *(
        "some 150000 2000000",
        "full 50000 10000000",
        "some 0 2000000",
        "some 3 2",
        "abc",
        "full 5 4000000",
    ),
    *(
        "some5 2000000x",
        "some\t5\n2000000",
        "some 52000000",
        " some 5 2000000",
        "some 4294967297 2000000",
        "some -1 2000000",
    ),
    *(
        "some 5 12000000",
        "some 2000001 2000000",
        "some 18446744073709551617 2000000",
        "some 0x5 2000000",
        "some 5  2000000 7",
    ),
)


def _control(rng: random.Random) -> str:
    words = [
        rng.choice(("+", "+", "+", "-", "-", "")) + rng.choice((*_CONTROLLERS, "bogus", "freezer"))
        if rng.random() < 0.15
        else rng.choice("+-") + rng.choice(_CONTROLLERS)
        for _ in range(rng.choice((1, 1, 1, 2, 3)))
    ]
    return rng.choice((" ", " ", " ", "  ", ",", "\t")).join(words)


def _pair(rng: random.Random) -> str:
    numbers = ("max", "1000", "5000", "50000", "100000", "200000", "999", "0", "-1", "abc", "1000001", "17592186044415")
    return rng.choice(numbers) + rng.choice(("", "", " ", "\t", "\n")) + rng.choice(("", *numbers))


def _device(rng: random.Random, devices: tuple[str, ...]) -> str:
    return rng.choice((*devices, *devices, *devices, "999:0", "7", "abc", "default"))


def _io_max(rng: random.Random, devices: tuple[str, ...]) -> str:
    values = (
        "max",
        "1",
        "2",
        "1048576",
        "0",
        "-1",
        "abc",
        "4294967295",
        "4294967296",
        "18446744073709551615",
        "",
        "1M",
    )
    pairs = [
        rng.choice(("rbps", "wbps", "riops", "wiops", "rbps", "foo")) + "=" + rng.choice(values)
        for _ in range(rng.choice((0, 1, 1, 2, 4)))
    ]
    return " ".join([_device(rng, devices), *pairs])


def _line(rng: random.Random, devices: tuple[str, ...], values: tuple[str, ...]) -> str:
    return rng.choice(("", "", " ")) + _device(rng, devices) + rng.choice((" ", " ", "  ", "")) + rng.choice(values)


def value(name: str, rng: random.Random, devices: tuple[str, ...]) -> str:
    """Return something to write to a file."""
    # Nothing but blanks would be no memory at all.
    if rng.random() < 0.05 and not re.fullmatch(_MEMORY_LIMITS, name):
        return rng.choice(("", "\0", " " * 4097, "0" * 4096, "\n", "ä"))
    text = _value(name, rng, devices)
    return text + rng.choice(("", "", "", "", "\n", " "))


_LARGE = (
    "-1",
    "-2",
    "64M",
    "100M",
    "1G",
    "68157441",
    "0x10000000",
    "9223372036854771712",
    "max",
    "abc",
    "1.5G",
    "8E",
    "1KB",
)
"""Limits above what the tests' processes may be charged with, whatever that is."""

_WORDS = {
    "cgroup.type": ("threaded", "threaded", "domain", "THREADED", "abc"),
    "cpuset.cpus.partition": ("member", "root", "isolated", "root invalid", "abc"),
    "freezer.state": ("FROZEN", "THAWED", "FROZEN", "THAWED", "FREEZING", "frozen", "1"),
    "release_agent": ("/bin/true", " /x "),
}
_KINDS: tuple[tuple[str, Callable[[random.Random, tuple[str, ...]], str]], ...] = (
    (r"cgroup\.subtree_control", lambda rng, _: _control(rng)),
    (r"cpu\.max", lambda rng, _: _pair(rng)),
    (r"cpu\.uclamp\..*", lambda rng, _: rng.choice((*_CLAMPS, *ANYTHING))),
    (r"io\.max", _io_max),
    (r"blkio\.throttle\..*", lambda rng, devices: _line(rng, devices, _RATES)),
    (
        r"io\.weight|io\.bfq\.weight|blkio\.bfq\.weight_device",
        lambda rng, _: rng.choice(("", "default ")) + rng.choice(ANYTHING),
    ),
    (r"devices\..*", lambda rng, _: rng.choice(_RULES)),
    (r"cpuset\.(cpus|mems)(\.exclusive)?", lambda rng, _: rng.choice(_LISTS)),
    (r"net_prio\.ifpriomap", lambda rng, _: rng.choice(("lo ", "lo", "nosuch ", " lo ")) + rng.choice(ANYTHING)),
    # The kernel's own memory for a group is charged too, and a write refused for it: 5.10's +io with ENOMEM.
    (_MEMORY_LIMITS, lambda rng, _: rng.choice(_LARGE)),
    (
        r"cgroup\.freeze|cgroup\.pressure|memory\.oom\.group|cpu\.idle",
        lambda rng, _: rng.choice(("0", "1", "0", "1", *ANYTHING)),
    ),
    # Windows of whole two seconds: others take CAP_SYS_RESOURCE.
    (r".*\.pressure", lambda rng, _: rng.choice(_TRIGGERS)),
    (r"cgroup\.max\..*", lambda rng, _: rng.choice(("max", "max", "1", "2", "3", *ANYTHING))),
)


def _value(name: str, rng: random.Random, devices: tuple[str, ...]) -> str:
    if name in _WORDS:
        return rng.choice(_WORDS[name])
    kind = next((make for pattern, make in _KINDS if re.fullmatch(pattern, name)), None)
    return kind(rng, devices) if kind else rng.choice(ANYTHING)
