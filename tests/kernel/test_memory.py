"""What the memory controller does beyond its hard limit: throttling, reclaim, swap, peaks, waiting for memory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import cgctl
from cgctl import Memory
from tests.kernel import lacks, payloads
from tests.kernel.conftest import Make, Start, ready
from tests.kernel.pace import DEAD_SEC, PATIENCE_SEC, eventually

pytestmark = pytest.mark.host

_M = 1 << 20


def _stats(group: cgctl.Group) -> cgctl.MemoryStats:
    memory = group.stats("memory").memory
    assert memory is not None
    return memory


@pytest.fixture
def swap() -> Iterator[None]:
    """Have 256 MB of swap, on the disk of a machine that is nobody else's."""
    lacks.require("memory", "swap accounting", "a machine of its own", "a spare disk")
    subprocess.run(["mkswap", "/dev/vdb"], check=True, capture_output=True)
    subprocess.run(["swapon", "/dev/vdb"], check=True, capture_output=True)
    yield
    subprocess.run(["swapoff", "/dev/vdb"], check=True, capture_output=True)


class TestHigh:
    """The limit that throttles."""

    def test_beyond_it_nobody_is_killed(self, make: Make) -> None:
        """A program that goes beyond ``high`` is held back and counted, and lives."""
        lacks.require("v2 memory")
        group = make(memory=Memory(high="16M", swap_max=0))
        done = group.run(payloads.hog(16), timeout=PATIENCE_SEC, capture_output=True)
        events = _stats(group).events

        assert (done.oom_killed, done.stdout) == (False, b"ready\n")
        assert events is not None
        assert (events.high or 0) > 0
        assert events.oom_kill == 0


class TestReclaim:
    """Taking memory back on demand."""

    @pytest.fixture(autouse=True)
    def _reclaim(self) -> None:
        lacks.require("memory.reclaim")

    def test_of_files(self, make: Make) -> None:
        """What was read from a disk is given back, by about as much as was asked."""
        lacks.require("a spare disk")
        group = make(memory=Memory())
        script = "import os, time\nf = os.open('/dev/vdb', os.O_RDONLY)\nos.posix_fadvise(f, 0, 0, 4)\n"
        script += "for _ in range(24):\n    os.read(f, 1 << 20)\nprint('ready', flush=True)\ntime.sleep(100)\n"
        with ready(group.popen(payloads.python(script), stdout=subprocess.PIPE)):
            before = _stats(group).current or 0
            group.reclaim("8M")
            after = _stats(group).current or 0

        assert before - after >= 7 * _M

    def test_of_what_is_in_use(self, make: Make) -> None:
        """Without swap, anonymous memory has nowhere to go: EAGAIN, and what that means."""
        group = make(memory=Memory(swap_max=0))
        with (
            ready(group.popen(payloads.hog(16, 600), stdout=subprocess.PIPE)),
            pytest.raises(cgctl.StepError, match=r"memory.reclaim: EAGAIN .*a part at most.*or allow swap"),
        ):
            group.reclaim("64M")

    @pytest.mark.parametrize("swappiness", [0, 60, 200])
    def test_with_swappiness(self, swappiness: int, make: Make) -> None:
        """The kernel takes it with the amount, or the error says since when."""
        group = make(memory=Memory())
        if lacks.FEATURES["reclaim with swappiness"].probe():
            group.reclaim(0, swappiness=swappiness)
        else:
            with pytest.raises(cgctl.UnsupportedError, match=r"memory.reclaim with swappiness") as caught:
                group.reclaim(0, swappiness=swappiness)
            assert caught.value.since == "6.9"

    @pytest.mark.parametrize("swappiness", [-1, 201, True, "a lot", 1.5])
    def test_nonsense(self, swappiness: object, make: Make) -> None:
        """A swappiness out of range is nonsense."""
        with pytest.raises(cgctl.SpecError, match="reclaim: swappiness="):
            make(memory=Memory()).reclaim(0, swappiness=swappiness)  # type: ignore[arg-type]


@pytest.mark.usefixtures("swap")
class TestSwap:
    """With swap to go to."""

    def test_as_much_as_is_allowed(self, make: Make) -> None:
        """Beyond memory the group swaps, up to its limit of swap; beyond both it is killed."""
        group = make(memory=Memory(max="16M", swap_max="48M"))
        with ready(group.popen(payloads.hog(20, 600), stdout=subprocess.PIPE)):
            used = _stats(group)
        killed = group.run(payloads.hog(128))

        assert (used.swap_current or 0) >= 2 * _M
        assert (used.current or 0) <= 16 * _M
        assert killed.oom_killed

    def test_none_by_the_shorthand(self, make: Make) -> None:
        """``memory="16M"`` is 16 MB, swap or not."""
        group = make(memory="16M")
        done = group.run(payloads.hog(24))

        assert done.oom_killed
        assert done.stats.memory is not None
        assert done.stats.memory.swap_current == 0

    def test_swap_events(self, make: Make) -> None:
        """Going beyond the mark above which the group is throttled is counted; so is being refused, if it is tried.

        Whether the kernel tries to swap where it knows that no more is allowed is a matter of chance.
        """
        lacks.require("v2 memory")
        group = make(memory=Memory(max="16M", swap_high="2M"))
        group.run(payloads.hog(24), timeout=PATIENCE_SEC / 4)
        events = _stats(group).swap_events

        assert events is not None
        assert events.high
        assert events.max == 0

    def test_reclaim_to_swap(self, make: Make) -> None:
        """Memory in use goes to swap on demand."""
        lacks.require("memory.reclaim")
        group = make(memory=Memory())
        with ready(group.popen(payloads.hog(24, 600), stdout=subprocess.PIPE)):
            group.reclaim("8M")
            memory = _stats(group)

        assert (memory.swap_current or 0) >= 7 * _M

    def test_swap_peak(self, make: Make) -> None:
        """The most swap at once, since the kernel tells."""
        lacks.require("memory.reclaim", "resettable peak")
        group = make(memory=Memory())
        with group.peak("swap") as peak:
            with ready(group.popen(payloads.hog(24, 600), stdout=subprocess.PIPE)):
                group.reclaim("8M")
            assert peak.read() >= 7 * _M

    def test_zswap(self, make: Make) -> None:
        """Compressed swap is counted, and held to its limit."""
        lacks.require("zswap")
        switch = Path("/sys/module/zswap/parameters/enabled")
        before = switch.read_text(encoding="utf-8")
        switch.write_text("Y", encoding="utf-8")
        try:
            used = [self._compressed(make(memory=Memory(zswap_max=limit))) for limit in (cgctl.MAX, 0)]
        finally:
            switch.write_text(before, encoding="utf-8")

        assert used[0] > 0
        assert used[1] == 0

    @staticmethod
    def _compressed(group: cgctl.Group) -> int:
        with ready(group.popen(payloads.hog(24, 600), stdout=subprocess.PIPE)):
            group.reclaim("8M")
            return _stats(group).zswap_current or 0


