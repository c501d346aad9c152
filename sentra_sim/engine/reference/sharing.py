"""The host of the reference engine that shares its cores evenly."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import simpy

from sentra_sim.engine.reference.hosts import Cgroup, Thread
from sentra_sim.scenario.schema import Host as HostSpec


class Lane:
    """The jobs of one priority on a sharing host.

    `virtual_s` is what a job present since the start would have been served: it grows with the rate at which each job of the
    lane is served, so a job is done when the clock shows its start value plus its demand.
    """

    def __init__(self) -> None:
        self.virtual_s = 0.0
        self.rate = 0.0
        self.jobs: list[tuple[float, int, Thread, float, float]] = []  # finish, order, thread, start, start (virtual)
        self.joined = 0
        self.virtual_at: dict[int, float] = {}  # by whole second


class SharingHost:
    """`ps`: each of n jobs is served at the rate min(1, cores / n); low-priority jobs share what normal ones leave."""

    def __init__(self, env: simpy.Environment, spec: HostSpec) -> None:
        self.env = env
        self.speed = spec.speed
        self.down = False
        self.cores = self.all_cores = spec.cores
        self.stalls = 0
        self.lanes = (Lane(), Lane())  # normal, low
        self.clock_s = 0.0
        self.alarm: simpy.Timeout | None = None

    def submit(self, thread: Thread) -> None:
        """Lets a thread's job share the cores from now on."""
        self._advance()
        self._enter(thread)
        self._set_alarm()

    def _enter(self, thread: Thread) -> None:
        lane = self.lanes[thread.low]
        lane.joined += 1
        start = (self.env.now, lane.virtual_s)
        heapq.heappush(lane.jobs, (lane.virtual_s + thread.remaining_s, lane.joined, thread, *start))

    def cancel(self, thread: Thread) -> None:
        """Takes a thread's job away, if it has one; the others share what it had."""
        self._advance()
        if self._leave(lambda leaving: leaving is thread):
            self._set_alarm()

    def withdraw(self, cgroup: Cgroup) -> None:
        """Parks a cgroup's jobs in the order in which they would have been done."""
        self._advance()
        leaving = self._leave(lambda thread: thread.cgroup is cgroup)
        cgroup.parked.extend(leaving)
        if leaving:
            self._set_alarm()

    def take_all(self) -> list[Thread]:
        """Takes all jobs off: normal ones in the order in which they would have been done, then low ones."""
        self._advance()
        return self._leave(lambda _: True)

    def give_back(self, threads: list[Thread]) -> None:
        """Lets jobs that were taken off share the cores again."""
        for thread in threads:
            self._enter(thread)
        if threads:
            self._set_alarm()

    def _leave(self, leaves: Callable[[Thread], bool]) -> list[Thread]:
        leaving: list[Thread] = []
        for lane in self.lanes:
            for job in sorted(job for job in lane.jobs if leaves(job[2])):
                finish_s, _, thread, started_s, virtual_start_s = job
                lane.jobs.remove(job)
                thread.remaining_s = max(0.0, finish_s - lane.virtual_s)
                self._charge(lane, thread, started_s, virtual_start_s, lane.virtual_s)
                leaving.append(thread)
            heapq.heapify(lane.jobs)
        return leaving

    def stall(self) -> None:
        """Takes all cores away."""
        self.stalls += 1
        if self.stalls == 1:
            self._advance()
            self.cores = 0
            self._set_alarm()

    def go_on(self) -> None:
        """Gives the cores back."""
        self.stalls -= 1
        if self.stalls == 0:
            self._advance()
            self.cores = self.all_cores
            self._set_alarm()

    def stop(self) -> None:
        """Books what the jobs that the end of the run cuts off have been served."""
        self._advance()
        for lane in self.lanes:
            for _, _, thread, started_s, virtual_start_s in sorted(lane.jobs):
                self._charge(lane, thread, started_s, virtual_start_s, lane.virtual_s)

    def _advance(self) -> None:
        now = self.env.now
        for lane in self.lanes:
            for second in range(int(self.clock_s) + 1, int(now) + 1):
                lane.virtual_at[second] = lane.virtual_s + (second - self.clock_s) * lane.rate
            lane.virtual_s += (now - self.clock_s) * lane.rate
        self.clock_s = now

    def _set_alarm(self) -> None:
        """Sets the rates for the jobs present, and the alarm for the one that will be done first."""
        normal, low = self.lanes
        count, low_count = len(normal.jobs), len(low.jobs)
        normal.rate = min(1.0, self.cores / count) if count else 0.0
        low.rate = min(1.0, (self.cores - min(count, self.cores)) / low_count) if low_count else 0.0
        waits = [
            (max(0.0, (lane.jobs[0][0] - lane.virtual_s) / lane.rate), lane) for lane in self.lanes if lane.rate > 0.0
        ]
        self.alarm = None
        if waits:
            wait_s, lane = min(waits, key=lambda entry: entry[0])
            self.alarm = self.env.timeout(wait_s)
            self.alarm.callbacks.append(lambda event: self._finish_first(lane, event))

    def _finish_first(self, lane: Lane, event: Any) -> None:
        if event is not self.alarm:  # jobs came or went since it was set
            return
        self._advance()
        finish_s, _, thread, started_s, virtual_start_s = heapq.heappop(lane.jobs)
        lane.virtual_s = max(lane.virtual_s, finish_s)
        self._charge(lane, thread, started_s, virtual_start_s, finish_s)
        thread.finish()
        self._set_alarm()

    def _charge(self, lane: Lane, thread: Thread, started_s: float, got_s: float, end_s: float) -> None:
        last = int(self.env.now)
        for second in range(int(started_s), last + 1):
            upto_s = min(lane.virtual_at[second + 1], end_s) if second < last else end_s
            thread.cpu[second] += upto_s - got_s
            got_s = upto_s
