"""The consumer group's poll loops."""

from __future__ import annotations

from collections import deque

import simpy

from sentra_sim.engine.plan import replica_name
from sentra_sim.engine.reference.served import make_served
from sentra_sim.engine.reference.world import Batch, Frame, Process, World
from sentra_sim.scenario import ConsumerGroup, only


class ConsumerModel:
    """The consumer group: replica r polls the partitions congruent to r, works, and calls the stations one after another."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.name, self.spec = only(world.scenario, ConsumerGroup)
        self.called = [make_served(world, name, called=True) for name in self.spec.calls]
        self.ready: list[deque[Frame]] = [deque() for _ in range(self.spec.replicas)]
        self.wake: list[simpy.Event | None] = [None] * self.spec.replicas
        for number in range(self.spec.replicas):
            world.env.process(self._poll_loop(number))

    def available(self, request: Batch) -> None:
        """Offers the frames of an acknowledged request to the replicas that own them."""
        for frame in request.frames:
            number = frame.partition % self.spec.replicas
            self.ready[number].append(frame)
            wake, self.wake[number] = self.wake[number], None
            if wake is not None:
                wake.succeed()

    def _poll_loop(self, number: int) -> Process:
        world, spec = self.world, self.spec
        thread = world.thread(world.process[self.name], low=spec.low_priority)
        fetch = world.work(replica_name(self.name, number), "fetch", spec.fetch)
        process = world.work(replica_name(self.name, number), "process", spec.process)
        finish = world.work(replica_name(self.name, number), "finish", spec.finish)
        while True:
            if not self.ready[number]:
                self.wake[number] = wake = world.env.event()
                yield wake
                if spec.gather_s > 0.0:
                    yield world.env.timeout(spec.gather_s)
            poll = self._take(self.ready[number])
            yield thread.run(fetch, len(poll.frames), poll.events)
            world.stamp(poll.frames, spec.hop)
            yield thread.run(process, len(poll.frames), poll.events)
            for station in self.called:
                poll.reply = world.env.event()
                station.offer(poll)
                yield poll.reply
            yield thread.run(finish, len(poll.frames), poll.events)

    def _take(self, ready: deque[Frame]) -> Batch:
        poll = Batch()
        while ready and (not poll.frames or poll.events + ready[0].events <= self.spec.max_poll_events):
            frame = ready.popleft()
            frame.poll = self.world.polls
            poll.add(frame)
        self.world.polls += 1
        return poll
