"""Fetches that wait at a broker until there is enough to answer them with: Kafka's DelayedFetch in its purgatory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, TypeVar

from sentra_sim.engine.reference.broker import Broker
from sentra_sim.engine.reference.request import Request
from sentra_sim.engine.reference.world import Frame, World
from sentra_sim.scenario import ConsumerGroup, only

T = TypeVar("T")
Found = list[tuple[Request, Frame]]


class Fetch(Generic[T]):
    """The one fetch that somebody has at a broker. Answers without anything in them cost nothing and are left out."""

    def __init__(self, world: World, min_bytes: float, wait_s: float, answer: Callable[[list[T]], None]) -> None:
        self.world, self.min_bytes, self.wait_s, self.answer = world, min_bytes, wait_s, answer
        self.found: list[T] = []
        self.bytes = 0.0
        self.since_s = 0.0  # when it came to the broker
        self.away = False  # answered, and the next one has not come
        self.timed = False  # the end of its wait is set
        self.answers = 0

    def add(self, item: T, size: float) -> None:
        """Puts something there for the next answer; `settle` follows."""
        self.found.append(item)
        self.bytes += size

    def settle(self) -> None:
        """Answers if there is enough; lets what is too little wait for the end of the fetch's wait."""
        if self.away or not self.found:
            return
        if self.bytes >= self.min_bytes:
            self._answer()
        elif not self.timed:
            self.timed = True
            now_s = self.world.env.now
            waits = math.floor((now_s - self.since_s) / self.wait_s) + 1
            self.world.after(max(0.0, self.since_s + waits * self.wait_s - now_s), self._over, self.answers)

    def cut(self) -> None:
        """Forgets what is there and waits for the next fetch to come."""
        self.found, self.bytes = [], 0.0
        self.away, self.timed = True, False
        self.answers += 1

    def come(self) -> None:
        """The next fetch is at the broker."""
        self.away = False
        self.since_s = self.world.env.now
        self.settle()

    def _over(self, answers: int) -> None:
        if answers == self.answers:
            self._answer()

    def _answer(self) -> None:
        found = self.found
        self.cut()
        self.answer(found)


class ConsumerFetches:
    """The fetches of all consumers at all brokers, and one at each for what nobody owns, which is never waited for.

    `owner` tells at all times who owns each partition; `then` takes each frame that has come.
    """

    def __init__(
        self, world: World, brokers: list[Broker], owner: list[int], then: Callable[[Request, Frame], None]
    ) -> None:
        self.world, self.brokers, self.owner, self.then = world, brokers, owner, then
        spec = only(world.scenario, ConsumerGroup)[1]
        waits = [*([spec.fetch_min_bytes] * spec.most_replicas), 0]  # the last one is of consumer -1
        self.fetches = [
            [self._make(broker, min_bytes, spec.fetch_max_wait_s) for broker in brokers] for min_bytes in waits
        ]

    def _make(self, broker: Broker, min_bytes: int, wait_s: float) -> Fetch[tuple[Request, Frame]]:
        def answer(found: Found) -> None:
            broker.after_fetch(self._come, fetch, found, also_s=broker.latency_s)

        fetch = Fetch(self.world, min_bytes, wait_s, answer)
        return fetch

    def offer(self, found: Found, leader: int) -> None:
        """Lets frames be fetched from their leader."""
        for request, frame in found:
            self.fetches[self.owner[frame.partition]][leader].add((request, frame), self.world.bytes_of(frame))
        for _, frame in found:
            self.fetches[self.owner[frame.partition]][leader].settle()

    def _come(self, fetch: Fetch[tuple[Request, Frame]], found: Found) -> None:
        """An answer has come, and with it, as its way is counted in the answer's, the next fetch to the broker."""
        for request, frame in found:
            self.then(request, frame)
        fetch.come()
