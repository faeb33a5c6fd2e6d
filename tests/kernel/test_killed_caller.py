"""Whoever runs programs may be killed at any moment: nothing of theirs outlives it for long."""

from __future__ import annotations

import random
import secrets
import signal
import time
from pathlib import Path

import pytest

from tests.kernel import scripts
from tests.kernel.inside import is_alive
from tests.kernel.pace import DEAD_SEC, EMULATED, GONE_SEC, PATIENCE_SEC, SLOWNESS, eventually
from tests.leaks import PREFIX, groups

pytestmark = [pytest.mark.host, pytest.mark.slow]

_TIMES = 15 if EMULATED else 50
_MARK = "CGCTL_KILLED_CALLER"

_SCRIPT = """
import threading

def one_after_the_other():
    while True:
        cgctl.run(payloads.FAMILY, pids=20, timeout=0.02, stdout=subprocess.DEVNULL)
        cgctl.run(["true"], pids=20)
        with cgctl.Group(f"{sys.argv[1]}-{threading.get_ident()}", pids=20, join=False) as group:
            group.run(payloads.daemoniser(), stdout=subprocess.DEVNULL)

cgctl.run(["true"])
tell(up=True)
threading.Thread(target=one_after_the_other).start()
one_after_the_other()
"""


def _marked(mark: str) -> list[int]:
    """Find the processes that have a mark in their environment, the launch helper included."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                environment = (directory / "environ").read_bytes()
            except OSError:
                continue
            if f"{_MARK}={mark}".encode() in environment.split(b"\0") and is_alive(int(directory.name)):
                found.append(int(directory.name))
    return found


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_at_any_moment(number: signal.Signals, name: str) -> None:
    """At random moments of a run: no process lives a second later, and no group a few seconds later."""
    chance = random.Random(name)  # noqa: S311 - so that a failure can be repeated
    for _ in range(_TIMES):
        mark = secrets.token_hex(8)
        moment = chance.uniform(0, 0.3) * SLOWNESS
        # Below the root: CGCTL_BASE itself is not guarded, see test_with.
        with scripts.start(_SCRIPT, f"/{name}", env={_MARK: mark}) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == '{"up": true}\n'
            time.sleep(moment)
            process.send_signal(number)
            process.communicate(timeout=PATIENCE_SEC)

        assert eventually(lambda mark=mark: not _marked(mark), DEAD_SEC), f"alive after {moment} s: {_marked(mark)}"  # type: ignore[misc]
        assert eventually(lambda: not [path for path in groups(PREFIX) if not path.endswith("-base")], 3 * GONE_SEC)
