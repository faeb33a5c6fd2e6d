"""``cgctl doctor``: what this machine can do, found by trying."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import click

import cgctl
from cgctl.cli import chain, checks, in_memory, machine, trials
from cgctl.cli.checks import Bench, Check, Finding
from cgctl.cli.output import JSON_OPTION, print_json, print_table
from cgctl.cli.prune import report

__all__ = ["CHECKS", "doctor"]

CHECKS: Final[tuple[Check, ...]] = (
    checks.versions,
    machine.whoami,
    chain.case,
    checks.hierarchies,
    checks.controllers,
    checks.own_group,
    checks.base,
    chain.place,
    machine.systemd_extra,
    machine.namespaces,
    machine.user_namespaces,
    machine.bpf,
    checks.pressure,
    trials.group,
    trials.swap,
    trials.freeze_and_kill,
    trials.launch,
)
"""All checks, in the order in which they are told."""
IN_MEMORY: Final[tuple[Check, ...]] = (
    in_memory.versions,
    checks.hierarchies,
    checks.controllers,
    checks.own_group,
    checks.base,
    chain.place,
    trials.group,
    trials.swap,
    trials.freeze_and_kill,
    trials.launch,
)
"""Those of a machine in memory; the others look at this one."""


@click.command()
@click.option("--prune", is_flag=True, help="Instead, remove the groups that killed processes have left.")
@click.option("--dry-run", is_flag=True, help="With --prune: tell which those are, and remove none.")
@JSON_OPTION
def doctor(*, prune: bool, dry_run: bool, as_json: bool) -> int:
    """Tell what this machine can do, why it cannot do the rest, and what would change that.

    A small group is made for it, and programs are run in it. The exit status is 0 if programs can be run within limits,
    and 1 if not; findings that are missing beside that do not change it.

    With --prune, groups are removed that were to be gone with a process that has ended, with all that runs in them, and
    empty ones that were made to last by such a process. The exit status is 0 if none of these is left.
    """
    if prune:
        return report(dry_run=dry_run, as_json=as_json)
    if dry_run:
        raise click.UsageError("--dry-run is for --prune")
    with _bench() as bench:
        checks_here = CHECKS if in_memory.machine() is None else IN_MEMORY
        findings = [finding for check in checks_here for finding in check(bench)]
    works = all(finding.ok for finding in findings if finding.required)
    if as_json:
        print_json({"works": works, "findings": findings})
    else:
        print_table(map(_row, findings), {"ok": "green", "missing": "red"})
    return 0 if works else 1


def _row(finding: Finding) -> tuple[str, str, str]:
    if finding.ok:
        return "ok", finding.name, finding.found
    return "missing", finding.name, finding.reason + (f"; to fix: {finding.fix}" if finding.fix else "")


@contextmanager
def _bench() -> Iterator[Bench]:
    """Look at the machine, and make a group to try things in, as far as that can be done."""
    system = trial = trouble = None
    with ExitStack() as made:
        try:
            system = in_memory.look()
            trial = made.enter_context(cgctl.Group(f"cgctl-doctor-{os.getpid()}", memory="64M", pids=8, join=False))
        except cgctl.CgctlError as error:
            trouble = error
        yield Bench(system, trial, trouble)
