"""What came of a run in a machine: read from its output and its JUnit report."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from tests.vm.matrix import Cell
from tests.vm.project import TREE
from tests.vm.suite import BEGIN

REPORTS = TREE / "build" / "vm"
"""Where the reports and, for what failed, all output and the console are."""

_NO_MACHINE = 125
_TIMEOUT = 600


@dataclasses.dataclass(frozen=True)
class Result:
    """How one test went in a machine.

    Attributes:
        test: ``tests/kernel/test_run.py::TestPids::test_fork_bomb``.
        outcome: ``passed``, ``skipped``, ``failed``.
        text: why it was skipped, or its traceback.
    """

    test: str
    outcome: str
    text: str = ""

    def line(self) -> str:
        """Give in one line what says most of a failure: the assertion, or the error."""
        lines = [line[1:].strip() for line in self.text.splitlines() if line.startswith("E ")]
        return textwrap.shorten(" | ".join((lines or self.text.strip().splitlines() or ["no message"])[:5]), 400)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A run in a machine.

    Attributes:
        status: the runner's exit status.
        output: pytest's output.
        errors: the runner's own messages, and the console of a machine that went away.
        results: each test's.
        seconds: how long it took, from saved machine to end.
    """

    status: int
    output: str
    errors: str
    results: tuple[Result, ...]
    seconds: float

    @property
    def lost(self) -> str | None:
        """Why there was no machine, or ``None``; the same status of cgctl in the machine comes with its own words."""
        said = self.errors.splitlines()[:1] == [] or self.errors.startswith("tests.vm: ")
        return self.errors.strip() if self.status == _NO_MACHINE and said else None

    def problems(self, cell: Cell) -> list[str]:
        """List what is wrong, each with kernel, layout and test; nothing if all is well."""
        failed = [f"{cell} {one.test}: {one.line()}" for one in self.results if one.outcome == "failed"]
        if self.status == 0 and self.results:
            return failed
        return failed or [f"{cell}: exit status {self.status}, {len(self.results)} results\n{self.tail()}"]

    def tail(self) -> str:
        """Give the end of all that was written."""
        return "\n".join([*self.output.splitlines()[-40:], *self.errors.splitlines()[-40:]])


def in_machine(cell: Cell, *command: str, timeout: float = _TIMEOUT) -> Outcome:
    """Run a command in a cell's machine, and read the report that may be behind its output.

    A machine that was lost is tried once more: a kernel under software emulation sometimes dies of that ("Oops: int3"),
    which says nothing of what ran in it. One that is lost twice is.
    """
    outcome = _in_machine(cell, command, timeout)
    return _in_machine(cell, command, timeout) if outcome.lost else outcome


def _in_machine(cell: Cell, command: tuple[str, ...], timeout: float) -> Outcome:
    line = [sys.executable, "-m", "tests.vm", *cell.options(), "--timeout", str(timeout)]
    for name, value in {"CGCTL_REQUIRE": cell.required(), **cell.environment()}.items():
        line += ["--env", f"{name}={value}"]
    line += ["--", *command]
    begun = time.monotonic()
    done = subprocess.run(line, cwd=TREE, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    output, _, report = done.stdout.partition(BEGIN)
    results = tuple(_read(report)) if report else ()
    seconds = time.monotonic() - begun
    return Outcome(done.returncode, output.decode(errors="replace"), done.stderr.decode(), results, seconds)


def suite(cell: Cell, *arguments: str) -> Outcome:
    """Run a cell's tests in its machine, and leave the report, and the output if it failed, in :data:`REPORTS`."""
    command = ("python3", "-m", "tests.vm.suite", *cell.tests, "-v", "--tb=short", "-o", "faulthandler_timeout=200")
    outcome = in_machine(cell, *command, *arguments)
    REPORTS.mkdir(parents=True, exist_ok=True)
    name = str(cell).replace(":", "-")
    write(REPORTS / f"{name}.xml", cell, outcome)
    log = REPORTS / f"{name}.log"
    log.unlink(missing_ok=True)
    if outcome.problems(cell):
        log.write_text(f"{outcome.output}\n{outcome.errors}", encoding="utf-8")
    return outcome


def read_report(cell: Cell) -> tuple[Result, ...]:
    """Read what :func:`suite` has left of its last run; nothing if there was none."""
    path = REPORTS / f"{str(cell).replace(':', '-')}.xml"
    if not path.exists():
        return ()
    cases = ET.parse(path).iter("testcase")  # noqa: S314 - our own
    return tuple(
        Result(
            case.get("name", ""), {"failure": "failed", "skipped": "skipped"}.get(part.tag, part.tag), part.text or ""
        )
        if (part := next(iter(case), None)) is not None
        else Result(case.get("name", ""), "passed")
        for case in cases
    )


def _read(report: bytes) -> Iterator[Result]:
    for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - written by our own pytest
        test = _node(case.get("classname", ""), case.get("name", ""))
        problem = next((part for part in case if part.tag in ("failure", "error")), None)
        skipped = case.find("skipped")
        if problem is not None:
            yield Result(test, "failed", f"{problem.text or problem.get('message', '')}")
        elif skipped is not None and skipped.get("type") != "pytest.xfail":
            yield Result(test, "skipped", skipped.get("message", ""))
        else:
            yield Result(test, "passed")


def _node(place: str, name: str) -> str:
    """Make pytest's name of a test of JUnit's: ``tests.kernel.test_run.TestPids`` is a file and a class."""
    parts = place.split(".")
    file = next((end for end in range(len(parts), 0, -1) if parts[end - 1].startswith("test_")), len(parts))
    return "::".join(["/".join(parts[:file]) + ".py", *parts[file:], name])


def write(path: Path, cell: Cell, outcome: Outcome) -> None:
    """Write the results as JUnit has them, with the cell in each test's name."""
    suite_ = ET.Element("testsuite", name=str(cell), tests=str(len(outcome.results)), time=f"{outcome.seconds:.1f}")
    for one in outcome.results:
        case = ET.SubElement(suite_, "testcase", classname=f"vm:{cell}", name=one.test)
        if one.outcome != "passed":
            part = ET.SubElement(case, {"failed": "failure", "skipped": "skipped"}[one.outcome], message=one.line())
            part.text = one.text
    if not outcome.results:
        case = ET.SubElement(suite_, "testcase", classname=f"vm:{cell}", name="machine")
        ET.SubElement(case, "error", message=f"exit status {outcome.status}").text = outcome.tail()
    ET.ElementTree(suite_).write(path, encoding="utf-8", xml_declaration=True)
