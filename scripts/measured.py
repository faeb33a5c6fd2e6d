"""Derive src/cgctl/testing/measured.json from the measured rows: ``python scripts/measured.py DIRECTORY``.

*DIRECTORY* has ``kernel_v2_writes.json``, ``kernel_v2_scenarios.json`` and ``kernel_v1_scenarios.json``: what five
kernels answered to each write. Kept are the writes to a fresh group, each with what must be written before, and what is
then read where that follows from the write alone.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "src" / "cgctl" / "testing" / "measured.json"
ALL = ["5.10", "6.1", "6.12", "6.18", "7.3"]
SAME = "="
# Rows of kernel_v2_writes.json, by number: what was written before, and the file that was read.
BEFORE: list[tuple[range, list[list[str]], str | None]] = [
    (range(198, 244), [], "cpu.weight"),
    (range(286, 324), [], "cpu.weight.nice"),
    (range(366, 370), [["cpu.max", "max 50000"]], None),
    (range(378, 388), [["cpu.max", "50000 100000"]], None),
    (range(388, 392), [["cpu.max", "50000 100000"], ["cpu.max.burst", "40000"]], None),
    (range(392, 394), [["cpu.max", "50000 100000"], ["cpu.max.burst", "40000"]], "cpu.max.burst"),
    (range(401, 405), [["cpu.idle", "1"]], None),
    (range(405, 406), [["cpu.weight", "250"], ["cpu.idle", "1"]], "cpu.weight"),
    (range(645, 649), [], "cpuset.cpus.effective"),
    (range(674, 677), [["cpuset.cpus", "0-3"]], None),
]
V1_BEFORE = {"memory (limit=10M)": [["memory.limit_in_bytes", "10M"]]}
# What these files read is not a matter of the write: counters, or what was enabled above.
CHANGING = re.compile(r"\.pressure$|\.stat$|^cgroup\.controllers$|^cgroup\.procs$|numa_stat$")
# What these take depends on processors and memory nodes.
MACHINE = ("cpuset.cpus", "cpuset.mems", "cpuset.sched_relax_domain_level")
STEP = re.compile(r"([a-z_0-9.A-Z]+) <- (.*)", re.DOTALL)
# Written to the root, or by the state that the rows before left.
LEFT_OUT = {"cpuset-root", "hugetlb-root", "cpu-hier", "cpu-hier(child 40%)", "subtree", "pids", "mount", "pressure"}


def row(name: str, file: str, data: str, answers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Make a row; *answers* are ``{"kernels": …, "result": …, "readback": …}``."""
    made: dict[str, Any] = {"id": name, "file": file, "write": data} | {key: one for key, one in more.items() if one}
    made["answers"] = [
        [[] if answer["kernels"] == ALL else answer["kernels"], short(answer["result"]), short(answer["readback"])]
        for answer in answers
    ]
    written = " ".join([data, *(text for _, text in more.get("before") or ())])
    if file.startswith(MACHINE) and any(is_large(written, each["readback"]) for each in answers):
        made["machine"] = [8, 2]
    return made


def short(answer: str | None) -> str | None:
    """Name an errno as the kernel's headers do, without saying at which call it came."""
    named = None if answer is None else re.sub(r"^(open|read):(?=E)", "", answer)
    return "EOPNOTSUPP" if named == "ENOTSUP" else named


def is_large(data: str, readback: str | None) -> bool:
    """Tell whether a cpuset row takes eight processors and two nodes."""
    number = max(map(int, re.findall(r"\d+", f"{data} {readback or ''}")), default=0)
    return number > 0 or bool(re.search(r"N|all", data, re.IGNORECASE))


