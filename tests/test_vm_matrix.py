"""The tests of this tree, in real kernels of every layout: a failure names the kernel, the layout and the test."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.kernel import payloads
from tests.require import skip_unless
from tests.vm import support
from tests.vm.matrix import CELLS, Cell
from tests.vm.report import Outcome, in_machine, suite

pytestmark = pytest.mark.vm

AT_ONCE = 2
"""How many machines run at a time: each has two processors, and the tests in it wait half of their time."""

_LIMIT = ("cgctl", "run", "-m", "32m", "--")
_UNABLE = 125


def _hog(mebibytes: int) -> tuple[str, ...]:
    return ("python3", *payloads.hog(mebibytes)[1:])


Runs = dict[tuple[str, Cell], "Future[Outcome]"]


def command_line(cell: Cell) -> Outcome:
    """Run a program that is over its limit by ``cgctl run``, as the machine's first command."""
    return in_machine(cell, *_LIMIT, *_hog(64))


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """Start all machines that the chosen tests want, two at a time."""
    wanted = {"test_in_a_real_kernel": suite, "test_command_line": command_line}
    chosen = {
        (item.originalname, item.callspec.params["cell"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname in wanted
    }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            (name, cell): pool.submit(run, cell)
            for cell in CELLS  # the longest first
            for name, run in wanted.items()
            if (name, cell) in chosen
        }
        pool.shutdown(cancel_futures=True)


def _outcome(request: pytest.FixtureRequest, name: str, cell: Cell) -> Outcome:
    """Return what came of a run; where the machine could not be had, skip, or fail if ``CGCTL_REQUIRE`` names it."""
    if shutil.which("qemu-system-x86_64") is None:
        skip_unless(cell.feature(), "qemu-system-x86_64 is not installed (./scripts/setup vm)")
    runs: Runs = request.getfixturevalue("runs")
    outcome = runs[name, cell].result()
    skip_unless(cell.feature(), outcome.lost)
    return outcome


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_in_a_real_kernel(cell: Cell, request: pytest.FixtureRequest) -> None:
    """All tests chosen for the cell pass in it, and none is skipped for a feature that it must have."""
    outcome = _outcome(request, "test_in_a_real_kernel", cell)

    if problems := outcome.problems(cell):
        pytest.fail("\n".join(problems), pytrace=False)


# Once for each layout and user.
_COMMAND_LINES = list({(cell.layout, cell.user): cell for cell in reversed(CELLS) if not cell.big}.values())


@pytest.mark.parametrize("cell", _COMMAND_LINES, ids=str)
def test_command_line(cell: Cell, request: pytest.FixtureRequest) -> None:
    """``cgctl run``, as the machine's first command, kills what is over its limit; or says that it cannot limit."""
    outcome = _outcome(request, "test_command_line", cell)

    if "memory" in cell.lacks:
        assert outcome.status == _UNABLE, outcome.tail()
        assert "not supported here" in outcome.errors
    else:
        assert (outcome.status, outcome.output) == (128 + signal.SIGKILL, ""), outcome.tail()


def test_table_of_support(request: pytest.FixtureRequest) -> None:
    """``docs/support.md`` says what all these machines have shown."""
    chosen = {cell for name, cell in request.getfixturevalue("runs") if name == "test_in_a_real_kernel"}
    if chosen != set(CELLS):
        pytest.skip("not all machines were chosen")
    results = {cell: _outcome(request, "test_in_a_real_kernel", cell).results for cell in CELLS}
    told = support.page(results)

    # The two are compared where every test passed: a failure is told above, and is no news for the table.
    if not any(one.outcome == "failed" for each in results.values() for one in each):
        assert support.TABLE.read_text(encoding="utf-8") == told, "python -m tests.vm.support"
