"""The program on a v2 group that restricts its devices: one, ours, readable, and not everybody's to attach."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from errno import EPERM
from pathlib import Path
from typing import Any

import pytest

import cgctl
from cgctl import DeviceRule, Devices
from cgctl.bpf import attachment, syscall
from cgctl.bpf.__main__ import main as command
from cgctl.bpf.assembly import R0, encode, leave, move
from cgctl.layout import UNIFIED
from tests.kernel import lacks, scripts
from tests.kernel.conftest import Make
from tests.kernel.devices import OURS, asker, programs, random_devices, system_of

pytestmark = pytest.mark.host


def test_twenty_updates(make: Make, nodes: Any) -> None:
    """After many updates there is exactly one program, it is the last, and a process inside is held to it."""
    system = system_of(2)
    group = make(system=system, devices=["null"])
    with asker(group) as ask:
        for number in range(20):
            minor = (3, 5)[number % 2]
            held = group.update(devices=[f"c 1:{minor} rwm", f"c 200:{number} rw"])

            assert held.devices == Devices(allow=[DeviceRule("c", 1, minor), DeviceRule("c", 200, number, "rw")])
            assert len(programs(group).ours) == 1
            found = ask([(nodes["c", 1, each], "c", 1, each, "rw") for each in (3, 5)])
            assert found == ([0, EPERM] if minor == 3 else [EPERM, 0])
    group.update(devices=Devices(default="allow"))
    assert programs(group) == attachment.Attached(ours=(), others=())


def test_hardened(make: Make) -> None:
    """The rules can be read although the kernel hides the constants of programs."""
    lacks.require("bpf_jit_harden")
    setting = Path("/proc/sys/net/core/bpf_jit_harden")
    before = setting.read_text(encoding="ascii")
    group = make(system=system_of(2))
    rng = random.Random(4)  # noqa: S311 - the same
    try:
        setting.write_text("2", encoding="ascii")
        for _ in range(5):
            devices = random_devices(rng, 2)

            assert group.update(devices=devices).devices == devices
    finally:
        setting.write_text(before, encoding="ascii")


def test_above_a_group_that_allows_no_others(make: Make, name: str) -> None:
    """Where a group above has a program that none may stand beside, that is said, and no group is left."""
    system = system_of(2)
    parent = make(system=system)
    code = encode([move(R0, 1), leave()])
    with (
        syscall.closing(os.open(parent.paths()[UNIFIED], os.O_RDONLY | os.O_DIRECTORY)) as fd,
        syscall.closing(syscall.load(OURS.type, OURS.attach_type, "exclusive", code)) as program,
    ):
        # PROG_ATTACH without BPF_F_ALLOW_MULTI
        syscall._bpf(syscall._Command.PROG_ATTACH, struct.pack("=4I", fd, program, OURS.attach_type, 0))
    with pytest.raises(cgctl.UnsupportedError, match=r"devices\.allow.*a group above has one that allows no others"):
        parent.group(name, devices=["null"]).create()
    assert parent.children() == []


def test_others_programs_stay(make: Make) -> None:
    """A program of another owner is left alone, and told of."""
    system = system_of(2)
    group = make(system=system)
    code = encode([move(R0, 1), leave()])
    with (
        syscall.closing(os.open(group.paths()[UNIFIED], os.O_RDONLY | os.O_DIRECTORY)) as fd,
        syscall.closing(syscall.load(OURS.type, OURS.attach_type, "somebody", code)) as program,
    ):
        syscall.attach(fd, OURS.attach_type, program)
    before = programs(group).others
    for rules in (["null"], ["zero"], Devices(default="allow")):
        group.update(devices=rules)

        assert group.read("@devices").splitlines()[-1] == "other somebody"
        assert group.stats("devices").devices == cgctl.DevicesStats(others=("somebody",))
        assert programs(group).others == before
    assert len(before) == 1


def test_without_the_right_to(name: str, make: Make) -> None:
    """Who may not attach programs is told so, and the group that was made is gone; a group's state can be read."""
    make(name=f"/{name}", system=system_of(2), devices=["null"])
    told = scripts.run(
        """
        import attrs
        # Before the interpreter's own files may be out of reach.
        import cgctl.bpf.files, cgctl.controllers, cgctl.group
        [*cgctl.controllers.CONTROLLERS.values()]
        unified = cgctl.System.detect().layout.unified.mount_point
        name = sys.argv[1]
        os.mkdir(f"{unified}/{name}/own")
        os.chown(f"{unified}/{name}/own", 65534, 65534)
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        system = cgctl.System.detect()
        system = attrs.evolve(system, layout=attrs.evolve(system.layout, hierarchies=(system.layout.unified,)))
        above = cgctl.Group(f"/{name}/own", system=system)
        try:
            above.group("below", devices=["null"]).create()
        except cgctl.UnsupportedError as error:
            tell(error=str(error), left=[each.name for each in above.children()])
        tell(held=repr(above.limits().devices), stats=repr(above.stats().devices))
        """,
        name,
    )

    assert "devices.allow is not supported here (since Linux 4.15): this process may not attach" in told["error"]
    assert told["left"] == []
    assert told["held"] == "Devices(allow=None, deny=None, default=None)"
    assert told["stats"] == "None"


