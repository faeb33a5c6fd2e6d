"""Programs in memory: Python callables that run in groups, end as programs do, and take no real time."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import cgctl
from cgctl.testing import FakeSystem, ProgramTask

_M = 1 << 20
MACHINES: list[Any] = [
    pytest.param({"layout": layout, "kernel": kernel}, id=f"{layout}-{kernel}")
    for layout, kernel in (("v2", "6.12"), ("v1", "6.1"), ("hybrid", "6.1"))
]
everywhere = pytest.mark.parametrize("fake_system", MACHINES, indirect=True)


def hog(task: ProgramTask) -> int:
    """Want 120 MiB, and say so."""
    task.allocate("60M")
    task.print("half of it")
    task.allocate("60M")
    task.print("all of it")
    return 0


def cat(task: ProgramTask) -> None:
    """Write what it reads."""
    task.print(task.stdin.read(), end="")
    task.print("read all", end="\n")


def late(task: ProgramTask) -> Generator[Any, None, int]:
    """Sleep two seconds, and say when that was over."""
    task.print("before")
    yield "2s"
    task.print(f"{task.kernel.now:g}")
    return 7


def left(system: FakeSystem) -> list[str]:
    """All groups of a machine but roots, and its processes but the caller."""
    groups = [group.path for tree in system.kernel.trees for group in tree.root.below() if group.parent]
    return groups + [str(task) for task in system.kernel.tasks.values() if task is not system.kernel.caller]


@everywhere
class TestRun:
    """``cgctl.run`` and ``group.run``."""

    def test_its_end(self, fake_system: FakeSystem) -> None:
        """Status and output are the program's, and nothing is left of it."""
        done = cgctl.run(
            lambda task: 3 if task.stdout.write("here\n") else 0, system=fake_system, pids=5, capture_output=True
        )

        assert (done.returncode, done.stdout, done.stderr) == (3, b"here\n", b"")
        assert (done.oom_killed, done.timed_out) == (False, False)
        assert left(fake_system) == []

    def test_out_of_memory(self, fake_system: FakeSystem) -> None:
        """At its limit it is killed in the middle of what it does, and the result says why."""
        done = cgctl.run(hog, system=fake_system, memory="100M", capture_output=True, text=True)

        assert (done.returncode, done.stdout, done.oom_killed) == (-9, "half of it\n", True)
        assert done.stats.memory is not None
        assert done.stats.memory.events is not None
        assert done.stats.memory.events.oom_kill == 1
        assert cgctl.run(hog, system=fake_system, memory="200M").returncode == 0

    def test_check(self, fake_system: FakeSystem) -> None:
        """With ``check`` each kind of failure is the error that it is on a real machine."""
        with pytest.raises(cgctl.OutOfMemoryError, match="memory limit"):
            cgctl.run(hog, system=fake_system, memory="100M", check=True, stdout=subprocess.DEVNULL)
        with pytest.raises(cgctl.ProcessError) as caught:
            cgctl.run(lambda _task: 9, system=fake_system, check=True)
        assert caught.value.returncode == 9
        with pytest.raises(cgctl.TimeoutExpired) as late_one:
            cgctl.run(late, system=fake_system, check=True, timeout="500ms", capture_output=True)
        assert late_one.value.stdout == b"before\n"

    def test_in_a_group(self, fake_system: FakeSystem) -> None:
        """A leaf below a group is limited as the group is, and the group's processes are the program's."""
        group = cgctl.Group("jobs", memory="100M", pids=2, system=fake_system).create()
        seen: list[Any] = []

        def program(task: ProgramTask) -> int:
            seen.extend((group.pids(), task.pid))
            task.fork()
            try:
                task.fork()
            except OSError as error:
                return error.errno or 0
            return 0

        assert group.run(program).returncode == errno.EAGAIN
        assert seen == [[seen[1]], seen[1]]
        assert group.run(hog).oom_killed
        assert (group.pids(), group.children()) == ([], [])

    def test_in_a_block(self, fake_system: FakeSystem) -> None:
        """What is run while the caller is in a group is limited by it."""
        with cgctl.Group("block", memory="100M", system=fake_system):
            assert cgctl.run(hog, system=fake_system).oom_killed

        assert left(fake_system) == []

    def test_time(self, fake_system: FakeSystem) -> None:
        """Its time is the machine's: a minute is over at once, and counted."""
        began = time.monotonic()

        def minute(task: ProgramTask) -> Iterator[Any]:
            yield 30
            task.burn("30s")
            yield

        done = cgctl.run(minute, system=fake_system, cpu=cgctl.Cpu(weight=50))

        assert (done.returncode, done.wall_usec, done.timed_out) == (0, 60_000_000, False)
        assert done.stats.cpu is not None
        assert done.stats.cpu.usage_usec == 30_000_000
        assert time.monotonic() - began < 5

    def test_a_function_does_what_it_has_begun(self, fake_system: FakeSystem) -> None:
        """What a plain function burns is burnt before it ends, as fast as its limit allows."""
        done = cgctl.run(lambda task: task.burn("1s"), system=fake_system, cpu=0.5)

        assert done.returncode == 0
        assert 1_900_000 <= done.wall_usec <= 2_000_000

    def test_timeout(self, fake_system: FakeSystem) -> None:
        """Over its time all of its tree is killed, and what it had written is there."""
        done = cgctl.run(late, system=fake_system, timeout=1.5, capture_output=True, text=True, pids=9)

        assert (done.returncode, done.timed_out, done.stdout) == (-9, True, "before\n")
        assert 1_500_000 <= done.wall_usec <= 1_510_000
        assert left(fake_system) == []

    def test_grace(self, fake_system: FakeSystem) -> None:
        """With a time of grace it is asked to end first."""
        done = cgctl.run(late, system=fake_system, timeout=1, grace=5)

        assert (done.returncode, done.timed_out, done.wall_usec) == (-signal.SIGTERM, True, 1_000_000)

    def test_children_are_killed(self, fake_system: FakeSystem) -> None:
        """What it leaves behind ends with it."""
        children: list[Any] = []

        def parent(task: ProgramTask) -> None:
            children.append(task.fork(late))
            children.append(task.fork())

        assert cgctl.run(parent, system=fake_system, stdout=subprocess.DEVNULL).returncode == 0
        assert [(child.alive, child.status) for child in children] == [(False, -9), (False, -9)]
        assert left(fake_system) == []

    def test_waits_for_a_child(self, fake_system: FakeSystem) -> None:
        """A program that yields a child goes on when that has ended."""

        def parent(task: ProgramTask) -> Generator[Any, None, int]:
            child = task.fork(late)
            yield child
            assert task.wait() == (child.pid, 7)
            task.print("waited")
            return 1

        done = cgctl.run(parent, system=fake_system, capture_output=True, text=True)

        assert (done.returncode, done.stdout, done.stderr) == (1, "before\n2\nwaited\n", "")


