"""``cgctl run``: a command within limits."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from errno import ENOENT
from typing import Any, Final

import attrs
import click

import cgctl
from cgctl.cli import in_memory
from cgctl.cli.options import limit_options, limits_of
from cgctl.cli.output import complain
from cgctl.cli.process_options import process_options, started_how
from cgctl.cli.report import Outcome
from cgctl.cli.sandbox_options import sandbox_of, sandbox_options
from cgctl.cli.supervise import Signals, supervise
from cgctl.controllers import parse_specs
from cgctl.launch.process import Process
from cgctl.units import parse_duration

__all__ = ["FAILED", "run", "status_of"]

FAILED: Final = 125
_NOT_EXECUTABLE: Final = 126
_NOT_FOUND: Final = 127

_EPILOG: Final = """\b
Exit status:
  the command's own
  124  its time was over (--timeout)
  125  cgctl itself failed
  126  the command cannot be executed
  127  the command was not found
  128+n  it was killed by signal n; 137 also at the memory limit, which stderr then says
"""


# No -h: docker has it for something else.
@click.command(context_settings={"allow_interspersed_args": False, "help_option_names": ["--help"]}, epilog=_EPILOG)
@limit_options
@process_options
@sandbox_options
@click.option("--name", metavar="GROUP", help="The group's name; it must not be there yet. By default cgctl-PID-N.")
@click.option("--parent", metavar="GROUP", help="The group to make it in, instead of the base.")
@click.option("--timeout", metavar="TIME", help="How long it may run: seconds, or such as 500ms, 2m.")
@click.option(
    "--stop-timeout",
    default="10",
    show_default=True,
    metavar="TIME",
    help="When its time is over, or cgctl gets SIGTERM: how long it has to end after SIGTERM, until it is killed.",
)
@click.option("--stats", is_flag=True, help="Say on stderr at the end what it used.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.option("--report", type=click.Path(dir_okay=False), metavar="FILE", help="Write that JSON to a file.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND [ARGUMENT]...")
def run(command: tuple[str, ...], **flags: Any) -> int:
    """Run a command in a fresh group with limits, and remove the group when it ends.

    The flags and the exit status are docker's. Input and output are cgctl's own. What the command leaves behind when it
    ends is killed. A limit that cannot be applied is an error: nothing runs unlimited.

    Without flags that say otherwise, the command sees what cgctl sees. With a root or any namespace of its own it has
    no capability but those that --cap-add keeps.
    """
    sandbox = sandbox_of(flags)
    job = _Job(
        command=command,
        limits=limits_of(flags),
        how=started_how(flags, sandbox.root) | {"sandbox": sandbox},
        name=flags["name"],
        parent=None if flags["parent"] is None else cgctl.Group(flags["parent"]),
        timeout=None if flags["timeout"] is None else parse_duration(flags["timeout"], "--timeout") / 1e6,
        grace=parse_duration(flags["stop_timeout"], "--stop-timeout") / 1e6,
    )
    with Signals.caught() as signals:
        try:
            outcome = job.run(signals)
        except cgctl.LaunchError as error:
            complain(str(error))
            return status_of(error)
    outcome.complaints()
    if flags["as_json"]:
        outcome.print_json()
    elif flags["stats"]:
        outcome.print_text()
    if flags["report"]:
        _write_report(flags["report"], outcome)
    return outcome.status


@attrs.frozen(kw_only=True)
class _Job:
    """What is to be run.

    Attributes:
        command: the program and its arguments.
        limits: controller → spec.
        how: keywords of :func:`cgctl.popen`.
        name: of the group.
        parent: of the group.
        timeout: how long it may run, seconds.
        grace: how long it has to end when it is told to, seconds.
    """

    command: tuple[str, ...]
    limits: dict[str, Any]
    how: dict[str, Any]
    name: str | None
    parent: cgctl.Group | None
    timeout: float | None
    grace: float

    def run(self, signals: Signals) -> Outcome:
        """Run it to its end."""
        clock = in_memory.look().filesystem.monotonic if in_memory.machine() else time.monotonic
        began = clock()
        with self._started() as process:
            try:
                timed_out = self._supervise(process, signals)
            except BaseException:
                process.kill()
                raise
            wall_usec = round((clock() - began) * 1e6)
            return Outcome(
                command=self.command,
                group=self.name or process.group.name,
                returncode=process.wait(),
                timed_out=timed_out,
                oom_killed=process.oom_killed,
                wall_usec=wall_usec,
                limits=parse_specs(self.limits),
                stats=process.stats,
            )

    def _supervise(self, process: Process, signals: Signals) -> bool:
        if in_memory.machine() is not None:
            return in_memory.supervise(process, self.timeout, self.grace)
        return supervise(process, signals, self.timeout, self.grace, on_terminal=self._is_on_terminal())

    def _is_on_terminal(self) -> bool:
        """Tell whether a ^C reaches the command without us: a session of its own hides it, but not its reaper."""
        sandbox: cgctl.Sandbox = self.how["sandbox"]
        return not sandbox.tty and (sandbox.init or not sandbox.has_own_session)

    @contextlib.contextmanager
    def _started(self) -> Iterator[Process]:
        if self.name is None:
            with cgctl.popen(self.command, parent=self.parent, **self.limits, **self.how) as process:
                yield process
            return
        with (
            cgctl.Group(self.name, parent=self.parent, join=False, **self.limits) as group,
            group.popen(self.command, **self.how) as process,
        ):
            yield process


def status_of(error: cgctl.LaunchError) -> int:
    """Return docker's exit status for a command that could not be started."""
    if str(error.step) != "exec":
        return FAILED
    return _NOT_FOUND if error.errno == ENOENT else _NOT_EXECUTABLE


def _write_report(file: str, outcome: Outcome) -> None:
    try:
        with open(file, "w", encoding="utf-8") as report:
            json.dump(outcome.facts(), report, indent=2)
            report.write("\n")
    except OSError as error:
        complain(f"--report {file}: {error.strerror}")
        sys.stderr.flush()
