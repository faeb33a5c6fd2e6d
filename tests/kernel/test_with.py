"""``with Group(…)``: the process moves in, and comes home, whatever happens meanwhile.

Whatever joins a group is a script in a process of its own: these tests' process never moves.
"""

from __future__ import annotations

import json
import signal

import pytest

import cgctl
from tests.kernel import lacks, payloads, scripts
from tests.kernel.conftest import Make, Start
from tests.kernel.inside import is_alive
from tests.kernel.pace import DEAD_SEC, GONE_SEC, PATIENCE_SEC, eventually
from tests.leaks import PREFIX, groups

pytestmark = pytest.mark.host


class TestJoining:
    """In, and back."""

    def test_in_and_back(self, name: str) -> None:
        """Inside, the process is in the group, in each of its hierarchies; after it, where it was before."""
        facts = scripts.run(
            """
            before = where()
            with cgctl.Group(sys.argv[1], pids=50) as group:
                inside, labels = where(), sorted(group.paths())
            tell(before=before, inside=inside, after=where(), labels=labels, exists=group.exists())
            """,
            name,
        )
        moved = {label or "unified" for label in facts["before"] if facts["before"][label] != facts["inside"][label]}

        assert moved == set(facts["labels"])
        assert all(facts["inside"][label.replace("unified", "")].endswith(f"/{name}") for label in moved)
        assert facts["after"] == facts["before"]
        assert not facts["exists"]

    def test_children_are_born_inside(self, name: str) -> None:
        """What the block starts is in the group, and is killed when the block ends."""
        facts = scripts.run(
            """
            with cgctl.Group(sys.argv[1], pids=50) as group:
                child = start(payloads.SLEEPER)
                tell(member=child.pid in group.pids())
            tell(code=child.wait())
            child.stdout.close()
            """,
            name,
        )

        assert facts == {"member": True, "code": -signal.SIGKILL}

    def test_limits_hold_inside(self, name: str) -> None:
        """A memory limit holds for what the block starts."""
        lacks.require("memory")
        facts = scripts.run(
            """
            with cgctl.Group(sys.argv[1], memory="100M") as group:
                done = subprocess.run(payloads.hog(200))
                events = group.stats("memory").memory.events
                tell(code=done.returncode, kills=events.oom_kill)
            """,
            name,
        )

        assert facts == {"code": -signal.SIGKILL, "kills": 1}

    def test_join_false(self, name: str) -> None:
        """With ``join=False`` the process stays where it is, and the group is made and removed all the same."""
        facts = scripts.run(
            """
            before = where()
            with cgctl.Group(sys.argv[1], pids=5, join=False) as group:
                tell(exists=group.exists(), stayed=where() == before, run=group.run(["true"]).returncode)
            tell(after=group.exists())
            """,
            name,
        )

        assert facts == {"exists": True, "stayed": True, "run": 0, "after": False}

    def test_again(self, name: str) -> None:
        """The same object can be entered again, but not while it is entered."""
        facts = scripts.run(
            """
            group = cgctl.Group(sys.argv[1], pids=50)
            for _ in range(3):
                with group:
                    pass
            with group:
                try:
                    with group:
                        pass
                except cgctl.SpecError as error:
                    tell(error=str(error), inside=sys.argv[1] in str(where()))
            tell(exists=group.exists())
            """,
            name,
        )

        assert "entered already" in facts["error"]
        assert facts["inside"]
        assert not facts["exists"]

    def test_exists_already(self, make: Make) -> None:
        """Entering a group that is there already is refused, and it is left as it was."""
        group = make(pids=5)
        with pytest.raises(cgctl.GroupExistsError), cgctl.Group(group.name, pids=7):
            pass

        assert group.limits().pids == cgctl.Pids(max=5)


