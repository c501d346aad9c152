"""The edge: a poll goes out to its subscribers."""

from __future__ import annotations

import simpy

from sentra_sim.engine.reference.world import Batch, Process, World
from sentra_sim.scenario import Broadcast


class BroadcastModel:
    """An edge that sends each poll over the network to a subscriber, each with one thread."""

    def __init__(self, world: World, name: str, spec: Broadcast) -> None:
        self.world, self.name, self.spec = world, name, spec
        self.after_handover = world.delay(name, "handover", spec.handover)
        self.after_network = world.delay(name, "network", spec.network)
        self.jobs = simpy.Store(world.env)
        self.received = simpy.Store(world.env)
        world.env.process(self._send())
        world.env.process(self._receive())

    def offer(self, poll: Batch) -> None:
        """Takes a poll over, to queue it for sending."""
        self.after_handover(self.jobs.put, poll)

    def _send(self) -> Process:
        world = self.world
        thread = world.thread(world.process[self.name], low=self.spec.low_priority)
        send = world.work(self.name, "send", self.spec.send)
        while True:
            poll = yield self.jobs.get()
            yield thread.run(send, len(poll.frames), poll.events)
            world.stamp(poll.frames, self.spec.hops[0])
            self.after_network(self.received.put, poll)

    def _receive(self) -> Process:
        world = self.world
        thread = world.thread(world.process[self.name] + 1, low=self.spec.low_priority)
        receive = world.work(self.name, "receive", self.spec.receive)
        while True:
            poll = yield self.received.get()
            yield thread.run(receive, len(poll.frames), poll.events)
            world.stamp(poll.frames, self.spec.hops[1])
