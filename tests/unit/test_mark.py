"""The mark that says whose a group is: its text, and whether its owner has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from cgctl.owner.mark import EPHEMERAL, LASTING, WAY, Mark, has_ended, own


def _parse(text: bytes) -> Mark:
    mark = Mark.parse(text)
    assert mark is not None
    return mark


def _mark_of_a_child(*, wait: bool) -> tuple[bytes, int]:
    """Let a child make a mark, and end; with *wait* it is waited for."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, own(EPHEMERAL))
        os._exit(0)
    os.close(writing)
    text = os.read(reading, 200)
    os.close(reading)
    if wait:
        os.waitpid(pid, 0)
    return text, pid


class TestText:
    """What it reads."""

    @pytest.mark.parametrize("lifetime", [EPHEMERAL, LASTING, WAY])
    def test_own(self, lifetime: bytes) -> None:
        """Lifetime, pid, start and namespace are the caller's own."""
        mark = _parse(own(lifetime))

        assert (mark.lifetime, mark.pid) == (lifetime, os.getpid())
        assert mark.namespace == os.stat("/proc/self/ns/pid").st_ino

    def test_each_is_another(self) -> None:
        """Two groups of one process have two marks."""
        assert len({own(EPHEMERAL) for _ in range(100)}) == 100

    @pytest.mark.parametrize(
        "text",
        [None, b"", b"ephemeral", b"eternal 1 2 3 4", b"ephemeral 1 2 3", b"ephemeral 1 2 3 4 5", b"ephemeral a b c d"],
    )
    def test_not_a_mark(self, text: bytes | None) -> None:
        """What is none is told as none, and never taken for an orphan's."""
        assert Mark.parse(text) is None


class TestOwner:
    """Whether it has ended."""

    def test_lives(self) -> None:
        """This process does."""
        assert has_ended(_parse(own(EPHEMERAL))) is False

    def test_waited_for(self) -> None:
        """One that is gone has."""
        text, _ = _mark_of_a_child(wait=True)

        assert has_ended(_parse(text)) is True

    def test_a_zombie(self) -> None:
        """One that its parent has yet to wait for has ended."""
        text, pid = _mark_of_a_child(wait=False)
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

            assert has_ended(_parse(text)) is True
        finally:
            os.waitpid(pid, 0)

    def test_a_later_process_of_the_same_number(self) -> None:
        """Is not the owner."""
        mine = _parse(own(EPHEMERAL))

        assert has_ended(Mark(EPHEMERAL, mine.pid, mine.start - 1000, mine.namespace)) is True

    def test_a_number_that_is_a_thread_s_by_now(self) -> None:
        """Is no process's."""
        mine = _parse(own(EPHEMERAL))
        end = threading.Event()
        thread = threading.Thread(target=end.wait)
        thread.start()
        try:
            assert thread.native_id is not None
            assert has_ended(Mark(EPHEMERAL, thread.native_id, mine.start, mine.namespace)) is True
        finally:
            end.set()
            thread.join()

    def test_of_another_pid_namespace(self) -> None:
        """Cannot be told from here."""
        mine = _parse(own(EPHEMERAL))

        assert has_ended(Mark(EPHEMERAL, 1, 1, mine.namespace + 1)) is None

    def test_only_the_first_thread_has_ended(self) -> None:
        """A process lives as long as any of its threads."""
        script = (
            "import ctypes,threading,time,sys;from cgctl.owner.mark import *\n"
            "sys.stdout.write(own(EPHEMERAL).decode()+'\\n');sys.stdout.flush()\n"
            "threading.Thread(target=time.sleep,args=(30,)).start()\n"
            "ctypes.CDLL(None).pthread_exit(None)"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                mark = _parse(process.stdout.readline())
                deadline = time.monotonic() + 10
                while _state(process.pid) != "Z" and time.monotonic() < deadline:
                    time.sleep(0.005)

                assert (_state(process.pid), has_ended(mark)) == ("Z", False)
            finally:
                process.send_signal(signal.SIGKILL)


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]
