"""Tasks, disks, traffic and devices."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cgctl
from benchmarks.enforcement import loads
from benchmarks.enforcement.groups import made
from benchmarks.enforcement.points import AbsentError, Point, point
from tests.kernel import disks, lacks, payloads, wire

_MIB = 1 << 20


def tasks(repeats: int) -> Iterator[Point]:
    """Sweep ``pids.max``: how many processes a fork bomb became."""
    for most in (1, 2, 5, 10, 50, 100, 500):
        done = [cgctl.run(loads.forker(1000), pids=most, capture_output=True, text=True) for _ in range(repeats)]
        yield point("pids.max", str(most), most, [int(each.stdout) for each in done], "tasks", (1, 1))


def rates(repeats: int) -> Iterator[Point]:
    """Sweep ``io.max``: bytes and operations a second of direct I/O."""
    with _disk() as path:
        for way in ("read", "write"):
            for rate in (1, 4, 8, 16):
                limit = cgctl.IoMax(**{f"{way[0]}bps": rate * _MIB})
                program = disks.direct(path, way, 2 * rate * _MIB, block=rate * _MIB // 64)
                got = [_direct(limit, program) / _MIB for _ in range(repeats)]
                yield point("io.max", f"{way} {rate} MiB/s, direct", rate, got, "MiB/s", (0.9, 1.1))
            for many in (50, 200):
                limit = cgctl.IoMax(**{f"{way[0]}iops": many})
                program = disks.direct(path, way, 2 * many * 4096, block=4096)
                got = [_direct(limit, program) / 4096 for _ in range(repeats)]
                yield point("io.max", f"{way} {many} IOPS, direct", many, got, "IOPS", (0.9, 1.1))


def buffered(repeats: int) -> Iterator[Point]:
    """Show what ``io.max`` does to writes through the page cache: v1 does not see whose they are."""
    if not disks.is_own():
        raise AbsentError("io: there is no disk that belongs to this benchmark alone (run it in a machine of tests/vm)")
    with made(io={disks.NAME: cgctl.IoMax(wbps=4 * _MIB)}) as group:
        done = [group.run(loads.writer(disks.OWN, 16 * _MIB), capture_output=True, text=True) for _ in range(repeats)]
    taken, synced = zip(*(map(float, each.stdout.split()) for each in done), strict=True)
    note = f"taken at {max(taken) / _MIB:.0f} MiB/s, and then on the disk at this rate"
    within = (0.7, 1.4) if lacks.version_of("io") == 2 else None  # noqa: PLR2004 - of v1 nothing is promised
    yield point("io.max", "write 4 MiB/s, buffered", 4, [each / _MIB for each in synced], "MiB/s", within, note)


def traffic(repeats: int) -> Iterator[Point]:
    """Let groups send through HTB classes of their own, at the same time."""
    if not (wire.can_be_had() and lacks.FEATURES["net classes"].probe()):
        raise AbsentError("net: it takes root, iproute2, veth, HTB, and net_cls or programs on v2 groups")
    classes = {"1:10": 2, "1:20": 8, "1:30": 24}
    runs = [_sent(classes) for _ in range(repeats)]
    for classid, rate in classes.items():
        yield point("net.classid", f"{rate} Mbit/s", rate, [each[classid] for each in runs], "Mbit/s", (0.85, 1.15))


def nodes(repeats: int) -> Iterator[Point]:
    """Allow some device nodes, and try those and others."""
    allowed, denied = ("null", "zero", "urandom"), ("full", "random", "kmsg")
    right = []
    for _ in range(repeats):
        done = cgctl.run(
            loads.opener(*(f"/dev/{name}" for name in (*allowed, *denied))),
            devices=cgctl.Devices(allow=list(allowed)),
            capture_output=True,
            text=True,
        )
        opened = [word == "1" for word in done.stdout.split()]
        right.append(sum(each == (number < len(allowed)) for number, each in enumerate(opened)))
    yield point("devices", "3 allowed, 3 denied", 6, right, "right answers", (1, 1))


@contextlib.contextmanager
def _disk() -> Iterator[str]:
    if not lacks.FEATURES["io"].probe():
        raise AbsentError("io: the controller is in no mounted hierarchy here")
    if disks.is_own():
        yield disks.OWN
        return
    path = Path.cwd() / f".cgctl-{os.urandom(3).hex()}"
    if not disks.NUMBER or disks.number(str(Path.cwd())) != disks.NUMBER:
        raise AbsentError("io: this directory is on no disk, or on another one than the root directory")
    try:
        path.write_bytes(bytes(8 * _MIB))
        os.sync()
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


def _direct(limit: cgctl.IoMax, program: list[str]) -> float:
    with made(io={disks.NAME: limit}) as group:
        done = group.run(program, capture_output=True, text=True, check=True)
    _, moved, seconds, _ = done.stdout.split()
    return int(moved) / float(seconds)


def _sent(classes: dict[str, int]) -> dict[str, float]:
    with contextlib.ExitStack() as stack:
        cable = stack.enter_context(wire.laid())
        cable.divide(classes, by_group=lacks.version_of("net_cls") == 1)
        receiver = stack.enter_context(wire.running(cable.at_far(payloads.receiver(wire.FAR, len(classes)))))
        senders = []
        for name, classid in zip("abc", classes, strict=True):
            group = stack.enter_context(made(net=classid))
            sender = cable.at_near(payloads.sender(wire.FAR, name, 2.5))
            senders.append(group.popen(sender, stdout=subprocess.DEVNULL))
        for each in senders:
            each.wait()
        told = json.loads(receiver.communicate()[0])
    return {classid: told[name][0] for name, classid in zip("abc", classes, strict=True)}
