"""What one process may use in a period: Linux's CFS bandwidth control (`cpu.max` of a cgroup)."""

from __future__ import annotations

from typing import Protocol

import simpy


class Limited(Protocol):
    """The threads that a limit stops, and lets go."""

    def hold(self) -> None:
        """Stops them."""

    def release(self) -> None:
        """Takes that back."""


class Limit:
    """The account of a cgroup's period: what its threads have used, and when they will have used it up.

    The kernel hands the quota out to cores in slices of 5 ms (`sched_cfs_bandwidth_slice_us`); here it is one account, to the
    moment. Periods follow one another on a fixed grid; what a period leaves is lost.
    """

    def __init__(self, env: simpy.Environment, cgroup: Limited, quota_s: float, period_s: float, end_s: float) -> None:
        self.env, self.cgroup = env, cgroup
        self.quota_s, self.period_s = quota_s, period_s
        self.end_s = end_s  # of the current period
        self.used_s = self.counted_s = 0.0
        self.running = 0
        self.alarm: simpy.Timeout | None = None

    def change(self, threads: int) -> None:
        """Notes that threads have got a core, or left theirs."""
        self._count()
        self.running += threads
        self._watch()

    def _count(self) -> None:
        now = self.env.now
        if now >= self.end_s:
            begin_s = self.end_s + int((now - self.end_s) / self.period_s) * self.period_s
            self.used_s, self.end_s = self.running * (now - begin_s), begin_s + self.period_s
        else:
            self.used_s += self.running * (now - self.counted_s)
        self.counted_s = now

    def _watch(self) -> None:
        """Sets the alarm for when the quota will be used up if no thread comes or goes."""
        self.alarm = None
        if self.running == 0:
            return
        left_s, rest_s = self.quota_s - self.used_s, self.end_s - self.env.now
        if left_s < self.running * rest_s:
            wait_s = max(0.0, left_s / self.running)
        elif self.running * self.period_s > self.quota_s:
            wait_s = rest_s + self.quota_s / self.running
        else:
            return
        self.alarm = self.env.timeout(wait_s)
        self.alarm.callbacks.append(self._throttle)

    def _throttle(self, event: simpy.Event) -> None:
        if event is not self.alarm:  # threads came or went since it was set
            return
        self._count()
        self.cgroup.hold()
        self.env.timeout(max(0.0, self.end_s - self.env.now)).callbacks.append(self._refill)

    def _refill(self, _: simpy.Event) -> None:
        self._count()
        if self.used_s > 0.0:  # the period's end, but for rounding
            self.used_s, self.end_s = 0.0, self.end_s + self.period_s
        self.cgroup.release()
