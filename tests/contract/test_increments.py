"""aiokafka's consumer under partitions that come and go one by one: what it knows of the others stays."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.subscription_state import SubscriptionState

from live_adapters.pipeline.consumer.increments import Increments


class Consumer:
    """A consumer down to its assignment, with something fetched for every partition that it was sent to."""

    def __init__(self) -> None:
        self._subscription = SubscriptionState()
        self._fetcher = SimpleNamespace(_records={})
        self._client = SimpleNamespace(set_topics=self._set_topics)
        self.assign = self._subscription.assign_from_user

    async def _set_topics(self, topics: list[str]) -> None:
        self.topics = topics

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._subscription.seek(tp, offset)
        self._fetcher._records[tp] = offset


def positions(consumer: Consumer) -> dict[int, int]:
    assignment = consumer._subscription.subscription.assignment
    return {tp.partition: assignment.state_value(tp).position for tp in assignment.tps}


def test_partitions_that_come_and_go_leave_the_others_positions_and_buffers() -> None:
    async def story() -> None:
        consumer: Any = Consumer()
        reading = Increments(consumer, "events")
        await reading.begin()
        assert (consumer.topics, positions(consumer)) == (["events"], {})
        for partition in range(4):
            reading.add(partition, 10 * partition)
        assignment = consumer._subscription.subscription.assignment
        assignment.state_value(TopicPartition("events", 2)).consumed_to(27)
        reading.remove([0, 3])
        assert positions(consumer) == {1: 10, 2: 27}
        assert sorted(tp.partition for tp in consumer._fetcher._records) == [1, 2]
        reading.add(3, 35)
        assert positions(consumer) == {1: 10, 2: 27, 3: 35}
        assert assignment.active
        assert consumer._subscription.subscription.assignment is assignment  # a new one would drop all that was fetched
        assert assignment.state_value(TopicPartition("events", 0)) is not None  # for a fetch that is on its way

    asyncio.run(story())
