"""Open files that tell of what happens: events, and the triggers of pressure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from errno import EBUSY, EINVAL, ENODEV

import pytest

from cgctl.filesystem import Watch
from tests.kernel.pace import PATIENCE_SEC
from tests.selftests.conftest import Make
from tests.selftests.machines import Machine

Watcher = Callable[[str], Watch]
# Of two seconds, which is what an ordinary user may ask for.
_TRIGGER = b"some 100000 2000000"


@pytest.fixture
def watch(machine: Machine) -> Iterator[Watcher]:
    """Open files, and close them after the test."""
    opened: list[Watch] = []

    def begin(path: str) -> Watch:
        opened.append(machine.system.filesystem.watch(path))
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


def _told(machine: Machine, *watches: Watch, timeout: float = 0) -> list[int]:
    return [watches.index(each) for each in machine.poll(watches, timeout)]


def _path(group: object, file: str) -> str:
    return f"{group.paths()['unified']}/{file}"  # type: ignore[attr-defined]


def _refusal(what: Callable[[], object]) -> int | None:
    try:
        what()
    except OSError as error:
        return error.errno
    return None


def test_events_until_they_are_read(machine: Machine, make: Make, watch: Watcher) -> None:
    """A file of events is new to who opens it, and tells of each change until it is read again."""
    group = make()
    events = watch(_path(group, "cgroup.events"))
    assert _told(machine, events) == [0]
    events.read()
    assert _told(machine, events) == []
    pid = machine.start(group)
    assert _told(machine, events, timeout=PATIENCE_SEC) == [0]
    assert _told(machine, events) == [0]
    assert b"populated 1" in events.read()
    assert _told(machine, events) == []
    machine.kill(pid)

    assert _told(machine, events, timeout=PATIENCE_SEC) == [0]
    assert b"populated 0" in events.read()


def test_events_that_came_and_went(machine: Machine, make: Make, watch: Watcher) -> None:
    """What is again as it was has changed all the same."""
    group = make()
    events = watch(_path(group, "cgroup.events"))
    before = events.read()
    machine.kill(machine.start(group))
    assert machine.wait(lambda: group.read("cgroup.events").encode() == before)

    assert _told(machine, events, timeout=PATIENCE_SEC) == [0]


def test_files_that_are_no_more(machine: Machine, make: Make, watch: Watcher) -> None:
    """Whoever has a file of a removed group open is told, and so is who has one of a controller that was disabled."""
    top = make("memory", memory="64M")
    top.write("cgroup.subtree_control", "+memory")
    group = top.group("b").create()
    files = [watch(_path(group, name)) for name in ("memory.events", "cgroup.events")]
    for each in files:
        each.read()
    assert _told(machine, *files) == []
    top.write("cgroup.subtree_control", "-memory")
    assert _told(machine, *files) == [0]
    top.write("cgroup.subtree_control", "+memory")
    assert (_told(machine, *files), _refusal(files[0].read)) == ([0], ENODEV)
    group.remove()

    assert (_told(machine, *files), _refusal(files[1].read)) == ([0, 1], ENODEV)


class TestTriggers:
    """Of pressure."""

    def test_one_a_file(self, make: Make, watch: Watcher) -> None:
        """Nonsense is refused; the first that is none stays, and no other may be written."""
        file = watch(_path(make(), "cpu.pressure"))
        refused = [_refusal(lambda data=data: file.write(data)) for data in (b"some 0 1000000", b"nonsense", b"")]  # type: ignore[misc]
        assert refused == [EINVAL, EINVAL, None]
        file.write(_TRIGGER)

        assert [_refusal(lambda data=data: file.write(data)) for data in (_TRIGGER, b"x", b"")] == [EBUSY, EBUSY, None]  # type: ignore[misc]

    def test_each_file_by_itself(self, machine: Machine, make: Make, watch: Watcher) -> None:
        """Where there is no trigger this is told at once; where there is one, nothing while nobody waits."""
        path = _path(make(), "memory.pressure")
        with_one, without = watch(path), watch(path)
        with_one.write(_TRIGGER)

        assert _told(machine, with_one, without) == [1]

    def test_it_fires(self, machine: Machine, make: Make, watch: Watcher) -> None:
        """It tells that more than so much was waited for, once; again after the next window."""
        group = make("cpu", cpu=0.2)
        file = watch(_path(group, "cpu.pressure"))
        file.write(_TRIGGER)
        with machine.spinning(group):
            assert _told(machine, file, timeout=PATIENCE_SEC) == [0]
            assert _told(machine, file) == []
            assert _told(machine, file, timeout=PATIENCE_SEC) == [0]

    def test_the_group_goes(self, machine: Machine, make: Make, watch: Watcher) -> None:
        """A trigger goes with its group, of which is told."""
        group = make()
        file = watch(_path(group, "cpu.pressure"))
        file.write(_TRIGGER)
        group.remove()

        assert (_told(machine, file), _refusal(file.read)) == ([0], ENODEV)

    def test_pressure_is_switched_off(self, machine: Machine, make: Make, watch: Watcher) -> None:
        """It is gone for who had it open, also when it is switched on again."""
        group = make()
        if _refusal(lambda: machine.system.filesystem.read(_path(group, "cgroup.pressure"))):
            pytest.skip("v2:cgroup.pressure: pressure cannot be switched off here (6.1)")
        file = watch(_path(group, "cpu.pressure"))
        file.write(_TRIGGER)
        for data in ("0", "1"):
            group.write("cgroup.pressure", data)

        assert (_told(machine, file), _refusal(file.read), _refusal(lambda: file.write(_TRIGGER))) == (
            [0],
            ENODEV,
            ENODEV,
        )
