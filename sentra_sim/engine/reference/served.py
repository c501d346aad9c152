"""Pools and stores: what a poll is handed to."""

from __future__ import annotations

import simpy

from sentra_sim.engine.reference.edge import BroadcastModel
from sentra_sim.engine.reference.hosts import Thread
from sentra_sim.engine.reference.world import Batch, Process, World
from sentra_sim.scenario import Broadcast, Pool, Store


class ServedModel:
    """A pool, or a store that writes polls as they come: a queue and `threads` threads; polls are visible after `delay`."""

    def __init__(self, world: World, name: str, spec: Pool | Store, *, called: bool) -> None:
        self.world, self.name, self.spec, self.called = world, name, spec, called
        self.work = world.work(name, "demand", spec.demand)
        self.after_delay = world.delay(name, "delay", spec.delay)
        self.next = [make_served(world, successor, called=False) for successor in spec.to]
        self.jobs = simpy.Store(world.env)
        self.start()

    def start(self) -> None:
        """Starts the station's threads."""
        for _ in range(self.spec.threads):
            self.world.env.process(self._serve())

    def offer(self, poll: Batch) -> None:
        """Queues a poll."""
        self.jobs.put(poll)

    def thread(self) -> Thread:
        """Returns a new thread of the station."""
        return self.world.thread(self.world.process[self.name], low=self.spec.low_priority)

    def visible(self, poll: Batch) -> None:
        """Stamps a poll, hands it on, and tells the consumer if that waits."""
        self.world.stamp(poll.frames, self.spec.hop)
        for station in self.next:
            station.offer(poll)
        if self.called and poll.reply is not None:
            poll.reply.succeed()

    def _serve(self) -> Process:
        thread = self.thread()
        while True:
            poll = yield self.jobs.get()
            yield thread.run(self.work, len(poll.frames), poll.events)
            self.after_delay(self.visible, poll)


class FlushingModel(ServedModel):
    """A store whose one writer takes all gathered polls as one job, `flush_s` after it last started one at the earliest.

    The first job starts `flush_s` after the first poll came.
    """

    def start(self) -> None:
        """Starts the writer."""
        self.gathered: list[Batch] = []
        self.wake: simpy.Event | None = None
        self.world.env.process(self._write())

    def offer(self, poll: Batch) -> None:
        """Keeps a poll for the next write."""
        self.gathered.append(poll)
        wake, self.wake = self.wake, None
        if wake is not None:
            wake.succeed()

    def _write(self) -> Process:
        assert isinstance(self.spec, Store)
        env, thread = self.world.env, self.thread()
        last_start_s: float | None = None
        while True:
            if not self.gathered:
                self.wake = wake = env.event()
                yield wake
            if last_start_s is None:
                last_start_s = env.now
            wait_s = last_start_s + self.spec.flush_s - env.now
            if wait_s > 0.0:
                yield env.timeout(wait_s)
            last_start_s = env.now
            polls, self.gathered = self.gathered, []
            frames, events = sum(len(poll.frames) for poll in polls), sum(poll.events for poll in polls)
            yield thread.run(self.work, frames, events)
            self.after_delay(self._all_visible, polls)

    def _all_visible(self, polls: list[Batch]) -> None:
        for poll in polls:
            self.visible(poll)


def make_served(world: World, name: str, *, called: bool) -> ServedModel | BroadcastModel:
    """Returns the model of a station behind the consumers, with all stations behind it."""
    spec = world.scenario.stations[name]
    if isinstance(spec, Broadcast):
        return BroadcastModel(world, name, spec)
    assert isinstance(spec, Pool | Store)  # held by check_topology
    kind = FlushingModel if isinstance(spec, Store) and spec.flush_s > 0.0 else ServedModel
    return kind(world, name, spec, called=called)
