"""CPU bandwidth: the quota of each period, and what was saved for bursts (``struct cfs_bandwidth``).

The kernel hands the quota out in slices to each processor; here it is one account, so a group is throttled at the
moment at which it has used up all of it.
"""

from __future__ import annotations

from typing import Final

import attrs

from cgctl.fake.tree import Group

__all__ = ["Bandwidth", "configure"]

_USEC: Final = 1_000


@attrs.define(eq=False)
class Bandwidth:
    """The account of one group. All times are nanoseconds.

    Attributes:
        group: whose it is.
        quota: for each period; ``None`` is no limit.
        period: between two refills.
        burst: what may be saved above the quota.
        runtime: what is left.
        snap: what was there after the last refill.
        timer: when the next refill is; ``None`` while nobody used anything for a period.
        idle: nobody used anything since the last refill.
        throttled: whether somebody is held back by it.
        held: what they have been held back since they were let go the last time, processors times time.
        periods: refills.
        throttles: those before which somebody was held back.
        throttled_time: processors times time for which they were, without the time that is not over.
        bursts: periods in which more than the quota was used.
        burst_time: how much more.
    """

    group: Group
    quota: int | None = None
    period: int = 0
    burst: int = 0
    runtime: float = 0.0
    snap: float = 0.0
    timer: int | None = None
    idle: bool = False
    throttled: bool = False
    held: float = 0.0
    periods: int = 0
    throttles: int = 0
    throttled_time: float = 0.0
    bursts: int = 0
    burst_time: float = 0.0

    @property
    def spent(self) -> bool:
        """Whether nobody may run before the next refill."""
        return self.quota is not None and self.runtime <= 0

    def use(self, amount: float) -> None:
        """Take from what is left."""
        self.runtime -= amount
        # Less than a nanosecond is what floating point leaves.
        if self.runtime < 1:
            self.runtime = 0.0
        self.idle = False

    def start(self, now: int) -> None:
        """Let the timer run (``start_cfs_bandwidth``)."""
        if self.timer is None and self.quota is not None:
            self.timer = now + self.period

    def refill(self) -> None:
        """Give a period's quota (``__refill_cfs_bandwidth_runtime``)."""
        if self.quota is None:
            return
        self.runtime += self.quota
        over = self.snap - self.runtime
        if over >= 1:
            self.burst_time += over
            self.bursts += 1
        self.runtime = min(self.runtime, self.quota + self.burst)
        self.snap = self.runtime

    def tick(self) -> None:
        """Begin a period (``do_sched_cfs_period_timer``)."""
        assert self.timer is not None  # noqa: S101 - it has just run out
        self.periods += 1
        self.refill()
        if self.idle and not self.throttled:
            self.timer = None
            return
        self.timer += self.period
        if self.throttled:
            self.throttles += 1
            self.release()
            self.idle = False
        else:
            self.idle = True

    def release(self) -> None:
        """Let go who was held back: only then does the kernel count for how long that was (``unthrottle_cfs_rq``)."""
        self.throttled = False
        self.throttled_time += self.held
        self.held = 0.0


def configure(group: Group) -> None:
    """Do what ``tg_set_cfs_bandwidth`` does after a write: the new quota is there at once, whatever was used."""
    quota, period, burst = _written(group)
    account = group.bandwidth
    if account is None:
        if quota is None:
            return
        account = group.bandwidth = Bandwidth(group)
    account.quota, account.period, account.burst = quota, period, burst
    account.refill()
    account.release()
    if quota is None:
        account.timer = None
    else:
        account.start(group.kernel.clock.now)
        group.kernel.clock.accounts[account] = None


def _written(group: Group) -> tuple[int | None, int, int]:
    """Return quota, period and burst, as they are in the files."""
    if group.tree.version == 1:
        number = int(group.get("cpu.cfs_quota_us"))
        quota = None if number < 0 else number * _USEC
        period = int(group.get("cpu.cfs_period_us")) * _USEC
        return quota, period, int(group.values.get("cpu.cfs_burst_us", "0")) * _USEC
    words = group.get("cpu.max").split()
    quota = None if words[0] == "max" else int(words[0]) * _USEC
    return quota, int(words[1]) * _USEC, int(group.values.get("cpu.max.burst", "0")) * _USEC
