"""How facts look."""

from __future__ import annotations

import json
from typing import Any

import pytest

import cgctl
from cgctl.cli.output import complain, human_duration, human_size, plain, print_json, print_table, shown
from cgctl.cli.report import Outcome
from cgctl.plan import Write


class TestPlain:
    """What JSON gets to see."""

    def test_specs(self) -> None:
        """MAX is "max", None is null, and what has no repr is left out."""
        spec = plain(cgctl.Memory.shorthand("1G")) | {}

        assert spec["max"] == 1 << 30
        assert spec["high"] is None
        assert "where_accounted" not in spec
        assert plain(cgctl.Pids(max=cgctl.MAX)) == {"max": "max"}

    def test_everything_is_json(self) -> None:
        """Tuples, bytes and dicts are, too, even bytes that are no text."""
        facts = plain({"cpus": (0, 1), "data": b"\xff1", "step": Write(path="/x", data=b"1"), "limits": cgctl.Limits()})

        assert json.loads(json.dumps(facts))["cpus"] == [0, 1]
        assert facts["step"]["data"] == "1"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (52_432_896, "50.0M"), (3 << 60, "3.0E")]
)
def test_human_size(value: int, text: str) -> None:
    """Sizes have a suffix."""
    assert human_size(value) == text


@pytest.mark.parametrize(("usec", "text"), [(0, "0 us"), (1_500, "1.5 ms"), (61_000_000, "61.00 s")])
def test_human_duration(usec: int, text: str) -> None:
    """Times have a unit."""
    assert human_duration(usec) == text


def test_shown() -> None:
    """What a terminal would obey is escaped; other characters are not."""
    assert shown("web-ä\udcff") == "web-ä\udcff"
    assert shown("a\x1b[31mb\r") == "a\\x1b[31mb\\r"


def test_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there are no colours, and a row is a line however long."""
    print_table([("ok", "x" * 300), ("missing", "y")], {"ok": "green"})
    print_table([])

    assert capsys.readouterr().out == f"ok       {'x' * 300}\nmissing  y\n"


def test_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A complaint is one line, on stderr."""
    complain("one\ntwo")

    assert capsys.readouterr() == ("", "cgctl: one two\n")


def test_print_json(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON goes to stdout."""
    print_json({"a": cgctl.MAX})

    assert json.loads(capsys.readouterr().out) == {"a": "max"}


def _outcome(**more: Any) -> Outcome:
    facts: dict[str, Any] = {
        "command": ["true"],
        "group": "g",
        "returncode": 0,
        "timed_out": False,
        "oom_killed": False,
        "wall_usec": 1_000,
        "limits": {},
        "stats": cgctl.Stats(),
    }
    return Outcome(**(facts | more))


class TestOutcome:
    """What is told of a command that has ended."""

    @pytest.mark.parametrize(
        ("returncode", "timed_out", "status"),
        [(0, False, 0), (3, False, 3), (-9, False, 137), (-2, False, 130), (0, True, 124)],
    )
    def test_status(self, returncode: int, timed_out: bool, status: int) -> None:  # noqa: FBT001
        """Signals are counted from 128, and a timeout is 124 however it ended."""
        assert _outcome(returncode=returncode, timed_out=timed_out).status == status

    def test_facts(self) -> None:
        """The signal has its name; one without is told by number."""
        assert _outcome(returncode=-9).facts()["signal"] == "SIGKILL"
        assert _outcome(returncode=-40).facts()["signal"] == "signal 40"
        assert _outcome().facts()["signal"] is None

    @pytest.mark.parametrize(
        ("limits", "stats", "text"),
        [
            (
                {"memory": cgctl.Memory(max=50 << 20)},
                cgctl.Stats(memory=cgctl.MemoryStats(peak=50 << 20)),
                "limit 50.0M, peak 50.0M",
            ),
            ({"memory": cgctl.Memory(max=cgctl.MAX)}, cgctl.Stats(), "limit max"),
            ({}, cgctl.Stats(), "limit of a group above"),
        ],
    )
    def test_out_of_memory(
        self, limits: dict[str, Any], stats: cgctl.Stats, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The limit and the peak are told, as far as they are known."""
        _outcome(oom_killed=True, limits=limits, stats=stats).complaints()

        assert capsys.readouterr().err == f"cgctl: out of memory: {text}; the kernel killed a process of it\n"

    def test_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The main things are told, as far as the kernel does."""
        stats = cgctl.Stats(
            cpu=cgctl.CpuStats(usage_usec=5_000, user_usec=3_000, system_usec=2_000, nr_throttled=2, nr_periods=4),
            memory=cgctl.MemoryStats(peak=1 << 20),
            pids=cgctl.PidsStats(peak=3, events_max=7),
        )
        limits = {"memory": cgctl.Memory(max=2 << 20), "pids": cgctl.Pids(max=4)}

        _outcome(stats=stats, limits=limits).print_text()
        _outcome(returncode=-15).print_text()

        assert capsys.readouterr().err.splitlines() == [
            "cgctl: exit status 0 after 1.0 ms",
            "cgctl: cpu: used 5.0 ms, user 3.0 ms, system 2.0 ms, throttled in 2 of 4 periods, 0 us",
            "cgctl: memory: peak 1.0M, limit 2.0M",
            "cgctl: pids: peak 3, limit 4, 7 forks refused",
            "cgctl: killed by SIGTERM after 1.0 ms",
        ]
