"""Freezing against those who fork, from above and below, and killing what is frozen: v2, and v1's freezer by itself."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import attrs
import psutil
import pytest

import cgctl
from tests.kernel import lacks, payloads, scripts
from tests.kernel.conftest import Make, Start
from tests.kernel.inside import is_alive
from tests.kernel.pace import DEAD_SEC, GONE_SEC, eventually

pytestmark = pytest.mark.host

_BOMB = payloads.python("""
import os, time
first, end = os.getpid(), time.monotonic() + 120
while time.monotonic() < end:
    try:
        if os.fork() == 0:
            end = time.monotonic() + os.getpid() % 20 / 1000  # there is always somebody who comes, and who goes
    except OSError:
        pass
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
""")
_TASKS = 30


@pytest.fixture(params=["as mounted", "v1 alone"])
def machine(request: pytest.FixtureRequest) -> cgctl.System:
    """This machine, and, where it has v1's freezer beside a v2 hierarchy, without the latter."""
    lacks.require("freezer")
    system = cgctl.System.detect()
    if request.param == "as mounted":
        return system
    lacks.require("v1 freezer", "v2")
    hierarchies = tuple(each for each in system.layout.hierarchies if each is not system.layout.unified)
    return attrs.evolve(system, layout=attrs.evolve(system.layout, hierarchies=hierarchies))


def _bombed(group: cgctl.Group) -> subprocess.Popen[bytes]:
    """Start a fork bomb in a group, and wait until it has filled it."""
    process = subprocess.Popen(["/bin/sh", "-c", 'read go; exec "$@"', "sh", *_BOMB], stdin=subprocess.PIPE)
    group.add(process)
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.close()
    assert eventually(lambda: len(group.pids()) > _TASKS / 2)
    return process


def _used(group: cgctl.Group) -> float:
    total = 0.0
    for process in group.processes():
        times = process.cpu_times()
        total += times.user + times.system
    return total


def test_a_fork_bomb_stands_still(machine: cgctl.System, make: Make) -> None:
    """Ten times over a group in which everybody forks is frozen: nobody runs, comes or goes; then all go on."""
    lacks.require("pids")
    group = make(system=machine, pids=_TASKS)
    process = _bombed(group)
    try:
        for _ in range(10):
            group.freeze(timeout=DEAD_SEC * 10)
            before = group.pids(), _used(group)
            time.sleep(0.05)
            assert (group.pids(), _used(group)) == before
            group.thaw()
        assert eventually(lambda: group.pids() != before[0])
        group.freeze(timeout=DEAD_SEC * 10)
        group.kill()
        assert group.pids() == []
    finally:
        group.kill()
        process.wait()


def test_frozen_from_above(machine: cgctl.System, start: Start, make: Make) -> None:
    """Below a frozen group thawing does nothing, and the error says which group it is; thawed above, it goes on."""
    above = make(system=machine)
    below = make(name="below", parent=above)
    process = psutil.Process(start(payloads.spinner(600)).pid)
    below.add(process)
    above.freeze()
    before = sum(process.cpu_times()[:2])
    with pytest.raises(cgctl.UnsupportedError) as caught:
        below.thaw()
    assert caught.value.reason.endswith(f"{above.name}, is frozen, and so is all that is below; thaw that one")
    assert sum(process.cpu_times()[:2]) == before
    above.thaw()

    assert eventually(lambda: sum(process.cpu_times()[:2]) > before)


def test_frozen_both_ways(machine: cgctl.System, start: Start, make: Make) -> None:
    """A group that is frozen itself and from above stays frozen when the one above is thawed."""
    above = make(system=machine)
    below = make(name="below", parent=above)
    process = psutil.Process(start(payloads.spinner(600)).pid)
    below.add(process)
    below.freeze()
    above.freeze()
    above.thaw()
    before = sum(process.cpu_times()[:2])
    time.sleep(0.05)
    assert sum(process.cpu_times()[:2]) == before
    below.thaw()

    assert eventually(lambda: sum(process.cpu_times()[:2]) > before)


@pytest.mark.parametrize("frozen", [("above",), ("below",), ("above", "below"), ("above", "middle")])
def test_kill_of_what_is_frozen(frozen: tuple[str, ...], machine: cgctl.System, start: Start, make: Make) -> None:
    """Whoever is frozen, itself, from above or below, dies of kill; what is frozen above stays so."""
    groups = {"above": make(system=machine)}
    groups["middle"] = make(name="middle", parent=groups["above"])
    groups["below"] = make(name="below", parent=groups["middle"])
    other, victim = start(payloads.spinner(600)), start(payloads.SLEEPER)
    groups["above"].add(other)
    groups["below"].add(victim)
    for name in frozen:
        groups[name].freeze()
    groups["middle"].kill(timeout=DEAD_SEC * 5)

    assert victim.wait(DEAD_SEC) == -9
    assert other.poll() is None
    assert groups["above"].pids() == [other.pid]
    if "above" in frozen:
        before = sum(psutil.Process(other.pid).cpu_times()[:2])
        time.sleep(0.05)
        assert sum(psutil.Process(other.pid).cpu_times()[:2]) == before