class TestExceptions:
    """What the block, or the kernel, throws."""

    @pytest.mark.parametrize("statement", ["1 / 0", "sys.exit(3)", "raise KeyboardInterrupt", "raise GeneratorExit"])
    def test_of_the_body(self, statement: str, name: str) -> None:
        """Any exception passes, and the process comes home and the group goes."""
        facts = scripts.run(
            f"""
            before = where()
            group = cgctl.Group(sys.argv[1], pids=50)
            try:
                with group:
                    child = start(payloads.STUBBORN)
                    {statement}
            except BaseException as error:
                tell(error=type(error).__name__)
            tell(home=where() == before, exists=group.exists(), code=child.wait())
            child.stdout.close()
            """,
            name,
        )

        assert facts.pop("error") in {"ZeroDivisionError", "SystemExit", "KeyboardInterrupt", "GeneratorExit"}
        assert facts == {"home": True, "exists": False, "code": -signal.SIGKILL}

    def test_removed_by_the_body(self, name: str) -> None:
        """If the body removes the group, the process goes home first, and leaving is fine."""
        facts = scripts.run(
            """
            before = where()
            with cgctl.Group(sys.argv[1], pids=50) as group:
                group.remove()
                tell(home=where() == before, exists=group.exists())
            tell(after=where() == before)
            """,
            name,
        )

        assert facts == {"home": True, "exists": False, "after": True}

    def test_emptied_by_the_body(self, name: str) -> None:
        """If the body moves the process out and removes the directories by hand, leaving is fine."""
        facts = scripts.run(
            """
            before = where()
            homes = cgctl.current().paths()
            with cgctl.Group(sys.argv[1], pids=50) as group:
                paths = group.paths()
                enter(*(homes[label] for label in paths))
                for path in paths.values():
                    os.rmdir(path)
            tell(after=where() == before)
            """,
            name,
        )

        assert facts == {"after": True}

    def test_home_is_gone(self, name: str, make: Make) -> None:
        """If home was removed meanwhile, the process goes to the nearest group above it that is there."""
        top = make(name=name, pids=50)
        facts = scripts.run(
            """
            below = cgctl.Group(sys.argv[1] + "/below", pids=50).create()
            enter(*below.paths().values())
            with cgctl.Group(f"/{sys.argv[1]}-job", pids=40) as group:
                below.kill()  # the launch helper, which is where its caller was
                below.remove()
            tell(after=where(), exists=group.exists())
            enter(*cgctl.System.detect().root_base().directories.values())
            """,
            name,
        )

        assert all(facts["after"][label.replace("unified", "")].endswith(f"/{name}") for label in top.paths())
        assert not facts["exists"]

    def test_no_room_for_the_caller(self, make: Make) -> None:
        """If the kernel refuses the caller, it is where it was, and the group is gone."""
        lacks.require("v2")
        top = make()
        make(name="threaded", parent=top).write("cgroup.type", "threaded")
        facts = scripts.run(
            """
            before = where()
            top = cgctl.Group(sys.argv[1])
            try:
                with top.group("job"):
                    pass
            except cgctl.StepError as error:
                tell(error=str(error))
            tell(home=where() == before, exists=top.group("job").exists())
            """,
            top.name,
        )

        assert "EOPNOTSUPP" in facts["error"]
        assert "'domain invalid', which takes no process" in facts["error"]
        assert (facts["home"], facts["exists"]) == (True, False)


