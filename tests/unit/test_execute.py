"""Walking a plan: retries, excuses, and taking back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from errno import EACCES, EAGAIN, EBUSY, EEXIST, EINVAL, EIO, ENODEV, ENOENT, EOPNOTSUPP, ESRCH
from types import MappingProxyType
from typing import Any

import pytest

from cgctl.controllers import Cpu, Io, Memory
from cgctl.errors import GroupExistsError, GroupNotFoundError, StepError, UnsupportedError
from cgctl.filesystem import Filesystem, Lock, Notifier, Series, Watch, execute, read_all, remove_tree, satisfy
from cgctl.filesystem.execute import attempt
from cgctl.layout import Layout
from cgctl.plan import Chown, Mkdir, Plan, Retry, Rmdir, Signal, Step, Write
from cgctl.units import MAX
from tests.unit.machine import HYBRID, V1, V2, Machine
from tests.unit.refusals import says

SOON = Retry(errno=EBUSY, delay_usec=1, total_usec=20_000, longest_usec=1000)
G = "/v2/p1"


class Recorder:
    """A filesystem that writes down what is done to it, and refuses what it was told to refuse.

    Args:
        refusals: call such as ``"mkdir /v2/p1"`` → errnos, one for each time; the last one stays if it is repeated.
        files: what is there to read.
        below: directory → names of the groups below it.
    """

    def __init__(
        self,
        refusals: dict[str, list[int | BaseException]] | None = None,
        files: dict[str, bytes] | None = None,
        below: dict[str, list[str]] | None = None,
    ) -> None:
        self.refusals = defaultdict(list, refusals or {})
        self.files = files or {}
        self.below = below or {}
        self.calls: list[str] = []
        self.pauses: list[float] = []

    def _call(self, call: str) -> None:
        self.calls.append(call)
        if self.refusals[call]:
            refusal = self.refusals[call].pop(0)
            raise OSError(refusal, "scripted") if isinstance(refusal, int) else refusal

    def read(self, path: str) -> bytes:
        """Return a file, or refuse; reading leaves no trace in the calls."""
        if self.refusals[f"read {path}"]:
            raise OSError(self.refusals[f"read {path}"][0], "scripted")
        if path not in self.files:
            raise OSError(ENOENT, "not there")
        return self.files[path]

    def write(self, path: str, data: bytes) -> None:
        """Write down."""
        self._call(f"write {path} {data.decode()}")

    def mkdir(self, path: str, marks: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Write down."""
        self._call(" ".join(["mkdir", path, *(f"{name}={value.decode()}" for name, value in marks.items())]))

    def rmdir(self, path: str) -> None:
        """Write down; a group with groups below is busy."""
        self._call(f"rmdir {path}")
        if self.below.get(path):
            raise OSError(EBUSY, "groups below")
        above, _, name = path.rpartition("/")
        if name in self.below.get(above, []):
            self.below[above].remove(name)

    def listdir(self, path: str) -> list[str]:
        """Return the groups below."""
        self._call(f"listdir {path}")
        return list(self.below.get(path, []))

    def exists(self, path: str) -> bool:
        """Tell whether it is there."""
        return path in self.below

    def count(self, path: str) -> int:
        """Count the groups below."""
        return len(self.below.get(path, []))

    def signal(self, pid: int, number: int) -> None:
        """Write down."""
        self._call(f"kill -{number} {pid}")

    def wait(self, path: str, seen: bytes, timeout: float) -> None:
        """Let time pass: nothing happens."""
        del path, seen
        self.sleep(timeout)

    def watch(self, path: str) -> Watch:
        """Refuse: there is nothing to watch."""
        raise OSError(ENOENT, "not there", path)

    def series(self, directory: str, names: Sequence[str]) -> Series:
        """Refuse: there is nothing to read again."""
        raise OSError(ENOENT, "not there", directory, len(names))

    def notifier(self) -> Notifier:
        """Refuse: nothing happens here."""
        raise OSError(ENOENT, "nothing to wait for")

    def idle(self) -> bool:
        """Tell that something may happen."""
        return False

    def monotonic(self) -> float:
        """Return how long it has slept: nothing else takes time."""
        return sum(self.pauses)

    def sleep(self, seconds: float) -> None:
        """Write down."""
        self.pauses.append(seconds)

    def getxattr(self, path: str, name: str) -> bytes | None:
        """Return that there is none."""

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        """Write down."""
        self._call(f"setxattr {path} {name} {value.decode()}")

    def removexattr(self, path: str, name: str) -> None:
        """Write down."""
        self._call(f"removexattr {path} {name}")

    def unfinished(self, path: str) -> bool:
        """Return that none is."""
        return not path

    def lock(self, path: str, *, exclusive: bool, timeout: float = 1.0) -> Lock:
        """Give it at once."""
        del path, exclusive, timeout
        return nullcontext(enter_result=True)

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Write down."""
        self._call(f"chown {path} {uid} {gid}")

    def writable(self, path: str) -> bool:
        """Return that all is."""
        return bool(path)


def _write(name: str, data: bytes = b"1", **more: Any) -> Write:
    return Write(path=f"{G}/{name}", data=data, **more)


class TestRecorder:
    """The stub of these tests."""

    def test_is_a_filesystem(self) -> None:
        """It has all that the protocol asks for."""
        assert isinstance(Recorder(), Filesystem)


class TestReadAll:
    """Reading for a snapshot."""

    def test_contents_and_errnos(self) -> None:
        """What is there is its content, what is not its errno."""
        filesystem = Recorder({"read /b": [EACCES]}, {"/a": b"x", "/b": b"y"})

        assert read_all(filesystem, ["/a", "/b", "/c"]) == {"/a": b"x", "/b": EACCES, "/c": ENOENT}


class TestSatisfy:
    """Reading and planning, in rounds."""

    def test_same_as_by_hand(self) -> None:
        """It is the plan of what was read."""
        machine = Machine(V2)
        machine.make("own", memory=MAX)
        machine.enter("/v2/own", 100)
        request = machine.request("p1", base="/own", memory="1M")
        filesystem = Recorder(files={path: text.encode() for path, text in machine.files.items()})

        steps, snapshot = satisfy(filesystem, request)

        assert steps == machine.plan(request)
        assert snapshot.values.items() <= machine.snapshot(request).values.items()
        assert filesystem.calls == []

    @pytest.mark.parametrize("layout", [V1, V2, HYBRID], ids=["v1", "v2", "hybrid"])
    def test_new_groups_are_alike(self, layout: Layout) -> None:
        """What was worked out for one is right for the next, of another name, limit, depth or place."""
        learnt: dict[str, bytes | int] = {}
        machine = Machine(layout)
        io: dict[str, Any] = {"io": Io(weight=200)} if layout is V2 else {}
        machine.make("own", memory=MAX, cpu=MAX, cpuset="0-1", pids=MAX, **io)
        wishes: list[dict[str, Any]] = [{}, {"memory": "1M"}, {"memory": Memory(max="1M", swap_max=0)}, {"cpu": 0.5}]
        wishes += [
            io,
            {"cpuset": "1"},
            {"cpuset": "0", "memory": "2M"},
            {"pids": 5, "cpu": Cpu(max=2, burst_usec=1000)},
        ]
        for name in ("a", "b", "c/d", "c/e", "c/f/g"):
            for base in ("", "/own"):
                for wish in wishes:
                    request = machine.request(name, base=base, **wish)
                    filesystem = Recorder(
                        files={path: text.encode() for path, text in machine.files.items()},
                        below={path.rpartition("/")[0]: [] for path in machine.files},
                    )

                    steps, _ = satisfy(filesystem, request, learnt)

                    assert steps == machine.plan(request)
                machine.make(name, base=base, **wishes[-1])


class TestAttempt:
    """One step."""

    @pytest.mark.parametrize(
        ("step", "call"),
        [
            (Mkdir(path=G), f"mkdir {G}"),
            (Rmdir(path=G), f"rmdir {G}"),
            (_write("pids.max", b"7"), f"write {G}/pids.max 7"),
            (Signal(pid=7, number=9), "kill -9 7"),
            (Chown(path=G, uid=7, gid=-1), f"chown {G} 7 -1"),
        ],
    )
    def test_done(self, step: Step, call: str) -> None:
        """Each kind of step is one call."""
        filesystem = Recorder()

        attempt(filesystem, step)

        assert filesystem.calls == [call]

    @pytest.mark.parametrize(
        ("step", "call", "errno"),
        [
            (Mkdir(path=G, shared=True), f"mkdir {G}", EEXIST),
            (Rmdir(path=G), f"rmdir {G}", ENOENT),
            (Rmdir(path=G), f"rmdir {G}", ENODEV),
            (Signal(pid=7, number=9), "kill -9 7", ESRCH),
            (Chown(path=f"{G}/memory.reclaim", uid=7, gid=8, missing_ok=True), f"chown {G}/memory.reclaim 7 8", ENOENT),
            (_write("cgroup.procs", gone_ok=True), f"write {G}/cgroup.procs 1", ESRCH),
            (_write("memory.swap.max", missing_ok=True), f"write {G}/memory.swap.max 1", ENOENT),
        ],
    )
    def test_excused(self, step: Step, call: str, errno: int) -> None:
        """What the step forgives is no failure."""
        filesystem = Recorder({call: [errno]}, {f"{G}/cgroup.procs": b""})

        attempt(filesystem, step)

        assert filesystem.calls == [call]

    @pytest.mark.parametrize(
        ("step", "call", "errno"),
        [
            (Mkdir(path=G), f"mkdir {G}", EEXIST),
            (Mkdir(path=G, shared=True), f"mkdir {G}", EACCES),
            (Rmdir(path=G), f"rmdir {G}", EACCES),
            (Signal(pid=7, number=9), "kill -9 7", EACCES),
            (Chown(path=G, uid=7, gid=8), f"chown {G} 7 8", ENOENT),
            (_write("cgroup.procs"), f"write {G}/cgroup.procs 1", ESRCH),
            (_write("cgroup.procs", gone_ok=True), f"write {G}/cgroup.procs 1", EINVAL),
            (_write("memory.swap.max"), f"write {G}/memory.swap.max 1", ENOENT),
            (_write("memory.swap.max", missing_ok=True), f"write {G}/memory.swap.max 1", EINVAL),
            (_write("memory.swap.max", gone_ok=True), f"write {G}/memory.swap.max 1", ENOENT),
        ],
    )
    def test_not_excused(self, step: Step, call: str, errno: int) -> None:
        """Anything else is."""
        with pytest.raises(OSError, match="scripted") as caught:
            attempt(Recorder({call: [errno]}, {f"{G}/cgroup.procs": b""}), step)

        assert caught.value.errno == errno

    def test_a_missing_file_of_a_missing_group(self) -> None:
        """Where the whole group has gone, a file that may be missing is no excuse."""
        step = _write("memory.swap.max", missing_ok=True)

        with pytest.raises(OSError, match="scripted"):
            attempt(Recorder({f"write {G}/memory.swap.max 1": [ENOENT]}), step)

    def test_a_missing_file_of_a_threaded_group(self) -> None:
        """A group whose processes cannot be listed is there nevertheless."""
        step = _write("memory.swap.max", missing_ok=True)
        refusals: dict[str, list[int | BaseException]] = {
            f"write {G}/memory.swap.max 1": [ENOENT],
            f"read {G}/cgroup.procs": [EOPNOTSUPP],
        }

        attempt(Recorder(refusals), step)

    def test_marks(self) -> None:
        """A group is made with its marks, not marked later."""
        filesystem = Recorder({})

        attempt(filesystem, Mkdir(path=G, marks={"user.x": b"1"}))

        assert filesystem.calls == [f"mkdir {G} user.x=1"]


class TestExpectations:
    """What the kernel takes, and then says that it does not hold."""

    STEP = _write("cpuset.cpus.partition", b"root", expect=b"root", undo=b"member")

    def _machine(self, text: bytes) -> Recorder:
        return Recorder(files={f"{G}/cpuset.cpus.partition": text, f"{G}/cgroup.procs": b""})

    def test_held(self) -> None:
        """What is held is done."""
        machine = self._machine(b"root\n")

        assert execute(machine, Plan((self.STEP,))) == (self.STEP,)
        assert machine.calls == [f"write {G}/cpuset.cpus.partition root"]

    def test_not_held(self) -> None:
        """What is not held is an error with what the kernel says of it, and is taken back with all before it."""
        machine = self._machine(b"root invalid (Parent is not a partition root)\n")
        before = _write("cpuset.cpus", b"0-1", undo=b"1")
        with pytest.raises(StepError, match=r"EINVAL .*the kernel takes it, and says of it 'root invalid") as caught:
            execute(machine, Plan((before, self.STEP)))

        assert caught.value.done == ()
        assert machine.calls[1:] == [
            f"write {G}/cpuset.cpus.partition root",
            f"write {G}/cpuset.cpus.partition member",
            f"write {G}/cpuset.cpus 1",
            f"write {G}/cpuset.cpus.partition member",
        ]


class TestRetries:
    """Refusals that may pass."""

    CALL = f"write {G}/cgroup.subtree_control +pids"
    STEP = _write("cgroup.subtree_control", b"+pids", retry=SOON)

    def test_until_it_is_taken(self) -> None:
        """It is tried again, with pauses that double up to the longest."""
        filesystem = Recorder({self.CALL: [EBUSY] * 12})

        attempt(filesystem, self.STEP)

        assert len(filesystem.calls) == 13
        assert filesystem.pauses[:4] == [1e-6, 2e-6, 4e-6, 8e-6]
        assert filesystem.pauses[-1] == 1e-3

    def test_until_it_is_too_late(self) -> None:
        """It gives up, a little after the time is over."""
        filesystem = Recorder({self.CALL: [EBUSY] * 1000})
        with pytest.raises(OSError, match="scripted"):
            attempt(filesystem, self.STEP)

        assert 0.02 <= sum(filesystem.pauses) <= 0.021

    def test_of_another_kind(self) -> None:
        """Another refusal does not pass."""
        filesystem = Recorder({self.CALL: [EBUSY, EINVAL]})
        with pytest.raises(OSError, match="scripted"):
            attempt(filesystem, self.STEP)

        assert len(filesystem.pauses) == 1

    def test_without_a_retry(self) -> None:
        """A step without one is tried once."""
        filesystem = Recorder({f"rmdir {G}": [EBUSY]})
        with pytest.raises(OSError, match="scripted"):
            attempt(filesystem, Rmdir(path=G, retry=None))

        assert filesystem.pauses == []


class TestExecute:
    """A whole plan."""

    STEPS = (
        Mkdir(path="/v2/own/supervisor", shared=True),
        Write(path="/v2/own/supervisor/cgroup.procs", data=b"100", undo=b"100", undo_path="/v2/own/cgroup.procs"),
        Write(path="/v2/own/cgroup.subtree_control", data=b"+pids", undo=b"-pids"),
        Mkdir(path="/v2/own/p1"),
        Write(path="/v2/own/p1/pids.max", data=b"7"),
    )
    LAST = "write /v2/own/p1/pids.max 7"
    UNDONE = (
        "rmdir /v2/own/p1",
        "write /v2/own/cgroup.subtree_control -pids",
        "write /v2/own/cgroup.procs 100",
        "rmdir /v2/own/supervisor",
    )

    def test_all(self) -> None:
        """Steps are done in order, and returned."""
        filesystem = Recorder()

        assert execute(filesystem, Plan(self.STEPS)) == self.STEPS
        assert filesystem.calls[0] == "mkdir /v2/own/supervisor"
        assert filesystem.calls[-1] == self.LAST
        assert len(filesystem.calls) == 5

    def test_undo(self) -> None:
        """When a step is refused, what was made is taken back, the last first; nothing stays in effect."""
        filesystem = Recorder({self.LAST: [EINVAL]})

        with pytest.raises(StepError) as caught:
            execute(filesystem, Plan(self.STEPS))

        assert tuple(filesystem.calls[5:]) == self.UNDONE
        assert (caught.value.step, caught.value.errno, caught.value.done) == (self.STEPS[-1], EINVAL, ())
        assert isinstance(caught.value.__cause__, OSError)

    def test_interrupted(self) -> None:
        """The same for Ctrl-C, which then goes on."""
        filesystem = Recorder({self.LAST: [KeyboardInterrupt()]})

        with pytest.raises(KeyboardInterrupt):
            execute(filesystem, Plan(self.STEPS))

        assert tuple(filesystem.calls[5:]) == self.UNDONE

    def test_what_cannot_be_taken_back(self) -> None:
        """It stays in effect, is named, and keeps nothing else from being taken back."""
        filesystem = Recorder({self.LAST: [EINVAL], "write /v2/own/cgroup.subtree_control -pids": [EBUSY]})

        with pytest.raises(StepError) as caught:
            execute(filesystem, Plan(self.STEPS))

        assert tuple(filesystem.calls[5:]) == self.UNDONE
        assert caught.value.done == (self.STEPS[2],)

    def test_a_parent_that_has_another_user_by_now(self) -> None:
        """It stays, without waiting for it."""
        steps = (Mkdir(path="/v2/a", shared=True), Mkdir(path="/v2/a/b"))
        filesystem = Recorder({"mkdir /v2/a/b": [EACCES], "rmdir /v2/a": [EBUSY]})

        with pytest.raises(UnsupportedError):
            execute(filesystem, Plan(steps))

        assert filesystem.calls == ["mkdir /v2/a", "mkdir /v2/a/b", "rmdir /v2/a"]

    def test_a_group_of_ones_own_that_is_still_busy(self) -> None:
        """It is waited for."""
        steps = (Mkdir(path=G), _write("pids.max"))
        filesystem = Recorder({f"write {G}/pids.max 1": [EINVAL], f"rmdir {G}": [EBUSY, EBUSY]})

        with pytest.raises(StepError) as caught:
            execute(filesystem, Plan(steps))

        assert filesystem.calls.count(f"rmdir {G}") == 3
        assert caught.value.done == ()

    def test_writes_stay(self) -> None:
        """Limits of a group that was there already are not taken back: they are what is done."""
        steps = (_write("memory.high"), _write("memory.max"))

        with pytest.raises(StepError) as caught:
            execute(Recorder({f"write {G}/memory.max 1": [EIO]}), Plan(steps))

        assert caught.value.done == steps[:1]

    def test_explained_before_the_undoing(self) -> None:
        """The refusal is explained by what the group was like, not by its being gone."""
        steps = (Mkdir(path=G), _write("cgroup.procs", b"7"))
        files = {f"{G}/cpuset.cpus": b"\n", f"{G}/cpuset.mems": b"0\n", f"{G}/cgroup.procs": b""}

        class Vanishing(Recorder):
            """A filesystem whose groups lose their files when they go."""

            def rmdir(self, path: str) -> None:
                """Take the files away."""
                super().rmdir(path)
                self.files = {}

        with says(StepError, "; cpuset.cpus of the group is empty"):
            execute(Vanishing({f"write {G}/cgroup.procs 7": [28]}, files), Plan(steps))

    @pytest.mark.parametrize(
        ("step", "errno", "error"),
        [
            (Mkdir(path=G), EEXIST, GroupExistsError),
            (Mkdir(path=G), ENOENT, GroupNotFoundError),
            (_write("memory.peak", feature="memory.peak"), ENOENT, UnsupportedError),
            (Mkdir(path=G), EAGAIN, StepError),
        ],
    )
    def test_the_error_says_whose_doing_it_is(self, step: Step, errno: int, error: type[Exception]) -> None:
        """The class of the error is the diagnosis'."""
        call = f"mkdir {G}" if isinstance(step, Mkdir) else f"write {G}/memory.peak 1"

        with pytest.raises(error):
            execute(Recorder({call: [errno]}, {f"{G}/cgroup.procs": b""}), Plan((step,)))

    def test_an_error_without_errno(self) -> None:
        """A filesystem that gives no reason is no crash."""
        with says(StepError, "errno 0"):
            execute(Recorder({f"mkdir {G}": [OSError("no reason")]}), Plan((Mkdir(path=G),)))


