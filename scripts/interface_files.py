"""Derive src/cgctl/fake/files.json from the measured rows: ``python scripts/interface_files.py DIRECTORY``.

*DIRECTORY* has ``kernel_v2_files.json`` and ``kernel_v1_files.json``: which interface files five kernels have in the
root and in a new group, their modes, and what they read at first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "src" / "cgctl" / "fake" / "files.json"
ALL = ["5.10", "6.1", "6.12", "6.18", "7.3"]
# Under every v1 controller; they are listed once, as "cgroup".
CORE = frozenset(
    ("tasks", "cgroup.procs", "notify_on_release", "cgroup.clone_children", "release_agent", "cgroup.sane_behavior")
)


def row(one: dict[str, Any]) -> list[Any]:
    """Make a row: the file, where it is, and for each kernel that has it, its mode and what it reads at first."""
    where = "below" if one["where"] == "nonroot" else one["where"]
    variants = [
        [[] if each["kernels"] == ALL else each["kernels"], int(each["mode"], 8), each["default"]]
        for each in one["variants"]
    ]
    return [one["file"], where, variants]


def main(directory: Path) -> None:
    """Read both files, and write one row a line."""
    v2, v1 = (json.loads((directory / f"kernel_{name}_files.json").read_text()) for name in ("v2", "v1"))
    tables: dict[str, list[list[Any]]] = {"v2": [row(one) for one in v2], "cgroup": []}
    for one in v1:
        if one["file"] in CORE:
            if one["hier"] == "freezer":
                tables["cgroup"].append(row(one))
        else:
            tables.setdefault(one["hier"], []).append(row(one))
    lines = []
    for name, rows in tables.items():
        each = ",\n".join(json.dumps(one, separators=(",", ":")) for one in rows)
        lines.append(f'"{name}": [\n{each}\n]')
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print({name: len(rows) for name, rows in tables.items()}, OUT.stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
