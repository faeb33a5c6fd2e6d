"""Devices: what may be opened and made, as the kernel has it, by v1's controller and by a program on a v2 group."""

from __future__ import annotations

import contextlib
import json
import os
import random
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from errno import EPERM
from pathlib import Path
from typing import Any

import attrs
import pytest

import cgctl
from cgctl import DEVICES_DEFAULT, DeviceRule, Devices
from cgctl.bpf import attachment, syscall
from cgctl.bpf.__main__ import main as command
from cgctl.bpf.assembly import R0, encode, leave, move
from cgctl.bpf.attachment import Kind
from cgctl.bpf.syscall import AttachType, ProgramType
from cgctl.layout import UNIFIED
from tests.kernel import lacks, payloads, scripts
from tests.kernel.conftest import Make
from tests.kernel.pace import EMULATED

pytestmark = pytest.mark.host

_ROUNDS = 12 if EMULATED else 60
# (type, major, minor): some that every kernel has, and some that no driver answers for, so that opening does nothing.
_NODES = [("c", 1, 3), ("c", 1, 5), ("c", 1, 7), ("c", 1, 200), ("c", 511, 7), ("b", 1, 200), ("b", 259, 77_777)]
_OURS = Kind(name="cgctl_devices", type=ProgramType.CGROUP_DEVICE, attach_type=AttachType.CGROUP_DEVICE)

_ASKER = r"""
import json, os, stat, sys
print("ready", flush=True)
for line in sys.stdin:
    answers = []
    for path, kind, major, minor, access in json.loads(line):
        try:
            if access == "m":
                mode = (stat.S_IFCHR if kind == "c" else stat.S_IFBLK) | 0o600
                os.mknod(path + ".new", mode, os.makedev(major, minor))
                os.unlink(path + ".new")
            else:
                flags = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}[access]
                os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))
            answers.append(0)
        except OSError as error:
            answers.append(error.errno)
    print(json.dumps(answers), flush=True)
"""


def _system(version: int) -> cgctl.System:
    """Return this machine, without the hierarchies of the other version."""
    lacks.require("v1 devices" if version == 1 else "attached programs")
    system = cgctl.System.detect()
    left = tuple(each for each in system.layout.hierarchies if each.version == version)
    return attrs.evolve(system, layout=attrs.evolve(system.layout, hierarchies=left))


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def system(request: pytest.FixtureRequest) -> cgctl.System:
    """Return this machine with one of the two ways to restrict devices."""
    return _system(request.param)


@pytest.fixture
def nodes() -> Iterator[dict[tuple[str, int, int], str]]:
    """Make nodes: (type, major, minor) → path."""
    with tempfile.TemporaryDirectory(dir=_where_nodes_are_devices()) as directory:
        made = {}
        for kind, major, minor in _NODES:
            path = os.path.join(directory, f"{kind}-{major}-{minor}")
            os.mknod(path, (stat.S_IFCHR if kind == "c" else stat.S_IFBLK) | 0o600, os.makedev(major, minor))
            made[kind, major, minor] = path
        yield made


def _where_nodes_are_devices() -> str:
    """Return a directory that is not mounted ``nodev``."""
    for path in (tempfile.gettempdir(), "/dev/shm", "/dev"):  # noqa: S108 - made and removed by this test alone
        if not os.statvfs(path).f_flag & os.ST_NODEV:
            return path
    pytest.fail("every writable directory is mounted nodev")


Ask = Callable[[list[tuple[str, str, int, int, str]]], list[int]]


