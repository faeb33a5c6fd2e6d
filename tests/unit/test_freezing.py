"""How a freeze goes on, and how it ends where it does not succeed."""

from __future__ import annotations

import pytest

from cgctl.errors import TimeoutExpired
from cgctl.freezing import freeze
from cgctl.plan import Place
from tests.unit.machine import V1, V2
from tests.unit.test_execute import Recorder

_STATE, _EVENTS = "/v1/freezer/p1/freezer.state", "/v2/p1/cgroup.events"


class _Stubborn(Recorder):
    """One that freezes at the n-th look, or never."""

    def __init__(self, looks: int = 0, **files: bytes) -> None:
        super().__init__(files={f"/v1/freezer/p1/freezer.{name}": text for name, text in files.items()})
        self.looks = looks

    def read(self, path: str) -> bytes:
        """Return a file, and count the looks at the state."""
        if path not in {_STATE, _EVENTS}:
            return super().read(path) if path in self.files else b""
        self.looks -= 1
        frozen = self.looks == 0
        return f"populated 1\nfrozen {frozen:d}\n".encode() if path == _EVENTS else b"FROZEN" if frozen else b"FREEZING"


def _frozen(machine: Recorder, version: int, timeout: float) -> list[str]:
    home = (V1.locate("freezer"), V2.locate("cgroup"))[version - 1]
    assert home is not None
    place = Place(hierarchy=home, base=home.mount_point, parts=("p1",))
    freeze(machine, {home.label: place}, timeout=timeout, name="p1")
    return [call.rpartition(" ")[2] for call in machine.calls if call.startswith("write")]


def test_v1_is_told_again_and_lets_go_in_between() -> None:
    """While v1 stays FREEZING it is told again; after four times all may run for a moment."""
    assert _frozen(_Stubborn(looks=11), 1, 10) == ["FROZEN"] * 4 + ["THAWED"] + ["FROZEN"] * 2


def test_v2_is_told_once() -> None:
    """The kernel freezes by itself whoever comes in."""
    assert _frozen(_Stubborn(looks=3), 2, 10) == ["1"]


@pytest.mark.parametrize(("version", "last"), [(1, "THAWED"), (2, "0")])
def test_out_of_time(version: int, last: str) -> None:
    """A freeze that is out of time thaws what it has frozen."""
    machine = _Stubborn()
    with pytest.raises(TimeoutExpired, match="freeze group 'p1'"):
        _frozen(machine, version, 0.02)

    assert machine.calls[-1].endswith(last)


def test_out_of_time_where_it_was_frozen_before() -> None:
    """What was frozen before stays so."""
    machine = _Stubborn(self_freezing=b"1\n")
    with pytest.raises(TimeoutExpired):
        _frozen(machine, 1, 0)

    assert machine.calls[-1].endswith("FROZEN")
