"""What PostgreSQL, Redis, ClickHouse and the dead-letter topic hold when a run is over, and what its hop logs say was delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from aiokafka import AIOKafkaConsumer, TopicPartition

from live_adapters.pipeline import hoplog
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.stores.hotstate import STATE
from live_adapters.pipeline.stores.ledger import connect
from live_adapters.pipeline.stores.storage import ask_clickhouse, open_redis

POSITIONS_SQL = "SELECT key, version, quantity, part FROM positions"
PROGRESS_SQL = "SELECT part, first_offset, next_offset, duplicates, dead FROM progress"
LETTERS_SQL = "SELECT part, record_offset FROM dead_letters"
FILLS_BY_KEY_SQL = "SELECT key, count(), sum(quantity) FROM fills GROUP BY key"
FILLS_BY_FRAME_SQL = "SELECT partition, frame, count() FROM fills GROUP BY partition, frame"
POSITION = "position:"
CHUNK_KEYS = 5000

VERSIONS = {"key": pl.Int64, "version": pl.Int64, "quantity": pl.Float64}
BY_FRAME = {"partition": pl.Int32, "frame": pl.Int64, "rows": pl.Int64}
PLACES = {"partition": pl.Int32, "offset": pl.Int64}
PROGRESS = {
    "partition": pl.Int32,
    "first_offset": pl.Int64,
    "next_offset": pl.Int64,
    "repeated": pl.Int64,
    "dead": pl.Int64,
}


@dataclass(frozen=True)
class Held:
    """Tables of what there is: by key (VERSIONS), by frame (BY_FRAME), of dead letters (PLACES); progress by partition.

    `sent` is what fanout sent of each frame, `delivered` what subscribers kept of it, frames without their partition (-1).
    """

    progress: pl.DataFrame
    postgres: pl.DataFrame
    redis: pl.DataFrame
    clickhouse: pl.DataFrame
    fills: pl.DataFrame
    letters: pl.DataFrame
    published: pl.DataFrame
    sent: pl.DataFrame
    delivered: pl.DataFrame

    @property
    def converged(self) -> bool:
        """Tells whether Redis and ClickHouse count per key what PostgreSQL does."""
        truth = self.postgres.select("key", "version").sort("key")
        others = (self.redis, self.clickhouse)
        return all(truth.equals(other.select("key", "version").sort("key")) for other in others)


async def read_held(config: RunConfig) -> Held:
    """Reads everything.

    Raises:
        PlantError: a store cannot be reached.
    """
    connection = await connect(config.postgres_dsn)
    try:
        progress = [tuple(row) for row in await connection.fetch(PROGRESS_SQL)]
        positions = [tuple(row) for row in await connection.fetch(POSITIONS_SQL)]
        letters = [tuple(row) for row in await connection.fetch(LETTERS_SQL)]
    finally:
        await connection.close()
    by_key = (await ask_clickhouse(config, {"query": FILLS_BY_KEY_SQL}))["rows"]
    by_frame = (await ask_clickhouse(config, {"query": FILLS_BY_FRAME_SQL}))["rows"]
    return Held(
        progress=_table(progress, PROGRESS),
        postgres=_table(positions, VERSIONS | {"partition": pl.Int32}),
        redis=await _redis(config),
        clickhouse=_table([(int(key), int(rows), float(quantity)) for key, rows, quantity in by_key], VERSIONS),
        fills=_table([(int(part), int(frame), int(rows)) for part, frame, rows in by_frame], BY_FRAME),
        letters=_table(letters, PLACES),
        published=_table(await _published(config, len(letters)), PLACES),
        sent=_logged(config.scratch, hoplog.FANOUT_SENT),
        delivered=_logged(config.scratch, hoplog.SUBSCRIBER_DELIVERED),
    )


def _table(rows: Sequence[tuple[float, ...]], schema: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema, orient="row")


def _logged(scratch: Path, log: tuple[str, str, np.dtype[np.void]]) -> pl.DataFrame:
    rows = hoplog.read_log(scratch, *log)
    frames, place = np.unique(rows["frame"], return_inverse=True)
    counts = np.bincount(place, rows["events"], len(frames)).astype(np.int64)
    return pl.DataFrame({"frame": frames.astype(np.int64), "rows": counts})


async def _redis(config: RunConfig) -> pl.DataFrame:
    redis = await open_redis(config)
    try:
        names: list[bytes] = await redis.call("KEYS", f"{POSITION}*")
        states: list[bytes] = []
        for start in range(0, len(names), CHUNK_KEYS):
            states += await redis.call("MGET", *names[start : start + CHUNK_KEYS])
    finally:
        await redis.close()
    held = np.frombuffer(b"".join(states), dtype=STATE)
    keys = np.array([int(name[len(POSITION) :]) for name in names], dtype=np.int64)
    return pl.DataFrame({"key": keys, "version": held["version"], "quantity": held["quantity"]}, schema=VERSIONS)


async def _published(config: RunConfig, letters: int) -> list[tuple[int, int]]:
    """Returns partition and offset of every letter in the dead-letter topic; it is read only when there should be any."""
    if not letters:
        return []
    consumer = AIOKafkaConsumer(bootstrap_servers=config.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(config.dead_letter_topic, number) for number in range(config.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found: set[tuple[int, int]] = set()
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                ids = [dict(record.headers)["id"].decode() for record in records]
                found |= {(int(part), int(offset)) for part, offset in (name.split(":") for name in ids)}
    finally:
        await consumer.stop()
    return sorted(found)
