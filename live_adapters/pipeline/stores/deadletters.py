"""From the table of dead letters to the dead-letter topic `<topic>-dlq`: every record put aside, with its reason.

A letter is committed in PostgreSQL with its poll, then published: key and value as in the log, in the partition that it came
from, with the headers `reason`, `partition`, `offset` and `id` (`<partition>:<offset>`, all UTF-8). It is marked as published
when all in-sync replicas have it. So it comes at least once, and `id` is the key to refuse it twice by.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

from aiokafka.errors import KafkaError

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.ingress.producer import make_producer
from live_adapters.pipeline.stores.ledger import SideConnection
from live_adapters.pipeline.stores.retry import Backoff, StoreAwayError

LETTERS = 500  # per read
BACKOFF = Backoff(base_s=0.1, cap_s=5.0, total_s=float("inf"))  # letters wait in the table

UNPUBLISHED_SQL = """
SELECT part, record_offset, reason, key, value FROM dead_letters
WHERE NOT published AND part IN (SELECT unnest($1::integer[])) ORDER BY part, record_offset LIMIT $2
"""
PUBLISHED_SQL = """
UPDATE dead_letters AS d SET published = true FROM unnest($1::integer[], $2::bigint[]) AS i (part, record_offset)
WHERE d.part = i.part AND d.record_offset = i.record_offset
"""

log = logging.getLogger(__name__)


class DeadLetterRelay:
    """Publishes the dead letters of the partitions owned. It costs nothing until there is one."""

    def __init__(self, config: RunConfig, connection: SideConnection) -> None:
        self._kafka, self._topic = config.kafka, config.dead_letter_topic
        self._connection = connection
        self._owned: list[int] = []
        self._wake = asyncio.Event()
        self._producer: Any = None
        self._rng = random.Random()
        self.published = 0

    def look(self, owned: list[int]) -> None:
        """Says that the table may hold letters of these partitions, which are the ones owned."""
        self._owned = owned
        self._wake.set()

    async def run(self) -> None:
        """Publishes for ever; what fails is tried again."""
        delays_s = BACKOFF.delays_s(self._rng)
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.publish_all()
                delays_s = BACKOFF.delays_s(self._rng)
            except (KafkaError, StoreAwayError) as error:
                log.warning("dead letters: must reach %s, got %r; tries again", self._topic, error)
                self._wake.set()
                await asyncio.sleep(next(delays_s))

    async def publish_all(self) -> None:
        """Publishes what is there.

        Raises:
            KafkaError: a letter could not be sent.
            StoreAwayError: PostgreSQL is away.
        """
        while letters := await self._connection.fetch(UNPUBLISHED_SQL, self._owned, LETTERS):
            await self._publish(letters)
            places = [letter["part"] for letter in letters], [letter["record_offset"] for letter in letters]
            await self._connection.execute(PUBLISHED_SQL, *places)
            self.published += len(letters)

    async def close(self) -> None:
        """Closes the connection to Kafka."""
        if self._producer is not None:
            await self._producer.stop()

    async def _publish(self, letters: list[Any]) -> None:
        if self._producer is None:
            producer = make_producer(self._kafka)
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        deliveries = [await self._send(letter) for letter in letters]
        await asyncio.gather(*deliveries)

    async def _send(self, letter: Any) -> asyncio.Future[Any]:
        partition, offset = letter["part"], letter["record_offset"]
        headers = {"reason": letter["reason"], "partition": partition, "offset": offset, "id": f"{partition}:{offset}"}
        delivery: asyncio.Future[Any] = await self._producer.send(
            self._topic,
            letter["value"],
            key=letter["key"],
            partition=partition,
            headers=[(name, str(value).encode()) for name, value in headers.items()],
        )
        return delivery
