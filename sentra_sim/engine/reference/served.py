"""Pools and stores: what a poll is handed to."""

from __future__ import annotations

from collections.abc import Sequence

import simpy

from sentra_sim.engine.reference.hosts import Thread
from sentra_sim.engine.reference.stores import Successor
from sentra_sim.engine.reference.world import Batch, Process, World
from sentra_sim.scenario import Pool, Store


class ServedModel:
    """A pool, or a store that writes polls as they come: a queue and `threads` threads; polls are visible after `delay`."""

    def __init__(
        self, world: World, name: str, spec: Pool | Store, successors: Sequence[Successor], *, called: bool
    ) -> None:
        self.world, self.name, self.spec, self.called = world, name, spec, called
        self.work = world.work(name, "demand", spec.demand)
        self.after_delay = world.delay(name, "delay", spec.delay)
        self.next = successors
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
        """Stamps a poll, hands it on, and tells the consumer if that waits; or tells it that the call has failed."""
        if not self.world.fails(self.name, poll):
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