class TestRemoveTree:
    """Removing a group and all below."""

    def test_alone(self) -> None:
        """A group without others is one call."""
        filesystem = Recorder()

        remove_tree(filesystem, G, timeout=1)

        assert filesystem.calls == [f"rmdir {G}"]

    def test_children_first(self) -> None:
        """Those below go before those above."""
        filesystem = Recorder(below={G: ["a", "b"], f"{G}/a": ["c"]})

        remove_tree(filesystem, G, timeout=1)

        gone = [call for call in filesystem.calls if call.startswith("rmdir")]
        assert gone == [
            f"rmdir {G}",
            f"rmdir {G}/a",
            f"rmdir {G}/a/c",
            f"rmdir {G}/a",
            f"rmdir {G}/b",
            f"rmdir {G}",
        ]

    @pytest.mark.parametrize("errno", [ENOENT, ENODEV])
    def test_gone(self, errno: int) -> None:
        """What has gone by itself is gone, at any moment."""
        remove_tree(Recorder({f"rmdir {G}": [errno]}), G, timeout=1)
        remove_tree(Recorder({f"rmdir {G}": [EBUSY], f"listdir {G}": [errno]}), G, timeout=1)
        remove_tree(Recorder({f"rmdir {G}": [EBUSY, errno]}), G, timeout=1)

    def test_dying_processes(self) -> None:
        """They are waited for."""
        filesystem = Recorder({f"rmdir {G}": [EBUSY] * 6})

        remove_tree(filesystem, G, timeout=1)

        assert filesystem.calls.count(f"rmdir {G}") == 7

    def test_processes_that_stay(self) -> None:
        """They are waited for as long as was said."""
        filesystem = Recorder({f"rmdir {G}": [EBUSY] * 1000})
        with pytest.raises(OSError, match="scripted") as caught:
            remove_tree(filesystem, G, timeout=0.5)

        assert caught.value.errno == EBUSY
        assert 0.5 <= sum(filesystem.pauses) <= 0.7

    def test_not_allowed(self) -> None:
        """What will not pass is not waited for."""
        filesystem = Recorder({f"rmdir {G}": [EACCES]})

        with pytest.raises(OSError, match="scripted"):
            remove_tree(filesystem, G, timeout=1)

        assert filesystem.calls == [f"rmdir {G}"]

    def test_not_allowed_to_look(self) -> None:
        """Nor is what cannot be looked into."""
        with pytest.raises(OSError, match="scripted") as caught:
            remove_tree(Recorder({f"rmdir {G}": [EBUSY], f"listdir {G}": [EACCES]}), G, timeout=1)

        assert caught.value.errno == EACCES
