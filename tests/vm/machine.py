"""One machine: a QEMU process, and the port through which the agent in it talks (guest/agent.py has the protocol)."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.vm import catalog
from tests.vm.errors import CommandTimeoutError, MachineError
from tests.vm.fetch import QEMU
from tests.vm.initramfs import VMLINUX

# Old enough for every kernel here, new enough for Debian's Python and wheels.
_CPU = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand"
_SCRATCH, _SWAP = 256 << 20, 1 << 30
_CONSOLE_TAIL = 4000
# A restored machine answers within a tenth of a second; a booting one, on a busy host, may take its time.
RESTORE_SECONDS, BOOT_SECONDS = 60.0, 300.0


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a machine is made of.

    Attributes:
        kernel: its kernel's series.
        layout: how the cgroup hierarchies are mounted.
        cpus: number of processors.
        nodes: number of NUMA nodes, over which processors and memory are spread.
        memory: MiB of it.
        append: more words for the kernel's command line.
    """

    kernel: catalog.Kernel
    layout: catalog.Layout
    cpus: int = 2
    nodes: int = 1
    memory: int = 1024
    append: str = ""

    @property
    def name(self) -> str:
        """Name the machine, as ``--list`` does: with what is not as usual."""
        usual = Spec(self.kernel, self.layout)
        names = [name for name in ("cpus", "nodes", "memory") if getattr(self, name) != getattr(usual, name)]
        unusual = [f"{getattr(self, name)}-{name}" for name in names] + (["append"] if self.append else [])
        return "-".join((self.kernel.series, self.layout.name, *unusual))

    @property
    def cmdline(self) -> str:
        """Make the kernel's command line."""
        systemd = catalog.SYSTEMD_CMDLINE if self.layout.systemd else ()
        return " ".join((*catalog.KERNEL_CMDLINE, *systemd, *self.layout.cmdline, self.append)).strip()

    def hardware(self) -> list[str]:
        """List the arguments that make the machine what it is, saved or not."""
        argv = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35", "-cpu", _CPU]
        argv += ["-smp", str(self.cpus), "-m", str(self.memory), "-accel", self.kernel.accel, "-append", self.cmdline]
        if self.nodes > 1:
            share = self.cpus // self.nodes
            for node in range(self.nodes):
                argv += ["-object", f"memory-backend-ram,size={self.memory // self.nodes}M,id=node{node}"]
                argv += ["-numa", f"node,memdev=node{node},cpus={node * share}-{(node + 1) * share - 1}"]
        return argv


