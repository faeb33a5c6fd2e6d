"""Drive the kernel in memory and this machine's side by side: ``python -m tests.differential --steps N --seed S``."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
import time

from tests.differential.episode import EPISODE, EVERY, episode
from tests.differential.ground import HURRIED, Ground, grounds
from tests.differential.nursery import Nursery
from tests.differential.pair import Mismatch


def tell(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def drive(ground: Ground, options: argparse.Namespace, steps: int) -> int:
    """Run episodes until enough steps were compared; return how many mismatched."""
    began, done, seed, failed = time.monotonic(), 0, options.seed, 0
    name = f"cgctl-{os.getpid()}-d"  # others may be doing the same
    with Nursery(hurried=HURRIED) as nursery, ground.entered(f"{name}-look") as there:
        while done < steps and time.monotonic() - began < options.seconds:
            size = min(EPISODE, steps - done)
            try:
                episode(there, nursery, f"{name}-{seed}", seed, size, options.every, shorten=not options.no_shorten)
            except Mismatch as error:
                failed += 1
                after = re.search(r"after (\d+) steps", error.__notes__[0])
                assert after is not None
                step = done + int(after[1])
                tell("\n".join((f"mismatch in step {step}, seed {seed}: {error}", *error.__notes__)))
                if not options.keep_going:
                    break
            done += size
            seed += 1
    spent = time.monotonic() - began
    name = ground.label or "v2"
    tell(
        f"{ground.kernel} {name}: {done} steps, seeds {options.seed} to {seed - 1}, {spent:.0f} s, {failed} mismatches"
    )
    return failed


def main() -> int:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000, help="of all hierarchies together (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1e9, help="no new episode after this long in a hierarchy")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 30))
    parser.add_argument("--every", type=int, default=EVERY, help="compare everything after so many steps (%(default)s)")
    parser.add_argument("--hierarchy", action="append", default=[], help="a label; 'v2' is the v2 hierarchy's")
    parser.add_argument("--keep-going", action="store_true", help="after a mismatch")
    parser.add_argument("--no-shorten", action="store_true", help="do not look for the fewest steps that show it")
    options = parser.parse_args()
    chosen = [each for each in grounds() if not options.hierarchy or (each.label or "v2") in options.hierarchy]
    failed = sum(drive(ground, options, -(-options.steps // len(chosen))) for ground in chosen)
    tell(f"{failed} mismatches")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
