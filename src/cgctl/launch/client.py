"""The caller's side of the helper: starts it when it is needed, and asks it for children.

A process has one helper, whichever of its threads asks; a forked process gets its own. A helper that was started with
other credentials, in other namespaces or in another session than the calling thread's is replaced, and so is one that
has died.
"""

from __future__ import annotations

import errno
import itertools
import marshal
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeAlias

from cgctl.errors import LaunchError
from cgctl.launch.birth import Made, timed_out
from cgctl.launch.caller import identity, inherited
from cgctl.launch.children import LATE_TIMEOUT_SEC, Deadline, abandon, abandoned, collect, forget, launch_step, reap
from cgctl.launch.helper.cleanup import Guarded
from cgctl.launch.obstacles import of_namespaces
from cgctl.launch.spawn import Spawn, Spawned, encode, hint
from cgctl.launch.starting import START, start_helper
from cgctl.launch.wire import ASK, INLINE, HelperLostError, end_child, memfd, receive, send

__all__ = ["Helper", "Home", "helper", "helpers", "release"]

Home: TypeAlias = Callable[[], Sequence[int]]
"""Opens the ``cgroup.procs`` that a new helper shall move to, for writing; they are closed for it."""

_SEND_TIMEOUT_SEC = 10.0


# --- what is still to be cleaned up ----------------------------------------------------------------------------------

_late: list[socket.socket] = []
"""Requests that were given up, and on which a child may be announced yet."""

_retired: list[Helper] = []
"""Helpers that were replaced, and are yet to be waited for."""


def _collect() -> None:
    """Wait for those that nobody else waits for, as far as they have ended."""
    for reply in tuple(_late):
        with suppress(BlockingIOError):
            _give_up(reply)
            with suppress(ValueError):  # another thread was faster
                _late.remove(reply)
    collect()
    for each in tuple(_retired):
        if each.ended():
            with suppress(ValueError):
                _retired.remove(each)


def _give_up(reply: socket.socket) -> None:
    """Forget about a request; if a child was made of it, it ends.

    Raises:
        BlockingIOError: there is no answer yet.
    """
    answer = None
    with suppress(LaunchError):
        answer = receive(reply)
    reply.close()
    if answer is not None and answer[1]:
        pidfd, *others = answer[1]
        for fd in others:
            os.close(fd)
        abandon(pidfd)


# --- the helper -----------------------------------------------------------------------------------------------------

_tokens = itertools.count(1)
_lock = threading.Lock()
_current: Helper | None = None
_guards: dict[int, Helper] = {}


