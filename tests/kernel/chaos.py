"""Callers that are killed at random moments, some with their helper, while others go on and somebody prunes.

``python -m tests.kernel.chaos --callers 200`` prints what came of it; a seed repeats it as far as time can be repeated.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import cgctl
from cgctl import guarding
from tests.kernel import lacks, payloads, scripts
from tests.kernel.inside import enter, is_alive
from tests.kernel.pace import DEAD_SEC, PATIENCE_SEC, SLOWNESS, eventually

VARIABLE = "CGCTL_CHAOS"
"""In the environment of all that a run starts, so that it is found again."""

_AT_ONCE = 4
_LONGEST_SEC = 0.6


# --- what callers do --------------------------------------------------------------------------------------------------


def _joined(name: str) -> None:
    with cgctl.Group(name, pids=60) as group:
        subprocess.run(["true"], check=True)
        with cgctl.Group("inner", pids=50):
            assert group.exists()


def _outside(name: str) -> None:
    with cgctl.Group(f"{name}/deep/er", pids=60, join=False) as group:
        group.popen(payloads.FAMILY, stdout=subprocess.DEVNULL)
        limits = group.update(pids=40)
        assert limits.pids is not None
        assert limits.pids.max == 40
        assert group.run(["true"]).returncode == 0


def _lasting(name: str) -> None:
    group = cgctl.Group(name, pids=60).create()
    limits = group.update(pids=30)
    assert limits.pids is not None
    assert limits.pids.max == 30
    group.run(["true"])
    group.stats()
    group.remove()


def _left(name: str) -> None:
    cgctl.Group(name, pids=9).create()


def _one_shot(name: str) -> None:
    del name
    cgctl.run(payloads.FAMILY, pids=20, timeout=0.02, stdout=subprocess.DEVNULL)
    assert cgctl.run(["true"], pids=20).returncode == 0


def _caller(top: str, seed: str, home: str, out: int) -> None:
    """Do all of this until killed; whatever goes wrong is told: above all a group of its own that is not there."""
    chance = random.Random(seed)  # noqa: S311 - so that a failure can be repeated
    try:
        if home:
            enter(home)
        os.write(out, b"%d\n" % guarding.own_helper().pid)
        for number in range(1_000_000):
            act = chance.choice([_joined, _outside, _lasting, _left, _one_shot])
            act(f"{top}{os.getpid()}-{number}")
    except BaseException:  # noqa: BLE001 - it is for the one who started it to judge
        os.write(out, traceback.format_exc().encode())
    finally:
        os._exit(1)


# --- those who start, kill and look -----------------------------------------------------------------------------------

_WITNESS = """
with cgctl.Group(sys.argv[1] + "witness", pids=60, join=False) as group:
    lasting = cgctl.Group(sys.argv[1] + "witness-lasting", pids=60).create()
    process = group.popen(payloads.STUBBORN, stdout=subprocess.DEVNULL)
    tell(sleeper=process.pid)
    while sys.stdin.readline():
        tell(lives=process.poll() is None, there=group.exists() and lasting.exists(), pids=group.limits().pids.max)
    process.kill()
    process.wait()
    lasting.remove()
"""


class _Running(NamedTuple):
    """A caller: its pid and its helper's, what it tells, and when it is to be killed."""

    pid: int
    helper: int
    out: int
    moment: float


