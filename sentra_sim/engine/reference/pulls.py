"""Replication by pull: each follower has one fetch at each leader, and tells with the next one what it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sentra_sim.engine.reference.broker import Broker
from sentra_sim.engine.reference.fetches import Fetch
from sentra_sim.engine.reference.request import Request
from sentra_sim.engine.reference.world import World
from sentra_sim.scenario import Log

Part = tuple[Request, Callable[[Request, int], None]]  # with what its leader does when the follower has it


@dataclass(eq=False)
class Bunch(Request):
    """What one fetch of a follower brings: requests of all shards that the broker leads."""

    leader: int = -1
    parts: list[Part] = field(default_factory=list)


class ReplicaFetches:
    """The fetches of all brokers at all others, by follower and leader."""

    def __init__(self, world: World, spec: Log, brokers: list[Broker]) -> None:
        self.world, self.spec, self.brokers = world, spec, brokers
        numbers = range(spec.brokers)
        self.fetches = [[self._make(follower, leader) for leader in numbers] for follower in numbers]
        self.under_way: dict[tuple[int, int], Bunch] = {}

    def _make(self, follower: int, leader: int) -> Fetch[Part]:
        def answer(found: list[Part]) -> None:
            self._answer(follower, leader, found)

        return Fetch(self.world, self.spec.replica_fetch_min_bytes, self.spec.replica_fetch_wait_s, answer)

    def offer(self, follower: int, leader: int, request: Request, then: Callable[[Request, int], None]) -> None:
        """Lets a follower fetch a request from its leader; `then` hears, with its number, when it has told that it has it."""
        fetch = self.fetches[follower][leader]
        fetch.add((request, then), request.bytes)
        fetch.settle()

    def _answer(self, follower: int, leader: int, found: list[Part]) -> None:
        bunch = Bunch(leader=leader, parts=found)
        for request, _ in found:
            bunch.count += request.count
            bunch.events += request.events
            bunch.bytes += request.bytes
        self.under_way[follower, leader] = bunch
        self.brokers[follower].replicate(bunch, self._replicated)

    def _replicated(self, bunch: Bunch, number: int) -> None:
        """A follower has what its last fetch brought, and sends the next one."""
        if not bunch.gone:
            self.brokers[number].after_replication(self._come, bunch, number)

    def _come(self, bunch: Bunch, number: int) -> None:
        if bunch.gone:
            return
        del self.under_way[number, bunch.leader]
        for request, then in bunch.parts:
            then(request, number)
        self.fetches[number][bunch.leader].come()

    def cut(self, number: int) -> None:
        """A broker reaches no other one: its fetches and those at it are broken off."""
        for other in range(self.spec.brokers):
            for follower, leader in ((number, other), (other, number)):
                self.fetches[follower][leader].cut()
                if (follower, leader) in self.under_way:
                    self.under_way.pop((follower, leader)).gone = True

    def begin(self, number: int) -> None:
        """A broker reaches the others again: it fetches from them, and they from it."""
        for other in range(self.spec.brokers):
            if other != number and self.brokers[number].talking and self.brokers[other].talking:
                for follower, leader in ((number, other), (other, number)):
                    self.fetches[follower][leader].come()