class Helper:
    """A helper process, as its caller sees it. :func:`helper` makes these.

    Attributes:
        pid: the helper's process id.
        home: what it was started with, see :func:`helper`.
    """

    def __init__(self, home: Home | None) -> None:
        self.home = home
        self._owner = os.getpid()
        self._guarded: dict[int, Guarded] = {}
        self._serving = True
        with launch_step(START):
            self._identity = identity()
            self.pid, self._pidfd, self._channel = start_helper(() if home is None else home())

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # Not before: another thread may be waiting on these.
        if hasattr(self, "_channel"):
            self._channel.close()
            close(self._pidfd)

    def spawn(self, request: Spawn, *, timeout: float | None = None) -> Spawned:
        """Make a child of this process's, and wait until it has become its program.

        Should the helper have ended, another takes over.

        Args:
            request: what to start.
            timeout: how long this may take, in seconds; a frozen group takes for ever.

        Returns:
            The child.

        Raises:
            LaunchError: the child could not be made, or could not become the program.
        """
        if abandoned() or _late or _retired:
            _collect()
        deadline = Deadline(timeout)
        try:
            made = self.make(request, deadline)
        except HelperLostError:
            try:
                made = helper(self.home).make(request, deadline)
            except HelperLostError as error:
                raise LaunchError(ASK, errno.ECONNRESET, hint="it ended, and so did the next one") from error
        return made.await_exec(request.sandbox, deadline)

    def guard(self, mark: bytes, directories: Sequence[str], above: Sequence[str] = ()) -> int:
        """Have groups emptied and removed when this process ends, however it does. Returns at once.

        To be called *before* the groups are made, so that there is no moment in which they could be left behind.

        Args:
            mark: the group's; directories without it are left alone.
            directories: the absolute path of the group in each hierarchy.
            above: groups above it, innermost first, that are then to be removed if they were made for it and are empty.

        Returns:
            A token for :func:`release`.
        """
        token = next(_tokens)
        self.adopt(token, (mark, tuple(directories), tuple(above)))
        return token

    # What follows is for this module.

    def adopt(self, token: int, guarded: Guarded) -> None:
        """Guard groups under a token that is known already."""
        self._guarded[token] = guarded
        _guards[token] = self
        try:
            self._send(("guard", token, *guarded), (), Deadline(_SEND_TIMEOUT_SEC))
        except HelperLostError:
            helper(self.home).adopt(token, guarded)

    def disown(self, token: int) -> None:
        """Guard them no longer."""
        self._guarded.pop(token, None)
        with suppress(HelperLostError):
            self._send(("release", token), (), Deadline(_SEND_TIMEOUT_SEC))

    def ours(self) -> bool:
        """Tell whether it was this process that started it, and not one that this was forked from."""
        return self._owner == os.getpid()

    def usable(self) -> bool:
        """Tell whether it lives, and can make children such as the calling thread would have."""
        return self._serving and self.ours() and not self._dead() and self._identity == identity()

    def ended(self) -> bool:
        """Wait for it, if it has ended."""
        return reap(self._pidfd, block=False) is not None

    def retire(self, successor: Helper) -> None:
        """Leave the work to *successor*, but for the groups that this one guards: it may be alone in the right to."""
        self._serving = False
        try:
            self._send(("retire",), (), Deadline(_SEND_TIMEOUT_SEC))
        except HelperLostError:
            for token, guarded in tuple(self._guarded.items()):
                successor.adopt(token, guarded)
        _retired.append(self)
        _collect()

    def forget(self) -> None:
        """Close what a forked process inherited of its parent's helper."""
        self._serving = False
        self._channel.close()

    def make(self, request: Spawn, deadline: Deadline) -> Made:
        """Ask for a child.

        Raises:
            HelperLostError: another helper must be asked.
            LaunchError: it could not be made.
        """
        if not self._serving or not self.ours():
            raise HelperLostError
        with launch_step(ASK):
            reply, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                try:
                    self._ask(request, theirs.fileno(), deadline)
                except BaseException:
                    reply.close()
                    raise
            answer, fds = self._answer(reply, deadline)
        if answer[0] == "failed":
            raise _refused(answer[1], answer[2], request)
        pidfd, report, *rest = fds
        sandbox = request.sandbox
        wanted = {"status": sandbox.init, "go": sandbox.waits, "console": sandbox.tty} if sandbox else {}
        if len(rest) != sum(wanted.values()):
            end_child(answer[1], fds)
        others = iter(rest)
        return Made(answer[1], pidfd, report, **{name: next(others) if has else None for name, has in wanted.items()})

    def _ask(self, request: Spawn, reply: int, deadline: Deadline) -> None:
        big = None
        cwd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            body, wanted = encode(request, inherited(cwd))
            fds = [reply, *wanted]
            data = marshal.dumps(body)
            if len(data) > INLINE:
                big = memfd(data)
                fds.append(big)
            self._send(("spawn", body if big is None else None, len(fds), len(data)), fds, deadline)
        finally:
            os.close(cwd)
            if big is not None:
                os.close(big)

    def _answer(self, reply: socket.socket, deadline: Deadline) -> tuple[Any, list[int]]:
        try:
            answer = receive(reply) if deadline.wait(reply.fileno(), self._pidfd) else self._time_out("does not answer")
        except BlockingIOError as error:  # it was not the answer that made the wait end
            reply.close()
            raise self._lost() from error
        except BaseException:
            # Given up, or interrupted: if it was not made yet, it shall not be; if it was, it must not run unattended.
            with suppress(OSError):
                reply.shutdown(socket.SHUT_WR)
            _late.append(reply)
            raise
        reply.close()
        if answer is None:
            if Deadline(LATE_TIMEOUT_SEC).wait(self._pidfd):
                raise self._lost()
            raise LaunchError(ASK, errno.EPROTO, hint="it did not understand the request")
        return answer

    def _send(self, message: tuple[Any, ...], fds: Sequence[int], deadline: Deadline) -> None:
        try:
            send(self._channel, message, fds, deadline)
        except HelperLostError:
            self._serving = False
            raise
        except TimeoutError:
            self._time_out("takes no request")

    def _time_out(self, what: str) -> NoReturn:
        raise timed_out(ASK, f"it (pid {self.pid}) {what}; is it stopped?")

    def _dead(self) -> bool:
        return bool(Deadline(0).wait(self._pidfd))

    def _lost(self) -> HelperLostError:
        self._serving = False
        return HelperLostError()


def helper(home: Home | None = None) -> Helper:
    """Give this process's helper, and start it if there is none yet, without waiting for it to be up.

    Args:
        home: called only when a helper is started: it returns descriptors, open for writing, of the ``cgroup.procs``
            that the helper shall move to; they are closed when it was started. For callers that are themselves in a
            group that the helper must not be in. A helper that takes over from another asks the same callable, unless
            it is given its own.

    Returns:
        The helper, the same for all threads.

    Raises:
        LaunchError: it could not be started.
    """
    global _current  # noqa: PLW0603 - one helper per process is the point
    with _lock:
        # A helper that is not ours was inherited by a fork that Python did not see.
        old = _current if _current is not None and _current.ours() else None
        if old is not None and old.usable():
            return old
        new = _current = Helper(home if home is not None or old is None else old.home)
    if old is not None:
        old.retire(new)
    return new


def release(token: int) -> None:
    """Guard groups no longer: they have gone, or are to outlive this process.

    Args:
        token: what :meth:`Helper.guard` gave, of whichever helper this process has had.
    """
    owner = _guards.pop(token, None)
    if owner is not None:
        owner.disown(token)


def helpers() -> frozenset[int]:
    """Return the pids of this process's helpers: the one at work, and those that still guard a group."""
    known = {*_retired, *_guards.values(), *([_current] if _current is not None else [])}
    return frozenset(each.pid for each in known if each.ours())


def _after_fork() -> None:
    global _current, _lock  # noqa: PLW0603 - the same
    _lock = threading.Lock()  # another thread of the parent may have held it
    for each in {*_guards.values(), *_retired, *([_current] if _current is not None else [])}:
        each.forget()
    for reply in _late:
        reply.close()
    forget()
    _current = None
    for collection in (_guards, _retired, _late):
        collection.clear()


os.register_at_fork(after_in_child=_after_fork)


def _refused(number: int, step: str, request: Spawn) -> LaunchError:
    """Say what the helper could not do."""
    group = None
    if step.startswith("clone") and request.into is not None:
        with suppress(OSError):
            group = os.readlink(f"/proc/self/fd/{request.into}")
    where = f"{step} into {group}" if group else step or "launch"
    why = hint(step, number, group)
    if request.sandbox is not None and request.sandbox.kinds and number in {errno.EPERM, errno.ENOSPC}:
        why = of_namespaces(request.sandbox.kinds)
    return LaunchError(where, number, filename=group, hint=why)
