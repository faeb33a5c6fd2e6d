"""What a process leaves that was killed, its helper with it: found by its mark, and removed by its lifetime."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

import cgctl
from cgctl.marks import OWNER
from cgctl.owner.ending import remove_way
from cgctl.owner.mark import EPHEMERAL, LASTING, WAY, Mark, own
from cgctl.owner.orphans import Found, prune
from tests.kernel import payloads, scripts
from tests.kernel.conftest import Make, Start
from tests.kernel.inside import is_alive
from tests.kernel.pace import eventually
from tests.leaks import groups

pytestmark = pytest.mark.host

Leave = Callable[..., dict[str, int]]

_LEAVE = """
import cgctl.guarding
helper = cgctl.guarding.own_helper().pid
{script}
tell(pid=os.getpid(), helper=helper)
os.kill(helper, signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def leave(name: str) -> Leave:
    """Run a script that is killed at its end, its helper first; return what it told, its own pid among it."""

    def act(script: str, *arguments: object) -> dict[str, int]:
        import json  # noqa: PLC0415 - for this alone

        with scripts.start(_LEAVE.format(script=script), *(arguments or (f"/{name}",))) as process:
            out, err = process.communicate()
        assert (process.returncode, err) == (-signal.SIGKILL, "")
        facts: dict[str, int] = {}
        for line in out.splitlines():
            facts |= json.loads(line)
        return facts

    return act


def _directories(name: str) -> list[str]:
    return [path for path in groups(name) if path.endswith(f"/{name}") or f"/{name}/" in path]


def _prune(name: str, *, dry_run: bool = False) -> dict[str, Found]:
    """Prune what is below the roots and called *name*; by the first directory's name below the root."""
    roots = _roots()
    found = prune(cgctl.System.detect().filesystem, roots, dry_run=dry_run)
    return {
        each.directories[0].rpartition("/")[2]: each
        for each in found
        if any(f"/{name}" in directory for directory in each.directories)
    }


def _roots() -> list[str]:
    return [each.mount_point for each in cgctl.System.detect().layout.hierarchies if not each.name]


def _marks(name: str) -> set[bytes | None]:
    found: set[bytes | None] = set()
    for path in _directories(name):
        try:
            found.add(os.getxattr(path, OWNER))
        except OSError:
            found.add(None)
    return found


def _lifetime(name: str) -> bytes:
    (text,) = _marks(name)
    mark = Mark.parse(text)
    assert mark is not None
    assert mark.pid == os.getpid()
    return mark.lifetime


class TestMarks:
    """Every group carries one, the same in all its hierarchies."""

    def test_create(self, make: Make, name: str) -> None:
        """Made to last."""
        make(name=f"/{name}", pids=cgctl.Pids())

        assert _lifetime(name) == LASTING

    def test_with(self, name: str) -> None:
        """Gone with its owner."""
        with cgctl.Group(f"/{name}", join=False, pids=cgctl.Pids()):
            assert _lifetime(name) == EPHEMERAL

    def test_on_the_way(self, make: Make, name: str) -> None:
        """A parent that was missing goes with the last group below it, whoever removes that."""
        group = make(name=f"/{name}/a/b")
        other = cgctl.Group(f"/{name}/a/c").create()
        assert {_mark(path).lifetime for path in _directories(name) if path.endswith((f"/{name}", "/a"))} == {WAY}
        group.remove()
        assert _directories(name)

        other.remove()

        assert not _directories(name)

    def test_asked_for_by_name(self, make: Make, name: str) -> None:
        """One that was made on the way and is then asked for is not on the way any more."""
        group = make(name=f"/{name}/a")
        top = make(name=f"/{name}", exist_ok=True)
        assert {_mark(path).lifetime for path in _directories(name)} == {LASTING}

        group.remove()

        assert top.exists()

    def test_keep(self, name: str) -> None:
        """What is to be kept has none, with or without a block."""
        with cgctl.Group(f"/{name}", on_exit="keep", join=False) as group:
            pass
        try:
            assert _marks(name) == {None}
            assert not any(stat.S_IMODE(os.stat(path).st_mode) & stat.S_ISVTX for path in _directories(name))
            group.remove()
            cgctl.Group(f"/{name}", on_exit="keep").create()
            assert _marks(name) == {None}
        finally:
            cgctl.Group(f"/{name}").remove()

    def test_another_hierarchy(self, make: Make, name: str) -> None:
        """A group that gets a controller later has its mark there too."""
        group = make(name=f"/{name}")
        before = _marks(name)

        group.update(pids=7)

        assert _marks(name) == before

    def test_mode(self, make: Make, name: str) -> None:
        """A finished group has the usual mode; the sticky bit was for the time before."""
        make(name=f"/{name}", pids=cgctl.Pids())

        assert {stat.S_IMODE(os.stat(path).st_mode) for path in _directories(name)} == {0o755}

    def test_shared(self, make: Make, name: str) -> None:
        """Who joins in on another's group leaves it that one's."""
        make(name=f"/{name}")
        before = _marks(name)

        for how in (".create()", ".__enter__().__exit__(None, None, None)"):
            scripts.run(f'cgctl.Group(sys.argv[1], exist_ok=True, on_exit="keep", join=False){how}', f"/{name}")

            assert _marks(name) == before

    def test_a_guest(self, make: Make, start: Start, name: str) -> None:
        """A block in a group that held processes before leaves it and them, and what is to become of it."""
        make(name=f"/{name}").add(start(payloads.SLEEPER).pid)
        before = _marks(name)

        with cgctl.Group(f"/{name}", exist_ok=True, join=False):
            pass

        assert {mark is None for mark in before | _marks(name)} == {False}
        assert _lifetime(name) == LASTING


def _mark(path: str) -> Mark:
    mark = Mark.parse(os.getxattr(path, OWNER))
    assert mark is not None
    return mark


class TestPrune:
    """By lifetimes."""

    SLEEPS = """
with contextlib.ExitStack() as stack:
    group = stack.enter_context(cgctl.Group(sys.argv[1], join=False, pids=cgctl.Pids()))
    process = group.popen(payloads.SLEEPER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()
    tell(sleeper=process.pid)
    stack.pop_all()
""".replace("contextlib", "__import__('contextlib')")

    def test_ephemeral(self, leave: Leave, name: str) -> None:
        """A killed process's group goes, and what runs in it ends; a dry run touches nothing."""
        facts = leave(self.SLEEPS)
        assert _directories(name)
        assert is_alive(facts["sleeper"])
        would = _prune(name, dry_run=True)
        assert is_alive(facts["sleeper"])

        did = _prune(name)

        assert all(each.orphan and not each.removed for each in would.values())
        assert {key for key, each in did.items() if each.removed} == {*would}
        assert (did[name].lifetime, did[name].owner) == ("ephemeral", facts["pid"])
        assert not _directories(name)
        assert not is_alive(facts["sleeper"])

    def test_of_a_living_owner(self, name: str) -> None:
        """Is left, and said to be."""
        with cgctl.Group(f"/{name}", join=False) as group, group.popen(payloads.SLEEPER) as process:
            found = _prune(name)

            assert not any(each.removed or each.orphan for each in found.values())
            assert found[name].reason == f"its owner, process {os.getpid()}, lives"
            assert process.poll() is None
            process.kill()

    def test_lasting_and_empty(self, leave: Leave, name: str) -> None:
        """Is an orphan once its owner has ended."""
        leave("cgctl.Group(sys.argv[1], pids=3).create()")

        assert _prune(name)[name].removed
        assert not _directories(name)

    def test_lasting_with_a_process(self, leave: Leave, start: Start, name: str) -> None:
        """Is none as long as a process is in it."""
        leave("cgctl.Group(sys.argv[1], pids=3).create()")
        process = start(payloads.SLEEPER)
        cgctl.Group(f"/{name}").add(process.pid)

        found = _prune(name)[name]

        assert (found.orphan, found.removed) == (False, False)
        assert found.reason == f"it was made to last, and processes are in it: [{process.pid}]"
        process.kill()
        process.wait()
        assert _prune(name)[name].removed

    def test_lasting_with_groups_of_others(self, leave: Leave, name: str) -> None:
        """A group below that is not known to be cgctl's keeps it."""
        leave("cgctl.Group(sys.argv[1]).create()")
        below = Path(_directories(name)[0], "theirs")
        below.mkdir()
        try:
            found = _prune(name)[name]
            assert found.reason == f"{below} below it is not known to be cgctl's"
        finally:
            below.rmdir()
            assert _prune(name)[name].removed

    def test_with_a_group_of_a_living_owner(self, leave: Leave, name: str) -> None:
        """An orphan is left while somebody else has a group in it."""
        cgctl.Group(f"/{name}-before").create().remove()  # this process has looked already
        leave(self.SLEEPS)
        with cgctl.Group(f"/{name}/mine", join=False):
            found = _prune(name)

            assert not found[name].removed
            assert f"is of process {os.getpid()}, which lives" in found[name].reason

        assert _prune(name)[name].removed

    def test_kept(self, leave: Leave, name: str) -> None:
        """What is to be kept is not even told of."""
        leave('cgctl.Group(sys.argv[1], on_exit="keep").create()')
        try:
            assert _prune(name) == {}
        finally:
            cgctl.Group(f"/{name}").remove()

    def test_on_the_way(self, leave: Leave, name: str) -> None:
        """What was made on the way goes with it."""
        leave('cgctl.Group(sys.argv[1] + "/a/b").create()')

        found = _prune(name, dry_run=True)
        assert all(each.orphan for each in found.values())
        _prune(name)

        assert not _directories(name)

    def test_killed_before_the_mark(self, name: str) -> None:
        """A group whose maker was killed right after its mkdir is known by its sticky bit; no other's is touched."""
        made, others = (Path(root, f"{name}-{which}") for which, root in zip("ab", _roots() * 2, strict=False))
        made.mkdir()
        made.chmod(0o1755)
        others.mkdir()
        try:
            found = _prune(name)

            assert {(key, each.lifetime) for key, each in found.items()} == {(made.name, "unmarked")}
            assert not made.exists()
            assert others.exists()
        finally:
            others.rmdir()

    @pytest.mark.slow
    def test_while_it_is_made(self, name: str) -> None:
        """One that is just being made is not taken for such a one."""
        root = _roots()[0]
        filesystem = cgctl.System.detect().filesystem
        made = Path(root, name)
        with filesystem.lock(root, exclusive=False):
            made.mkdir()
            made.chmod(0o1755)

            found = _prune(name)

            assert made.exists()
            assert "made beside it" in found[name].reason
        assert _prune(name)[name].removed

    def test_on_the_way_never_marked(self, name: str) -> None:
        """Nor is one on the way to a group: it goes once nobody can be making it any more."""
        root = _roots()[0]
        filesystem = cgctl.System.detect().filesystem
        made = Path(root, name)
        made.mkdir()
        try:
            assert not remove_way(filesystem, str(made))
            made.chmod(0o1755)
            with filesystem.lock(root, exclusive=False):
                assert not remove_way(filesystem, str(made))
            assert remove_way(filesystem, str(made))
            assert not made.exists()
        finally:
            with contextlib.suppress(FileNotFoundError):
                made.rmdir()

    def test_of_another_pid_namespace(self, make: Make, name: str) -> None:
        """Whether its owner lives cannot be told from here, so it is left."""
        make(name=f"/{name}")
        for path in _directories(name):
            os.setxattr(path, OWNER, own(EPHEMERAL).replace(b" 40", b" 39"))

        assert "of another pid namespace" in _prune(name)[name].reason

    def test_this_process_is_in_it(self, leave: Leave, name: str) -> None:
        """Nobody prunes the branch on which he sits."""
        leave(self.SLEEPS)

        facts = scripts.run(
            """
            from cgctl.owner.orphans import prune
            system, (leaf,) = cgctl.System.detect(), cgctl.Group(sys.argv[1]).children()
            above = [each.mount_point for each in system.layout.hierarchies if each.label in leaf.paths()]
            enter(*leaf.paths().values())
            found = prune(system.filesystem, above)
            enter(*above)
            tell(reasons=[each.reason for each in found if any(sys.argv[1] in path for path in each.directories)])
            """,
            f"/{name}",
        )

        assert "this very process is in it; run it from elsewhere" in facts["reasons"]
        assert _prune(name)[name].removed


class TestNextUse:
    """Whoever makes a group removes what was left beside it."""

    def test_siblings(self, leave: Leave, name: str) -> None:
        """Killed processes' groups in the same base go, with all that runs there; what was made to last stays."""
        facts = leave(TestPrune.SLEEPS, f"/{name}/a")
        leave("cgctl.Group(sys.argv[1]).create()", f"/{name}/b")

        scripts.run("cgctl.Group(sys.argv[1], join=False).__enter__().__exit__(None, None, None)", f"/{name}/c")

        assert not is_alive(facts["sleeper"])
        assert not _directories(f"{name}/a")
        assert cgctl.Group(f"/{name}/b").exists()
        assert _prune(name)["b"].removed
        assert not _directories(name)

    @pytest.mark.parametrize("exist_ok", [False, True])
    def test_the_same_name(self, leave: Leave, name: str, exist_ok: bool) -> None:  # noqa: FBT001 - both are shown
        """A program that was killed can be started again at once."""
        with cgctl.Group(f"/{name}-before", join=False):  # this process has looked already
            facts = leave(TestPrune.SLEEPS)

            with cgctl.Group(f"/{name}", join=False, exist_ok=exist_ok) as group:
                assert not is_alive(facts["sleeper"])
                assert group.pids() == []
                assert group.children() == []
        assert not _directories(name)

    def test_a_late_helper(self, name: str) -> None:
        """A helper that cleans up late leaves what somebody else has made there meanwhile."""
        script = """
        import cgctl.guarding
        group = cgctl.Group(sys.argv[1], join=False)
        group.__enter__()
        tell(helper=cgctl.guarding.own_helper().pid)
        time.sleep(600)
        """
        with scripts.start(script, f"/{name}") as process:
            assert process.stdout is not None
            helper = int(process.stdout.readline().split(":")[1].strip(" }\n"))
            os.kill(helper, signal.SIGSTOP)
            process.kill()
            process.communicate()
        with cgctl.Group(f"/{name}", join=False) as group, group.popen(payloads.SLEEPER) as sleeper:
            os.kill(helper, signal.SIGCONT)
            assert eventually(lambda: not is_alive(helper))

            assert sleeper.poll() is None
            assert group.pids() == [sleeper.pid]
            sleeper.kill()


class TestOneWinner:
    """Of several processes that make the same group, one has it, and the others are told."""

    @pytest.mark.slow
    def test_same_name(self, name: str) -> None:
        """Six at once, twenty times."""
        script = """
        for turn in range(20):
            sys.stdin.readline()
            group = cgctl.Group(f"{sys.argv[1]}/{turn}", pids=5)
            try:
                group.create()
            except cgctl.GroupExistsError:
                tell(won=False)
            else:
                tell(won=group.limits().pids.max == 5)
        time.sleep(600)
        """
        with contextlib.ExitStack() as stack:
            processes = [stack.enter_context(_running(script, f"/{name}")) for _ in range(6)]
            for _ in range(20):
                for process in processes:
                    _pipe(process.stdin).write("go\n")
                    _pipe(process.stdin).flush()
                told = [_pipe(process.stdout).readline() for process in processes]

                assert sorted(told) == ['{"won": false}\n'] * 5 + ['{"won": true}\n']
        found = _prune(name)

        assert len([each for each in found.values() if each.lifetime == "lasting"]) == 20
        assert not _directories(name)


@contextlib.contextmanager
def _running(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    with scripts.start(script, *arguments, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
