"""``str(plan)`` is a shell script that does the same."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest

from cgctl.controllers import Cpu, Cpuset, Memory
from cgctl.layout import Layout
from cgctl.plan import Chown, Mkdir, Plan, Rmdir, Signal, Write
from cgctl.units import MAX
from tests.unit.machine import HYBRID, V1, V2, Machine

NASTY = 'it\'s "$HOME"; rm -rf * #\t`x`\\n'


def _run(plan: Plan) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh"], input=str(plan), capture_output=True, text=True, check=False)


def _below(layout: Layout, directory: Path) -> Layout:
    """Return the layout as if mounted in a directory."""
    moved = (attrs.evolve(h, mount_point=f"{directory}{h.mount_point}") for h in layout.hierarchies)
    return attrs.evolve(layout, hierarchies=tuple(moved))


def _materialise(machine: Machine) -> None:
    for path, text in machine.files.items():
        if not path.startswith("/proc/"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)


class TestScript:
    """The whole script."""

    def test_text(self) -> None:
        """It stops at the first refusal, and says why each line is there."""
        machine = Machine(V2)

        assert str(machine.plan(machine.request("p1", memory="100M"))) == (
            "#!/bin/sh\n"
            "set -e\n"
            "echo +memory > /v2/cgroup.subtree_control  # memory for the groups below\n"
            "mkdir /v2/p1\n"
            "echo 104857600 > /v2/p1/memory.max  # memory.max = 104857600\n"
            "[ ! -e /v2/p1/memory.swap.max ] || echo 0 > /v2/p1/memory.swap.max  # memory.swap_max = 0\n"
        )

    def test_nothing(self) -> None:
        """Nothing to do is a script that does nothing."""
        assert str(Plan()) == "#!/bin/sh\nset -e\n"
        assert _run(Plan()).returncode == 0

    def test_a_reason_is_one_line(self) -> None:
        """A comment ends with its line, whatever is in it."""
        plan = Plan((Rmdir(path="/x", because="a\nrm -rf /"),))

        assert str(plan).splitlines()[2:] == ["rmdir /x  # a rm -rf /"]

    @pytest.mark.parametrize(
        ("step", "line"),
        [
            (Mkdir(path="/v2/a b"), "mkdir '/v2/a b'"),
            (Mkdir(path="/v2/a", shared=True), "mkdir -p /v2/a"),
            (Rmdir(path="/v2/$a"), "rmdir '/v2/$a'"),
            (Chown(path="/v2/a b", uid=7, gid=8), "chown 7:8 '/v2/a b'"),
            (Chown(path="/v2/a", uid=7, gid=-1, missing_ok=True), "[ ! -e /v2/a ] || chown 7 /v2/a"),
            (Write(path="/v2/a", data=b"root", expect=b"root"), 'echo root > /v2/a; [ "$(cat /v2/a)" = root ]'),
            (Signal(pid=7, number=9), "kill -9 7 || :"),
            (Write(path="/v2/a", data=b"max 100000"), "echo 'max 100000' > /v2/a"),
            (Write(path="/v2/a", data=b"-1"), "echo -1 > /v2/a"),
            (Write(path="/v2/a", data=b"\n"), "echo > /v2/a"),
            (Write(path="/v2/a", data=b"7", gone_ok=True), "echo 7 > /v2/a || :"),
            (Write(path="/v2/a b", data=b"0", missing_ok=True), "[ ! -e '/v2/a b' ] || echo 0 > '/v2/a b'"),
        ],
    )
    def test_lines(self, step: Any, line: str) -> None:
        """Each kind of step, quoted, with its excuses."""
        assert step.shell == line


class TestRun:
    """Run by a shell, in a directory."""

    @pytest.mark.parametrize("layout", [V1, V2, HYBRID], ids=["v1", "v2", "hybrid"])
    @pytest.mark.parametrize("name", ["p1", "a/b/c", NASTY])
    def test_same_as_the_steps(self, tmp_path: Path, layout: Layout, name: str) -> None:
        """Directories and texts are those of the plan."""
        machine = Machine(_below(layout, tmp_path))
        _materialise(machine)
        cpu = Cpu(max=0.5, period_usec=20_000, weight=7)
        plan = machine.plan(machine.request(name, memory=Memory(max="1M"), cpu=cpu, cpuset="0-1", pids=MAX))

        done = _run(plan)

        assert (done.returncode, done.stderr) == (0, "")
        assert all(Path(step.path).is_dir() for step in plan if isinstance(step, Mkdir))
        written = {step.path: f"{step.data.decode().rstrip()}\n" for step in plan if isinstance(step, Write)}
        assert written == {path: Path(path).read_text() for path in written}
        assert list(Path(tmp_path.parent).glob("x*")) == []

    def test_evacuation(self, tmp_path: Path) -> None:
        """Processes are moved one by one, and one that has ended is no failure."""
        machine = Machine(_below(V2, tmp_path))
        own = f"{tmp_path}/v2/own"
        machine.make("own", pids=MAX)
        machine.enter(own, 100)
        machine.enter(own, 101, parent=100)
        _materialise(machine)

        done = _run(machine.plan(machine.request("p1", base="/own", pids=3)))

        assert (done.returncode, done.stderr) == (0, "")
        assert Path(own, "supervisor/cgroup.procs").read_text() == "101\n"  # a plain file keeps the last line
        assert Path(own, "cgroup.subtree_control").read_text() == "+pids\n"

    def test_clearing_a_list(self, tmp_path: Path) -> None:
        """A newline is what clears a list."""
        machine = Machine(_below(V2, tmp_path))
        machine.make("p1", cpuset="1")
        _materialise(machine)

        assert _run(machine.plan(machine.request("p1", cpuset=Cpuset(cpus=[])))).returncode == 0
        assert Path(tmp_path, "v2/p1/cpuset.cpus").read_text() == "\n"

    def test_an_absent_file_that_may_be(self, tmp_path: Path) -> None:
        """Where swap is not accounted, nothing is written and nothing made."""
        machine = Machine(_below(V2, tmp_path))
        _materialise(machine)

        assert _run(machine.plan(machine.request("p1", memory="1M"))).returncode == 0
        assert not Path(tmp_path, "v2/p1/memory.swap.max").exists()

    def test_a_refusal(self, tmp_path: Path) -> None:
        """The first command that fails ends it, with a status that says so."""
        steps = (Mkdir(path=str(tmp_path)), Mkdir(path=f"{tmp_path}/after"))

        assert _run(Plan(steps)).returncode != 0
        assert not Path(tmp_path, "after").exists()
