"""The exactly-once checker: what PostgreSQL, Redis and ClickHouse hold after a run, against what was acknowledged."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.stores.hotstate import STATE
from live_adapters.pipeline.stores.ledger import connect
from live_adapters.pipeline.stores.storage import ask_clickhouse, count_effects, open_redis

STATE_SQL = "SELECT key, version FROM positions ORDER BY key"
CLICKHOUSE_SQL = "SELECT key, count() FROM fills GROUP BY key ORDER BY key"
CHUNK_KEYS = 5000
PAUSE_S = 0.1


@dataclass(frozen=True)
class Verdict:
    """What the stores hold, and every rule that they break, one line each; no line, no fault."""

    counts: dict[str, int]
    faults: tuple[str, ...]

    @property
    def lost(self) -> int:
        """Acknowledged events without effect."""
        return max(0, self.counts["acked"] - self.counts["effects"] - self.counts["dead"])

    @property
    def doubled(self) -> int:
        """Effects beyond the acknowledged events; of those whose acknowledgement was lost it cannot tell."""
        return max(0, self.counts["effects"] + self.counts["dead"] - self.counts["acked"])


async def verify_stores(
    config: RunConfig, acked_events: int, *, unknown_events: int = 0, within_s: float = 5.0
) -> Verdict:
    """Checks a drained run: every acknowledged event in effect once; Redis and ClickHouse equal to PostgreSQL, key by key.

    `unknown_events` were sent but never acknowledged: each may have taken effect or not. Redis and ClickHouse may take
    `within_s` seconds to converge.

    Raises:
        PlantError: a store cannot be reached.
    """
    deadline = time.monotonic() + within_s
    while True:
        verdict = await _compare(config, acked_events, unknown_events)
        if not verdict.faults or time.monotonic() > deadline:
            return verdict
        await asyncio.sleep(PAUSE_S)


async def _compare(config: RunConfig, acked_events: int, unknown_events: int) -> Verdict:
    counts = await count_effects(config) | {"acked": acked_events}
    truth = await _versions_in_postgres(config)
    redis = await _versions_in_redis(config, list(truth))
    rows = (await ask_clickhouse(config, {"query": CLICKHOUSE_SQL}))["rows"]
    clickhouse = {int(key): int(count) for key, count in rows}
    counts["redis_differs"], counts["clickhouse_differs"] = _differences(truth, redis), _differences(truth, clickhouse)
    counts["clickhouse_rows"] = sum(clickhouse.values())
    faults = []
    taken = counts["effects"] + counts["dead"]
    if taken < acked_events:
        faults.append(f"effects: must hold every acknowledged event, got {taken} of {acked_events}")
    if taken > acked_events + unknown_events:
        faults.append(f"effects: must hold no event twice, got {taken} of {acked_events + unknown_events} sent")
    if counts["effects"] + counts["duplicates"] + counts["dead"] != counts["progress"]:
        found = f"{counts['effects']} in effect, {counts['duplicates']} duplicates, {counts['dead']} dead"
        faults.append(f"progress: must account for every record taken, got {counts['progress']} taken, {found}")
    for store in ("redis", "clickhouse"):
        if counts[f"{store}_differs"]:
            faults.append(
                f"{store}: must equal PostgreSQL, got {counts[f'{store}_differs']} of {len(truth)} keys that differ"
            )
    return Verdict(counts, tuple(faults))


def _differences(truth: dict[int, int], seen: dict[int, int]) -> int:
    return sum(truth.get(key) != seen.get(key) for key in truth.keys() | seen.keys())


async def _versions_in_postgres(config: RunConfig) -> dict[int, int]:
    connection = await connect(config.postgres_dsn)
    try:
        return {row["key"]: row["version"] for row in await connection.fetch(STATE_SQL)}
    finally:
        await connection.close()


async def _versions_in_redis(config: RunConfig, keys: list[int]) -> dict[int, int]:
    redis = await open_redis(config)
    versions: dict[int, int] = {}
    try:
        for start in range(0, len(keys), CHUNK_KEYS):
            chunk = keys[start : start + CHUNK_KEYS]
            found = await redis.call("MGET", *(f"position:{key}" for key in chunk))
            states = {
                key: np.frombuffer(state, dtype=STATE)[0] for key, state in zip(chunk, found, strict=True) if state
            }
            versions |= {key: int(state["version"]) for key, state in states.items()}
    finally:
        await redis.close()
    return versions