def test_without_locked_memory(name: str) -> None:
    """Kernels before 5.11 count programs as locked memory: the limit is raised for the call, and put back."""
    lacks.require("attached programs")
    told = scripts.run(
        """
        import attrs, resource
        system = cgctl.System.detect()
        system = attrs.evolve(system, layout=attrs.evolve(system.layout, hierarchies=(system.layout.unified,)))
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]))
        group = cgctl.Group(f"/{sys.argv[1]}", system=system, devices=["null"]).create()
        tell(held=str(group.limits().devices), limit=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])
        group.remove()
        """,
        name,
    )

    assert "c', major=1, minor=3" in told["held"]
    assert told["limit"] == 0


def test_command(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """What a plan prints can be run; it prints what it reads, and fails as the kernel does."""
    group = make(system=system_of(2))
    path = f"{group.paths()[UNIFIED]}/@devices"
    argv = [sys.executable, "-m", "cgctl.bpf", "write", path, "deny a *:* rwm", "allow c 1:3 rw"]
    subprocess.run(argv, check=True)

    assert group.limits().devices == Devices(allow=["null rw"])
    for arguments, status, out, err in (
        (("read", path), 0, "deny a *:* rwm\nallow c 1:3 rw\n", ""),
        (("write", path, "nonsense"), 1, "", f"{path}: Invalid argument\n"),
        (("read", path.replace("devices", "x")), 1, "", f"{path.replace('devices', 'x')}: No such file or directory\n"),
        (("read", "/proc/@devices"), 1, "", "/proc/@devices: Bad file descriptor\n"),
        (("write", path), 2, "", ...),
        (("read", path, "more"), 2, "", ...),
        (("read", f"{path}/memory.max"), 2, "", ...),
        ((), 2, "", ...),
    ):
        assert command([*arguments]) == status
        found = capsys.readouterr()
        assert found.out == out
        assert found.err == err or (err is ... and found.err.startswith("usage: python3 -m cgctl.bpf"))


def test_text_is_an_interface_file(make: Make) -> None:
    """``read`` and ``write`` take it like any other."""
    group = make(system=system_of(2))

    assert group.read("@devices") == "allow a *:* rwm\n"
    group.write("@devices", "allow a *:* rwm\ndeny c 1:3 w")
    assert group.limits().devices == Devices(deny=["null w"])
    with pytest.raises(cgctl.StepError, match=r"EINVAL.*no text of @devices"):
        group.write("@devices", "deny")
    with pytest.raises(cgctl.StepError, match="ENOENT"):
        group.read("@nothing")
