"""Hosts of the reference engine: who runs on which core when, and to which second the work is booked.

Ties are broken by order: of two things due at the same time the one that was scheduled first happens first.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import simpy
from numpy.typing import NDArray

from sentra_sim.engine.numbers import Numbers
from sentra_sim.scenario.schema import Demand
from sentra_sim.scenario.schema import Host as HostSpec

Floats = NDArray[np.float64]


class Draws:
    """The numbers of one stream of a plan, taken one after another."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers: Iterator[float] = itertools.chain.from_iterable(block.tolist() for block in numbers.blocks())

    def next(self) -> float:
        """Returns the next number."""
        return next(self._numbers)


class Work:
    """A kind of job: its demand, the stream of its noise, and the factor that its station's demands have now."""

    def __init__(self, demand: Demand, draws: Draws, factor: Callable[[], float]) -> None:
        self.demand = demand
        self.draws = draws
        self.factor = factor


class Thread:
    """A thread of a process on a host; it has at most one job at a time."""

    def __init__(self, env: simpy.Environment, host: Host, cpu: Floats, *, low: bool) -> None:
        self.env = env
        self.host = host
        self.cpu = cpu  # CPU seconds of the process by whole second
        self.low = low
        self.finished_s: float | None = None
        self.remaining_s = 0.0
        self.done = env.event()

    def run(self, work: Work, frames: int, events: int) -> simpy.Event:
        """Starts a job; the event returned happens when its CPU demand has been served."""
        demand = work.demand
        busy = demand.job_s + demand.frame_s * frames + demand.event_s * events
        busy = busy * work.factor() * work.draws.next()
        if demand.cold_s > 0.0:
            busy += demand.cold_s * self._coldness(demand.cold_tau_s)
        self.remaining_s = busy / self.host.speed
        self.done = self.env.event()
        self.host.submit(self)
        return self.done

    def _coldness(self, tau_s: float) -> float:
        if self.finished_s is None:
            return 1.0
        gap_s = self.env.now - self.finished_s
        return gap_s / (gap_s + tau_s)

    def finish(self) -> None:
        """Ends the job: the host calls this."""
        self.finished_s = self.env.now
        self.done.succeed()


class Host(Protocol):
    """Serves the jobs of threads with its cores."""

    speed: float

    def submit(self, thread: Thread) -> None:
        """Takes a thread's job."""

    def stop(self) -> None:
        """Books what unfinished jobs have used when the run ends."""


def make_host(env: simpy.Environment, spec: HostSpec) -> Host:
    """Returns a host with the scenario's discipline."""
    return SharingHost(env, spec) if spec.discipline == "ps" else SliceHost(env, spec)


def charge(cpu: Floats, start_s: float, end_s: float) -> None:
    """Books a busy interval of one core to the whole seconds that it touches."""
    second = int(start_s)
    while second + 1 < end_s:
        cpu[second] += second + 1 - start_s
        second += 1
        start_s = second
    cpu[second] += end_s - start_s


class SliceHost:
    """`fifo-slice`: one run queue, served in order of arrival, a job going back to its end after `slice_s`.

    Threads of low priority wait in a queue of their own that is served when the other is empty. A normal job that finds all
    cores busy takes the core of the low job that got its core first; that job goes to the head of its queue.
    """

    def __init__(self, env: simpy.Environment, spec: HostSpec) -> None:
        self.env = env
        self.speed = spec.speed
        self.slice_s = spec.slice_s
        self.idle_cores = spec.cores
        self.waiting: deque[Thread] = deque()
        self.waiting_low: deque[Thread] = deque()
        # Threads on a core with the end and the start of their slice, in order of start.
        self.running: dict[Thread, tuple[simpy.Timeout, float]] = {}

    def submit(self, thread: Thread) -> None:
        """Starts a thread's job on an idle core, or on one taken from a low-priority job, or queues it."""
        if self.idle_cores > 0:
            self.idle_cores -= 1
            self._start(thread)
            return
        victim = None if thread.low else next((running for running in self.running if running.low), None)
        if victim is not None:
            self._preempt(victim)
            self._start(thread)
        else:
            self._queue(thread)

    def stop(self) -> None:
        """Books the slices that the end of the run cuts off."""
        for thread, (_, started_s) in self.running.items():
            charge(thread.cpu, started_s, self.env.now)

    def _queue(self, thread: Thread) -> None:
        (self.waiting_low if thread.low else self.waiting).append(thread)

    def _start(self, thread: Thread) -> None:
        ran_s = min(thread.remaining_s, self.slice_s)
        end = self.env.timeout(ran_s)
        self.running[thread] = (end, self.env.now)
        end.callbacks.append(lambda event: self._end(thread, event, ran_s))

    def _preempt(self, thread: Thread) -> None:
        _, started_s = self.running.pop(thread)
        charge(thread.cpu, started_s, self.env.now)
        thread.remaining_s = max(0.0, thread.remaining_s - (self.env.now - started_s))
        self.waiting_low.appendleft(thread)

    def _end(self, thread: Thread, event: simpy.Event, ran_s: float) -> None:
        end, started_s = self.running.get(thread, (None, 0.0))
        if end is not event:  # the thread was preempted in this slice
            return
        del self.running[thread]
        charge(thread.cpu, started_s, self.env.now)
        thread.remaining_s -= ran_s
        if thread.remaining_s > 0.0:
            self._queue(thread)
        else:
            thread.finish()
        if self.waiting:
            self._start(self.waiting.popleft())
        elif self.waiting_low:
            self._start(self.waiting_low.popleft())
        else:
            self.idle_cores += 1


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
        self.cores = spec.cores
        self.lanes = (Lane(), Lane())  # normal, low
        self.clock_s = 0.0
        self.alarm: simpy.Timeout | None = None

    def submit(self, thread: Thread) -> None:
        """Lets a thread's job share the cores from now on."""
        self._advance()
        lane = self.lanes[thread.low]
        lane.joined += 1
        start = (self.env.now, lane.virtual_s)
        heapq.heappush(lane.jobs, (lane.virtual_s + thread.remaining_s, lane.joined, thread, *start))
        self._set_alarm()

    def stop(self) -> None:
        """Books what the jobs that the end of the run cuts off have been served."""
        self._advance()
        for lane in self.lanes:
            for _, _, thread, started_s, virtual_start_s in lane.jobs:
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