class TestStreams:
    """Input, output, and what else it is given."""

    @pytest.mark.parametrize(("text", "given"), [(True, "ä\nb\n"), (False, "ä\nb\n".encode())])
    def test_input(self, fake_system: FakeSystem, text: bool, given: Any) -> None:  # noqa: FBT001 - a parameter
        """It reads what is given, as text or as bytes."""
        done = cgctl.run(cat, system=fake_system, input=given, capture_output=True, text=text)

        assert done.stdout == given + ("read all\n" if text else b"read all\n")

    def test_bytes(self, fake_system: FakeSystem) -> None:
        """A program may read and write bytes, too."""

        def reverse(task: ProgramTask) -> None:
            task.stdout.buffer.write(bytes(task.stdin.buffer.read())[::-1])

        assert cgctl.run(reverse, system=fake_system, input=b"\xff\x00a", capture_output=True).stdout == b"a\x00\xff"

    def test_to_files(self, fake_system: FakeSystem, tmp_path: Path) -> None:
        """Files and descriptors are written to, at once."""
        with (tmp_path / "out").open("w", encoding="utf-8") as out, (tmp_path / "err").open("wb") as err:

            def both(task: ProgramTask) -> None:
                task.print("out")
                task.stderr.write("err")

            cgctl.run(both, system=fake_system, stdout=out, stderr=err.fileno())

        assert [(tmp_path / name).read_text(encoding="utf-8") for name in ("out", "err")] == ["out\n", "err"]

    def test_from_files(self, fake_system: FakeSystem, tmp_path: Path) -> None:
        """A file is what it reads."""
        (tmp_path / "in").write_text("from a file\n", encoding="utf-8")
        with (tmp_path / "in").open("rb") as file:
            for stdin in (file, file.fileno()):
                file.seek(0)
                done = cgctl.run(cat, system=fake_system, stdin=stdin, capture_output=True, text=True)
                assert done.stdout == "from a file\nread all\n"

    def test_the_callers_own(self, fake_system: FakeSystem, capsys: pytest.CaptureFixture[str]) -> None:
        """By default it writes where the caller does."""

        def both(task: ProgramTask) -> None:
            task.print("out")
            print("err", file=task.stderr)

        cgctl.run(both, system=fake_system)
        assert tuple(capsys.readouterr()) == ("out\n", "err\n")
        done = cgctl.run(both, system=fake_system, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.stdout == b"out\nerr\n"

    def test_surroundings(self, fake_system: FakeSystem) -> None:
        """It sees its arguments, environment, directory and name."""
        seen: dict[str, Any] = {}

        def look(task: ProgramTask) -> None:
            seen.update(args=task.args, env=task.env, cwd=task.cwd, hostname=task.hostname)

        fake_system.programs["look"] = look
        cgctl.run(["look", "-x", b"1"], system=fake_system, env={"A": "b"}, cwd="/nowhere", hostname="test01")
        assert seen == {"args": ("look", "-x", "1"), "env": {"A": "b"}, "cwd": "/nowhere", "hostname": "test01"}

        cgctl.run(look, system=fake_system)
        assert (seen["args"], seen["cwd"], seen["hostname"]) == (("look",), str(Path.cwd()), None)
        assert seen["env"] == dict(os.environ)


class TestFailing:
    """Programs that do not end well, and what cannot be started."""

    def test_raises(self, fake_system: FakeSystem) -> None:
        """An exception ends it as it ends a program of Python's: with a traceback, and status 1."""

        def wrong(task: ProgramTask) -> None:
            raise ValueError(task.args[0])

        done = cgctl.run(wrong, system=fake_system, capture_output=True, text=True)
        lines = done.stderr.splitlines()

        assert (done.returncode, lines[0], lines[-1]) == (1, "Traceback (most recent call last):", "ValueError: wrong")
        assert sum(line.startswith("  File ") for line in lines) == 1

    @pytest.mark.parametrize(("end", "status"), [(lambda _task: sys.exit(4), 4), (lambda task: task.exit(5), 5)])
    def test_exits(self, fake_system: FakeSystem, end: Any, status: int) -> None:
        """Both ways to end in the middle are ways to end."""

        def program(task: ProgramTask) -> Iterator[Any]:
            yield 1
            end(task)
            pytest.fail("it went on")

        assert cgctl.run(program, system=fake_system).returncode == status

    @pytest.mark.parametrize("wrong", [256, -1, "done"])
    def test_no_status(self, fake_system: FakeSystem, wrong: Any) -> None:
        """What is no exit status is said to be none."""
        done = cgctl.run(lambda _task: wrong, system=fake_system, capture_output=True, text=True)

        assert done.returncode == 1
        assert f"returned {wrong!r}, which is no exit status" in done.stderr

    def test_not_found(self, fake_system: FakeSystem) -> None:
        """A name that nothing runs under is the LaunchError of a program that is not there; no group is left."""
        fake_system.programs["known"] = cat
        with pytest.raises(cgctl.LaunchError, match=r"ENOENT.*'unknown' was not found.*known") as caught:
            cgctl.run(["unknown"], system=fake_system, memory="1M")

        assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "unknown")
        assert left(fake_system) == []

    def test_no_more_processes(self, fake_system: FakeSystem) -> None:
        """A group that is full lets nobody be born in it, as clone3 has it on v2."""
        group = cgctl.Group("full", pids=1, system=fake_system).create()
        fake_system.kernel.spawn(group)
        with pytest.raises(cgctl.LaunchError, match="EAGAIN"):
            group.run(cat)

        assert group.children() == []

    @pytest.mark.parametrize(
        ("keyword", "value"),
        [
            ("user", 1),
            ("pass_fds", (3,)),
            ("rlimits", {"nofile": 5}),
            ("start_new_session", True),
            ("namespaces", "pid"),
            ("root", "/"),
            ("network", "none"),
            ("mounts", [cgctl.Mount("/mnt", type="tmpfs")]),
            ("sandbox", cgctl.Sandbox(chroot=True, root="/")),
        ],
    )
    def test_what_it_cannot_have(self, fake_system: FakeSystem, keyword: str, value: Any) -> None:
        """Each is refused by its name, with the reason, before anything is made."""
        name = "root|chroot" if keyword == "sandbox" else keyword
        with pytest.raises(cgctl.UnsupportedError, match=rf"({name})=.*Python function.*leave it out"):
            cgctl.run(cat, system=fake_system, **{keyword: value})

        assert left(fake_system) == []

    def test_nonsense(self, fake_system: FakeSystem) -> None:
        """What is neither a callable nor a list is a SpecError, and so is a keyword that there is not."""
        nonsense: list[Any] = ["cat", [], 3]
        for wrong in nonsense:
            with pytest.raises((cgctl.SpecError, TypeError)):
                cgctl.run(wrong, system=fake_system)
        with pytest.raises(cgctl.SpecError, match="colour"):
            cgctl.run(cat, system=fake_system, colour="red")  # type: ignore[call-arg]


