"""Breaks a rule in a copy of the sources, and drives that beside the real kernel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs

from tests.differential.ground import Ground
from tests.mutations.table import Mutation

__all__ = ["Verdict", "mutated", "place", "verdict"]

_TREE = Path(__file__).parents[2]
SOURCES = _TREE / "src" / "cgctl"


@attrs.frozen
class Verdict:
    """What came of a broken rule.

    Attributes:
        steps: after how many it was found; ``None``: it was not.
        words: what was found.
        label: in which hierarchy.
    """

    steps: int | None
    words: str
    label: str


def mutated(mutation: Mutation) -> str:
    """Return the file's text with the rule broken.

    Raises:
        ValueError: the text to be replaced is not there, or not once.
    """
    text = (SOURCES / "fake" / mutation.file).read_text(encoding="utf-8")
    if (count := text.count(mutation.old)) != 1:
        raise ValueError(f"{mutation.name}: {mutation.old!r} is there {count} times")
    return text.replace(mutation.old, mutation.new)


def place(mutation: Mutation, there: list[Ground]) -> Ground | None:
    """Return a hierarchy in which it can be seen, if there is one."""
    for ground in there:
        hierarchy = ground.hierarchy
        if (
            hierarchy.version == mutation.version
            and mutation.controller in {None, *hierarchy.controllers}
            and mutation.shown in {None, *ground.fake().trees[0].below}
        ):
            return ground
    return None


def verdict(mutation: Mutation | None, ground: Ground, seed: int, steps: int) -> Verdict:
    """Drive the broken kernel in memory, or (``None``) the whole one, until it is seen or there are no more steps."""
    with tempfile.TemporaryDirectory(prefix="cgctl-mutant-") as directory:
        copy = Path(directory, "cgctl")
        shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if mutation:
            (copy / "fake" / mutation.file).write_text(mutated(mutation), encoding="utf-8")
        line = [sys.executable, "-m", "tests.differential", "--hierarchy", ground.label, "--no-shorten"]
        done = subprocess.run(
            [*line, "--seed", str(seed), "--steps", str(steps)],
            cwd=_TREE,
            env={**os.environ, "PYTHONPATH": directory},
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"^mismatch in step (\d+)[^:]*: (.*)", done.stdout, re.MULTILINE)
    if found and done.returncode == 1:
        return Verdict(int(found[1]), found[2], ground.label)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return Verdict(None, "", ground.label)
