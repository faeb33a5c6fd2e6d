"""Many sandboxes at once, and what is left of them: nothing."""

from __future__ import annotations

import gc
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import cgctl
from cgctl.launch.client import helpers
from tests.kernel.enclosed import PYTHON, make_root
from tests.kernel.pace import eventually
from tests.leaks import groups

pytestmark = [pytest.mark.host, pytest.mark.slow]

LAUNCHES = int(os.environ.get("CGCTL_LAUNCHES", "1000"))
THREADS = 16


def test_nothing_is_left(tmp_path: Path) -> None:
    """A thousand launches from sixteen threads leave no mount, interface, descriptor, process or group.

    ``CGCTL_LAUNCHES`` says how many else. A namespace lives by processes, descriptors and mounts alone: where none of
    these is left, of the caller or its helper, there is no namespace.
    """
    root = make_root(tmp_path / "root")
    argv = [PYTHON, "-I", "-S", "-c", "pass"]
    ways: tuple[dict[str, Any], ...] = (
        {"namespaces": "all"},
        {"namespaces": ["pid", "mnt", "ipc", "uts", "net", "cgroup"], "init": True},
        {"namespaces": ["mnt"], "overlay": True},
        {"namespaces": ["net"], "network": cgctl.Veth(address="10.213.1.2/24")},
    )
    cgctl.run(argv, root=root.path, mounts=root.mounts, **ways[0])
    gc.collect()  # what earlier tests have left to it would be gone after, and so differ
    before = _held()
    numbers, failed = iter(range(LAUNCHES)), []
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                cgctl.run(argv, root=root.path, mounts=root.mounts, check=True, **ways[number % len(ways)])
            except Exception as error:  # noqa: BLE001 - the test's thread tells
                failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert eventually(lambda: _held() == before), (before, _held())


def _held() -> dict[str, object]:
    """Say what this process, its helper and its network have."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "the helper's": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in helpers()),
        "groups": groups(f"cgctl-{os.getpid()}-"),
        "interfaces": socket.if_nameindex(),
        "mounts": Path("/proc/self/mountinfo").read_text(encoding="utf-8").count("\n"),
        "children": len(children),
    }