@everywhere
class TestPopen:
    """``popen``, and several programs at once."""

    def test_polls_and_waits(self, fake_system: FakeSystem) -> None:
        """Time passes by waiting alone; a timeout leaves it running."""
        process = cgctl.popen(late, system=fake_system, stdout=subprocess.PIPE, text=True)
        assert isinstance(process, cgctl.Process)
        assert (process.poll(), process.group.pids()) == (None, [process.pid])
        with pytest.raises(cgctl.TimeoutExpired):
            process.wait(1.5)
        assert process.poll() is None
        fake_system.kernel.advance("1s")
        assert (process.poll(), process.returncode, process.wait()) == (7, 7, 7)
        assert process.communicate() == ("before\n2\n", None)
        assert left(fake_system) == []

    def test_communicate_again(self, fake_system: FakeSystem) -> None:
        """What was written until a timeout is told by it, and all of it at the end."""
        with cgctl.popen(late, system=fake_system, stdout=subprocess.PIPE) as process:
            with pytest.raises(cgctl.TimeoutExpired) as caught:
                process.communicate(timeout=1)
            assert caught.value.output == b"before\n"
            assert process.communicate() == (b"before\n2\n", None)

    def test_reading_lets_time_pass(self, fake_system: FakeSystem) -> None:
        """A reader gets lines as they are written, and then the end."""
        with cgctl.popen(late, system=fake_system, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [(line, fake_system.kernel.now) for line in process.stdout]

        assert lines == [("before\n", 0.0), ("2\n", 2.0)]

    def test_writing(self, fake_system: FakeSystem) -> None:
        """It begins when what it reads was written; later nobody reads."""
        with cgctl.popen(cat, system=fake_system, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("one\n")
            process.stdin.write("two\n")
            process.stdin.close()
            assert process.stdout.read() == "one\ntwo\nread all\n"

        assert process.returncode == 0

    @pytest.mark.parametrize(
        ("how", "status"),
        [("kill", -9), ("terminate", -15), ("send_signal", -10)],
    )
    def test_signals(self, fake_system: FakeSystem, how: str, status: int) -> None:
        """It can be ended at any time, and ends there: what comes after is not done."""
        ended: list[str] = []

        def program(task: ProgramTask) -> Iterator[Any]:
            try:
                yield "1h"
                ended.append("slept")
            finally:
                task.print("never")

        process = cgctl.popen(program, system=fake_system, stdout=subprocess.PIPE)
        process.send_signal(10) if how == "send_signal" else getattr(process, how)()
        assert process.wait() == status
        assert (process.communicate(), ended) == ((b"", None), [])

    def test_side_by_side(self, fake_system: FakeSystem) -> None:
        """Several go on together, always in the same order, and share the processors."""
        told: list[str] = []

        def program(name: str, pause: float) -> Any:
            def run(task: ProgramTask) -> Iterator[Any]:
                for _round in range(3):
                    yield pause
                    told.append(f"{name}{task.kernel.now:g}")

            return run

        processes = [cgctl.popen(program(*each), system=fake_system) for each in (("a", 2), ("b", 1), ("c", "2s"))]
        for process in processes:
            process.wait()

        assert told == ["b1", "a2", "b2", "c2", "b3", "a4", "c4", "a6", "c6"]

    def test_frozen(self, fake_system: FakeSystem) -> None:
        """Who is frozen does not go on, also if its time has come; thawed, it does."""
        process = cgctl.popen(late, system=fake_system, stdout=subprocess.PIPE)
        process.group.freeze()
        fake_system.kernel.advance("10s")
        assert process.poll() is None
        with pytest.raises(RuntimeError, match="for ever: it is frozen"):
            process.wait()
        process.group.thaw()
        assert process.communicate() == (b"before\n10\n", None)

    def test_a_group_is_awaited(self, fake_system: FakeSystem) -> None:
        """``wait_empty`` lets time pass until all have ended, or its timeout is over."""
        group = cgctl.Group("jobs", pids=9, system=fake_system).create()
        processes = [group.popen(late, stdout=subprocess.DEVNULL) for _ in range(2)]
        with pytest.raises(cgctl.TimeoutExpired):
            group.wait_empty("1s")
        assert fake_system.kernel.now == pytest.approx(1, abs=0.1)
        group.wait_empty()
        assert 2 <= fake_system.kernel.now < 2.2
        assert [process.wait() for process in processes] == [7, 7]

    def test_from_several_threads(self, fake_system: FakeSystem) -> None:
        """Threads may run programs at once: each gets its own one's end, and all share the time."""

        def program(number: int) -> Any:
            def run(task: ProgramTask) -> Generator[Any, None, int]:
                task.allocate("10M")
                yield number / 10
                task.print(number)
                return number

            return run

        def run(number: int) -> tuple[int, Any]:
            done = cgctl.run(program(number), system=fake_system, memory="20M", capture_output=True, text=True)
            return done.returncode, done.stdout

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(run, range(1, 33)))

        assert found == [(number, f"{number}\n") for number in range(1, 33)]
        assert left(fake_system) == []

    def test_no_pidfd(self, fake_system: FakeSystem) -> None:
        """There is no descriptor that stands for it."""
        with (
            cgctl.popen(cat, system=fake_system, stdout=subprocess.DEVNULL) as process,
            pytest.raises(cgctl.UnsupportedError, match="pidfd"),
        ):
            process.fileno()