class TestNesting:
    """Blocks inside blocks."""

    def test_the_innermost_is_the_parent(self, name: str) -> None:
        """A group made inside a block is below the block's group; each block leads back to the one before."""
        facts = scripts.run(
            """
            before = where()
            with cgctl.Group(sys.argv[1], pids=50) as outer:
                first = where()
                with cgctl.Group("inner", pids=40) as inner:
                    second = where()
                    names = [each.address.name for each in (outer, inner, cgctl.Group("x"))]
                tell(back=where() == first, inner=cgctl.Group("inner", parent=outer).exists())
            tell(home=where() == before, names=names, second=second)
            """,
            name,
        )
        outer, inner, third = facts["names"]

        assert inner == f"{outer}/inner"
        assert third == f"{inner}/x"
        assert any(path.endswith(f"{name}/inner") for path in facts["second"].values())
        assert (facts["back"], facts["inner"], facts["home"]) == (True, False, True)

    def test_an_absolute_name_inside(self, name: str) -> None:
        """An absolute name is not below the joined group, on purpose."""
        facts = scripts.run(
            """
            with cgctl.Group(sys.argv[1], pids=50):
                with cgctl.Group(f"/{sys.argv[1]}-abs", pids=5, join=False) as other:
                    tell(paths=list(other.paths().values()))
            """,
            name,
        )

        assert not any(f"/{name}/" in path for path in facts["paths"])

    def test_run_inside_counts_against_the_block(self, name: str) -> None:
        """What ``cgctl.run`` starts inside a block obeys the block's limit, and is counted there."""
        lacks.require("memory", "pids")
        facts = scripts.run(
            """
            with cgctl.Group(sys.argv[1], memory="100M") as group:
                done = cgctl.run(payloads.hog(200), pids=10, capture_output=True)
                tell(oom=done.oom_killed, code=done.returncode, peak=group.stats("memory").memory.events.oom_kill)
                own = cgctl.run(payloads.hog(40), memory="60M", capture_output=True)
                tell(own=[own.returncode, own.oom_killed])
            """,
            name,
        )

        assert facts == {"oom": True, "code": -signal.SIGKILL, "peak": 1, "own": [0, False]}

    def test_run_inside_is_born_inside(self, name: str) -> None:
        """A run without limits inside a block is in the block's group, in every hierarchy of that."""
        facts = scripts.run(
            """
            with cgctl.Group(sys.argv[1], pids=50) as group:
                done = cgctl.run(payloads.WHERE, capture_output=True, text=True)
                tell(text=done.stdout, labels=sorted(group.paths()))
            """,
            name,
        )
        seen = {line.split(":", 2)[1] or "unified": line.split(":", 2)[2] for line in facts["text"].splitlines()}

        assert all(f"/{name}" in seen[label] for label in facts["labels"])

    @pytest.mark.parametrize("what", ["add(os.getpid())", "add_thread(threading.get_native_id())"])
    def test_home_from_below(self, what: str, name: str) -> None:
        """Who moved itself on, to a group below that is in more hierarchies, comes home from all of them."""
        lacks.require("cpu", "pids")
        facts = scripts.run(
            f"""
            import threading
            before = where()
            with cgctl.Group(sys.argv[1], pids=50) as group:
                below = group.group("b", core=cgctl.Core(type="threaded"), cpu=0.5)
                below.create().{what}
                tell(moved=where() != before)
            tell(home=where() == before, exists=group.exists())
            """,
            name,
        )

        assert facts == {"moved": True, "home": True, "exists": False}

    def test_order(self, name: str) -> None:
        """Leaving the outer block before the inner one is an error that says so; the right order still works."""
        facts = scripts.run(
            """
            before = where()
            outer, inner = cgctl.Group(sys.argv[1], pids=50), cgctl.Group("inner", pids=40)
            outer.__enter__()
            inner.__enter__()
            try:
                outer.__exit__(None, None, None)
            except cgctl.SpecError as error:
                tell(error=str(error), inside=sys.argv[1] in str(where()))
            inner.__exit__(None, None, None)
            outer.__exit__(None, None, None)
            tell(home=where() == before, exists=[outer.exists(), inner.exists()])
            """,
            name,
        )

        assert facts["error"] == f"leave Group('{name}'): Group('inner') was entered later and is to be left first"
        assert (facts["inside"], facts["home"], facts["exists"]) == (True, True, [False, False])


