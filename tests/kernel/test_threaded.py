"""Threaded groups: how they are made, whom they take, and what the kernel refuses of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

import cgctl
from cgctl import Core
from tests.kernel import lacks, payloads, scripts
from tests.kernel.conftest import Make, Start
from tests.kernel.pace import DEAD_SEC, eventually

pytestmark = pytest.mark.host

_THREADED = Core(type="threaded")

_TWO_THREADS = payloads.python("""
import threading, time, zlib
data = bytes(1 << 22)
def spin():
    while True:
        zlib.crc32(data)  # without the interpreter's lock, which nobody is to be frozen with
for _ in range(2):
    threading.Thread(target=spin, daemon=True).start()
print("ready", flush=True)
time.sleep(150)
""")


def _tids(pid: int) -> list[int]:
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))


def _type(group: cgctl.Group) -> str | None:
    core = group.stats("core").core
    return core.type if core else None


class TestV2:
    """On v2, below the group of the process."""

    @pytest.fixture(autouse=True)
    def _v2(self) -> None:
        lacks.require("v2")

    def test_made(self, make: Make) -> None:
        """It is threaded, the group above a threaded domain, and nothing is left to do."""
        above = make()
        group = make(name="threads", parent=above, core=_THREADED)
        held = group.limits().core

        assert (_type(group), _type(above)) == ("threaded", "domain threaded")
        assert held is not None
        assert held.type == "threaded"
        assert len(group.plan()) == 0
        group.remove()
        assert _type(above) == "domain"

    def test_threads_move(self, start: Start, make: Make) -> None:
        """Threads go down one by one; the process stays above, and is killed there."""
        above = make()
        group = make(name="threads", parent=above, core=_THREADED)
        process = start(_TWO_THREADS)
        above.add(process)
        main, *spinning = _tids(process.pid)
        group.add_thread(spinning[0])

        assert group.threads() == [spinning[0]]
        assert above.threads() == [main, *spinning]
        assert (group.pids(), above.pids()) == ([], [process.pid])
        with pytest.raises(cgctl.UnsupportedError, match=r"it is threaded, .*kill the group above"):
            group.kill()
        with pytest.raises(cgctl.StepError, match="EBUSY"):
            group.remove()
        above.kill()
        assert process.wait(DEAD_SEC) == -9
        group.wait_empty(timeout=DEAD_SEC)

    def test_only_some_are_frozen(self, start: Start, make: Make) -> None:
        """Freezing a threaded group stops its threads, and no other of the process."""
        above = make()
        group = make(name="threads", parent=above, core=_THREADED)
        process = start(_TWO_THREADS)
        above.add(process)
        _, stopped, running = _tids(process.pid)
        group.add_thread(stopped)
        group.freeze()
        before = _used(process.pid)

        assert eventually(lambda: _used(process.pid)[running] > before[running] + 0.05)
        assert _used(process.pid)[stopped] == before[stopped]
        group.thaw()
        assert eventually(lambda: _used(process.pid)[stopped] > before[stopped])
        above.kill()

    def test_the_callers_own_thread_is_not_frozen(self, name: str) -> None:
        """A group that holds a thread of the caller is not frozen by it; tried in a process of its own."""
        facts = scripts.run(
            """
            above = cgctl.Group(sys.argv[1]).create()
            group = above.group("threads", core=cgctl.Core(type="threaded")).create()
            import threading
            above.add(os.getpid())
            group.add_thread(threading.get_native_id())
            try:
                group.freeze()
            except cgctl.SpecError as error:
                tell(error=str(error))
            enter(cgctl.System.detect().root_base().directories["unified"])
            group.remove()
            above.remove()
            """,
            name,
        )

        assert "is inside" in facts["error"]

    def test_the_process_must_be_above(self, start: Start, make: Make) -> None:
        """A thread of a process that is elsewhere is refused, with what to do; it is where it was."""
        above = make()
        group = make(name="threads", parent=above, core=_THREADED)
        process = start(_TWO_THREADS)
        before = cgctl.System.detect().directories_of(process.pid)["unified"]
        with pytest.raises(cgctl.StepError, match=r"cgroup.threads: EOPNOTSUPP .*add the process to the group above"):
            group.add_thread(_tids(process.pid)[1])

        assert cgctl.System.detect().directories_of(process.pid)["unified"] == before

    def test_a_plain_group_takes_no_thread(self, start: Start, make: Make) -> None:
        """Nor does a group that is not threaded."""
        group = make()
        with pytest.raises(cgctl.StepError, match=r"EOPNOTSUPP .*type is 'domain'; make it threaded"):
            group.add_thread(_tids(start(_TWO_THREADS).pid)[1])

    def test_never_back(self, make: Make) -> None:
        """A threaded group is no domain again."""
        group = make(name="threads", parent=make(), core=_THREADED)
        with pytest.raises(cgctl.StepError, match=r"cgroup.type: EINVAL .*for ever.*make it anew"):
            group.update(core=Core(type="domain"))

    def test_not_with_processes(self, start: Start, make: Make) -> None:
        """A group that holds processes is not made threaded."""
        group = make(name="threads", parent=make())
        process = start(payloads.SLEEPER)
        group.add(process)
        with pytest.raises(cgctl.StepError, match=rf"EOPNOTSUPP .*holds processes \({process.pid}\)"):
            group.update(core=_THREADED)

    def test_not_beside_processes(self, start: Start, make: Make) -> None:
        """Nor is one beside groups with processes: their parent cannot be a threaded domain."""
        above = make()
        make(name="beside", parent=above).add(start(payloads.SLEEPER))
        with pytest.raises(
            cgctl.StepError, match=r"EOPNOTSUPP .*cannot be a threaded domain: groups below this one or"
        ):
            above.group("threads", core=_THREADED).create()
        assert [child.name.rpartition("/")[2] for child in above.children()] == ["beside"]

    def test_below_an_invalid_one(self, make: Make) -> None:
        """Below a group that is invalid itself, there is no threaded one."""
        above = make()
        make(name="threads", parent=above, core=_THREADED)
        invalid = make(name="invalid", parent=above)
        with pytest.raises(cgctl.StepError, match=r"EOPNOTSUPP .*make it threaded first"):
            invalid.group("deeper", core=_THREADED).create()
        deeper = make(name="deeper", parent=make(name="more", parent=above, core=_THREADED), core=_THREADED)
        assert _type(deeper) == "threaded"

    def test_an_invalid_one_takes_nobody(self, start: Start, make: Make) -> None:
        """A group that was not made threaded beside one that was takes no process and no controller."""
        above = make()
        make(name="threads", parent=above, core=_THREADED)
        invalid = make(name="invalid", parent=above)
        with pytest.raises(cgctl.StepError, match=r"EOPNOTSUPP .*'domain invalid', which takes no process"):
            invalid.add(start(payloads.SLEEPER))
        with pytest.raises(cgctl.LaunchError, match=r"EOPNOTSUPP .*threaded"):
            invalid.run(["true"])


class TestControllers:
    """Threads under limits of their own."""

    @pytest.fixture(autouse=True)
    def _cpu(self) -> None:
        lacks.require("v2 cpu")

    def test_a_thread_is_limited(self, start: Start, make: Make) -> None:
        """One thread is held to a tenth of a CPU, and the other of its process is not."""
        above = make()
        process = start(_TWO_THREADS)
        above.add(process)
        # Above it, the process: there both are enabled beside it, on purpose.
        group = make(name="threads", parent=above, core=_THREADED, cpu=0.1)
        assert above.pids() == [process.pid]
        _, limited, free = _tids(process.pid)
        group.add_thread(limited)
        before = _used(process.pid)
        assert eventually(lambda: _used(process.pid)[free] - before[free] > 0.5)
        after = _used(process.pid)

        assert after[limited] - before[limited] < (after[free] - before[free]) / 2
        cpu = group.stats("cpu").cpu
        assert cpu is not None
        assert (cpu.nr_throttled or 0) > 0
        above.kill()

    def test_in_a_block(self, name: str) -> None:
        """One thread of the caller goes below the group that the block joined; at the end all go home together."""
        facts = scripts.run(
            """
            import threading
            before = where()
            with cgctl.Group(f"/{sys.argv[1]}", cpu=1) as job:
                background = job.group("background", core=cgctl.Core(type="threaded"), cpu=0.1).create()
                background.add_thread(threading.get_native_id())
                tell(threads=background.threads() == [threading.get_native_id()], pids=job.pids() == [os.getpid()])
            tell(home=where() == before, exists=job.exists())
            """,
            name,
        )

        assert facts == {"threads": True, "pids": True, "home": True, "exists": False}

    def test_more_may_be_added(self, make: Make) -> None:
        """A controller that counts by thread is added to a threaded group, by an update."""
        lacks.require("v2 pids")
        above = make()
        group = make(name="threads", parent=above, core=_THREADED, cpu=0.5)
        held = group.update(pids=10)

        assert held.pids == cgctl.Pids(max=10)
        assert _type(group) == "threaded"

    def test_not_what_counts_by_process(self, make: Make) -> None:
        """Memory is not to be had by thread."""
        lacks.require("v2 memory")
        above = make()
        group = above.group("threads", core=_THREADED, memory="10M")
        with pytest.raises(cgctl.UnsupportedError, match="controller memory in a threaded group") as caught:
            group.create()

        assert "set it on the group above" in caught.value.reason
        assert above.children() == []

    def test_not_below_what_counts_by_process(self, make: Make) -> None:
        """Nor beside a group with memory, whose parent has it enabled."""
        lacks.require("v2 memory")
        above = make()
        make(name="beside", parent=above, memory="10M")
        with pytest.raises(cgctl.StepError, match=r"cgroup.type: EOPNOTSUPP .*do not count by thread \(memory\)"):
            above.group("threads", core=_THREADED, cpu=0.5).create()

    def test_no_accident(self, start: Start, make: Make) -> None:
        """A group with a process that is not ours is not made a threaded domain by a limit below it."""
        above = make()
        process = start(payloads.SLEEPER)
        above.add(process)
        make(name="below", parent=above, cpu=0.5)

        assert _type(above) == "domain"


class TestV1:
    """On v1, where any group takes any thread."""

    def test_a_thread_moves(self, start: Start, make: Make) -> None:
        """One thread is moved, the process and its others are not."""
        lacks.require("no v2", "v1 cpu")
        group = make(cpu=0.5)
        process = start(_TWO_THREADS)
        main, moved, other = _tids(process.pid)
        group.add_thread(moved)

        assert group.threads() == [moved]
        assert not {main, other} & {*group.threads()}

    def test_no_threaded_groups(self, name: str) -> None:
        """Threaded groups are v2's."""
        lacks.require("no v2")
        with pytest.raises(cgctl.UnsupportedError, match=r"core.type"):
            cgctl.Group(name, core=_THREADED).create()


@pytest.mark.parametrize("thread", [0, -1, True, "1", None, 1.0])
def test_no_thread(thread: object, make: Make) -> None:
    """What is no number of a thread is nonsense."""
    with pytest.raises(cgctl.SpecError, match=r"add_thread\(.*not a thread; .*get_native_id"):
        make().add_thread(thread)  # type: ignore[arg-type]


def test_a_thread_that_has_ended(make: Make) -> None:
    """A thread that is there no more is not found."""
    lacks.require("v2")
    group = make(name="threads", parent=make(), core=_THREADED)
    with _thread() as number:
        pass
    with pytest.raises(cgctl.StepError, match=r"cgroup.threads: ESRCH"):
        group.add_thread(number)


@contextmanager
def _thread() -> Iterator[int]:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    assert thread.native_id is not None
    yield thread.native_id
    done.set()
    thread.join()
    assert eventually(lambda: not os.path.exists(f"/proc/self/task/{thread.native_id}"))


def _used(pid: int) -> dict[int, float]:
    return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process(pid).threads()}
