"""The worker's side of Kafka: polls of whole batches, from the offsets that PostgreSQL knows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.consumer import wholebatches
from live_adapters.pipeline.consumer.arrivals import Arrivals
from live_adapters.pipeline.consumer.gathering import GatherTime
from live_adapters.pipeline.consumer.poll import Batch
from sentra_sim.errors import PlantError
from sentra_sim.scenario import Batcher, ConsumerGroup, only
from sentra_sim.units import MS_PER_S

POLL_MS = 200
# How long a broker may hold back an answer without data. Long, because an idle answer is nothing but work.
FETCH_WAIT_MS = 100
PARTITION_BYTES = 8 << 20
SESSION_MS, HEARTBEAT_MS = 6000, 2000
COMMIT_S = 1.0

# Takes partitions over, given the log's first offset of each; returns the offset to read each from.
Assigned = Callable[[dict[int, int]], Awaitable[dict[int, int]]]
Revoked = Callable[[list[int]], Awaitable[None]]

log = logging.getLogger(__name__)


class Source(ConsumerRebalanceListener):  # type: ignore[misc]
    """A member of the consumer group. Kafka learns of the offsets once a second, for lag dashboards only."""

    def __init__(self, config: RunConfig, member: str, assigned: Assigned, revoked: Revoked) -> None:
        self._topic = config.topic
        group = only(config.scenario, ConsumerGroup)[1]
        self._max_events = group.max_poll_events
        self.gather = GatherTime(group.gather_s, group.max_poll_events)
        self._batch_events = only(config.scenario, Batcher)[1].max_events
        self._assigned, self._revoked = assigned, revoked
        self.arrivals = Arrivals(config.scratch)
        self._reached: dict[TopicPartition, int] = {}
        self._expected: dict[int, int] = {}  # by partition owned, the offset that the next batch must start at
        self._sought: dict[int, int] = {}
        self._failure: Exception | None = None
        self._committing: asyncio.Task[None] | None = None
        wholebatches.install()
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=config.kafka,
            group_id=config.group,
            group_instance_id=member,  # a restarted worker takes its own place again, without waiting for the session
            client_id=member,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_uncommitted",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=PARTITION_BYTES,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            request_timeout_ms=15_000,
            retry_backoff_ms=50,
        )

    async def start(self) -> None:
        """Joins the group.

        Raises:
            PlantError: no broker answers.
        """
        try:
            await self._consumer.start()
        except KafkaError as error:
            raise PlantError(f"kafka: must answer, got {error!r}; see `sentra status`") from None
        self._consumer.subscribe([self._topic], listener=self)
        self._committing = asyncio.create_task(self._tell_kafka())

    async def poll(self) -> list[Batch]:
        """Returns the batches that are there, whole, up to `max_poll_events`; nothing after POLL_MS without data.

        When none was there, the first to come is given `gather_s` of company; less when the log has much more (gathering.py).

        Raises:
            PlantError: partitions could not be taken over, or Kafka refused.
        """
        batches = await self._take(0, self._max_events)
        self.gather.see(self.lag_events())
        if batches:
            return batches
        batches = await self._take(POLL_MS, self._max_events)
        return batches + await self._gather(self._max_events - sum(batch.count for batch in batches)) if batches else []

    async def _gather(self, room: int) -> list[Batch]:
        """Takes what comes within `gather_s`, each as it comes: aiokafka fetches nothing more from a broker until it is taken."""
        batches: list[Batch] = []
        until = time.monotonic() + self.gather.now_s
        while room >= self._batch_events and (left_s := until - time.monotonic()) > 0.0:
            more = await self._take(left_s * MS_PER_S, room)
            room -= sum(batch.count for batch in more)
            batches += more
        return batches

    async def _take(self, wait_ms: float, room: int) -> list[Batch]:
        batches: list[Batch] = []
        left = room
        while left >= self._batch_events or not batches:
            # Counted in batches; the gateway's largest ones must not exceed the limit.
            most = max(1, left // self._batch_events)
            fetched = await self._fetch(wait_ms, most)
            found = [batch for batches in fetched.values() for batch in batches]
            taken = [batch for batch in found if self._in_place(batch)]
            self.arrivals.note(taken, self._high_watermark)
            batches += taken
            if len(found) < most:
                break
            left, wait_ms = room - sum(batch.count for batch in batches), 0
        return batches

    async def _fetch(self, wait_ms: float, most: int) -> dict[TopicPartition, list[Batch]]:
        try:
            fetched: dict[TopicPartition, list[Batch]] = await self._consumer.getmany(
                timeout_ms=wait_ms, max_records=most
            )
        except KafkaError as error:
            raise PlantError(f"kafka: must answer, got {error!r}; see `sentra status`") from None
        if self._failure is not None:
            raise self._failure
        return fetched

    def lag_events(self) -> int:
        """Returns how many events of the partitions owned wait in the log, as of each broker's last answer."""
        return sum(self.lag_by_partition().values())

    def lag_by_partition(self) -> dict[int, int]:
        """Returns the same by partition; one of which no broker has told yet is left out."""
        lag = {}
        for tp in self._consumer.assignment():
            end, taken = self._consumer.highwater(tp), self._expected.get(tp.partition)
            if end is not None and taken is not None:
                lag[tp.partition] = max(0, end - taken)
        return lag

    def _high_watermark(self, partition: int) -> int | None:
        end: int | None = self._consumer.highwater(TopicPartition(self._topic, partition))
        return end

    def go_to(self, offsets: dict[int, int]) -> None:
        """Reads on from these offsets, after PostgreSQL told where its progress really stands."""
        for tp in self._consumer.assignment():
            if tp.partition in self._expected and tp.partition in offsets:
                self._expected[tp.partition] = offsets[tp.partition]
                self._sought.pop(tp.partition, None)
                self._consumer.seek(tp, offsets[tp.partition])

    def reached(self, offsets: dict[int, int]) -> None:
        """Notes up to where effects are committed."""
        for partition, offset in offsets.items():
            self._reached[TopicPartition(self._topic, partition)] = offset

    async def stop(self) -> None:
        """Leaves."""
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.gather(self._committing, return_exceptions=True)
            await self._commit()
        await self._consumer.stop()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Takes partitions over and goes to the offset of their progress."""
        if not assigned:
            return
        firsts = await self._consumer.beginning_offsets(list(assigned))
        try:
            offsets = await self._assigned({tp.partition: first for tp, first in firsts.items()})
        except Exception as error:  # aiokafka would only log it
            self._failure = error
            return
        for tp in assigned:
            self._consumer.seek(tp, offsets[tp.partition])
            self._expected[tp.partition] = offsets[tp.partition]

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Gives partitions up, after the poll that is at work."""
        if revoked:
            for tp in revoked:
                self._reached.pop(tp, None)
                self._expected.pop(tp.partition, None)
            await self._revoked([tp.partition for tp in revoked])

    def _in_place(self, batch: Batch) -> bool:
        """Tells whether a batch follows the one before it; otherwise seeks, once, to where it should have started.

        aiokafka begins to fetch, from wherever Kafka's commits or the log start, before it is told where to read from.
        """
        number, expected = batch.partition, self._expected.get(batch.partition)
        if expected is None:
            return False
        if batch.first_offset != expected:
            if batch.first_offset < expected or self._sought.get(number) != expected:
                self._sought[number] = expected
                self._consumer.seek(TopicPartition(self._topic, number), expected)
                return False
            log.warning("partition %d: offsets %d to %d are gone", number, expected, batch.first_offset - 1)
        self._expected[number] = batch.next_offset
        return True

    async def _tell_kafka(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_S)
            await self._commit()

    async def _commit(self) -> None:
        if self._reached:
            # PostgreSQL knows the truth: a commit that fails, say in a rebalance, is made up for by the next.
            with contextlib.suppress(KafkaError):
                await self._consumer.commit(dict(self._reached))
