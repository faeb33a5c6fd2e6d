"""What the launcher of a real machine refuses before it makes anything."""

from __future__ import annotations

import pytest

import cgctl
from cgctl.launching import KernelLauncher


def test_a_callable_is_for_a_machine_in_memory() -> None:
    """The refusal names it, and both remedies."""

    def program(task: object) -> int:
        del task
        return 0

    with pytest.raises(cgctl.SpecError, match=r"program.*FakeSystem.*list of arguments"):
        KernelLauncher().vet(program, {})
