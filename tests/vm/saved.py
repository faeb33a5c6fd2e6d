"""Saved machines: booted once, written to a file while the agent waits for its command, restored for each run."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tests.vm import catalog, image
from tests.vm.cache import DETAIL, key_of
from tests.vm.fetch import QEMU, note, run, which
from tests.vm.initramfs import GUEST, INITRAMFS, cpio
from tests.vm.machine import BOOT_SECONDS, Machine, Spec, devices

STATE, DISK, INITRD = "state", "disk.qcow2", "initrd"
_UNITS = ("cgctl-vm.target", "cgctl-vm-agent.service")
# The guest's own directory; its Python files are there as the modules that they are here.
_HOME = "overlay/cgctl-vm"


def key(spec: Spec, kernel: Path, root: Path) -> str:
    """Make the key of a saved machine: all that goes into it."""
    # Asking QEMU for its version would take longer than all the rest here.
    status = Path(which(QEMU) or QEMU).stat()
    made_of = (spec.hardware(), devices(0, 1, 2, 3, 4), _overlay(spec), status.st_size, status.st_mtime)
    return key_of(*made_of, *((entry.name, (entry / DETAIL).read_text()) for entry in (kernel, root)))


def build(spec: Spec, kernel: Path, root: Path, into: Path) -> None:
    """Boot a machine and save it in the cache entry *into*."""
    begun = time.monotonic()
    (into / INITRD).write_bytes((kernel / INITRAMFS).read_bytes() + cpio(_overlay(spec)))
    disk = into / DISK
    run(
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        os.path.relpath(root / image.DISK, into),
        str(disk),
    )
    with Machine(spec, kernel, into / INITRD, disk) as machine:
        states: dict[str, str] = json.loads(machine.expect(b"r", begun + BOOT_SECONDS))
        for name, state in states.items():
            if state != "running":
                raise machine.failure(f"came up with a {name} manager that is {state}")
        _save(machine, into / STATE)
    note(f"saved a booted {spec.name} machine in {time.monotonic() - begun:.1f} s")


def _save(machine: Machine, state: Path) -> None:
    """Write the running machine to a file. It must run: one that is stopped first is restored stopped."""
    machine.monitor.settimeout(60)
    machine.execute("qmp_capabilities")
    machine.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
    machine.execute("migrate", uri=f"exec:cat > {_quoted(state)}")
    while (status := machine.execute("query-migrate").get("status")) != "completed":
        if status in ("failed", "cancelled"):
            raise machine.failure("cannot be saved")
        time.sleep(0.05)
    # flushes the disk
    machine.execute("quit")
    machine.ended()


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"


def _overlay(spec: Spec) -> dict[str, tuple[int, bytes]]:
    """List what the layout adds to the initramfs: its settings, and files that appear below /run."""
    init = "/sbin/init" if spec.layout.systemd else "/run/cgctl-vm/init"
    files = {
        "machine.env": (0o100644, f"export LAYOUT={spec.layout.name} INIT={init}\n".encode()),
        "overlay": (0o40755, b""),
        f"{_HOME}": (0o40755, b""),
        f"{_HOME}/init": (0o100755, (GUEST / "init").read_bytes()),
    }
    for package in ("tests", "tests/vm", "tests/vm/guest"):
        files[f"{_HOME}/{package}"] = (0o40755, b"")
        files[f"{_HOME}/{package}/__init__.py"] = (0o100644, b"")
    for module in sorted(GUEST.glob("*.py")):
        files[f"{_HOME}/tests/vm/guest/{module.name}"] = (0o100644, module.read_bytes())
    if spec.layout.systemd:
        units = "overlay/systemd/system"
        files |= {"overlay/systemd": (0o40755, b""), units: (0o40755, b"")}
        files |= {f"{units}/{name}": (0o100644, (GUEST / name).read_bytes()) for name in _UNITS}
        files |= {f"{units}/{name}": (0o120777, b"/dev/null") for name in catalog.MASKED_UNITS}
    return files
