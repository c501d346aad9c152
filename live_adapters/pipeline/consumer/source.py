"""The worker's side of Kafka: polls of whole batches, from the offsets that PostgreSQL knows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError
from aiokafka.protocol.coordination import FindCoordinatorRequest

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.consumer import wholebatches
from live_adapters.pipeline.consumer.arrivals import Arrivals
from live_adapters.pipeline.consumer.gathering import GatherTime
from live_adapters.pipeline.consumer.increments import Increments
from live_adapters.pipeline.consumer.membership import Membership
from live_adapters.pipeline.consumer.poll import Batch
from sentra_sim.errors import PlantError
from sentra_sim.scenario import Batcher, ConsumerGroup, only
from sentra_sim.units import MS_PER_S

POLL_MS = 200
# How long a broker may hold back an answer without data. Long, because an idle answer is nothing but work.
FETCH_WAIT_MS = 100
PARTITION_BYTES = 8 << 20
COMMIT_S = 1.0
RETRY_S = 0.2
MOVED = (15, 16)  # Kafka's error codes of a coordinator that is not there, or is another broker

# Takes partitions over, given the log's first offset of each; returns the offset to read each from.
Assigned = Callable[[dict[int, int]], Awaitable[dict[int, int]]]
Revoked = Callable[[list[int]], Awaitable[None]]

log = logging.getLogger(__name__)


class Source:
    """A member of the consumer group, and the partitions that it reads: while some change hands, the polls of the others go on.

    Kafka learns of the offsets once a second, for lag dashboards only.
    """

    def __init__(self, config: RunConfig, member: str, assigned: Assigned, revoked: Revoked) -> None:
        self._topic, self._group = config.topic, config.group
        group = only(config.scenario, ConsumerGroup)[1]
        self._max_events = group.max_poll_events
        self.gather = GatherTime(group.gather_s, group.max_poll_events)
        self._batch_events = only(config.scenario, Batcher)[1].max_events
        self._assigned, self._revoked = assigned, revoked
        self.arrivals = Arrivals(config.scratch, member)
        self._reached: dict[int, int] = {}
        self._expected: dict[int, int] = {}  # by partition owned, the offset that the next batch must start at
        self._sought: dict[int, int] = {}
        self._coordinator: int | None = None
        self._committing: asyncio.Task[None] | None = None
        wholebatches.install()
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=config.kafka,
            client_id=member,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_uncommitted",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=PARTITION_BYTES,
            request_timeout_ms=15_000,
            retry_backoff_ms=50,
        )
        self._reading = Increments(self._consumer, config.topic)
        self._member = Membership(config.group, member, config.topic, self._ask, gain=self._gain, lose=self._lose)

    async def start(self) -> None:
        """Joins the group.

        Raises:
            PlantError: no broker answers.
        """
        try:
            await self._consumer.start()
            await self._reading.begin()
        except KafkaError as error:
            raise PlantError(f"kafka: must answer, got {error!r}; see `sentra status`") from None
        self._member.start()
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
        self._member.check()
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
            if tp.partition in offsets:
                self._expected[tp.partition] = offsets[tp.partition]
                self._sought.pop(tp.partition, None)
                self._consumer.seek(tp, offsets[tp.partition])

    def reached(self, offsets: dict[int, int]) -> None:
        """Notes up to where effects are committed."""
        self._reached.update(offsets)

    async def confirm(self) -> None:
        """Asks the group whether this member is one still; if not, it has given everything up on return, and joins anew."""
        await self._member.confirm()

    async def stop(self) -> None:
        """Leaves the group."""
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.gather(self._committing, return_exceptions=True)
            await self._commit()
        await self._member.leave()
        await self._consumer.stop()

    async def _gain(self, partitions: set[int]) -> None:
        """Takes partitions over, then reads each from the offset of its progress."""
        offsets = await self._assigned(await self._firsts(partitions))
        for partition in partitions:
            self._expected[partition] = offsets[partition]
            self._sought.pop(partition, None)
            self._reading.add(partition, offsets[partition])

    async def _lose(self, partitions: set[int]) -> None:
        """Reads partitions no more, then gives them up, after the poll that is at work."""
        self._reading.remove(partitions)
        for partition in partitions:
            self._expected.pop(partition, None)
        await self._revoked(sorted(partitions))
        for partition in partitions:
            self._reached.pop(partition, None)

    async def _firsts(self, partitions: set[int]) -> dict[int, int]:
        """Returns the log's first offset of each partition, however long its leader is away."""
        wanted = [TopicPartition(self._topic, partition) for partition in sorted(partitions)]
        while True:
            try:
                firsts = await self._consumer.beginning_offsets(wanted)
                return {tp.partition: first for tp, first in firsts.items()}
            except KafkaError as error:
                log.warning("kafka: must tell where partitions start, got %r; tries again", error)
                await asyncio.sleep(RETRY_S)

    async def _ask(self, request: Any) -> Any:
        """Sends a request to the group's coordinator, on a connection beside the fetches; looks it up when it may have moved."""
        client = self._consumer._client
        if self._coordinator is None:
            found = await client.send(client.get_random_node(), FindCoordinatorRequest(self._group, 0))
            if found.error_code:
                raise KafkaError(f"no coordinator yet, error {found.error_code}")
            self._coordinator = found.coordinator_id
        try:
            answer = await client.send(self._coordinator, request, group=ConnectionGroup.COORDINATION)
        except IncompatibleBrokerVersion:
            raise
        except (KafkaError, OSError):
            self._coordinator = None
            raise
        if getattr(answer, "error_code", 0) in MOVED:
            self._coordinator = None
        return answer

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
        # PostgreSQL knows the truth: a commit that fails, say in a rebalance, is made up for by the next.
        with contextlib.suppress(KafkaError, OSError):
            await self._member.commit(self._reached)
