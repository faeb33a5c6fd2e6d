"""cpuset partitions: those that hold, those that the kernel takes and says are none, and those that lapse."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import cgctl
from cgctl import Cpuset, Partition
from tests.kernel import lacks
from tests.kernel.conftest import Make

pytestmark = pytest.mark.host

_ALL = sorted(os.sched_getaffinity(0))
_LAST, _REST = _ALL[-1], tuple(_ALL[:-1])


@pytest.fixture(autouse=True)
def _partitions() -> None:
    lacks.require("cpuset partitions", "two processors")


def _stats(group: cgctl.Group) -> cgctl.CpusetStats:
    stats = group.stats("cpuset").cpuset
    assert stats is not None
    return stats


@pytest.mark.parametrize("type_", ["root", "isolated"])
def test_valid(type_: str, name: str, make: Make) -> None:
    """A partition that holds takes its CPUs away from the others; as a member it gives them back."""
    if type_ == "isolated":
        lacks.require("isolated partitions")
    beside = make(cpuset=Cpuset(), name=f"/{name}-beside")
    group = make(cpuset=Cpuset(cpus=[_LAST], partition=type_), name=f"/{name}")
    held = group.limits().cpuset

    assert held is not None
    assert held.partition == _stats(group).partition == Partition(type_)
    assert _stats(group).cpus_effective == (_LAST,)
    assert _stats(group).exclusive_effective in ((_LAST,), None)
    assert _stats(beside).cpus_effective == _REST
    assert len(group.plan()) == 0
    isolated = Path(lacks.hierarchies()["v2"], "cpuset.cpus.isolated")
    if isolated.exists():
        assert isolated.read_text(encoding="utf-8").strip() == (str(_LAST) if type_ == "isolated" else "")
    group.update(cpuset=Cpuset(partition="member"))
    assert _stats(beside).cpus_effective == tuple(_ALL)


@pytest.mark.parametrize("spec", [Cpuset(partition="root"), Cpuset(cpus=_ALL, partition="root")], ids=["none", "all"])
def test_invalid(spec: Cpuset, name: str) -> None:
    """A partition of no CPUs, or of all with somebody left beside it, is refused with the reason; nothing is left."""
    group = cgctl.Group(f"/{name}", cpuset=spec)
    with pytest.raises(cgctl.StepError, match=r"write b'root' to .*/cpuset.cpus.partition: EINVAL ") as caught:
        group.create()

    _says_why(caught.value, "empty" if spec.cpus is None else "distribute")
    assert not group.exists()


def _says_why(error: cgctl.StepError, word: str) -> None:
    """The kernel's own reason is in the hint; before 6.1 it gives none, and the hint lists what it takes."""
    if lacks.FEATURES["isolated partitions"].probe():
        assert "the kernel takes it, and says of it 'root invalid (" in error.hint
        assert word in error.hint
    else:
        assert "a partition needs cpus of its own" in error.hint


def test_invalid_below_a_member(make: Make, name: str) -> None:
    """Below a group that is no partition there is none, and it is refused; the limits of the group are as they were."""
    above = make(cpuset=Cpuset(cpus=_ALL), name=f"/{name}")
    group = make(cpuset=Cpuset(), name="below", parent=above)
    with pytest.raises(cgctl.StepError, match=r"cpuset.cpus.partition: EINVAL") as caught:
        group.update(cpuset=Cpuset(cpus=[_LAST], partition="root"))

    assert "make the group above a partition first" in caught.value.hint or "needs cpus of its own" in caught.value.hint
    assert _stats(group).partition == Partition("member")
    if lacks.FEATURES["isolated partitions"].probe():
        held = group.limits().cpuset
        assert held is not None
        assert held.cpus == ()


def test_an_update_must_not_end_it(make: Make, name: str) -> None:
    """Other CPUs with which a partition would hold no longer are refused, and it holds on with those that it had."""
    group = make(cpuset=Cpuset(cpus=[_LAST], partition="root"), name=f"/{name}")
    make(cpuset=Cpuset(), name=f"/{name}-beside")
    with pytest.raises(cgctl.StepError, match="cpuset"):
        group.update(cpuset=Cpuset(cpus=_ALL))

    held = group.limits().cpuset
    assert held is not None
    assert (held.cpus, held.partition) == ((_LAST,), Partition("root"))
    assert _stats(group).partition == Partition("root")


def test_it_may_lapse(make: Make, name: str) -> None:
    """A partition that ends because the one above does is told, with the kernel's reason, and is planned again."""
    lacks.require("isolated partitions")
    above = make(cpuset=Cpuset(cpus=[_LAST], partition="root"), name=f"/{name}")
    group = make(cpuset=Cpuset(cpus=[_LAST], partition="root"), name="below", parent=above)
    assert _stats(group).partition == Partition("root")
    above.update(cpuset=Cpuset(partition="member"))
    lapsed, held = _stats(group).partition, group.limits().cpuset

    assert held is not None
    assert lapsed == held.partition
    assert lapsed is not None
    assert (lapsed.type, lapsed.valid) == ("root", False)
    assert "arent" in lapsed.reason or "xclusive" in lapsed.reason
    assert [step.path.rpartition("/")[2] for step in group.plan()] == ["cpuset.cpus.partition"]  # type: ignore[union-attr]
    with pytest.raises(cgctl.StepError, match="says of it 'root invalid"):
        group.update(cpuset=Cpuset(partition="root"))


def test_no_isolated_ones(name: str) -> None:
    """A kernel without isolated partitions says so."""
    lacks.require("no isolated partitions")
    group = cgctl.Group(f"/{name}", cpuset=Cpuset(cpus=[_LAST], partition="isolated"))
    with pytest.raises(cgctl.UnsupportedError, match=r"cpuset.partition=isolated") as caught:
        group.create()

    assert caught.value.since == "6.1"
    assert not group.exists()


def test_exclusive(make: Make, name: str) -> None:
    """CPUs claimed below the root go to a partition there that is not below one (a remote one); a sibling has none."""
    lacks.require("cpuset.cpus.exclusive")
    above = make(cpuset=Cpuset(exclusive=[_LAST]), name=f"/{name}")
    group = make(cpuset=Cpuset(exclusive=[_LAST], partition="root"), name="below", parent=above)

    assert _stats(group).partition == Partition("root")
    assert _stats(group).exclusive_effective == _stats(group).cpus_effective == (_LAST,)
    beside = make(cpuset=Cpuset(), name="beside", parent=above)
    assert _stats(beside).cpus_effective == _REST
    with pytest.raises(cgctl.StepError, match=r"cpuset.cpus.exclusive: EINVAL .*a sibling claims it exclusively"):
        beside.update(cpuset=Cpuset(exclusive=[_LAST]))
