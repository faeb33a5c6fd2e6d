"""Limits on an RDMA device, met for real: a software device on a network of the test's own."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator

import pytest

import cgctl
from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make

pytestmark = pytest.mark.host

DEVICE = "cgctl-rxe"

# Opens device handles and protection domains by uverbs' own commands (<rdma/ib_user_verbs.h>): one write(2) each.
_OPEN = """
import ctypes, os, struct, sys
GET_CONTEXT, ALLOC_PD = 0, 3
handles, domains = map(int, sys.argv[1:])
def command(fd, number):
    answer = ctypes.create_string_buffer(64)
    # The header counts in words of four bytes: in, with the header, and out.
    out = 2 if number == GET_CONTEXT else 1
    try:
        os.write(fd, struct.pack("=IHHQ", number, 4, out, ctypes.addressof(answer)))
    except OSError as error:
        print(error.errno, flush=True)
        sys.exit(1)
fds = []
for _ in range(handles):
    fds.append(os.open("/dev/infiniband/uverbs0", os.O_RDWR))
    command(fds[-1], GET_CONTEXT)
for _ in range(domains):
    command(fds[0], ALLOC_PD)
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def device() -> Iterator[str]:
    """Make a soft RoCE device on a dummy interface."""
    lacks.require("rdma", "rdma_rxe")
    network = f"{DEVICE}0"
    for line in (
        f"ip link add {network} type dummy",
        f"ip address add 192.0.2.1/24 dev {network}",
        f"ip link set {network} up",
        f"rdma link add {DEVICE} type rxe netdev {network}",
    ):
        subprocess.run(line.split(), check=True)
    subprocess.run(["modprobe", "ib_uverbs"], check=True)
    yield DEVICE
    subprocess.run(["rdma", "link", "delete", DEVICE], check=True)
    subprocess.run(["ip", "link", "delete", network], check=True)


def _run(group: cgctl.Group, handles: int, domains: int) -> cgctl.Completed:
    return group.run(payloads.python(_OPEN, handles, domains), capture_output=True, text=True, input="\n")


def _rdma(group: cgctl.Group) -> cgctl.RdmaStats:
    stats = group.stats("rdma").rdma
    assert stats is not None
    return stats


def test_handles_are_limited(device: str, make: Make) -> None:
    """Handles up to the limit can be opened; the next one is an EAGAIN."""
    group = make(rdma={device: {"hca_handle": 2}})
    within, beyond = _run(group, 2, 0), _run(group, 3, 0)

    assert (within.returncode, within.stdout) == (0, "held\n")
    assert (beyond.returncode, beyond.stdout) == (1, f"{errno.EAGAIN}\n")


def test_objects_are_limited(device: str, make: Make) -> None:
    """So are objects; a resource that is not named is left as it was."""
    group = make(rdma={device: {"hca_handle": 1}})
    held = group.update(rdma={device: {"hca_object": 2}}).rdma
    within, beyond = _run(group, 1, 2), _run(group, 1, 3)

    assert held is not None
    assert held.max is not None
    assert held.max[device] == {"hca_handle": 1, "hca_object": 2}
    assert within.returncode == 0
    assert (beyond.returncode, beyond.stdout) == (1, f"{errno.EAGAIN}\n")


def test_use_is_counted(device: str, make: Make) -> None:
    """What is open is told, and, where the kernel does, the most that was, and what was refused."""
    group = make(rdma={device: {"hca_handle": 2}})
    with group.popen(payloads.python(_OPEN, 2, 3), stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        current = _rdma(group).current
        process.kill()
    _run(group, 3, 0)
    rdma = _rdma(group)

    assert current is not None
    assert current[device] == {"hca_handle": 2, "hca_object": 3}
    if rdma.peak is not None:
        assert rdma.peak[device] == {"hca_handle": 2, "hca_object": 3}
        assert rdma.events is not None
        assert rdma.events[device]["hca_handle.max"] >= 1


def test_another_device_is_refused(device: str, name: str) -> None:
    """The error names the device that there is."""
    group = cgctl.Group(name, rdma={"cgctl-none": {"hca_handle": 1}})
    with pytest.raises(cgctl.UnsupportedError, match=rf"no device 'cgctl-none' \(it has: {device}\)"):
        group.create()

    assert not group.exists()


def test_an_unknown_resource_is_explained(device: str, make: Make) -> None:
    """A word that the kernel does not know is its EINVAL, with where to see those that it does."""
    with pytest.raises(cgctl.StepError, match=r"EINVAL.*rdma\.max shows") as caught:
        make(rdma={device: {"hca_wings": 1}})

    assert caught.value.errno == errno.EINVAL
    assert os.path.exists("/dev/infiniband/uverbs0")
