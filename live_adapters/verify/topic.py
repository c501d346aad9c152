"""The run's topic read whole, partition by partition, as arrays."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiokafka.consumer.fetcher
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from numpy.typing import NDArray

from live_adapters.pipeline.codec import decode_events
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.consumer.poll import EVENT, Batch
from live_adapters.pipeline.consumer.wholebatches import install
from live_adapters.verify.replay import PartitionLog
from sentra_sim.errors import PlantError

FETCH_BYTES = 32 << 20
FETCH_BATCHES = 4_000
STILL_S = 10.0  # without anything new for so long, the rest of a partition cannot be read


@contextlib.contextmanager
def whole_batches() -> Iterator[None]:
    """Lets this process' consumers hand out whole batches, and takes it back: others of them want records."""
    module: Any = aiokafka.consumer.fetcher
    kept = module.MemoryRecords, module.PartitionRecords
    install()
    try:
        yield
    finally:
        module.MemoryRecords, module.PartitionRecords = kept


async def read_topic(config: RunConfig) -> AsyncIterator[PartitionLog]:
    """Yields each partition's log; one at a time, so that memory holds one.

    Raises:
        PlantError: Kafka cannot be reached.
    """
    with whole_batches():
        consumer = AIOKafkaConsumer(
            bootstrap_servers=config.kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_bytes=FETCH_BYTES,
        )
        try:
            await consumer.start()
            for partition in range(config.partitions):
                yield await _read(consumer, TopicPartition(config.topic, partition))
        except KafkaError as error:
            raise PlantError(
                f"kafka: topic {config.topic} must be readable, got {error!r}; see `sentra status`"
            ) from None
        finally:
            await consumer.stop()


async def _read(consumer: Any, tp: TopicPartition) -> PartitionLog:
    consumer.assign([tp])
    first = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.end_offsets([tp]))[tp]
    consumer.seek(tp, first)
    reached, moved_at = first, time.monotonic()
    parts: list[tuple[NDArray[np.void], NDArray[np.int64], NDArray[np.int64]]] = []
    while reached < end and time.monotonic() < moved_at + STILL_S:
        found: list[Batch] = (await consumer.getmany(tp, timeout_ms=200, max_records=FETCH_BATCHES)).get(tp, [])
        if found:
            parts.append(await asyncio.to_thread(decode, found))
            reached, moved_at = found[-1].next_offset, time.monotonic()
    events, offsets, unreadable = (
        (np.concatenate(column) for column in zip(*parts, strict=True))
        if parts
        else (np.zeros(0, EVENT), np.zeros(0, np.int64), np.zeros(0, np.int64))
    )
    return PartitionLog(tp.partition, first, end, reached >= end, events, offsets, unreadable)


def decode(batches: list[Batch]) -> tuple[NDArray[np.void], NDArray[np.int64], NDArray[np.int64]]:
    """Returns the batches' readable events, shape (events,) of poll.EVENT, their offsets, and the unreadable records' offsets."""
    offsets = np.concatenate([np.arange(b.first_offset, b.first_offset + b.count) for b in batches])
    try:
        if any(batch.lengths is not None for batch in batches):
            raise ValueError("records of different lengths")
        return _columns(decode_events(b"".join([b.block for b in batches]), len(offsets))), offsets, offsets[:0]
    except ValueError:
        return _decode_each(batches, offsets)


def _decode_each(
    batches: list[Batch], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.void], NDArray[np.int64], NDArray[np.int64]]:
    events = np.zeros(len(offsets), dtype=EVENT)
    readable = np.ones(len(offsets), dtype=np.bool_)
    place = 0
    for batch in batches:
        at = 0
        for length in batch.lengths or (len(batch.block) // batch.count,) * batch.count:
            try:
                events[place] = _columns(decode_events(batch.block[at : at + length], 1))[0]
            except ValueError:
                readable[place] = False
            place, at = place + 1, at + length
    return events[readable], offsets[readable], offsets[~readable]


def _columns(events: NDArray[np.void]) -> NDArray[np.void]:
    columns = np.empty(len(events), dtype=EVENT)
    for name in EVENT.names or ():
        columns[name] = events[name]
    return columns
