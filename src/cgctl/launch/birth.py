"""A child on its way to become the program: our part in it, and what it tells."""

from __future__ import annotations

import errno
import os
import select
import socket
from contextlib import suppress

from cgctl.errors import LaunchError
from cgctl.launch.blame import explain
from cgctl.launch.children import Deadline, abandon, reap
from cgctl.launch.idmap import write_maps
from cgctl.launch.plan import plan
from cgctl.launch.sandbox import Sandbox, Veth
from cgctl.launch.spawn import Spawned, hint
from cgctl.launch.veth import connect

__all__ = ["Made", "timed_out"]


class Made:
    """A child on its way to become the program.

    Args:
        pid: its process id.
        pidfd: what stands for it.
        report: where it tells how far it came.
        status: where its init tells how it ended, if it has one.
        go: where it waits for our part, if it does.
        console: where its terminal's other end comes from, if it has one.
    """

    def __init__(
        self,
        pid: int,
        pidfd: int,
        report: int,
        *,
        status: int | None = None,
        go: int | None = None,
        console: int | None = None,
    ) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._report = report
        self._status = status
        self._go = go
        self._console = console

    def await_exec(self, sandbox: Sandbox | None, deadline: Deadline) -> Spawned:
        """Do our part, and read how far it came; only exec, or death, closes the pipe."""
        terminal = None
        try:
            try:
                self._prepare(sandbox)
                told = _read_report(self._report, deadline)
            except BaseException:
                abandon(self._pidfd)
                raise
            finally:
                os.close(self._report)
                terminal = self._terminal()
            ready, failed, why = told.partition(b"E")
            if failed:
                reap(self._pidfd, block=True)
                os.close(self._pidfd)
                raise _failed(why, sandbox)
        except BaseException:
            for fd in (self._status, terminal):
                if fd is not None:
                    os.close(fd)
            raise
        return Spawned(pid=self._pid, pidfd=self._pidfd, born=bool(ready), status=self._status, terminal=terminal)

    def _terminal(self) -> int | None:
        """Take the other end of its terminal, if it came so far."""
        if self._console is None:
            return None
        with socket.socket(fileno=self._console) as console, suppress(OSError):
            _, fds, _, _ = socket.recv_fds(console, 1, 1, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
            return fds[0] if fds else None
        return None

    def _prepare(self, sandbox: Sandbox | None) -> None:
        if self._go is None or sandbox is None:
            return
        try:
            if "user" in sandbox.kinds:
                write_maps(self._pid, sandbox)
            if isinstance(sandbox.network, Veth):
                connect(self._pid, sandbox.network)
            with suppress(BrokenPipeError):  # it was killed meanwhile, which the report will show
                os.write(self._go, b"g")
        finally:
            os.close(self._go)


def _failed(why: bytes, sandbox: Sandbox | None) -> LaunchError:
    """Say which step of the child's failed."""
    number, step, path = (part.decode(errors="surrogateescape") for part in why.split(b"\0", 2))
    if step.startswith("sandbox ") and sandbox is not None:
        failed = plan(sandbox).inside()[int(step.partition(" ")[2])]
        return LaunchError(failed, int(number), filename=path or None, hint=explain(failed, int(number), path, sandbox))
    return LaunchError(step, int(number), filename=path or None, hint=hint(step, int(number), path))


def _read_report(report: int, deadline: Deadline) -> bytes:
    # To wake up for what comes before the end would be to take the child's processor away from it.
    if not deadline.wait(report, events=0):
        msg = "wait for exec"
        raise timed_out(msg, "is the group, or one above it, frozen?")
    return b"".join(iter(lambda: os.read(report, select.PIPE_BUF), b""))


def timed_out(step: str, why: str) -> LaunchError:
    """Say that a launch took too long."""
    return LaunchError(step, errno.ETIMEDOUT, hint=why)