class Machine:
    """A running machine; leave the ``with`` block to end it.

    Nothing but QEMU's process belongs to it: its ports are socket pairs, its console and its disks' changes are files
    without a name, and the kernel kills it with us (PDEATHSIG).
    """

    def __init__(self, spec: Spec, kernel: Path, initramfs: Path, disk: Path, *, restore: Path | None = None) -> None:
        """Start it.

        Args:
            spec: what it is.
            kernel: the cache entry of its kernel.
            initramfs: what its layout adds to the kernel's.
            disk: its root disk, which is changed only when this machine is to be saved.
            restore: a saved state to go on from, instead of booting.
        """
        self._console = _nameless("console", 0)
        self.port, port = socket.socketpair()
        self.monitor, monitor = socket.socketpair()
        given = [_nameless("scratch", _SCRATCH), _nameless("swap", _SWAP), port.detach(), monitor.detach()]
        argv = ["setpriv", "--pdeathsig", "KILL", QEMU, "-name", f"cgctl-vm-{spec.name}", *spec.hardware()]
        argv += ["-kernel", str(kernel / VMLINUX), "-initrd", str(initramfs)]
        argv += _disk("root", str(disk), snapshot=disk.suffix != ".qcow2" or restore is not None)
        argv += devices(self._console, *given)
        if restore:
            given.append(os.open(restore, os.O_RDONLY | os.O_CLOEXEC))
            argv += ["-incoming", f"fd:{given[-1]}"]
        self._qemu = subprocess.Popen(
            argv,
            pass_fds=[self._console, *given],
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=self._console,
        )
        for file in given:
            os.close(file)
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._qemu.kill()
        self._qemu.wait()
        self.port.close()
        self.monitor.close()
        os.close(self._console)

    def send(self, content: bytes, deadline: float) -> None:
        """Send to the agent.

        Raises:
            MachineError: if it does not take it.
        """
        self.port.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            self.port.sendall(content)
        except OSError as error:
            raise self.failure("does not listen") from error

    def frame(self, deadline: float) -> tuple[bytes, bytes]:
        """Receive a frame, its letter and its content.

        Raises:
            CommandTimeoutError: if none has come at *deadline*, of ``time.monotonic``.
            MachineError: if the machine is gone.
        """
        head = self._take(5, deadline)
        (size,) = struct.unpack(">I", head[1:])
        return head[:1], self._take(size, deadline)

    def expect(self, letter: bytes, deadline: float) -> bytes:
        """Receive the frame that must come now, and give its content."""
        try:
            got, content = self.frame(deadline)
        except CommandTimeoutError:
            raise self.failure("did not come up in time") from None
        if got != letter:
            raise self.failure(f"said {got + content[:200]!r} where {letter!r} was due")
        return content

    def command(self, timeout: float, stdout: Callable[[bytes], object], stderr: Callable[[bytes], object]) -> int:
        """Receive what the command writes, and give its exit status."""
        deadline = time.monotonic() + timeout
        sinks = {b"o": stdout, b"e": stderr}
        while True:
            letter, content = self.frame(deadline)
            if letter in sinks:
                sinks[letter](content)
            elif letter == b"x":
                return int(content)
            else:
                raise self.failure(f"could not run the command: {content.decode(errors='replace')}")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Have QEMU's monitor do something (QMP)."""
        request = {"execute": command, "arguments": arguments}
        self.monitor.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = json.loads(self._line())
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise self.failure(f"could not {command}: {answer['error']}")

    def ended(self) -> None:
        """Wait for the end of a machine that was told to quit."""
        self._qemu.wait(timeout=60)

    def failure(self, what: str) -> MachineError:
        """Make the error that says what happened, with the end of the console."""
        begin = max(os.fstat(self._console).st_size - _CONSOLE_TAIL, 0)
        tail = os.pread(self._console, _CONSOLE_TAIL, begin).decode(errors="replace").strip()
        status = self._qemu.poll()
        ended = "" if status is None else f" (QEMU ended with {status})"
        return MachineError(f"the machine {what}{ended}; its console:\n{tail or '(nothing)'}")

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self._received) < size:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.port], [], [], left)[0]:
                raise CommandTimeoutError
            try:
                chunk = self.port.recv(1 << 20)
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise self.failure("went away")
            self._received += chunk
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    def _line(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = self.monitor.recv(1)
            if not byte:
                raise self.failure("has no monitor any more")
            line += byte
        return bytes(line)


def _nameless(name: str, size: int) -> int:
    """Make a file that is in no directory, so that nobody has to remove it; *name* is for ``/proc`` only."""
    file = os.memfd_create(name)
    os.ftruncate(file, size)
    # QEMU's own messages and the console's text go into one file through two openings.
    fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
    return file


def devices(console: int, scratch: int, swap: int, port: int, monitor: int) -> list[str]:
    """List the arguments for all devices but the root disk, by the file each is connected to."""
    argv = ["-chardev", f"file,id=console,append=on,path=/dev/fd/{console}", "-serial", "chardev:console"]
    argv += _disk("scratch", f"/dev/fd/{scratch}", snapshot=False) + _disk("swap", f"/dev/fd/{swap}", snapshot=False)
    argv += ["-device", "virtio-serial-pci", "-chardev", f"socket,id=port,fd={port}"]
    argv += ["-device", "virtserialport,chardev=port,name=cgctl"]
    return [*argv, "-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]


def _disk(name: str, path: str, *, snapshot: bool) -> list[str]:
    form = "qcow2" if path.endswith(".qcow2") else "raw"
    drive = f"if=none,id={name},file={path},format={form},cache=unsafe,snapshot={'on' if snapshot else 'off'}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"]
