"""``cgctl events``: what happens to a group, as lines and as JSON."""

from __future__ import annotations

import json
import re
import select
import subprocess

import pytest

from cgctl.cli import in_memory, main
from tests.cli.conftest import CommandLine
from tests.kernel import lacks
from tests.kernel.pace import PATIENCE_SEC

pytestmark = pytest.mark.host

_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d  ([a-z_]+)(?:  \d+)?")


def _wait_for_listener(command: CommandLine, group: str, process: subprocess.Popen[str]) -> None:
    """Freeze and thaw until the listener has told of it: only then it surely listens."""
    assert process.stdout is not None
    for _ in range(int(PATIENCE_SEC * 10)):
        command.group(group).freeze()
        command.group(group).thaw()
        if select.select([process.stdout], [], [], 0.1)[0]:
            return
    pytest.fail("it does not listen")


def test_lines_until_it_is_removed(command: CommandLine) -> None:
    """One for each event; then it ends well."""
    command("create", "web", "pids=8")
    process = command.start("events", "web", "--timeout", str(PATIENCE_SEC * 4))
    _wait_for_listener(command, "web", process)
    command.group("web").remove()
    out, err = process.communicate(timeout=PATIENCE_SEC)

    matches = [_LINE.fullmatch(line) for line in out.splitlines()]
    kinds = [match[1] if match else None for match in matches]
    assert (process.returncode, err) == (0, "")
    assert kinds[-1] == "removed"
    assert "removed" not in kinds[:-1]
    # An empty group that was frozen and thawed between two looks is told to be empty.
    assert {*kinds[:-1]} <= {"frozen", "thawed", "empty"}


def test_json(command: CommandLine) -> None:
    """An object a line, of the kinds that were asked for."""
    command("create", "web", "pids=8")
    process = command.start("events", "--json", "-n", "2", "web", "thawed")
    _wait_for_listener(command, "web", process)
    command.group("web").remove()
    out, _ = process.communicate(timeout=PATIENCE_SEC)

    objects = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0
    assert [each.keys() for each in objects] == [{"time", "kind", "count"}] * 2
    assert objects[0]["kind"] == "thawed"


def test_too_few(command: CommandLine) -> None:
    """The status says that it has not happened in time."""
    command("create", "web", "pids=8")
    done = command("events", "-n", "1", "--timeout", "50ms", "web", "empty")

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_what_cannot_be_told(command: CommandLine) -> None:
    """One line says which kind, and why."""
    lacks.require("host")
    command("create", "web", "pids=8")
    done = command("events", "web", "oom")

    assert done.returncode == 1
    assert re.fullmatch(r"cgctl: the event oom is not supported here: .*memory.*\n", done.stderr)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["opulent"], "events('opulent'): nothing that can be told; give one of populated, empty, frozen"),
        (["cpu_pressure"], 'give some="150ms" or full="50ms"'),
        (["--timeout", "soon"], "timeout='soon': not a time span"),
    ],
)
def test_nonsense(
    words: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the library."""
    monkeypatch.setenv("CGCTL_FAKE", "v2")
    in_memory._machines.clear()
    main(["create", "web"])
    status = main(["events", "web", *words])

    assert status == 1
    assert told in capsys.readouterr().err
