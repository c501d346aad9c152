"""Hosts of the reference engine: threads, the cgroups that hold them, and what both disciplines have in common.

Ties are broken by order: of two things due at the same time the one that was scheduled first happens first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import simpy
from numpy.typing import NDArray

from sentra_sim.engine.numbers import Numbers
from sentra_sim.engine.reference.limits import Limit
from sentra_sim.scenario.schema import Demand, Warmup

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

    def amount(self, frames: int, events: int) -> float:
        """Returns what a job costs, warm-up and cold term apart, s of CPU on a core of speed 1."""
        demand = self.demand
        busy = demand.job_s + demand.frame_s * frames + demand.event_s * events
        return busy * self.factor() * self.draws.next()


class Collector(Protocol):
    """What counts the events of a process's jobs."""

    def count(self, events: int) -> None:
        """Notes a job that starts."""


class Cgroup:
    """The threads of a process, which are stopped and let go together, as Linux's cgroup freezer does.

    There may be several reasons to hold it at one time (a signal, a pause, a limit); it goes on when the last is gone.
    """

    def __init__(self, number: int, host: Host, cpu: Floats) -> None:
        self.number = number
        self.host = host
        self.cpu = cpu  # CPU seconds of the process by whole second
        self.threads: list[Thread] = []
        self.holds = 0
        self.stopped = False  # by a signal, of which a second one changes nothing
        self.parked: list[Thread] = []  # threads with a job, in the order in which they go on
        self.limit: Limit | None = None
        self.warmup: Warmup | None = None
        self.done_s = 0.0  # since the start, without the factor of the warm-up
        self.collectors: list[Collector] = []
        self.waiting: list[simpy.Event] = []  # what happens when it goes on, beside its jobs

    def hold(self) -> None:
        """Takes all threads off their cores and out of the queue, where they stand."""
        self.holds += 1
        if self.holds == 1:
            self.host.withdraw(self)

    def release(self) -> None:
        """Takes one reason away; with the last one the threads queue for a core again: those that ran, waited, came."""
        self.holds -= 1
        if self.holds == 0:
            parked, self.parked = self.parked, []
            for thread in parked:
                self.host.submit(thread)
            waiting, self.waiting = self.waiting, []
            for event in waiting:
                event.succeed()

    def goes_on(self, env: simpy.Environment) -> simpy.Event:
        """Returns what happens when the last reason to hold it is gone."""
        self.waiting.append(env.event())
        return self.waiting[-1]

    def stop(self) -> None:
        """Stops the process until `proceed` (SIGSTOP)."""
        if not self.stopped:
            self.stopped = True
            self.hold()

    def proceed(self) -> None:
        """Lets a stopped process go on (SIGCONT)."""
        if self.stopped:
            self.stopped = False
            self.release()

    def renew(self) -> None:
        """Makes a new process of it, whose jobs somebody else has given up: no signal stops it, and its caches are cold."""
        self.proceed()
        for thread in self.threads:
            thread.finished_s = None
        self.done_s = 0.0

    def start_anew(self) -> None:
        """Makes a new process of it: its jobs under way begin again, and its caches are cold."""
        self.hold()
        for thread in self.parked:
            thread.remaining_s = thread.asked_s
        for thread in self.threads:
            thread.finished_s = None
        self.done_s = 0.0
        self.release()

    def warmed_s(self, busy_s: float) -> float:
        """Returns the demand of a job on a process that is so far from warm."""
        if self.warmup is None:
            return busy_s
        factor = 1.0 + self.warmup.factor * math.exp(-self.done_s / self.warmup.cpu_s)
        self.done_s += busy_s
        return busy_s * factor


class Thread:
    """A thread of a process on a host; it has at most one job at a time."""

    def __init__(self, env: simpy.Environment, cgroup: Cgroup, *, low: bool) -> None:
        self.env = env
        self.host = cgroup.host
        self.cgroup = cgroup
        self.cpu = cgroup.cpu
        self.low = low
        self.finished_s: float | None = None
        self.asked_s = 0.0
        self.remaining_s = 0.0
        cgroup.threads.append(self)
        self.done = env.event()

    def run(self, work: Work, frames: int, events: int) -> simpy.Event:
        """Starts a job; the event returned happens when its CPU demand has been served."""
        return self.spend(work.amount(frames, events), work.demand, events)

    def spend(self, busy: float, demand: Demand, events: int) -> simpy.Event:
        """Starts a job on so many events that costs so much, and the cold term of a demand."""
        busy = self.cgroup.warmed_s(busy)
        for collector in self.cgroup.collectors:
            collector.count(events)
        if demand.cold_s > 0.0:
            busy += demand.cold_s * self._coldness(demand.cold_tau_s)
        return self.burn(busy / self.host.speed)

    def burn(self, busy_s: float) -> simpy.Event:
        """Starts a job of so many seconds on a core of the host."""
        self.asked_s = self.remaining_s = busy_s
        self.done = self.env.event()
        if self.cgroup.holds:
            self.cgroup.parked.append(self)
        else:
            self.host.submit(self)
        return self.done

    def cancel(self) -> None:
        """Drops the thread's job, if it has one, as its process has ended."""
        if not self.cgroup.holds:
            self.host.cancel(self)
        elif self in self.cgroup.parked:
            self.cgroup.parked.remove(self)

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
    down: bool

    def submit(self, thread: Thread) -> None:
        """Takes a thread's job."""

    def cancel(self, thread: Thread) -> None:
        """Drops a thread's job, if it has one, and books what it has used."""

    def withdraw(self, cgroup: Cgroup) -> None:
        """Parks the jobs of a cgroup, those under way first; others get their cores."""

    def take_all(self) -> list[Thread]:
        """Takes the jobs that are being served off the cores, in order, and nobody else on."""

    def give_back(self, threads: list[Thread]) -> None:
        """Goes on with the jobs that were taken."""

    def stall(self) -> None:
        """Stops all cores; jobs that come wait."""

    def go_on(self) -> None:
        """Takes one stall back; with the last one the cores go on."""

    def stop(self) -> None:
        """Books what unfinished jobs have used when the run ends."""


def charge(cpu: Floats, start_s: float, end_s: float) -> None:
    """Books a busy interval of one core to the whole seconds that it touches."""
    second = int(start_s)
    while second + 1 < end_s:
        cpu[second] += second + 1 - start_s
        second += 1
        start_s = second
    cpu[second] += end_s - start_s