def test_the_owner_of_what_is_frozen_from_above_is_killed(machine: cgctl.System, make: Make, name: str) -> None:
    """What a killed caller had running below a frozen group ends, and its group goes; the one above stays as it was."""
    above = make(name=f"/{name}", system=machine)
    script = """
    import attrs
    system = cgctl.System.detect()
    hierarchies = tuple(each for each in system.layout.hierarchies if each.label in sys.argv[2:])
    system = attrs.evolve(system, layout=attrs.evolve(system.layout, hierarchies=hierarchies))
    group = cgctl.Group(sys.argv[1], system=system, join=False).__enter__()
    process = group.popen(payloads.SLEEPER, stdout=subprocess.PIPE)
    process.stdout.readline()
    tell(sleeper=process.pid)
    time.sleep(600)
    """
    labels = [each.label for each in machine.layout.hierarchies]
    with scripts.start(script, f"/{name}/below", *labels) as process:
        try:
            assert process.stdout is not None
            sleeper = json.loads(process.stdout.readline())["sleeper"]
            above.freeze()
        finally:
            process.kill()
            process.wait()
    assert eventually(lambda: not is_alive(sleeper), DEAD_SEC)
    assert eventually(lambda: not above.children(), GONE_SEC)
    above.thaw()


def test_whoever_is_moved_out_goes_on(machine: cgctl.System, start: Start, make: Make) -> None:
    """A process that is moved into a frozen group stops; one that is moved out of it runs again."""
    frozen, running = make(system=machine), make(system=machine)
    frozen.freeze()
    process = psutil.Process(start(payloads.spinner(600)).pid)
    frozen.add(process)
    assert eventually(lambda: _stands_still(process))
    running.add(process)
    before = sum(process.cpu_times()[:2])

    assert eventually(lambda: sum(process.cpu_times()[:2]) > before)
    assert (frozen.pids(), running.pids()) == ([], [process.pid])


def _stands_still(process: psutil.Process) -> bool:
    before = sum(process.cpu_times()[:2])
    time.sleep(0.05)
    return sum(process.cpu_times()[:2]) == before


@pytest.mark.slow
@pytest.mark.parametrize("timeout", [0.1, "3s"])
def test_a_run_in_a_frozen_group_is_out_of_time(timeout: float | str, machine: cgctl.System, make: Make) -> None:
    """It ends when its own time is over, or two seconds at least: killed, with no statistics, and no group left."""
    group = make(system=machine)
    group.freeze()
    began = time.monotonic()
    done = group.run(["true"], timeout=timeout)
    passed = time.monotonic() - began
    group.thaw()

    assert (done.timed_out, done.returncode, done.stats) == (True, -9, cgctl.Stats())
    assert (2 if timeout == 0.1 else 3) <= passed < 3 + 2 * GONE_SEC
    assert done.wall_usec <= passed * 1e6
    assert group.children() == []
    assert group.run(["true"]).returncode == 0


@pytest.mark.slow
def test_with_check_it_raises(machine: cgctl.System, make: Make) -> None:
    """With ``check``, that is the error of any other run that is out of time."""
    group = make(system=machine)
    group.freeze()
    with pytest.raises(cgctl.TimeoutExpired) as caught:
        group.run(["true"], timeout=0.1, check=True)
    group.thaw()

    assert caught.value.cmd == ["true"]
    assert caught.value.timeout == 0.1


def test_kill_of_the_own_group(name: str) -> None:
    """``current().kill()`` spares the caller and its launch helper, and nobody else."""
    lacks.require("a machine of its own")
    facts = scripts.run(
        """
        group = cgctl.Group(sys.argv[1]).create()
        enter(*group.paths().values())
        cgctl.run(["true"])
        from cgctl.launch.client import helpers
        before = sorted(helpers())
        others = [start(payloads.SLEEPER) for _ in range(3)]
        held = cgctl.current().pids()
        cgctl.current().kill()
        tell(statuses=[each.communicate() and each.returncode for each in others])
        tell(left=cgctl.current().pids(), me=os.getpid(), before=before)
        tell(again=cgctl.run(["true"]).returncode, after=sorted(helpers()), held=held)
        homes = cgctl.System.detect().root_base().directories
        for label, directory in group.paths().items():
            for pid in (*before, os.getpid()):
                with open(f"{homes[label]}/cgroup.procs", "w") as file:
                    file.write(str(pid))
        group.remove()
        """,
        f"/{name}",
    )

    assert facts["statuses"] == [-9, -9, -9]
    assert facts["left"] == sorted([facts["me"], *facts["before"]])
    assert len(facts["held"]) == 5
    assert (facts["again"], facts["after"]) == (0, facts["before"])


def test_no_freezer_at_all(make: Make) -> None:
    """A group in no hierarchy that can freeze cannot be frozen, and is told so."""
    lacks.require("v1 pids")
    system = cgctl.System.detect()
    hierarchies = tuple(each for each in system.layout.hierarchies if {"pids", "freezer"} & {*each.controllers})
    apart = attrs.evolve(system, layout=attrs.evolve(system.layout, hierarchies=hierarchies))
    group = make(system=apart, pids=5)
    freezers = [Path(path) for label, path in group.paths().items() if "pids" not in label]
    for path in freezers:
        path.rmdir()
    with pytest.raises(cgctl.UnsupportedError, match="neither in a v2 hierarchy nor in v1's freezer"):
        group.freeze()