def v2_writes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Take the writes to a fresh v2 group."""
    made = []
    for one in rows:
        number, file, data = int(one["id"].split("-")[1]), one["file"], one["write"]
        pid = re.fullmatch(r"PID as '(.*)'", data)
        if pid:
            data = pid[1].replace("\\n", "\n")
            if "%" not in data:  # "0" moves the writer itself
                continue
            data = re.sub(r"%[dxo]", lambda form: f"PID{form[0][1]}", data)
        before, reading = next(((b, r) for numbers, b, r in BEFORE if number in numbers), ([], None))
        changing = CHANGING.search(file)
        answers = [answer | ({"readback": None} if changing else {}) for answer in one["results"]]
        more = {"before": before, "read": reading, "top": file == "cpuset.cpus.partition", "pid": bool(pid)}
        made.append(row(one["id"], file, data, answers, **more))
    return made


def scenario(one: dict[str, Any]) -> dict[str, Any] | None:
    """Take a scenario's write, if it means the same in a fresh group."""
    step = STEP.fullmatch(one["step"]) if isinstance(one["step"], str) else None
    if (
        step is None
        or one["scenario"] in LEFT_OUT
        or one["scenario"].startswith("cpuset ")
        or not step[2].startswith("'")
    ):
        return None
    results = one["results"]
    if not all(isinstance(answer["result"], list) and len(answer["result"]) == len("rw") for answer in results):
        return None
    file, data = step[1], json.loads('"' + step[2][1:-1].replace('"', '\\"') + '"')
    if one["scenario"] == "cpuset" and any(answer["result"][0] == "EACCES" for answer in results):
        return None  # the root's
    answers = [
        {"kernels": answer["kernels"], "result": answer["result"][0], "readback": after(file, data, answer["result"])}
        for answer in results
        # Where the controller could not be mounted, nothing was measured.
        if not (one["id"].startswith("KS1") and answer["result"][0] == "open:ENOENT")
    ]
    device = re.match(r"\s*(\d+:\d+)\s", data) if file.startswith("blkio.throttle") else None
    more = {"before": V1_BEFORE.get(one["scenario"]), "devices": [device[1]] if device else None}
    return row(one["id"], file, data, answers, **more)


def after(file: str, data: str, result: list[str]) -> str | None:
    """Say what is read then: in the scenarios, what was written earlier may still be in it."""
    outcome, readback = result
    if outcome != "OK" and ":" not in outcome:
        return SAME  # a write that is refused changes nothing
    if data == "":
        return SAME
    if file.startswith(("blkio.throttle", "net_prio.ifpriomap")):
        key = data.split(maxsplit=1)[0]
        return next((f"~{line}" for line in readback.splitlines() if line.split()[0] == key), "")
    return None if CHANGING.search(file) else readback


def devices(one: dict[str, Any]) -> dict[str, Any] | None:
    """Take a sequence of writes to ``devices.allow`` and ``devices.deny``."""
    if one["scenario"] != "devices-seq":
        return None
    *before, (last, data) = [[f"devices.{verb}", text] for verb, text in json.loads(one["step"])]
    answers = [
        {"kernels": answer["kernels"], "result": answer["result"][0][-1], "readback": answer["result"][1]}
        for answer in one["results"]
    ]
    return row(one["id"], last, data, answers, before=before, read="devices.list")


def main(directory: Path) -> None:
    """Read the three files, and write one row a line."""
    writes, v2, v1 = (
        json.loads((directory / f"kernel_{name}.json").read_text())
        for name in ("v2_writes", "v2_scenarios", "v1_scenarios")
    )
    rows = {"2": v2_writes(writes), "1": []}
    for one in (*v2, *v1):
        made = devices(one) or scenario(one)
        if made:
            rows["1" if one["id"].startswith("KS1") or "v1" in one["scenario"] else "2"].append(made)
    lines = ["{", *(f'"{version}": [\n' + ",\n".join(map(dump, each)) + "\n]," for version, each in rows.items())]
    OUT.write_text("\n".join([*lines[:-1], lines[-1].rstrip(","), "}", ""]))
    print({version: len(each) for version, each in rows.items()}, OUT.stat().st_size)


def dump(one: dict[str, Any]) -> str:
    """Write a row in one line."""
    return json.dumps(one, separators=(",", ":"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