@contextlib.contextmanager
def _asker(group: cgctl.Group) -> Iterator[Ask]:
    """Start a process in a group, not below it, that tries what it is told, and tells the errno of each."""
    process = subprocess.Popen(payloads.python(_ASKER), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def ask(requests: list[tuple[str, str, int, int, str]]) -> list[int]:
        stdin.write(json.dumps(requests) + "\n")
        stdin.flush()
        answers: list[int] = json.loads(stdout.readline())
        return answers

    try:
        assert stdout.readline() == "ready\n"
        group.add(process)
        yield ask
    finally:
        process.kill()
        process.communicate()


def _programs(group: cgctl.Group) -> attachment.Attached:
    with syscall.closing(os.open(group.paths()[UNIFIED], os.O_RDONLY | os.O_DIRECTORY)) as fd:
        return attachment.look(fd, _OURS)


def test_denied_and_allowed(system: cgctl.System, make: Make, nodes: Any) -> None:
    """A denied device is EPERM and an allowed one is not; and so for reading, writing and making."""
    group = make(system=system, devices=["null", "c 1:5 r"])
    requests = [
        (nodes["c", 1, minor], "c", 1, minor, access) for minor in (3, 5, 7) for access in ("r", "w", "rw", "m")
    ]
    with _asker(group) as ask:
        assert ask(requests) == [0, 0, 0, 0, *(0, EPERM, EPERM, EPERM), *[EPERM] * 4]


def test_given_later(system: cgctl.System, make: Make, nodes: Any) -> None:
    """A group that was made without a word on devices can be given some; its processes are held to them."""
    group = make(system=system)
    requests = [(nodes["c", 1, minor], "c", 1, minor, "r") for minor in (3, 5)]
    with _asker(group) as ask:
        assert ask(requests) == [0, 0]
        group.update(devices=["null"])

        assert ask(requests) == [0, EPERM]


def test_twenty_updates(make: Make, nodes: Any) -> None:
    """After many updates there is exactly one program, it is the last, and a process inside is held to it."""
    system = _system(2)
    group = make(system=system, devices=["null"])
    with _asker(group) as ask:
        for number in range(20):
            minor = (3, 5)[number % 2]
            held = group.update(devices=[f"c 1:{minor} rwm", f"c 200:{number} rw"])

            assert held.devices == Devices(allow=[DeviceRule("c", 1, minor), DeviceRule("c", 200, number, "rw")])
            assert len(_programs(group).ours) == 1
            found = ask([(nodes["c", 1, each], "c", 1, each, "rw") for each in (3, 5)])
            assert found == ([0, EPERM] if minor == 3 else [EPERM, 0])
    group.update(devices=Devices(default="allow"))
    assert _programs(group) == attachment.Attached(ours=(), others=())


def _random_rule(rng: random.Random) -> DeviceRule:
    kind, major, minor = rng.choice(_NODES)
    letters = "".join(rng.sample("rwm", rng.randint(1, 3)))
    return DeviceRule(
        rng.choice([kind, kind, "a"]), rng.choice([major, major, "*"]), rng.choice([minor, minor, "*"]), letters
    )


def _random_devices(rng: random.Random, version: int) -> Devices:
    allow, deny = ([_random_rule(rng) for _ in range(rng.randint(0, 5))] for _ in range(2))
    if version == 1:  # its deny-lists add up, and cannot be read back
        return Devices(allow=allow)
    return rng.choice([Devices(allow=allow), Devices(deny=deny), Devices(allow=allow, deny=deny)])


def test_random_rules(system: cgctl.System, make: Make, nodes: Any) -> None:
    """For random rules and requests, the kernel answers what the rules say, and gives the rules back."""
    seed = random.randrange(10**6)  # noqa: S311 - the more chance the better, but none of it secret
    rng = random.Random(seed)  # noqa: S311 - the same
    version = system.layout.hierarchies[0].version
    group = make(system=system, devices=Devices(default="deny"))
    requests = [(path, *node, access) for node, path in nodes.items() for access in ("r", "w", "rw", "m")]
    with _asker(group) as ask:
        for _ in range(_ROUNDS):
            devices = _random_devices(rng, version)

            assert group.update(devices=devices).devices == devices, f"seed {seed}"
            told = [number != EPERM for number in ask(requests)]
            said = [devices.allows(*request[1:]) for request in requests]
            assert told == said, f"seed {seed}: {devices}"


def test_hardened(make: Make) -> None:
    """The rules can be read although the kernel hides the constants of programs."""
    lacks.require("bpf_jit_harden")
    setting = Path("/proc/sys/net/core/bpf_jit_harden")
    before = setting.read_text(encoding="ascii")
    group = make(system=_system(2))
    rng = random.Random(4)  # noqa: S311 - the same
    try:
        setting.write_text("2", encoding="ascii")
        for _ in range(5):
            devices = _random_devices(rng, 2)

            assert group.update(devices=devices).devices == devices
    finally:
        setting.write_text(before, encoding="ascii")


def test_above_a_group_that_allows_no_others(make: Make, name: str) -> None:
    """Where a group above has a program that none may stand beside, that is said, and no group is left."""
    system = _system(2)
    parent = make(system=system)
    code = encode([move(R0, 1), leave()])
    with (
        syscall.closing(os.open(parent.paths()[UNIFIED], os.O_RDONLY | os.O_DIRECTORY)) as fd,
        syscall.closing(syscall.load(_OURS.type, _OURS.attach_type, "exclusive", code)) as program,
    ):
        # PROG_ATTACH without BPF_F_ALLOW_MULTI
        syscall._bpf(syscall._Command.PROG_ATTACH, struct.pack("=4I", fd, program, _OURS.attach_type, 0))
    with pytest.raises(cgctl.UnsupportedError, match=r"devices\.allow.*a group above has one that allows no others"):
        parent.group(name, devices=["null"]).create()
    assert parent.children() == []


def test_others_programs_stay(make: Make) -> None:
    """A program of another owner is left alone, and told of."""
    system = _system(2)
    group = make(system=system)
    code = encode([move(R0, 1), leave()])
    with (
        syscall.closing(os.open(group.paths()[UNIFIED], os.O_RDONLY | os.O_DIRECTORY)) as fd,
        syscall.closing(syscall.load(_OURS.type, _OURS.attach_type, "somebody", code)) as program,
    ):
        syscall.attach(fd, _OURS.attach_type, program)
    before = _programs(group).others
    for rules in (["null"], ["zero"], Devices(default="allow")):
        group.update(devices=rules)

        assert group.read("@devices").splitlines()[-1] == "other somebody"
        assert group.stats("devices").devices == cgctl.DevicesStats(others=("somebody",))
        assert _programs(group).others == before
    assert len(before) == 1


def test_below_a_group_that_denies(system: cgctl.System, make: Make, nodes: Any) -> None:
    """What a group above denies stays denied: on v2 both are asked, on v1 the kernel refuses to allow it."""
    parent = make(system=system, devices=["null", "zero"])
    group = make(name="below", parent=parent, devices=["null"])
    with _asker(group) as ask:
        assert ask([(nodes["c", 1, minor], "c", 1, minor, "rw") for minor in (3, 5, 7)]) == [0, EPERM, EPERM]
    if system.layout.unified:
        group.update(devices=["null", "full"])
        with _asker(group) as ask:
            assert ask([(nodes["c", 1, minor], "c", 1, minor, "rw") for minor in (3, 5, 7)]) == [0, EPERM, EPERM]
        return
    with pytest.raises(
        cgctl.StepError, match=r"EPERM.*no more than the group above \(it allows c 1:3 rwm; c 1:5 rwm\)"
    ):
        group.update(devices=["null", "full"])
    with pytest.raises(cgctl.StepError, match="EPERM"):
        group.update(devices=Devices(default="allow"))


def test_v1_changes_its_default_only_without_groups_below(make: Make) -> None:
    """The kernel's refusal is explained; a list that is there already can be changed."""
    group = make(system=_system(1), devices=["null"])
    make(name="below", parent=group, devices=["null"])
    with pytest.raises(cgctl.StepError, match=r"EINVAL.*only in a group without groups below"):
        group.update(devices=Devices(default="allow"))

    assert group.update(devices=["null", "zero r"]).devices == Devices(allow=["null", "zero r"])


def test_v1_gives_no_more_to_groups_below(make: Make, nodes: Any) -> None:
    """What is allowed later is not allowed to the groups that are below already; what is denied later is denied."""
    parent = make(system=_system(1), devices=["null", "zero"])
    group = make(name="below", parent=parent, devices=Devices())
    parent.update(devices=["zero", "full"])
    with _asker(group) as ask:
        assert ask([(nodes["c", 1, minor], "c", 1, minor, "rw") for minor in (3, 5, 7)]) == [EPERM, 0, EPERM]


def test_v1_deny_list(make: Make, nodes: Any) -> None:
    """v1 denies more with each list, until all is allowed again; it does not tell which are denied."""
    group = make(system=_system(1), devices=Devices(deny=["null"]))
    requests = [(nodes["c", 1, minor], "c", 1, minor, "r") for minor in (3, 5, 7)]

    def found() -> list[int]:
        with _asker(group) as ask:
            return ask(requests)

    assert found() == [EPERM, 0, 0]
    assert group.update(devices=Devices(deny=["zero"])).devices == Devices(default="allow")
    assert found() == [EPERM, EPERM, 0]
    group.update(devices=Devices(default="allow"))
    assert found() == [0, 0, 0]


def test_docker_default_runs_programs(system: cgctl.System, name: str) -> None:
    """With the default set a program has what it needs, and the kernel's messages are out of reach."""
    code = "import os; open('/dev/null', 'w').close(); os.urandom(8); os.openpty(); open('/dev/kmsg')"
    group = cgctl.Group(name, system=system, devices=[*DEVICES_DEFAULT], join=False)
    with group:
        done = group.run(payloads.python(code), capture_output=True, text=True)

    assert done.returncode == 1
    assert "PermissionError: [Errno 1] Operation not permitted: '/dev/kmsg'" in done.stderr


def test_paths(system: cgctl.System, make: Make, nodes: Any) -> None:
    """A path is looked up when the limit is set; what is no device is refused, and no group is made."""
    group = make(system=system, devices=[f"{nodes['c', 1, 7]} r"])

    assert group.limits().devices == Devices(allow=["full r"])
    with pytest.raises(cgctl.SpecError, match="not a device node"):
        make(system=system, devices=["/proc/self/status"])
    with pytest.raises(cgctl.SpecError, match="there is no such file"):
        make(system=system, devices=["/dev/cgctl-no-such-node"])


def test_without_the_right_to(name: str, make: Make) -> None:
    """Who may not attach programs is told so, and the group that was made is gone; a group's state can be read."""
    make(name=f"/{name}", system=_system(2), devices=["null"])
    told = scripts.run(
        """
        import attrs
        from cgctl.bpf import files  # before the interpreter's own files may be out of reach
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
    group = make(system=_system(2))
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
    group = make(system=_system(2))

    assert group.read("@devices") == "allow a *:* rwm\n"
    group.write("@devices", "allow a *:* rwm\ndeny c 1:3 w")
    assert group.limits().devices == Devices(deny=["null w"])
    with pytest.raises(cgctl.StepError, match=r"EINVAL.*no text of @devices"):
        group.write("@devices", "deny")
    with pytest.raises(cgctl.StepError, match="ENOENT"):
        group.read("@nothing")
