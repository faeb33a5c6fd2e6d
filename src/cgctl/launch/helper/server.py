"""Serving: messages from the caller, until there will be none any more.

They are marshalled tuples on a ``SOCK_SEQPACKET`` socket:

- ``("spawn", job, count, size)``: make a child. Of the `count` descriptors that come along the first is where the
  answer goes; a `job` that is too large for a message is ``None``, and in the last of them, `size` bytes long;
- ``("guard", token, mark, directories, above)``: what has this mark goes when the caller does, and then those above
  that were made for it and are empty;
- ``("release", token)``: these no longer;
- ``("retire",)``: another helper serves from now on; end when nothing is guarded.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import errno
import gc
import marshal
import os
import select
import sys

from cgctl.launch.helper.child import Job, Own, become
from cgctl.launch.helper.cleanup import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cgctl.launch.helper.cleanup import Guarded

_MAX_MESSAGE = 48 << 10
_MAX_FDS = 253  # SCM_MAX_FD

# Signals that are sent to the whole process group, by a terminal or by whoever stops a job: the helper has still to
# clean up after its caller, and ends by itself right after it.
_SHRUGGED_OFF = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM, _signal.SIGTSTP)


def _launch(reply: _socket.socket, job: Job) -> None:
    """Make the child, and hand it to the caller.

    Its pid goes along with its pidfd, the pipes of its report, its end and its start, and where its terminal comes
    from.
    """
    if _given_up(reply):
        return
    ours, theirs = [], []
    try:
        reading, job.report = os.pipe()
        ours.append(job.report)
        theirs.append(reading)
        if job.sandbox and job.sandbox["init"]:
            reading, job.status = os.pipe()
            ours.append(job.status)
            theirs.append(reading)
        if job.sandbox and job.sandbox["waits"]:
            job.go, writing = os.pipe()
            ours.append(job.go)
            theirs.append(writing)
        if job.sandbox and job.sandbox["tty"]:
            here, there = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
            job.console = here.detach()
            ours.append(job.console)
            theirs.append(there.detach())
        pid, pidfd = job.clone()
        if pid == 0:
            for fd in theirs:
                os.close(fd)  # or the caller's end of the last would not be the only one
            become(job)
        theirs.insert(0, pidfd)
        if not _send(reply, ("made", pid), theirs):
            _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)  # nobody is there any more to look after it
    finally:
        for fd in (*ours, *theirs):
            os.close(fd)


def _given_up(reply: _socket.socket) -> bool:
    """Tell whether the one who asked has shut its end, while we were stopped or busy."""
    try:
        reply.recv(1, _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True  # it never sends anything: this is the end


def _send(reply: _socket.socket, message: tuple[Any, ...], fds: Sequence[int] = ()) -> bool:
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
    try:
        reply.sendmsg([marshal.dumps(message)], ancillary, _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


class Server:
    """The helper's state: what it guards, and from whom it hears."""

    def __init__(self, channel: int, caller: int) -> None:
        self.channel: _socket.socket | None = _socket.socket(fileno=channel)
        self.caller = caller
        self.own = Own()
        self.guarded: dict[int, Guarded] = {}
        self.launching = True
        self.retired = False

    def serve(self) -> None:
        """Serve until the caller ends, or has no use for this helper any more."""
        poll = select.poll()
        poll.register(self.caller, select.POLLIN)
        if self.channel is not None:
            poll.register(self.channel.fileno(), select.POLLIN)
        while self.guarded or not (self.retired or self.channel is None):
            ready = [fd for fd, _ in poll.poll()]
            if self.caller in ready:
                self.launching = False
                while self._hear(_socket.MSG_DONTWAIT):  # groups it may have made just before it died
                    pass
                return
            if not self._hear(0) and self.channel is not None:
                # The caller has become another program by exec: nothing more will come from it but its end.
                poll.unregister(self.channel.fileno())
                self.channel.close()
                self.channel = None

    def _hear(self, flags: int) -> bool:
        """Handle one message; false if there is, or will be, none."""
        if self.channel is None:
            return False
        try:
            data, ancillary, _, _ = self.channel.recvmsg(
                _MAX_MESSAGE, _socket.CMSG_SPACE(4 * _MAX_FDS), flags | _socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return False
        fds = [fd for _, _, rights in ancillary for fd in memoryview(rights[: len(rights) & ~3]).cast("i")]
        try:
            if data:
                self._handle(marshal.loads(data), fds)  # noqa: S302 - from the caller itself
            return bool(data)
        except Exception:  # noqa: BLE001 - no message may end the helper; the client sees its reply socket closed
            return True
        finally:
            for fd in fds:
                os.close(fd)

    def _handle(self, message: tuple[Any, ...], fds: list[int]) -> None:
        kind, *rest = message
        if kind == "guard":
            self.guarded[rest[0]] = rest[1], rest[2], rest[3]
        elif kind == "release":
            self.guarded.pop(rest[0], None)
        elif kind == "spawn" and self.launching:
            _spawn(fds, self.own, *rest)
        elif kind == "retire":
            self.retired = True


def _spawn(fds: list[int], own: Own, body: dict[str, Any] | None, count: int, size: int) -> None:
    reply = _socket.socket(fileno=fds[0])
    try:
        if len(fds) != count:  # the kernel drops what it cannot install
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "recvmsg")
        if body is None:
            body = marshal.loads(os.pread(fds[-1], size, 0))  # noqa: S302 - from the caller itself
        _launch(reply, Job(body, fds[1:], own))
    except OSError as error:
        _send(reply, ("failed", error.errno or errno.EIO, str(error.filename or "")))
    finally:
        reply.detach()  # its descriptor is one of `fds`, which are all closed together


def main(arguments: Sequence[str]) -> None:
    """Run the helper: descriptors of its channel and its caller, then of the ``cgroup.procs`` to go to."""
    channel, caller, *home = map(int, arguments)
    for number in _SHRUGGED_OFF:
        _signal.signal(number, _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    for fd in home:
        try:  # noqa: SIM105 - contextlib is not worth its memory
            os.write(fd, b"0")
        except OSError:  # the caller can see where we are
            pass
        os.close(fd)
    for fd in (channel, caller):
        os.set_inheritable(fd, False)  # noqa: FBT003 - it has no keyword
    os.chdir("/")  # keep no file system busy
    gc.disable()
    gc.freeze()  # a collection in a child would copy every page
    server = Server(channel, caller)
    server.serve()
    if server.channel is not None:
        server.channel.close()
    clean(server.guarded.values())
