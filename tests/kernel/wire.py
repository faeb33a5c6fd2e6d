"""A cable between two network namespaces of the test's own, with classes of traffic at its near end."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import attrs

from tests.kernel import payloads

NEAR, FAR = "10.99.0.1", "10.99.0.2"
_TENTH_OF_MBIT = 12_500
"""Bytes of 1 Mbit/s in a tenth of a second."""
_MAC = {NEAR: "02:00:00:00:00:01", FAR: "02:00:00:00:00:02"}


@attrs.frozen
class Wire:
    """The cable: interface ``near`` of one namespace is connected with ``far`` of another.

    Attributes:
        near: a process in the namespace of :data:`NEAR`.
        far: a process in that of :data:`FAR`.
    """

    near: int
    far: int

    def at_near(self, argv: list[str]) -> list[str]:
        """Return a command as it is run at the near end."""
        return _inside(self.near, argv)

    def at_far(self, argv: list[str]) -> list[str]:
        """Return a command as it is run at the far end."""
        return _inside(self.far, argv)

    def divide(self, rates: Mapping[str, int], *, by_group: bool) -> None:
        """Make HTB classes at the near end: class id → Mbit/s; ``1:99`` is for all else.

        Args:
            rates: what each class may send.
            by_group: whether v1's groups choose among them; a packet's priority always does.
        """
        self._tc("qdisc", "add", "dev", "near", "root", "handle", "1:", "htb", "default", "99")
        for classid, rate in {**rates, "1:99": 48}.items():
            # What is missed while the machine does something else, up to a tenth of a second, is made up for.
            burst = str(rate * _TENTH_OF_MBIT)
            limit = ("rate", f"{rate}mbit", "burst", burst, "cburst", burst, "quantum", "1514")
            self._tc("class", "add", "dev", "near", "parent", "1:", "classid", classid, "htb", *limit)
        if by_group:
            self._tc("filter", "add", "dev", "near", "parent", "1:", "protocol", "all", "handle", "1:", "cgroup")

    def sent(self) -> dict[str, int]:
        """Return how many bytes each class has let through so far."""
        shown = _run(self.at_near(["tc", "-s", "class", "show", "dev", "near"]))
        return {
            classid: int(size)
            for classid, size in re.findall(r"^class htb (\S+) .*\n Sent (\d+) ", shown, re.MULTILINE)
        }

    def _tc(self, *words: str) -> None:
        _run(self.at_near(["tc", *words]))


@contextmanager
def laid() -> Iterator[Wire]:
    """Lay a cable; it is gone, with its namespaces, when the two processes that hold those have ended."""
    hold = ["unshare", "--net", *payloads.SLEEPER]
    with running(hold) as near, running(hold) as far:
        wire = Wire(near.pid, far.pid)
        peer = f"peer name far address {_MAC[FAR]} netns {far.pid}"
        _run(wire.at_near(_end("near", NEAR, FAR, f"ip link add near address {_MAC[NEAR]} type veth {peer}")))
        _run(wire.at_far(_end("far", FAR, NEAR)))
        yield wire


@contextmanager
def running(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a payload, wait until it is ready, and kill it at the end."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def _end(name: str, address: str, other: str, *before: str) -> list[str]:
    """Return the command that sets up one end. Nothing goes through but what tests send: neither ARP nor IPv6."""
    commands = (
        *before,
        f"ip link set {name} addrgenmode none up",
        f"ip address add {address}/24 dev {name}",
        f"ip neighbour add {other} lladdr {_MAC[other]} dev {name} nud permanent",
    )
    return ["sh", "-c", " && ".join(commands)]


@cache
def can_be_had() -> bool:
    """Tell whether there are tools, namespaces, veth and HTB here: tried in a namespace that is gone afterwards."""
    if any(shutil.which(tool) is None for tool in ("unshare", "nsenter", "ip", "tc")):
        return False
    script = "ip link add near type veth peer name far && tc qdisc add dev near root handle 1: htb"
    return subprocess.run(["unshare", "--net", "sh", "-c", script], check=False, capture_output=True).returncode == 0


def _inside(pid: int, argv: list[str]) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net", *argv]


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout
