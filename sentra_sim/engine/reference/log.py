"""The partitioned, replicated log."""

from __future__ import annotations

import simpy

from sentra_sim.engine.plan import broker_name
from sentra_sim.engine.reference.consumers import ConsumerModel
from sentra_sim.engine.reference.world import Batch, Frame, Process, World
from sentra_sim.scenario import Log, only


class LogModel:
    """Brokers, each the leader of its partitions and a follower of others, and one produce queue for each leader."""

    def __init__(self, world: World, consumers: ConsumerModel) -> None:
        self.world, self.consumers = world, consumers
        self.name, self.spec = only(world.scenario, Log)
        self.brokers = [Broker(self, number) for number in range(self.spec.brokers)]

    def produce(self, closed: Batch) -> None:
        """Queues frames for their leaders; those of one leader go with one request."""
        for frame in closed.frames:
            self.brokers[frame.partition % self.spec.brokers].waiting.append(frame)
        for broker in self.brokers:
            broker.request()


class Broker:
    """One broker: its threads, the frames that wait to be sent to it, its outstanding requests."""

    def __init__(self, log: LogModel, number: int) -> None:
        self.log, self.number, self.world = log, number, log.world
        self.waiting: list[Frame] = []
        self.outstanding = 0
        owner, spec, world = broker_name(log.name, number), log.spec, log.world
        self.append = world.work(owner, "append", spec.append)
        self.replicate = world.work(owner, "replicate", spec.replicate)
        self.after_replication = world.delay(owner, "replication", spec.replication)
        self.after_fetch = world.delay(owner, "fetch", spec.fetch)
        self.jobs = simpy.Store(world.env)
        for _ in range(spec.threads):
            world.env.process(self._serve())

    def request(self) -> None:
        """Sends all frames that wait as one request, if it may have another outstanding."""
        if not self.waiting or self.outstanding == self.log.spec.in_flight:
            return
        self.outstanding += 1
        request = Batch()
        for frame in self.waiting:
            request.add(frame)
        self.waiting = []
        self.jobs.put((self, request))

    def _serve(self) -> Process:
        """A thread appends the requests that this broker leads and replicates those of others."""
        process = self.world.process[f"{self.log.name}-{self.number + 1}"]
        thread = self.world.thread(process, low=self.log.spec.low_priority)
        while True:
            leader, request = yield self.jobs.get()
            work = self.append if leader is self else self.replicate
            yield thread.run(work, len(request.frames), request.events)
            if leader is self:
                self._appended(request)
            else:
                leader.replicated(request)

    def _appended(self, request: Batch) -> None:
        brokers, spec = self.log.brokers, self.log.spec
        request.missing = spec.replication_factor - 1
        for step in range(1, spec.replication_factor):
            brokers[(self.number + step) % spec.brokers].jobs.put((self, request))
        if spec.acks == "leader" or spec.replication_factor == 1:
            self._acked(request)

    def replicated(self, request: Batch) -> None:
        """Notes that one more follower has a request that this broker leads."""
        request.missing -= 1
        if request.missing == 0 and self.log.spec.acks == "all":
            self.after_replication(self._acked, request)

    def _acked(self, request: Batch) -> None:
        self.world.stamp(request.frames, self.log.spec.hop)
        self.outstanding -= 1
        self.after_fetch(self.log.consumers.available, request)
        self.request()
