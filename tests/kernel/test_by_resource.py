"""Controllers whose limits are by device or resource, where a machine has them and where it has none."""

from __future__ import annotations

from typing import Any

import pytest

import cgctl
from cgctl.controllers import CONTROLLERS
from tests.kernel import lacks
from tests.kernel.conftest import Make

pytestmark = pytest.mark.host

UNKNOWN: dict[str, Any] = {"rdma": {"cgctl0": {"hca_handle": 1}}, "misc": {"cgctl": 1}, "dmem": {"cgctl": 1}}


@pytest.mark.parametrize("controller", UNKNOWN)
def test_what_the_machine_has_not_is_refused(controller: str, name: str) -> None:
    """A device or resource that is not there is an UnsupportedError that names those that are; nothing is left."""
    group = cgctl.Group(name, **{controller: UNKNOWN[controller]})
    with pytest.raises(cgctl.UnsupportedError) as caught:
        group.create()

    there = " ".join(lacks.resources(f"{controller}.max")) or "none"
    missing = f"controller '{controller}' is in no mounted hierarchy"
    expected = f"'{next(iter(UNKNOWN[controller]))}' (it has: {there})" if lacks.version_of(controller) else missing
    assert caught.value.feature == f"{controller}.max"
    assert expected in caught.value.reason
    assert not group.exists()


@pytest.mark.parametrize("controller", UNKNOWN)
def test_an_update_that_is_refused_leaves_the_group(controller: str, make: Make) -> None:
    """The group stays as it was."""
    lacks.require(controller)
    group = make(**{controller: CONTROLLERS[controller].spec()})
    before = group.limits()
    with pytest.raises(cgctl.UnsupportedError):
        group.update(**{controller: UNKNOWN[controller]})

    assert group.exists()
    assert before == group.limits()


def test_capacity_is_the_machines(make: Make) -> None:
    """``misc.capacity``, in the root alone, is told of every group: it names the resources that there are."""
    lacks.require("misc")
    group = make(misc={})
    misc = group.stats("misc").misc

    assert misc is not None
    assert misc.capacity is not None
    assert set(misc.capacity) == set(lacks.resources("misc.max"))
