"""The machines, and groups on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cgctl
from cgctl.fake.profile import KERNELS
from tests.differential.nursery import Nursery
from tests.kernel import lacks
from tests.kernel.pace import PATIENCE_SEC
from tests.selftests.machines import Machine, Memory, Real

Make = Callable[..., cgctl.Group]


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where the real one's processes come from."""
    with Nursery() as made:
        yield made


@pytest.fixture(params=[*(f"fake-{kernel}" for kernel in KERNELS), pytest.param("real", marks=pytest.mark.host)])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """One of each kernel in memory, and this one."""
    if request.param != "real":
        yield Memory(request.param.removeprefix("fake-"))
        return
    lacks.require("host", "v2")
    real = Real(request.getfixturevalue("nursery"))
    yield real
    real.close()


@pytest.fixture
def make(machine: Machine, name: str) -> Iterator[Make]:
    """Make groups; where this machine's v2 has not the controllers for it, skip."""
    made: list[cgctl.Group] = []

    def create(*controllers: str, **keywords: Any) -> cgctl.Group:
        if isinstance(machine, Real):
            for each in controllers:
                if each not in lacks.v2_controllers():
                    pytest.skip(f"v2:{each}: v2 has no {each} here")
        group = cgctl.Group(f"{name}-{len(made)}", system=machine.system, join=False, **keywords).create()
        made.append(group)
        return group

    yield create
    for group in reversed(made):
        with contextlib.suppress(cgctl.GroupNotFoundError):
            group.thaw()
            group.kill(timeout=PATIENCE_SEC)
            group.remove()
