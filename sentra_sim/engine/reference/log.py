"""The partitioned, replicated log: its parts, and who tells whom."""

from __future__ import annotations

from sentra_sim.engine.reference.broker import Broker
from sentra_sim.engine.reference.cluster import Cluster
from sentra_sim.engine.reference.consumers import ConsumerModel
from sentra_sim.engine.reference.fetches import ConsumerFetches
from sentra_sim.engine.reference.leadership import Leadership
from sentra_sim.engine.reference.pulls import ReplicaFetches
from sentra_sim.engine.reference.request import Request
from sentra_sim.engine.reference.retention import make_retention
from sentra_sim.engine.reference.shard import Neighbours, Shard
from sentra_sim.engine.reference.world import Batch, Frame, World
from sentra_sim.scenario import Log, only


class LogModel:
    """Brokers, and the shards of partitions that they lead and follow, each with a produce queue of its own."""

    def __init__(self, world: World, consumers: ConsumerModel) -> None:
        name, self.spec = only(world.scenario, Log)
        numbers = range(self.spec.brokers)
        brokers = [Broker(world, name, self.spec, number) for number in numbers]
        pulls = ReplicaFetches(world, self.spec, brokers) if self.spec.replicate_by == "pull" else None
        waits = consumers.spec.fetch_min_bytes > 1
        fetches = ConsumerFetches(world, brokers, consumers.owner, self._come) if waits else None
        around = Neighbours(brokers, consumers, pulls, fetches)
        self.shards = [Shard(world, self.spec, around, number) for number in numbers]
        self.cluster = Cluster(world, self.spec, brokers, [Leadership(shard) for shard in self.shards], pulls)
        world.retention = make_retention(world)

    def produce(self, closed: Batch) -> None:
        """Queues frames for their leaders; those of one shard go with one request."""
        for frame in closed.frames:
            self._shard(frame).producer.waiting.append(frame)
        for shard in self.shards:
            shard.producer.request()

    def _come(self, request: Request, frame: Frame) -> None:
        self._shard(frame).come(request, frame)

    def _shard(self, frame: Frame) -> Shard:
        return self.shards[frame.partition % self.spec.brokers]
