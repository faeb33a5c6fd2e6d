"""What cgctl costs, beside the same system calls written by hand in Python.

    python benchmarks/overhead                       # a table
    python benchmarks/overhead --json costs.json     # and all figures
    python benchmarks/overhead --check               # fail where a ratio is a fifth worse than benchmarks/baseline.json
    python benchmarks/overhead --store               # keep this run's ratios there

The floor is mkdir, open, write, close, rmdir and read, on the same files, by their whole paths, without anything that
could fail being looked at; every round runs both once. Ratios are of medians of processor time, which a busy machine
disturbs least.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import growth
import pairs
import peers
import processes
import samples
from measuring import Result, machine

BASELINE = Path(__file__).parent.parent / "baseline.json"
WORSE = 1.2
TRIES = 3


def cases(arguments: argparse.Namespace) -> Iterator[Result]:
    """Measure all pairs."""
    yield from pairs.lives(arguments.rounds)
    yield from pairs.changes(arguments.rounds)
    yield from samples.samples(arguments.rounds)
    yield from pairs.listing(max(3, arguments.rounds // 20), arguments.groups)


def table(results: list[Result]) -> Iterator[str]:
    """Yield the lines of a table, in Markdown."""
    yield "| | cgctl, µs | p5-p95 | by hand, µs | p5-p95 | ratio | |"
    yield "|---|---|---|---|---|---|---|"
    for result in results:
        ours, floor = result.ours, result.floor
        others = [f"{name}: {each.median:.0f}" for name, each in result.peers.items()]
        notes = "; ".join(filter(None, (result.note, *others)))
        yield (
            f"| {result.name} | {ours.median:.0f} | {ours.low:.0f}-{ours.high:.0f} | {floor.median:.0f}"
            f" | {floor.low:.0f}-{floor.high:.0f} | {result.ratio:.2f} | {notes} |"
        )


def ratios(results: list[Result], imported: dict[str, float]) -> dict[str, float]:
    """Return what is stored and checked."""
    found = {result.name: round(result.ratio, 3) for result in results if not result.name.startswith("list")}
    attrs = imported["import attrs"]
    return found | {name: round(each / attrs, 3) for name, each in imported.items() if name != "import attrs"}


def worse(stored: dict[str, float], found: dict[str, float]) -> dict[str, str]:
    """Return which ratios are a fifth worse than those that are stored."""
    return {
        name: f"{found[name]:.2f}, and was {before:.2f}"
        for name, before in stored.items()
        if name in found and found[name] > WORSE * max(before, 0.1)
    }


def check(arguments: argparse.Namespace, layout: str, found: dict[str, float]) -> int:
    """Compare with what is stored; measure again what is worse, because a busy machine may be the cause."""
    stored: dict[str, float] = json.loads(BASELINE.read_text(encoding="utf-8")).get(layout, {})
    if not stored:
        print(f"nothing is stored for {layout}")
        return 1
    for _ in range(TRIES - 1):
        if not (regressed := worse(stored, found)):
            break
        print(f"measured again, because of {', '.join(regressed)}")
        again = ratios([*cases(arguments)], processes.imports(5))
        found = {name: min(each, again.get(name, each)) for name, each in found.items()}
    regressed = worse(stored, found)
    for name, how in regressed.items():
        print(f"WORSE: {name}: {how} times the floor")
    return 1 if regressed else 0


def main() -> int:
    """Measure as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--groups", type=int, default=10_000, help="how many to list, and to grow to")
    parser.add_argument("--growth", action="store_true", help="measure how cost grows too")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--figure", metavar="FILE", help="draw how cost grows (takes matplotlib)")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--store", action="store_true")
    arguments = parser.parse_args()
    here = machine()
    print(", ".join(f"{name} {value}" for name, value in here.items()), end="\n\n")
    results = [*cases(arguments)]
    print(*table(results), sep="\n")
    imported = processes.imports(9)
    print("\n" + "\n".join(f"{name}: {each:.1f} ms" for name, each in imported.items()))
    report: dict[str, Any] = {"machine": here, "cases": [result.as_json() for result in results], "imports": imported}
    if not arguments.check:
        report |= {"bytes_per_group": processes.bytes_per_group(), "helper_kib": processes.helper_kib()}
        report["system_calls"] = processes.system_calls()
        others, left_out = peers.measured(arguments.rounds)
        report["peers"] = {name: asdict(each) for name, each in others.items()}
        report["left_out"] = left_out
        for key in ("bytes_per_group", "helper_kib", "system_calls", "peers", "left_out"):
            print(f"{key}: {report[key]}")
    if arguments.growth or arguments.figure:
        grown = [
            *growth.by_number(max(20, arguments.rounds // 5), arguments.groups),
            *growth.by_depth(max(20, arguments.rounds // 5)),
        ]
        report["growth"] = [asdict(each) for each in grown]
        for each in grown:
            print(f"{each.name} by {each.of}: {each.points}, exponent {each.exponent}")
        if arguments.figure and not growth.figure(arguments.figure, grown):
            print("no figure: matplotlib is not installed")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    found = ratios(results, imported)
    if arguments.store:
        stored = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {}
        stored[str(here["layout"])] = found
        BASELINE.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return check(arguments, str(here["layout"]), found) if arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
