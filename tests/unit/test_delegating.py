"""What is given away, on the kernel in memory."""

from __future__ import annotations

import pytest

import cgctl
from cgctl.delegating import delegate, parse_owner
from cgctl.errors import SpecError, UnsupportedError
from cgctl.plan import Place
from tests.unit.machine import V1, V2
from tests.unit.test_execute import Recorder


def _chowned(**files: bytes) -> list[str]:
    home = V2.locate("cgroup")
    assert home is not None
    machine = Recorder(files={f"/{name.replace('__', '/')}": text for name, text in files.items()})
    delegate(machine, {"unified": Place(hierarchy=home, base="/v2", parts=("p1",))}, (7, 8), "p1")
    return machine.calls


def test_what_the_kernel_names() -> None:
    """The files in the kernel's list, one by one, and the directory last."""
    calls = _chowned(sys__kernel__cgroup__delegate=b"cgroup.procs\nmemory.reclaim\n")

    assert calls == ["chown /v2/p1/cgroup.procs 7 8", "chown /v2/p1/memory.reclaim 7 8", "chown /v2/p1 7 8"]


def test_before_it_names_any() -> None:
    """A kernel without the list is of a time when there were three."""
    assert [call.rpartition("/")[2] for call in _chowned()] == [
        *(f"cgroup.{name} 7 8" for name in ("procs", "threads", "subtree_control")),
        "p1 7 8",
    ]


def test_not_on_v1() -> None:
    """v1 has nothing of the kind."""
    home = V1.locate("memory")
    assert home is not None
    machine = Recorder()
    with pytest.raises(UnsupportedError, match="v1 has no safe delegation"):
        delegate(machine, {"memory": Place(hierarchy=home, base="/v1/memory", parts=("p1",))}, (7, 8), "p1")
    assert machine.calls == []


@pytest.mark.parametrize(
    ("user", "group", "owner"),
    [("root", None, (0, 0)), (0, "root", (0, 0)), (0, 7, (0, 7)), (4_000_000_000, None, (4_000_000_000, -1))],
)
def test_owners(user: str | int, group: str | int | None, owner: tuple[int, int]) -> None:
    """Names and numbers; a uid that nobody has leaves the group of users as it is."""
    assert parse_owner(user, group) == owner


@pytest.mark.parametrize("user", ["no such user", -1, True, None, 1.5, 2**32 - 1, "x" * 300, "a\0b", b"root"])
def test_nobody(user: object) -> None:
    """What is no user is nonsense."""
    with pytest.raises(SpecError, match=r"delegate\(.*there is no such user; give the name of one, or a uid"):
        parse_owner(user, None)


def test_in_memory() -> None:
    """The kernel in memory has the files that are given away, where everybody is root."""
    system = cgctl.testing.FakeSystem("v2", kernel="6.12")
    cgctl.Group("p1", memory="1M", system=system).create().delegate(0)
    with pytest.raises(cgctl.GroupNotFoundError):
        cgctl.Group("p2", system=system).delegate(0)
