"""Rates of traffic: what groups get of a cable that is divided among classes."""

from __future__ import annotations

import json
import subprocess

import pytest

import cgctl
from tests.kernel import lacks, payloads, wire
from tests.kernel.conftest import Make
from tests.kernel.pace import EMULATED, PATIENCE_SEC
from tests.kernel.wire import FAR

# It takes seconds; machines of its own run it at once.
pytestmark = [pytest.mark.host, *([] if EMULATED else [pytest.mark.slow])]

_SECONDS = 2.5
_CLASSES = {"1:10": 8, "1:20": 24}


def test_groups_get_the_rates_of_their_classes(make: Make) -> None:
    """Of two groups in classes of 8 and 24 Mbit/s each gets its rate within 15 %; one without a class gets more."""
    lacks.require("traffic classes", "net classes")
    groups = {"a": make(net="1:10"), "b": make(net=0x10020), "c": make()}
    with wire.laid() as cable:
        cable.divide(_CLASSES, by_group=lacks.version_of("net_cls") == 1)
        with wire.running(cable.at_far(payloads.receiver(FAR, len(groups)))) as receiver:
            senders = [
                _start(group, cable.at_near(payloads.sender(FAR, name, _SECONDS))) for name, group in groups.items()
            ]
            statuses = [sender.wait(PATIENCE_SEC) for sender in senders]
            told = json.loads(receiver.communicate(timeout=PATIENCE_SEC)[0])
    rates = {name: rate for name, (rate, _size) in told.items()}

    assert statuses == [0, 0, 0]
    assert rates["a"] == pytest.approx(8, rel=0.15)
    assert rates["b"] == pytest.approx(24, rel=0.15)
    assert rates["c"] > 36


def _start(group: cgctl.Group, argv: list[str]) -> cgctl.Process:
    return group.popen(argv, stdout=subprocess.DEVNULL)
