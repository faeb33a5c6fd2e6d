"""The kernel in memory and this machine's, driven side by side at random."""

from __future__ import annotations

import os
import secrets
import signal
import time

import pytest

from tests.differential.episode import EPISODE, episode
from tests.differential.ground import HURRIED, Ground, grounds
from tests.differential.nursery import Nursery
from tests.differential.pair import Pair
from tests.differential.step import Step
from tests.kernel import lacks
from tests.leaks import PREFIX

pytestmark = pytest.mark.host

STEPS = int(os.environ.get("CGCTL_DIFFERENTIAL_STEPS", "0"))
"""How many in all hierarchies together; by default few, and many where the test is a slow one."""
SEED = int(os.environ.get("CGCTL_DIFFERENTIAL_SEED", secrets.randbelow(1 << 30)))
_FEW, _MANY = 800, 20_000
_SHARE = 2500
"""Steps of one test: more say for too long nothing."""

_CPUSET = ("cpuset.cpus", "cpuset.mems")
_MOVED = Step("write", "a/cgroup.procs", "PIDd")

_GROUNDS = grounds()


def _shares(steps: int) -> int:
    """Return among how many tests the steps in one hierarchy are shared."""
    return max(1, -(-steps // max(1, len(_GROUNDS)) // _SHARE))


_EACH = pytest.mark.parametrize("ground", [pytest.param(each, id=each.label) for each in _GROUNDS])


def _run(ground: Ground, steps: int, share: int | None = None) -> str:
    """Do one share of the steps; return what was done."""
    lacks.require("host")
    each = -(-steps // (len(_GROUNDS) * (_shares(steps) if share is not None else 1)))
    episodes = -(-each // EPISODE)
    first = SEED + (share or 0) * episodes
    with Nursery(hurried=HURRIED) as nursery, ground.entered(f"{PREFIX}look") as there:
        for number in range(episodes):
            episode(there, nursery, f"{PREFIX}d", first + number, min(EPISODE, each - number * EPISODE))
    return f"{ground.kernel} {ground.label}: {each} steps, seeds {first} to {first + episodes - 1}"


def _tell(capsys: pytest.CaptureFixture[str], done: str) -> None:
    with capsys.disabled():
        print(f"\n{done}")  # noqa: T201


@_EACH
@pytest.mark.parametrize("share", range(_shares(STEPS or _FEW)))
def test_both_answer_and_read_the_same(ground: Ground, share: int, capsys: pytest.CaptureFixture[str]) -> None:
    """After each step both gave the same answer, and what is compared read the same; a failure says the seed."""
    done = _run(ground, STEPS or _FEW, share)
    if STEPS:
        _tell(capsys, done)


@pytest.mark.slow
@_EACH
def test_for_long(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """The same, for longer; the seeds are printed."""
    _tell(capsys, _run(ground, STEPS or _MANY))


@_EACH
def test_nobody_is_left_whom_nobody_waited_for(ground: Ground) -> None:
    """A child that is born after its birth was given up is ended with the rest, and the group goes."""
    lacks.require("host")
    with Nursery(hurried=HURRIED) as nursery, ground.entered(f"{PREFIX}look") as there:
        pair = Pair(there, f"{PREFIX}d", nursery)
        with pair.made():
            pair.do(Step("mkdir", "a"))
            for step in (*(Step("write", f"{at}{name}", "0") for at in ("", "a/") for name in _CPUSET), _MOVED):
                pair.do(step)
            procs, parent = f"{pair.top}/a/cgroup.procs", pair.processes[0].pid
            assert pair.real.read(procs).split() == [b"%d" % parent]
            os.kill(parent, signal.SIGUSR1)
            deadline = time.monotonic() + 30
            while len(pair.real.read(procs).split()) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.002)

        assert not os.path.exists(pair.top)
