"""Devices: what may be opened and made, as the kernel has it, by v1's controller and by a program on a v2 group."""

from __future__ import annotations

import random
from errno import EPERM
from typing import Any

import pytest

import cgctl
from cgctl import DEVICES_DEFAULT, Devices
from tests.kernel import payloads
from tests.kernel.conftest import Make
from tests.kernel.devices import asker, random_devices, system_of
from tests.kernel.pace import EMULATED

pytestmark = pytest.mark.host

_ROUNDS = 12 if EMULATED else 60


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def system(request: pytest.FixtureRequest) -> cgctl.System:
    """Return this machine with one of the two ways to restrict devices."""
    return system_of(request.param)


def test_denied_and_allowed(system: cgctl.System, make: Make, nodes: Any) -> None:
    """A denied device is EPERM and an allowed one is not; and so for reading, writing and making."""
    group = make(system=system, devices=["null", "c 1:5 r"])
    requests = [
        (nodes["c", 1, minor], "c", 1, minor, access) for minor in (3, 5, 7) for access in ("r", "w", "rw", "m")
    ]
    with asker(group) as ask:
        assert ask(requests) == [0, 0, 0, 0, *(0, EPERM, EPERM, EPERM), *[EPERM] * 4]


def test_given_later(system: cgctl.System, make: Make, nodes: Any) -> None:
    """A group that was made without a word on devices can be given some; its processes are held to them."""
    group = make(system=system)
    requests = [(nodes["c", 1, minor], "c", 1, minor, "r") for minor in (3, 5)]
    with asker(group) as ask:
        assert ask(requests) == [0, 0]
        group.update(devices=["null"])

        assert ask(requests) == [0, EPERM]


def test_random_rules(system: cgctl.System, make: Make, nodes: Any) -> None:
    """For random rules and requests, the kernel answers what the rules say, and gives the rules back."""
    seed = random.randrange(10**6)  # noqa: S311 - the more chance the better, but none of it secret
    rng = random.Random(seed)  # noqa: S311 - the same
    version = system.layout.hierarchies[0].version
    group = make(system=system, devices=Devices(default="deny"))
    requests = [(path, *node, access) for node, path in nodes.items() for access in ("r", "w", "rw", "m")]
    with asker(group) as ask:
        for _ in range(_ROUNDS):
            devices = random_devices(rng, version)

            assert group.update(devices=devices).devices == devices, f"seed {seed}"
            told = [number != EPERM for number in ask(requests)]
            said = [devices.allows(*request[1:]) for request in requests]
            assert told == said, f"seed {seed}: {devices}"


def test_below_a_group_that_denies(system: cgctl.System, make: Make, nodes: Any) -> None:
    """What a group above denies stays denied: on v2 both are asked, on v1 the kernel refuses to allow it."""
    parent = make(system=system, devices=["null", "zero"])
    group = make(name="below", parent=parent, devices=["null"])
    with asker(group) as ask:
        assert ask([(nodes["c", 1, minor], "c", 1, minor, "rw") for minor in (3, 5, 7)]) == [0, EPERM, EPERM]
    if system.layout.unified:
        group.update(devices=["null", "full"])
        with asker(group) as ask:
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
    group = make(system=system_of(1), devices=["null"])
    make(name="below", parent=group, devices=["null"])
    with pytest.raises(cgctl.StepError, match=r"EINVAL.*only in a group without groups below"):
        group.update(devices=Devices(default="allow"))

    assert group.update(devices=["null", "zero r"]).devices == Devices(allow=["null", "zero r"])


def test_v1_gives_no_more_to_groups_below(make: Make, nodes: Any) -> None:
    """What is allowed later is not allowed to the groups that are below already; what is denied later is denied."""
    parent = make(system=system_of(1), devices=["null", "zero"])
    group = make(name="below", parent=parent, devices=Devices())
    parent.update(devices=["zero", "full"])
    with asker(group) as ask:
        assert ask([(nodes["c", 1, minor], "c", 1, minor, "rw") for minor in (3, 5, 7)]) == [EPERM, 0, EPERM]


def test_v1_deny_list(make: Make, nodes: Any) -> None:
    """v1 denies more with each list, until all is allowed again; it does not tell which are denied."""
    group = make(system=system_of(1), devices=Devices(deny=["null"]))
    requests = [(nodes["c", 1, minor], "c", 1, minor, "r") for minor in (3, 5, 7)]

    def found() -> list[int]:
        with asker(group) as ask:
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
