"""The same pair as a state machine: Hypothesis draws the steps, remembers what failed, and shortens it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.differential.driver import Driver
from tests.differential.episode import EVERY
from tests.differential.ground import HURRIED, Ground, grounds
from tests.differential.nursery import Nursery
from tests.differential.pair import Pair
from tests.kernel import lacks
from tests.leaks import PREFIX

pytestmark = pytest.mark.host

_EXAMPLES, _STEPS = 25, 40
_EACH = pytest.mark.parametrize("ground", [pytest.param(each, id=each.label) for each in grounds()])
# Draws that can be made smaller one by one; the first of each choice is the simplest.
_DRAWN = st.randoms(use_true_random=False)


class Machine(RuleBasedStateMachine):
    """Does to both kernels what is drawn; all that is to hold is in :meth:`Pair.do`."""

    def __init__(self, ground: Ground, nursery: Nursery) -> None:
        super().__init__()
        self.pair = Pair(ground, f"{PREFIX}h", nursery, every=EVERY)
        self.made = self.pair.made()
        self.made.__enter__()

    def teardown(self) -> None:
        """Compare all once more, and take all away."""
        try:
            self.pair.compare()
        finally:
            self.made.__exit__(None, None, None)

    def _do(self, what: str, drawn: random.Random) -> None:
        step = getattr(Driver(self.pair, drawn), what)()
        note(str(step))
        self.pair.do(step)

    @rule(drawn=_DRAWN)
    def make(self, drawn: random.Random) -> None:
        """Make a group."""
        self._do("mkdir", drawn)

    @rule(drawn=_DRAWN)
    def remove(self, drawn: random.Random) -> None:
        """Remove one."""
        self._do("rmdir", drawn)

    @rule(drawn=_DRAWN)
    def write(self, drawn: random.Random) -> None:
        """Write what is valid, on the edge, or nonsense."""
        self._do("write", drawn)

    @rule(drawn=_DRAWN)
    def write_more(self, drawn: random.Random) -> None:
        """Write again: there are more files than verbs."""
        self._do("write", drawn)

    @rule(drawn=_DRAWN)
    def change_state(self, drawn: random.Random) -> None:
        """Freeze, thaw, enable, make threaded."""
        self._do("state", drawn)

    @rule(drawn=_DRAWN)
    def move(self, drawn: random.Random) -> None:
        """Move a process or a thread."""
        self._do("move", drawn)

    @rule(drawn=_DRAWN)
    def end(self, drawn: random.Random) -> None:
        """Kill a process, or a group."""
        self._do("end", drawn)

    @rule(drawn=_DRAWN)
    def fork(self, drawn: random.Random) -> None:
        """Have a process fork."""
        self._do("fork", drawn)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Where the processes come from."""
    with Nursery(hurried=HURRIED) as made:
        yield made


@pytest.mark.slow
@_EACH
def test_machine(ground: Ground, nursery: Nursery) -> None:
    """No sequence of steps is found after which both do not agree."""
    lacks.require("host")
    with ground.entered(f"{PREFIX}look") as there:
        run_state_machine_as_test(
            lambda: Machine(there, nursery),  # type: ignore[arg-type] # any factory will do
            settings=settings(
                max_examples=_EXAMPLES,
                stateful_step_count=_STEPS,
                deadline=None,
                # The same each time where a failure should say something of the change.
                derandomize="CI" in os.environ,
                database=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