class Chaos:
    """One run.

    Args:
        prefix: all its groups' names begin with this.
        callers: how many are killed.
        seed: for the moments.
    """

    def __init__(self, prefix: str, callers: int, seed: str) -> None:
        self.top = f"/{prefix}chaos-"
        self.name = f"{prefix}chaos-"
        self.callers = callers
        self.chance = random.Random(seed)  # noqa: S311 - so that a failure can be repeated
        self.token = secrets.token_hex(8)
        self.told: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self) -> dict[str, Any]:
        """Let it happen, prune once, and return what there is then."""
        with self._homes() as homes, self._witness() as witness:
            running: list[_Running] = []
            for number in range(self.callers):
                running.append(self._start(number, homes[number % len(homes)] if number % 3 == 0 else ""))
                if len(running) == _AT_ONCE:
                    self._kill(running.pop(0))
                if number % 10 == 9:
                    self._prune()
            for each in running:
                self._kill(each)
            last = self._prune()
            # Helpers whose caller was killed alone end by themselves.
            eventually(lambda: not self._strangers(witness.pid), DEAD_SEC)
            found = {
                "callers": self.callers,
                "killed": dict(self.told),
                "wrong": self.wrong,
                "witness": self._ask(witness),
                "groups": [path for path in self.groups() if "chaos-witness" not in path and path not in homes],
                "homes": [path for home in homes for path in self._remains(home)],
                "processes": self._strangers(witness.pid),
                "prune": last,
            }
        found["after"] = self.groups()
        return found

    @contextlib.contextmanager
    def _homes(self) -> Iterator[list[str]]:
        """Make v2 groups for callers to start from, where there are controllers to enable in them."""
        made: list[cgctl.Group] = []
        with contextlib.ExitStack() as stack:
            if "pids" in lacks.v2_controllers() and not os.path.isdir("/run/systemd/system"):
                for number in range(_AT_ONCE + 1):
                    group = cgctl.Group(f"{self.top}home-{number}", pids=cgctl.Pids(), on_exit="keep").create()
                    stack.callback(group.remove)
                    made.append(group)
            yield [group.paths()["unified"] for group in made] or [""]

    @contextlib.contextmanager
    def _witness(self) -> Iterator[subprocess.Popen[str]]:
        with scripts.start(_WITNESS, self.top, env=self._env(), stdin=subprocess.PIPE) as process:
            _pipe(process.stdout).readline()
            try:
                yield process
            finally:
                _pipe(process.stdin).close()
                process.wait(PATIENCE_SEC)

    def _ask(self, witness: subprocess.Popen[str]) -> Any:
        _pipe(witness.stdin).write("?\n")
        _pipe(witness.stdin).flush()
        line = _pipe(witness.stdout).readline()
        return json.loads(line) if line else _pipe(witness.stderr).read()

    def _start(self, number: int, home: str) -> _Running:
        """Fork a caller: Python takes long to start, and longer under emulation."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.environ.update(self._env())
            if home:  # from there, groups go below it
                os.environ.pop("CGCTL_BASE", None)
            _caller("" if home else self.top, f"{self.chance.random()}-{number}", home, writing)
        os.close(writing)
        helper = os.read(reading, 1 << 16)
        if not helper.strip().isdigit():
            self.wrong.append(f"caller {number} did not start: {helper.decode()}")
            helper = b"0"
        moment = time.monotonic() + self.chance.uniform(0, _LONGEST_SEC) * SLOWNESS
        return _Running(pid, int(helper), reading, moment)

    def _kill(self, caller: _Running) -> None:
        time.sleep(max(0.0, caller.moment - time.monotonic()))
        how = self.chance.choice(["alone", "helper first", "helper last"])
        self.told[how] += 1
        pids = {"alone": [caller.pid], "helper first": [caller.helper, caller.pid]}
        for pid in pids.get(how, [caller.pid, caller.helper]):
            os.kill(pid, signal.SIGKILL)
        # What it told was an error of its own: nobody else has this end of the pipe.
        if told := os.read(caller.out, 1 << 16):
            self.wrong.append(told.decode())
        os.close(caller.out)
        os.waitpid(caller.pid, 0)

    def _prune(self) -> dict[str, int]:
        command = [sys.executable, "-m", "cgctl.cli", "doctor", "--prune", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | self._env())
        if done.returncode not in {0, 1} or done.stderr:
            self.wrong.append(f"prune: {done.returncode} {done.stdout} {done.stderr}")
            return {}
        ours = [each for each in json.loads(done.stdout)["groups"] if self.name in each["directories"][0]]
        for each in ours:
            if each["orphan"] and each["owner"] and is_alive(each["owner"]):
                self.wrong.append(f"taken for an orphan: {each}")
        return {
            "removed": sum(each["removed"] for each in ours),
            "failed": sum(each["orphan"] and not each["removed"] for each in ours),
            "left": sum(not each["orphan"] for each in ours),
        }

    def groups(self) -> list[str]:
        """Return what ``find`` finds of this run, in all hierarchies."""
        roots = {*lacks.hierarchies().values()}
        command = ["find", *sorted(roots), "-xdev", "-type", "d", "-path", f"*{self.name}*"]
        # What vanishes under way is no failure.
        return sorted(subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines())

    def processes(self) -> list[int]:
        """Return the processes that this run has started, and that live."""
        wanted = f"{VARIABLE}={self.token}".encode()
        found = []
        for directory in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if directory.name.isdigit() and wanted in (directory / "environ").read_bytes().split(b"\0"):
                    found.append(int(directory.name))
        return [pid for pid in found if is_alive(pid)]

    def _remains(self, home: str) -> list[str]:
        """Return what is not as it was in a home."""
        if not home:
            return []
        control = Path(home, "cgroup.subtree_control").read_text(encoding="utf-8").split()
        inside = Path(home, "cgroup.procs").read_text(encoding="utf-8").split()
        return [f"{home}: {each}" for each in (*os.walk(home).__next__()[1], *control, *inside)]

    def _strangers(self, witness: int) -> list[int]:
        return [pid for pid in self.processes() if not self._is_of(pid, witness)]

    def _is_of(self, pid: int, witness: int) -> bool:
        with contextlib.suppress(OSError):
            parent = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
            return witness in {pid, int(parent)}
        return True

    def _env(self) -> dict[str, str]:
        return {VARIABLE: self.token, "PYTHONPATH": f"{Path(cgctl.__file__).parents[1]}"}


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def main() -> None:
    """Run it, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=200)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    options = parser.parse_args()
    began = time.monotonic()
    chaos = Chaos(f"cgctl-{secrets.token_hex(3)}-", options.callers, options.seed)
    found = chaos.run()
    found |= {"seed": options.seed, "kernel": os.uname().release, "seconds": round(time.monotonic() - began, 1)}
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
