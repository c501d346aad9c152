"""The partitioned, replicated log."""

from __future__ import annotations

import simpy

from sentra_sim.engine.owners import broker_name
from sentra_sim.engine.reference.cluster import Cluster
from sentra_sim.engine.reference.consumers import ConsumerModel
from sentra_sim.engine.reference.fetches import ConsumerFetches
from sentra_sim.engine.reference.hosts import Work
from sentra_sim.engine.reference.pulls import ReplicaFetches
from sentra_sim.engine.reference.request import Request
from sentra_sim.engine.reference.retention import make_retention
from sentra_sim.engine.reference.shard import Shard
from sentra_sim.engine.reference.world import Batch, Process, World
from sentra_sim.scenario import Log, only


class LogModel:
    """Brokers, and the shards of partitions that they lead and follow, each with a produce queue of its own."""

    def __init__(self, world: World, consumers: ConsumerModel) -> None:
        self.world, self.consumers = world, consumers
        self.name, self.spec = only(world.scenario, Log)
        self.brokers = [Broker(self, number) for number in range(self.spec.brokers)]
        self.cluster = Cluster(self)
        world.retention = make_retention(world)
        self.shards = [Shard(self, number) for number in range(self.spec.brokers)]
        waits = consumers.spec.fetch_min_bytes > 1
        self.replica_fetches = ReplicaFetches(self) if self.spec.replicate_by == "pull" else None
        self.consumer_fetches = ConsumerFetches(self) if waits else None

    def produce(self, closed: Batch) -> None:
        """Queues frames for their leaders; those of one shard go with one request."""
        for frame in closed.frames:
            self.shards[frame.partition % self.spec.brokers].waiting.append(frame)
        for shard in self.shards:
            shard.request()


class Broker:
    """One broker: its threads, which append the requests of shards that it leads and replicate those of others."""

    def __init__(self, log: LogModel, number: int) -> None:
        self.log, self.number, self.world = log, number, log.world
        owner, spec, world = broker_name(log.name, number), log.spec, log.world
        self.append = world.work(owner, "append", spec.append)
        self.replicate = world.work(owner, "replicate", spec.replicate)
        self.after_replication = world.delay(owner, "replication", spec.replication)
        self.after_fetch = world.delay(owner, "fetch", spec.fetch)
        self.jobs = simpy.Store(world.env)
        self.stops = 0
        self.disk_free_s = 0.0
        for _ in range(spec.threads):
            world.env.process(self._serve())

    def put(self, work: Work, shard: Shard | ReplicaFetches, request: Request) -> None:
        """Queues a job."""
        self.jobs.put((work, shard, request))

    def stop(self) -> None:
        """Forgets all jobs; what a thread is at is served to its end, for nothing."""
        self.jobs.items.clear()
        self.stops += 1

    def _serve(self) -> Process:
        process = self.world.process[f"{self.log.name}-{self.number + 1}"]
        thread = self.world.thread(process, low=self.log.spec.low_priority)
        while True:
            work, shard, request = yield self.jobs.get()
            stops = self.stops
            yield thread.run(work, request.count, request.events)
            if stops != self.stops:
                continue
            if self.log.spec.disk_bytes_per_s > 0.0:
                self.world.after(self._disk_wait_s(request), self._written, work, shard, request)
            else:
                self._written(work, shard, request)

    def _disk_wait_s(self, request: Request) -> float:
        """Queues a request's bytes for the disk and returns how long it takes until they are written."""
        free_s = max(self.disk_free_s, self.world.env.now)
        self.disk_free_s = free_s + request.bytes / self.log.spec.disk_bytes_per_s
        return self.disk_free_s - self.world.env.now

    def _written(self, work: Work, shard: Shard | ReplicaFetches, request: Request) -> None:
        if isinstance(shard, Shard) and work is self.append:
            shard.appended(request)
        elif self.number in self.log.cluster.up:
            latency_s = self.log.cluster.latency_s[self.number]
            if latency_s > 0.0:
                self.world.after(latency_s, shard.replicated, request, self.number)
            else:
                shard.replicated(request, self.number)
