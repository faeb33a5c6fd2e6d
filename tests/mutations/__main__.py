"""Break each rule that can be seen on this machine: ``python -m tests.mutations``."""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.differential.ground import grounds
from tests.mutations.run import Verdict, place, verdict
from tests.mutations.table import MUTATIONS

_WHOLE = 2000
"""Steps with nothing broken, before anything is."""


def main() -> int:
    """Print a line for each; the status says whether all were found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 30))
    parser.add_argument("--steps", type=int, default=20_000, help="at most, for each (%(default)s)")
    parser.add_argument("--version", type=int, choices=(1, 2), help="only those of v1, or of v2")
    parser.add_argument("--controllers", action="store_true", help="only those of controllers")
    parser.add_argument("names", nargs="*", help="words of the names; by default all")
    options = parser.parse_args()
    missed = elsewhere = found = 0
    whole: dict[str, Verdict] = {}
    there = grounds()
    for mutation in MUTATIONS:
        if options.version not in {None, mutation.version} or (options.controllers and not mutation.controller):
            continue
        if options.names and not any(name in mutation.name for name in options.names):
            continue
        ground = place(mutation, there)
        if ground is None:
            elsewhere += 1
            continue
        if ground.label not in whole:
            # What is found though nothing is broken would be taken for each of them.
            whole[ground.label] = verdict(None, ground, options.seed, min(options.steps, _WHOLE))
            if whole[ground.label].steps is not None:
                sys.stdout.write(f"nothing is broken, and {ground.label} differs: {whole[ground.label].words}\n")
                return 1
        got = verdict(mutation, ground, options.seed, options.steps)
        found += got.steps is not None
        missed += got.steps is None
        said = f"{got.steps:6} steps" if got.steps is not None else "NOT FOUND"
        sys.stdout.write(f"{said:12}  v{mutation.version} {got.label:12}  {mutation.name}  [{got.words[:150]}]\n")
        sys.stdout.flush()
    sys.stdout.write(f"seed {options.seed}: {found} found, {missed} not, {elsewhere} cannot be seen here\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
