"""Partitions added to and taken from a running aiokafka consumer one by one: the others' positions and buffers stay.

aiokafka's own `assign` replaces everything, and what was fetched is thrown away and fetched again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.subscription_state import TopicPartitionState


class Increments:
    """The assignment of a consumer without a group, which must have been started."""

    def __init__(self, consumer: Any, topic: str) -> None:
        self._consumer, self._topic = consumer, topic
        self._assignment: Any = None

    async def begin(self) -> None:
        """Assigns nothing, and learns who leads the topic's partitions."""
        self._consumer.assign([])
        self._assignment = self._consumer._subscription.subscription.assignment
        await self._consumer._client.set_topics([self._topic])

    def add(self, partition: int, offset: int) -> None:
        """Reads a partition too, from an offset on."""
        tp = TopicPartition(self._topic, partition)
        self._assignment._tp_state[tp] = TopicPartitionState(self._assignment)
        self._assignment._topic_partitions |= {tp}
        self._consumer.seek(tp, offset)

    def remove(self, partitions: Iterable[int]) -> None:
        """Reads partitions no more. Their states stay behind, for a fetch that is on its way."""
        gone = {TopicPartition(self._topic, partition) for partition in partitions}
        self._assignment._topic_partitions -= gone
        for tp in gone:
            self._consumer._fetcher._records.pop(tp, None)