class TestOthers:
    """Threads, tasks and forked processes."""

    def test_another_thread(self, name: str) -> None:
        """While one thread is in a block, another may neither enter nor leave; with ``join=False`` it may."""
        facts = scripts.run(
            """
            import threading

            def attempt(what):
                try:
                    what()
                    errors.append("")
                except cgctl.SpecError as error:
                    errors.append(str(error))

            errors = []
            before = where()
            with cgctl.Group(sys.argv[1], pids=50) as group:
                for what in (
                    cgctl.Group("other", pids=5).__enter__,
                    lambda: group.__exit__(None, None, None),
                    lambda: cgctl.Group("stay", pids=5, join=False).__enter__().__exit__(None, None, None),
                    lambda: cgctl.run(["true"], pids=5),
                ):
                    thread = threading.Thread(target=attempt, args=(what,))
                    thread.start()
                    thread.join()
                tell(errors=errors, inside=sys.argv[1] in str(where()))
            tell(home=where() == before)
            """,
            name,
        )

        assert "a process is in one place; enter with join=False" in facts["errors"][0]
        assert "entered by another thread or task; leave it there" in facts["errors"][1]
        assert facts["errors"][2:] == ["", ""]
        assert (facts["inside"], facts["home"]) == (True, True)

    def test_asyncio_tasks(self, name: str) -> None:
        """While one task is in a block, another may not enter one; once it has left, it may."""
        facts = scripts.run(
            """
            import asyncio

            async def hold(entered, leave):
                with cgctl.Group(sys.argv[1], pids=50):
                    entered.set()
                    await leave.wait()

            async def main():
                entered, leave = asyncio.Event(), asyncio.Event()
                task = asyncio.create_task(hold(entered, leave))
                await entered.wait()
                try:
                    with cgctl.Group("other", pids=5):
                        pass
                except cgctl.SpecError as error:
                    tell(error=str(error))
                leave.set()
                await task
                with cgctl.Group(sys.argv[1] + "-2", pids=5):
                    tell(inside=sys.argv[1] + "-2" in str(where()))

            before = where()
            asyncio.run(main())
            tell(home=where() == before)
            """,
            name,
        )

        assert "another thread or task of this process is inside" in facts["error"]
        assert (facts["inside"], facts["home"]) == (True, True)

    def test_a_forked_child_leaves_nothing(self, name: str) -> None:
        """In a forked child leaving does nothing: it stays, and so does the group, which is its parent's."""
        facts = scripts.run(
            """
            before = where()
            with cgctl.Group(sys.argv[1], pids=50) as group:
                inside = where()
                reading, writing = os.pipe()
                if (child := os.fork()) == 0:
                    group.__exit__(None, None, None)
                    os.write(writing, b"same" if where() == inside and group.exists() else b"moved")
                    os._exit(0)
                _, status = os.waitpid(child, 0)
                tell(status=status, child=os.read(reading, 9).decode(), exists=group.exists(), same=where() == inside)
            tell(home=where() == before, after=group.exists())
            """,
            name,
        )

        assert facts == {"status": 0, "child": "same", "exists": True, "same": True, "home": True, "after": False}

    def test_a_forked_child_exits_through_the_block(self, name: str) -> None:
        """A forked child that leaves the block by an exception neither removes the group nor kills its parent."""
        facts = scripts.run(
            """
            try:
                with cgctl.Group(sys.argv[1], pids=50) as group:
                    if (child := os.fork()) == 0:
                        raise KeyError
                    _, status = os.waitpid(child, 0)
                    tell(status=os.waitstatus_to_exitcode(status), exists=group.exists())
            except KeyError:
                os._exit(5)
            tell(after=group.exists())
            """,
            name,
        )

        assert facts == {"status": 5, "exists": True, "after": False}

    def test_a_forked_child_may_enter_its_own(self, name: str) -> None:
        """A forked child may enter a block of its own, below the group that it was born in."""
        facts = scripts.run(
            """
            with cgctl.Group(sys.argv[1], pids=50) as group:
                if (child := os.fork()) == 0:
                    with cgctl.Group("own", parent=group):
                        ok = f"{sys.argv[1]}/own" in str(where())
                    os._exit(0 if ok and f"{sys.argv[1]}/own" not in str(where()) else 1)
                _, status = os.waitpid(child, 0)
                tell(status=os.waitstatus_to_exitcode(status), children=len(group.children()))
            """,
            name,
        )

        assert facts == {"status": 0, "children": 0}


