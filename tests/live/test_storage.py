"""The stores of a run: emptied, counted, and written to in PostgreSQL's own format."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest

from live_adapters import stack as local_stack
from live_adapters.pipeline.stores.ledger import connect
from live_adapters.pipeline.stores.storage import ask_clickhouse, count_effects, open_redis, reset_stores
from sentra_sim.errors import PlantError
from tests.live.back_half import make_config

pytestmark = pytest.mark.live

ARRAYS = (
    ("integer[]", [1, -(2**31), 2**31 - 1]),
    ("bigint[]", [0, -(2**63), 2**63 - 1]),
    ("float8[]", [0.1, -1e300, float("inf"), 5e-324]),
    ("bigint[]", []),
)


def test_packed_arrays_arrive_as_asyncpgs_own(stack: local_stack.Endpoints) -> None:
    async def texts(connection: Any, values: list[Any]) -> list[str]:
        questions = zip(ARRAYS, values, strict=True)
        return [await connection.fetchval(f"SELECT $1::{kind}::text", value) for (kind, _), value in questions]

    async def both() -> tuple[list[str], list[str], list[str]]:
        plain, packed = await asyncpg.connect(stack.postgres_dsn), await connect(stack.postgres_dsn)
        lists = [value for _, value in ARRAYS]
        try:
            arrays = [np.array(value) for value in lists]
            return await texts(plain, lists), await texts(packed, lists), await texts(packed, arrays)
        finally:
            await plain.close()
            await packed.close()

    expected, from_lists, from_arrays = asyncio.run(both())
    assert expected == from_lists == from_arrays
    assert expected[1] == "{0,-9223372036854775808,9223372036854775807}"


def test_a_reset_leaves_nothing_and_starts_at_the_end_of_the_log(stack: local_stack.Endpoints, tmp_path: Path) -> None:
    config = make_config(stack, tmp_path)

    async def story() -> tuple[dict[str, int], Any, dict[str, Any]]:
        await reset_stores(config)
        redis = await open_redis(config)
        await redis.call("SET", "position:1", "x")
        await reset_stores(config)
        left = await redis.call("DBSIZE")
        await redis.close()
        return await count_effects(config), left, await ask_clickhouse(config, {"query": "SELECT count() FROM fills"})

    counts, keys_in_redis, clickhouse = asyncio.run(story())
    assert set(counts.values()) == {0}
    assert keys_in_redis == 0
    assert int(clickhouse["rows"][0][0]) == 0


def test_a_store_that_is_away_or_refuses_is_told_in_one_line(stack: local_stack.Endpoints, tmp_path: Path) -> None:
    config = make_config(stack, tmp_path)
    with pytest.raises(PlantError, match=r"^postgres: must accept a connection, got .*; see `sentra status`$"):
        asyncio.run(connect("postgresql://nobody@127.0.0.1:1/none"))
    with pytest.raises(PlantError, match=r"^clickhouse: must answer .*, got .*; see its log$"):
        asyncio.run(ask_clickhouse(config, {"query": "SELEKT 1"}))
