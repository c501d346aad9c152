"""Replication by pull: each follower has one fetch at each leader, and tells with the next one what it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sentra_sim.engine.reference.fetches import Fetch
from sentra_sim.engine.reference.request import Request

if TYPE_CHECKING:
    from sentra_sim.engine.reference.log import LogModel
    from sentra_sim.engine.reference.shard import Shard


@dataclass(eq=False)
class Bunch(Request):
    """What one fetch of a follower brings: requests of all shards that the broker leads."""

    leader: int = -1
    parts: list[tuple[Shard, Request]] = field(default_factory=list)


class ReplicaFetches:
    """The fetches of all brokers at all others, by follower and leader."""

    def __init__(self, log: LogModel) -> None:
        self.log, self.world = log, log.world
        brokers = range(log.spec.brokers)
        self.fetches = [[self._make(follower, leader) for leader in brokers] for follower in brokers]
        self.under_way: dict[tuple[int, int], Bunch] = {}

    def _make(self, follower: int, leader: int) -> Fetch[tuple[Shard, Request]]:
        def answer(found: list[tuple[Shard, Request]]) -> None:
            self._answer(follower, leader, found)

        spec = self.log.spec
        return Fetch(self.world, spec.replica_fetch_min_bytes, spec.replica_fetch_wait_s, answer)

    def offer(self, follower: int, shard: Shard, request: Request) -> None:
        """Lets a follower fetch a request from its leader."""
        fetch = self.fetches[follower][shard.leader]
        fetch.add((shard, request), request.bytes)
        fetch.settle()

    def _answer(self, follower: int, leader: int, found: list[tuple[Shard, Request]]) -> None:
        bunch = Bunch(leader=leader, parts=found)
        for _, request in found:
            bunch.count += request.count
            bunch.events += request.events
            bunch.bytes += request.bytes
        self.under_way[follower, leader] = bunch
        broker = self.log.brokers[follower]
        broker.put(broker.replicate, self, bunch)

    def replicated(self, bunch: Request, number: int) -> None:
        """A follower has what its last fetch brought, and sends the next one."""
        if not bunch.gone:
            self.log.brokers[number].after_replication(self._come, bunch, number)

    def _come(self, bunch: Bunch, number: int) -> None:
        if bunch.gone:
            return
        del self.under_way[number, bunch.leader]
        for shard, request in bunch.parts:
            shard.replicated(request, number)
        self.fetches[number][bunch.leader].come()

    def cut(self, number: int) -> None:
        """A broker reaches no other one: its fetches and those at it are broken off."""
        for other in range(self.log.spec.brokers):
            for follower, leader in ((number, other), (other, number)):
                self.fetches[follower][leader].cut()
                if (follower, leader) in self.under_way:
                    self.under_way.pop((follower, leader)).gone = True

    def begin(self, number: int) -> None:
        """A broker reaches the others again: it fetches from them, and they from it."""
        for other in range(self.log.spec.brokers):
            if other != number and self.log.cluster.reach(number, other):
                for follower, leader in ((number, other), (other, number)):
                    self.fetches[follower][leader].come()
