"""The host of the reference engine that serves one run queue with a time slice."""

from __future__ import annotations

from collections import deque

import simpy

from sentra_sim.engine.reference.hosts import Cgroup, Thread, charge
from sentra_sim.scenario.schema import Host as HostSpec


class SliceHost:
    """`fifo-slice`: one run queue, served in order of arrival, a job going back to its end after `slice_s`.

    Threads of low priority wait in a queue of their own that is served when the other is empty. A normal job that finds all
    cores busy takes the core of the low job that got its core first; that job goes to the head of its queue.
    """

    def __init__(self, env: simpy.Environment, spec: HostSpec) -> None:
        self.env = env
        self.speed = spec.speed
        self.down = False
        self.slice_s = spec.slice_s
        self.cores = self.idle_cores = spec.cores
        self.stalls = 0
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

    def cancel(self, thread: Thread) -> None:
        """Drops a thread's job, if it has one."""
        queue = self.waiting_low if thread.low else self.waiting
        if thread in self.running:
            self._leave(thread)
            self._start_next()
        elif thread in queue:
            queue.remove(thread)

    def withdraw(self, cgroup: Cgroup) -> None:
        """Parks a cgroup's jobs: those on a core in the order in which they got it, then those that wait in theirs."""
        running = [thread for thread in self.running if thread.cgroup is cgroup]
        for thread in running:
            self._leave(thread)
        cgroup.parked.extend(running)
        for waiting in (self.waiting, self.waiting_low):
            cgroup.parked.extend(thread for thread in waiting if thread.cgroup is cgroup)
            others = [thread for thread in waiting if thread.cgroup is not cgroup]
            waiting.clear()
            waiting.extend(others)
        for _ in running:
            self._start_next()

    def take_all(self) -> list[Thread]:
        """Takes all threads off their cores, in the order in which they got them."""
        running = list(self.running)
        for thread in running:
            self._leave(thread)
        return running

    def give_back(self, threads: list[Thread]) -> None:
        """Lets threads that were taken off begin a new slice."""
        for thread in threads:
            self._start(thread)

    def stall(self) -> None:
        """Puts what runs back to the heads of the queues and leaves no core idle for what comes."""
        self.stalls += 1
        if self.stalls == 1:
            for thread in reversed(list(self.running)):  # the last first, which is also the order of the accounts
                self._leave(thread)
                (self.waiting_low if thread.low else self.waiting).appendleft(thread)
            self.idle_cores = 0

    def go_on(self) -> None:
        """Gives every core to the next thread again."""
        self.stalls -= 1
        if self.stalls == 0:
            for _ in range(self.cores):
                self._start_next()

    def stop(self) -> None:
        """Books the slices that the end of the run cuts off."""
        for thread in sorted(self.running, key=lambda running: running.cgroup.number):
            charge(thread.cpu, self.running[thread][1], self.env.now)

    def _queue(self, thread: Thread) -> None:
        (self.waiting_low if thread.low else self.waiting).append(thread)

    def _start(self, thread: Thread) -> None:
        ran_s = min(thread.remaining_s, self.slice_s)
        end = self.env.timeout(ran_s)
        self.running[thread] = (end, self.env.now)
        end.callbacks.append(lambda event: self._end(thread, event, ran_s))
        if thread.cgroup.limit:
            thread.cgroup.limit.change(1)

    def _preempt(self, thread: Thread) -> None:
        self._leave(thread)
        self.waiting_low.appendleft(thread)

    def _leave(self, thread: Thread) -> None:
        _, started_s = self.running.pop(thread)
        charge(thread.cpu, started_s, self.env.now)
        thread.remaining_s = max(0.0, thread.remaining_s - (self.env.now - started_s))
        if thread.cgroup.limit:
            thread.cgroup.limit.change(-1)

    def _end(self, thread: Thread, event: simpy.Event, ran_s: float) -> None:
        end, started_s = self.running.get(thread, (None, 0.0))
        if end is not event:  # the thread was preempted in this slice
            return
        del self.running[thread]
        charge(thread.cpu, started_s, self.env.now)
        thread.remaining_s -= ran_s
        if thread.cgroup.limit:
            thread.cgroup.limit.change(-1)
        if thread.remaining_s > 0.0:
            self._queue(thread)
        else:
            thread.finish()
        self._start_next()

    def _start_next(self) -> None:
        if self.waiting:
            self._start(self.waiting.popleft())
        elif self.waiting_low:
            self._start(self.waiting_low.popleft())
        else:
            self.idle_cores += 1
