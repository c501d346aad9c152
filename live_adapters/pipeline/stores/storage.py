"""The stores of a run: emptied before it, counted after it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.stores.hotstate import RedisClient
from live_adapters.pipeline.stores.ledger import connect
from sentra_sim.errors import PlantError

SCHEMA_SQL = Path(__file__).with_name("schema.sql")
ANSWER_S = 60.0
LINE_BYTES = 256 << 20  # a ClickHouse answer is one line

COUNT_SQL = """
SELECT
    (SELECT coalesce(sum(version), 0)::bigint FROM positions) AS effects,
    (SELECT count(*) FROM positions) AS keys,
    (SELECT coalesce(sum(next_offset - first_offset), 0)::bigint FROM progress) AS progress,
    (SELECT coalesce(sum(duplicates), 0)::bigint FROM progress) AS duplicates,
    (SELECT coalesce(sum(dead), 0)::bigint FROM progress) AS dead,
    (SELECT count(*) FROM outbox) AS outbox_rows
"""


async def reset_stores(config: RunConfig) -> None:
    """Empties PostgreSQL's tables, the Redis database and ClickHouse's table; work starts at the topic's present end.

    Raises:
        PlantError: a store or Kafka cannot be reached.
    """
    ends = await end_offsets(config)
    connection = await connect(config.postgres_dsn)
    try:
        await connection.execute(SCHEMA_SQL.read_text(encoding="utf-8"))
        start = "INSERT INTO progress (part, first_offset, next_offset, owner_epoch) VALUES ($1, $2, $2, 0)"
        await connection.executemany(start, list(ends.items()))
    finally:
        await connection.close()
    redis = await open_redis(config)
    await redis.call("FLUSHDB")
    await redis.close()
    await ask_clickhouse(config, {"reset": True})


async def count_effects(config: RunConfig) -> dict[str, int]:
    """Counts what PostgreSQL holds.

    Returns:
        `effects`: events in effect, the sum of versions; `keys`; `progress`: records taken, the sum of offsets since the
        reset; `duplicates` and `dead`: records refused; `outbox_rows`: not yet confirmed by all downstream.

    Raises:
        PlantError: PostgreSQL cannot be reached.
    """
    connection = await connect(config.postgres_dsn)
    try:
        return {name: int(value) for name, value in (await connection.fetchrow(COUNT_SQL)).items()}
    finally:
        await connection.close()


async def end_offsets(config: RunConfig) -> dict[int, int]:
    """Returns the end of the log by partition.

    Raises:
        PlantError: Kafka cannot be reached.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=config.kafka)
    try:
        await consumer.start()
        partitions = [TopicPartition(config.topic, number) for number in range(config.partitions)]
        ends = await consumer.end_offsets(partitions)
    except KafkaError as error:
        raise PlantError(f"kafka: topic {config.topic} must be readable, got {error!r}; see `sentra status`") from None
    finally:
        await consumer.stop()
    return {tp.partition: end for tp, end in ends.items()}


async def open_redis(config: RunConfig) -> RedisClient:
    """Connects to Redis.

    Raises:
        PlantError: it cannot be reached.
    """
    try:
        return await RedisClient.open(config.redis_host, config.redis_port)
    except OSError as error:
        raise PlantError(f"redis: must accept a connection, got {error}; see `sentra status`") from None


async def ask_clickhouse(config: RunConfig, request: dict[str, Any]) -> dict[str, Any]:
    """Sends the ClickHouse engine one request and returns its answer.

    Raises:
        PlantError: it cannot be reached, or refuses.
    """
    try:
        reader, writer = await asyncio.open_connection(config.clickhouse_host, config.clickhouse_port, limit=LINE_BYTES)
        writer.write(json.dumps(request).encode() + b"\n")
        answer = json.loads(await asyncio.wait_for(reader.readline(), ANSWER_S))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    except (OSError, ValueError) as error:
        raise PlantError(f"clickhouse: must answer, got {error!r}; see `sentra status`") from None
    if "error" in answer:
        raise PlantError(f"clickhouse: must answer {request}, got {answer['error']}; see its log")
    return dict(answer)