class TestPeak:
    """Peaks from a moment on."""

    def test_from_now_on(self, make: Make) -> None:
        """It begins with what is in use now, rises, and begins anew."""
        lacks.require("memory", "resettable peak")
        group = make(memory="256M")
        group.run(payloads.hog(40))
        with group.peak() as peak:
            first = peak.read()
            with ready(group.popen(payloads.hog(16, 600), stdout=subprocess.PIPE)):
                second = peak.read()
            eventually(lambda: (_stats(group).current or 0) < 8 * _M)
            peak.reset()
            third = peak.read()

        assert first < 16 * _M <= second < 40 * _M
        assert third < 16 * _M
        with pytest.raises(ValueError, match="closed"):
            peak.read()

    def test_who_sees_a_reset(self, make: Make) -> None:
        """On v2 the statistics do not see a reset, but who else watches forgets what was before; on v1 all see it."""
        lacks.require("memory", "resettable peak")
        group = make(memory="256M")
        with group.peak() as one, group.peak() as other:
            group.run(payloads.hog(40))
            one.reset()
            seen = one.read(), other.read(), _stats(group).peak or 0

        on_v2 = lacks.version_of("memory") == 2
        assert [peak >= 40 * _M for peak in seen] == [False, False, on_v2]

    def test_not_before(self, make: Make) -> None:
        """A kernel whose peak cannot be reset says so."""
        lacks.require("v2 memory", "no resettable peak")
        with pytest.raises(cgctl.UnsupportedError, match="that can be reset") as caught:
            make(memory="64M").peak()

        assert caught.value.since == "6.12"

    def test_nonsense(self, make: Make) -> None:
        """Only memory and swap have a peak."""
        lacks.require("memory")
        with pytest.raises(cgctl.SpecError, match=r"peak\('cpu'\): nothing that has a peak"):
            make(memory="64M").peak("cpu")

    def test_no_memory(self, make: Make) -> None:
        """A group without the controller has none."""
        lacks.require("v1 memory", "pids")
        with pytest.raises(cgctl.UnsupportedError, match="without the controller memory"):
            make(pids=5).peak()

    def test_no_swap_on_v1(self, make: Make) -> None:
        """v1 has no peak of swap alone."""
        lacks.require("v1 memory")
        with pytest.raises(cgctl.UnsupportedError, match="v1 counts memory and swap together"):
            make(memory="64M").peak("swap")

    def test_after_removal(self, make: Make) -> None:
        """The peak of a group that has gone is that of no group."""
        lacks.require("memory", "resettable peak")
        group = make(memory="64M")
        with group.peak() as peak:
            group.remove()
            with pytest.raises(cgctl.GroupNotFoundError, match="removed meanwhile"):
                peak.read()


class TestV1:
    """What only v1 has."""

    def test_waiting_for_memory(self, start: Start, make: Make) -> None:
        """Without the OOM killer, who is at the limit waits; with more memory it goes on."""
        lacks.require("v1 memory")
        group = make(memory=Memory(max="16M", oom_kill_disable=True))
        process = start(payloads.SLEEPER)
        done = group.popen(payloads.hog(32, 600), stdout=subprocess.PIPE)
        try:
            assert eventually(lambda: _stats(group.children()[0]).under_oom or _stats(group).under_oom)
            assert psutil.Process(done.pid).is_running()
            group.update(memory=Memory(max="64M"))
            assert done.stdout is not None
            assert done.stdout.readline() == b"ready\n"
            assert eventually(lambda: _stats(group).under_oom == 0)
        finally:
            done.kill()
            done.communicate()
        assert process.poll() is None

    def test_who_waits_can_be_killed(self, make: Make) -> None:
        """A program that waits for memory dies of kill."""
        lacks.require("v1 memory")
        group = make(memory=Memory(max="16M", oom_kill_disable=True))
        done = group.popen(payloads.hog(32, 600), stdout=subprocess.DEVNULL)
        assert eventually(lambda: any(_stats(each).under_oom for each in (group, *group.children())))
        done.kill()

        assert done.wait(DEAD_SEC * 5) == -9
        assert not done.oom_killed
