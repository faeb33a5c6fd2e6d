"""The tests of this tree, in real kernels of every layout: a failure names the kernel, the layout and the test."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable

import pytest

from tests.kernel import payloads
from tests.require import skip_unless
from tests.vm.matrix import CELLS, FILES, Cell
from tests.vm.report import Outcome, in_machine, suite

pytestmark = pytest.mark.vm

_LIMIT = ("cgctl", "run", "-m", "32m", "--")
_HOG = ("python3", *payloads.hog(64)[1:])
_UNABLE = 125


def in_cell(cell: Cell, run: Callable[[], Outcome]) -> Outcome:
    """Run in a cell's machine; where it cannot be had, skip, or fail if ``CGCTL_REQUIRE`` names it."""
    if shutil.which("qemu-system-x86_64") is None:
        skip_unless(cell.feature(), "qemu-system-x86_64 is not installed (./scripts/setup vm)")
    outcome = run()
    skip_unless(cell.feature(), outcome.lost)
    return outcome


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_in_a_real_kernel(cell: Cell) -> None:
    """All tests chosen for the cell pass in it, and none is skipped for a feature that it must have."""
    outcome = in_cell(cell, lambda: suite(cell))

    if problems := outcome.problems(cell):
        pytest.fail("\n".join(problems), pytrace=False)


# Once for each layout and user.
_COMMAND_LINES = list(
    {(cell.layout, cell.user): cell for cell in reversed(CELLS) if cell.tests != FILES and not cell.part}.values()
)


@pytest.mark.parametrize("cell", _COMMAND_LINES, ids=str)
def test_command_line(cell: Cell) -> None:
    """``cgctl run``, as the machine's first command, kills what is over its limit; or says that it cannot limit."""
    outcome = in_cell(cell, lambda: in_machine(cell, *_LIMIT, *_HOG))

    if "memory" in cell.lacks:
        assert outcome.status == _UNABLE, outcome.tail()
        assert "not supported here" in outcome.errors
    else:
        assert (outcome.status, outcome.output) == (128 + signal.SIGKILL, ""), outcome.tail()
