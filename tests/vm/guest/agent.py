"""Runs inside the machine: takes one command from the host, and sends back what it writes and how it ends.

It is started before the machine is saved, so that a restored machine is already in the middle of it, waiting for the
command. One virtio port carries everything, in frames: what was written before the end arrives before the end.

From the host: 4 bytes of length and that much JSON (tests/vm/job.py makes it), then the files, deflated one behind the
other. To the host: a letter, 4 bytes of length and the content: ``r`` ready, ``s`` started, ``o`` stdout, ``e`` stderr,
``x`` exit status, ``f`` why the command could not be started, which is the machine's fault.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.vm.guest.command import SYSTEMD, USER, environment, protect, start, status_of
from tests.vm.guest.prepare import prepare

_PORT = "cgctl"


def open_port() -> int:
    """Open our virtio port, which appears a little after its driver is loaded, under a number that moves."""
    while True:
        for name in Path("/sys/class/virtio-ports").glob("*/name"):
            if name.read_text().strip() == _PORT and (device := Path("/dev") / name.parent.name).is_char_device():
                return os.open(device, os.O_RDWR | os.O_CLOEXEC)
        time.sleep(0.02)


def send(port: int, letter: bytes, content: bytes) -> None:
    """Send a frame; the driver takes 32 KiB at a time."""
    rest = memoryview(letter + struct.pack(">I", len(content)) + content)
    while rest:
        rest = rest[os.write(port, rest) :]


def receive(port: int, size: int) -> bytes:
    """Receive *size* bytes, or end the machine if the host is gone."""
    received = bytearray()
    while len(received) < size:
        chunk = os.read(port, min(size - len(received), 1 << 20))
        if not chunk:
            power_off()
        received += chunk
    return bytes(received)


def power_off() -> None:
    """End the machine, without ceremony: nothing in it is kept."""
    subprocess.run(["poweroff", "-ff"], check=False)


def wait_for_boot() -> dict[str, str]:
    """Wait until systemd, and the user's, have nothing left to start: a saved machine shall be at rest."""
    if not SYSTEMD:
        return {}
    states = {"system": state_of("systemctl", user=None)}
    while not Path(f"/run/user/{USER}/bus").exists():
        time.sleep(0.1)
    return states | {"user": state_of("systemctl", "--user", user=USER)}


def state_of(*systemctl: str, user: int | None) -> str:
    """Ask a systemd for its state, once it has started all it wanted to."""
    state = ask(*systemctl, "is-system-running", "--wait", user=user).strip()
    if state != "running":
        Path("/dev/console").write_text(ask(*systemctl, "--failed", user=user))
    return state


def ask(*argv: str, user: int | None) -> str:
    """Run a program as the user, and give what it says."""
    done = subprocess.run(
        argv, env=environment(user), user=user, group=user, capture_output=True, encoding="utf-8", check=False
    )
    return done.stdout + done.stderr


def relay(port: int, child: subprocess.Popen[bytes], pipes: dict[int, bytes]) -> int:
    """Pass on what the command writes until it has ended; who still holds the pipes then is not waited for."""
    poll = select.poll()
    pidfd = os.pidfd_open(child.pid)
    for file in (pidfd, *pipes):
        poll.register(file, select.POLLIN)
    running = True
    while running:
        ready = [file for file, _ in poll.poll()]
        running = pidfd not in ready
        # After the end, one look into each pipe finds all that it can hold (64 KiB).
        for file in pipes if not running else (file for file in ready if file != pidfd):
            try:
                chunk = os.read(file, 1 << 18)
            except BlockingIOError:
                continue
            if chunk:
                send(port, pipes[file], chunk)
            elif running:
                poll.unregister(file)
    return child.wait()


def serve(port: int, job: dict[str, Any], blob: bytes) -> int:
    """Do what the host asks, and say how it ended."""
    prepare(job, blob)
    out, stdout = os.pipe()
    err, stderr = os.pipe()
    for file in (out, err):
        os.set_blocking(file, False)
    if job["user"]:
        # else opening /dev/stdout is refused
        for file in (stdout, stderr):
            os.fchown(file, USER, USER)
    send(port, b"s", b"")
    try:
        child = start(job, stdout, stderr)
    except OSError as error:
        send(port, b"e", f"tests.vm: {job['argv'][0]}: {error.strerror}\n".encode())
        return 126 if isinstance(error, PermissionError) else 127
    os.close(stdout)
    os.close(stderr)
    return status_of(job, relay(port, child, {out: b"o", err: b"e"}))


def main() -> None:
    """Wait for the command, run it, and wait for the host to end the machine."""
    protect(protected=True)
    port = open_port()
    send(port, b"r", json.dumps(wait_for_boot()).encode())
    (size,) = struct.unpack(">I", receive(port, 4))
    job = json.loads(receive(port, size))
    blob = receive(port, job["blob"])
    try:
        status = serve(port, job, blob)
    except Exception as error:  # noqa: BLE001 - whatever it is, the host must hear of it
        send(port, b"f", repr(error).encode())
    else:
        send(port, b"x", str(status).encode())
    receive(port, 1)


if __name__ == "__main__":
    main()
