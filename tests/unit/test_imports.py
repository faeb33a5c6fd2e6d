"""What is imported when: as little as is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cgctl
from cgctl.controllers import CONTROLLERS, PRESENCE


def imported(code: str) -> set[str]:
    """Run code in another process; return the modules that it has imported."""
    script = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_cgctl_alone() -> None:
    """It waits for what is used of it: no other module of its own is imported, and none of others'."""
    assert imported("import cgctl") == {"cgctl", "__future__"}


def test_a_group() -> None:
    """It needs those controllers that it has, and no launcher."""
    found = imported("import cgctl; cgctl.Group('web', memory='1M', pids=5)")

    controllers = {name for name in PRESENCE if f"cgctl.controllers.{name}" in found}
    assert controllers == {"memory", "pids"}
    assert not {name for name in found if name.startswith(("cgctl.launch", "cgctl.rootfs", "cgctl.fake", "psutil"))}


@pytest.mark.parametrize("name", cgctl.__all__)
def test_every_name_is_there(name: str) -> None:
    """All that is shown can be had, and is what its module has under that name."""
    value = getattr(cgctl, name)

    assert name in dir(cgctl)
    assert getattr(value, "__name__", name).rpartition(".")[2] == name


def test_no_other_name() -> None:
    """What there is not is an AttributeError, as ever."""
    with pytest.raises(AttributeError, match=r"^module 'cgctl' has no attribute 'nosuch'$"):
        cgctl.nosuch  # type: ignore[attr-defined]  # noqa: B018 - it is the point
    with pytest.raises(AttributeError, match=r"^module 'cgctl.controllers' has no attribute 'nosuch'$"):
        cgctl.controllers.nosuch  # type: ignore[attr-defined]  # noqa: B018 - the same


def test_controllers_are_where_they_are_looked_for() -> None:
    """The table of presence has the modules' own names, and knows no more."""
    assert [controller.name for controller in CONTROLLERS.values()] == list(PRESENCE)
    assert "nosuch" not in CONTROLLERS
    with pytest.raises(KeyError):
        CONTROLLERS["nosuch"]