class TestLeaving:
    """What is still in the group at the end."""

    def test_wait(self, name: str) -> None:
        """``on_exit="wait"`` waits for what is left, then removes the group."""
        facts = scripts.run(
            """
            with cgctl.Group(sys.argv[1], pids=50, on_exit="wait") as group:
                child = subprocess.Popen(payloads.python("import time; time.sleep(0.3)"))
            tell(code=child.wait(timeout=0.2), exists=group.exists())
            """,
            name,
        )

        assert facts == {"code": 0, "exists": False}

    def test_keep(self, name: str) -> None:
        """``on_exit="keep"`` leaves the group, its limits and its processes, also when their maker is gone."""
        facts = scripts.run(
            """
            with cgctl.Group(sys.argv[1], pids=50, on_exit="keep") as group:
                child = subprocess.Popen(payloads.SLEEPER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            child.returncode = 0
            tell(pid=child.pid)
            """,
            name,
        )
        group = cgctl.Group(name)
        try:
            assert group.pids() == [facts["pid"]]
            assert group.limits().pids == cgctl.Pids(max=50)
            assert not eventually(lambda: not group.exists(), 0.3)
        finally:
            group.kill()
            group.remove()

    def test_a_populated_group_is_spared(self, make: Make, start: Start) -> None:
        """A group that held others' processes before is left as it is: nobody in it is killed, and it stays."""
        group = make(pids=50)
        process = start(payloads.SLEEPER)
        group.add(process)
        facts = scripts.run(
            """
            before = where()
            with cgctl.Group(sys.argv[1], pids=50, exist_ok=True) as group:
                child = subprocess.Popen(payloads.SLEEPER, stdout=subprocess.DEVNULL)
                tell(size=len(group.pids()))
            tell(home=where() == before, exists=group.exists(), alive=child.poll() is None)
            child.kill()
            child.wait()
            """,
            group.name,
        )

        assert facts == {"size": 3, "home": True, "exists": True, "alive": True}
        assert process.poll() is None

    def test_an_empty_group_is_taken_over(self, make: Make) -> None:
        """With ``exist_ok``, an empty group is the block's: it goes with it."""
        group = make(pids=50)
        with cgctl.Group(group.name, pids=40, exist_ok=True, join=False):
            assert group.limits().pids == cgctl.Pids(max=40)

        assert not group.exists()

    def test_killed_inside(self, name: str, start: Start) -> None:
        """If the process is killed inside its block, its group and all in it is gone soon; others live on."""
        outside = start(payloads.SLEEPER)
        child = _kill_inside(f"/{name}")

        assert eventually(lambda: not groups(name), GONE_SEC)
        assert eventually(lambda: not is_alive(child), DEAD_SEC)
        assert outside.poll() is None

    @pytest.mark.usefixtures("swept")
    @pytest.mark.parametrize("where", ["/{}/a/b", "{}"])
    def test_killed_inside_with_parents(self, where: str, name: str) -> None:
        """What was made on the way, ``CGCTL_BASE`` included, is gone too if the process is killed inside its block."""
        _kill_inside(where.format(name))

        assert eventually(lambda: not groups(PREFIX), GONE_SEC)

    def test_terminated_inside(self, name: str) -> None:
        """SIGTERM without a handler ends the process as SIGKILL does: the group goes."""
        _kill_inside(f"/{name}", signal.SIGTERM)

        assert eventually(lambda: not groups(name), GONE_SEC)


def _kill_inside(name: str, number: int = signal.SIGKILL) -> int:
    """Kill a process that is in a block; return the pid of its child in there."""
    script = """
        with cgctl.Group(sys.argv[1], pids=50) as group:
            child = subprocess.Popen(payloads.STUBBORN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            tell(child=child.pid)
            signal.pause()
        """
    with scripts.start(script, name) as process:
        assert process.stdout is not None
        child = json.loads(process.stdout.readline())["child"]
        process.send_signal(number)
        process.communicate(timeout=PATIENCE_SEC)
    assert isinstance(child, int)
    return child
