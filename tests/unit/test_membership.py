"""A group member does what its coordinator says: only what changed is given up or taken over, and heartbeats never stop."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError

from live_adapters.pipeline.consumer.groupprotocol import HeartbeatRequest, HeartbeatResponse
from live_adapters.pipeline.consumer.membership import FENCED, Membership
from sentra_sim.errors import PlantError

TOPIC_ID = b"0123456789abcdef"


@dataclass
class Coordinator:
    """Answers heartbeats as told; a request and an answer go through their bytes."""

    meant: set[int]
    epoch: int = 1
    error: int = 0
    away: int = 0  # requests that get no answer
    requests: list[Any] = field(default_factory=list)

    async def ask(self, request: Any) -> Any:
        self.requests.append(HeartbeatRequest.decode(request.prepare({68: (0, 1)}).encode()))
        if self.away:
            self.away -= 1
            raise KafkaConnectionError
        error, self.error = self.error, 0
        assignment = ([(TOPIC_ID, sorted(self.meant), {})], {})
        answer = HeartbeatResponse(0, error, None, "worker-1", self.epoch, 5, None if error else assignment, {})
        return HeartbeatResponse.decode(answer.encode())

    def owned(self) -> list[set[int] | None]:
        """Returns what each request said that the member owns."""
        said = [request.topic_partitions for request in self.requests]
        return [None if rows is None else {number for row in rows for number in row[1]} for rows in said]


class Story:
    """A member, and what it did."""

    def __init__(self, coordinator: Coordinator, give_up: Callable[[], Awaitable[None]] | None = None) -> None:
        self.done: list[tuple[str, set[int]]] = []
        self._give_up = give_up
        self.member = Membership("group", "worker-1", "events", coordinator.ask, gain=self._gain, lose=self._lose)

    async def _gain(self, partitions: set[int]) -> None:
        self.done.append(("gain", partitions))

    async def _lose(self, partitions: set[int]) -> None:
        if self._give_up:
            await self._give_up()
        self.done.append(("lose", partitions))

    async def until(self, *done: tuple[str, set[int]]) -> None:
        async with asyncio.timeout(5.0):
            while self.done != list(done):
                self.member.check()
                await asyncio.sleep(0.001)


def test_only_what_changed_is_given_up_and_the_coordinator_hears_of_it_at_once() -> None:
    async def story() -> None:
        coordinator = Coordinator({0, 1, 2, 3, 4, 5})
        told = Story(coordinator)
        told.member.start()
        await told.until(("gain", {0, 1, 2, 3, 4, 5}))
        coordinator.meant = {0, 1, 2}
        await told.until(("gain", {0, 1, 2, 3, 4, 5}), ("lose", {3, 4, 5}))
        coordinator.meant = {0, 1, 2, 5}
        await told.until(("gain", {0, 1, 2, 3, 4, 5}), ("lose", {3, 4, 5}), ("gain", {5}))
        await told.member.confirm()
        await told.member.leave()
        said = [owned for owned in coordinator.owned() if owned is not None]
        assert said == [set(), {0, 1, 2, 3, 4, 5}, {0, 1, 2}, {0, 1, 2, 5}]
        assert coordinator.requests[-1].member_epoch == -1

    asyncio.run(story())


def test_heartbeats_go_on_while_a_partition_waits_for_the_poll_at_work() -> None:
    async def story() -> None:
        working = asyncio.Event()
        coordinator = Coordinator({0, 1})
        told = Story(coordinator, working.wait)  # type: ignore[arg-type]
        told.member.start()
        await told.until(("gain", {0, 1}))
        await told.member.confirm()
        coordinator.meant = {0}
        before = len(coordinator.requests)
        async with asyncio.timeout(5.0):
            while len(coordinator.requests) < before + 5:
                await asyncio.sleep(0.001)
        assert {0} not in coordinator.owned()  # not before it has been given up
        working.set()
        await told.until(("gain", {0, 1}), ("lose", {1}))
        await told.member.confirm()
        assert {0} in coordinator.owned()
        await told.member.leave()

    asyncio.run(story())


def test_one_that_was_taken_for_dead_gives_everything_up_before_it_joins_anew() -> None:
    async def story() -> None:
        coordinator = Coordinator({0, 1})
        told = Story(coordinator)
        told.member.start()
        await told.until(("gain", {0, 1}))
        coordinator.error = FENCED
        await told.until(("gain", {0, 1}), ("lose", {0, 1}), ("gain", {0, 1}))
        joins = [
            owned
            for request, owned in zip(coordinator.requests, coordinator.owned(), strict=True)
            if not request.member_epoch
        ]
        assert joins == [set(), set()]
        assert told.member.rejoined == 1
        await told.member.leave()

    asyncio.run(story())


def test_a_coordinator_that_is_away_costs_nothing_that_is_owned() -> None:
    async def story() -> None:
        coordinator = Coordinator({4})
        told = Story(coordinator)
        told.member.start()
        await told.until(("gain", {4}))
        coordinator.away = 2
        async with asyncio.timeout(5.0):
            while coordinator.away:
                await asyncio.sleep(0.01)
        await told.member.confirm()
        assert told.done == [("gain", {4})]
        await told.member.leave()

    asyncio.run(story())


@pytest.mark.parametrize("error", [30, 81])
def test_a_group_that_does_not_take_the_member_ends_it_with_the_reason(error: int) -> None:
    async def story() -> None:
        told = Story(Coordinator({0}, error=error))
        told.member.start()
        with pytest.raises(PlantError, match=rf"kafka: the group must take member worker-1, got error {error}"):
            await told.until(("gain", {0}))
        await told.member.leave()

    asyncio.run(story())


def test_brokers_that_are_too_old_are_named() -> None:
    with pytest.raises(IncompatibleBrokerVersion, match=r"HeartbeatRequest v1 needs brokers of Kafka 4\.0 or later"):
        HeartbeatRequest().prepare({68: (0, 0)})
