"""Stores that die under load: the worker waits, goes on and catches up; what it cannot read ends in the dead-letter topic."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from live_adapters import stack as local_stack
from live_adapters.pipeline.codec import blank_events
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import SUBSCRIBER_DELIVERED, WORKER_FRAMES, read_log
from live_adapters.pipeline.stores.ledger import connect
from live_adapters.pipeline.stores.storage import reset_stores
from live_adapters.verify import verify_stores
from tests.live.back_half import (
    Processes,
    back_half,
    dead_letters,
    kill_store,
    make_config,
    make_events,
    produce,
    until_logged,
    until_taken,
)

pytestmark = pytest.mark.live

EVENTS = 24_000


@pytest.fixture
def config(stack: local_stack.Endpoints, tmp_path: Path) -> RunConfig:
    config = make_config(stack, tmp_path, f"faults-{tmp_path.name.replace('_', '-')}")
    asyncio.run(reset_stores(config))
    return config


def play(config: RunConfig, fault: Callable[[Processes], Awaitable[None]]) -> dict[str, int]:
    """Does harm in the middle of a load, checks every store after it, and returns what the worker has counted."""

    async def load(processes: Processes) -> None:
        sending = asyncio.create_task(produce(config, make_events(EVENTS), frame_events=100, rate_eps=15_000))
        await until_taken(config, 5_000)
        await fault(processes)
        await sending
        await until_taken(config, EVENTS)

    with back_half(config) as processes:
        worker = processes.running["worker"].pid
        asyncio.run(load(processes))
        verdict = asyncio.run(verify_stores(config, EVENTS, within_s=20.0))
        assert verdict.faults == (), processes.log("worker")
        assert (verdict.lost, verdict.doubled, verdict.counts["duplicates"]) == (0, 0, 0)
        assert processes.running["worker"].pid == worker
        assert processes.running["worker"].poll() is None
    delivered = read_log(config.scratch, *SUBSCRIBER_DELIVERED)
    assert delivered["events"].sum() == EVENTS
    assert read_log(config.scratch, *WORKER_FRAMES)["events"].sum() >= EVENTS  # also of commits that were cut off
    counted: dict[str, int] = json.loads((config.scratch / "worker.counters.json").read_text())
    return counted


def test_postgresql_killed_under_load_costs_time_but_no_event(config: RunConfig) -> None:
    async def fault(_: Processes) -> None:
        kill_store("postgres")
        await asyncio.to_thread(local_stack.up)

    counted = play(config, fault)
    assert counted["resumed"] >= 1
    assert counted["postgres_failures"] >= 1


def test_connections_cut_again_and_again_lose_nothing_and_do_nothing_twice(config: RunConfig) -> None:
    cut_sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sentra' AND pid <> $1"

    async def fault(processes: Processes) -> None:
        for number in range(1, 4):
            connection = await connect(config.postgres_dsn)
            await connection.execute(cut_sql, connection.get_server_pid())
            await connection.close()
            await until_logged(processes, "worker", "resumed at offsets", number)

    assert play(config, fault)["resumed"] >= 3


def test_redis_killed_under_load_stops_nobody_and_is_rebuilt(config: RunConfig) -> None:
    async def fault(processes: Processes) -> None:
        kill_store("redis")
        await until_logged(processes, "worker", "(breaker open)")
        await asyncio.to_thread(local_stack.up)

    counted = play(config, fault)
    assert counted["redis_failures"] >= 1
    assert counted["redis_rebuilt"] >= 1
    assert counted["redis_breaker_open"] >= counted["redis_breaker_closed"] >= 1
    assert counted["resumed"] == counted["postgres_failures"] == 0


def test_redis_killed_while_nothing_happens_is_rebuilt_without_a_new_event(config: RunConfig) -> None:
    with back_half(config):
        asyncio.run(produce(config, make_events(3_000)))
        asyncio.run(until_taken(config, 3_000))
        kill_store("redis")
        local_stack.up()
        assert asyncio.run(verify_stores(config, 3_000, within_s=20.0)).faults == ()


def test_pricing_killed_under_load_makes_the_worker_wait_for_it(config: RunConfig) -> None:
    async def fault(processes: Processes) -> None:
        await asyncio.to_thread(processes.kill, "pricing")
        await until_logged(processes, "worker", "pricing: must")
        await asyncio.to_thread(processes.start, "pricing")

    counted = play(config, fault)
    assert counted["pricing_failures"] >= 1
    assert counted["pricing_retries"] >= 1
    assert counted["resumed"] == 0


def test_poisoned_records_end_in_the_dead_letter_topic_and_leave_their_frame_alone(config: RunConfig) -> None:
    events = make_events(6_000)
    events["limit_price"][::100] = -1.0
    events["tag3"][50::100] = 0  # not the layout of an event any more
    with back_half(config):
        asyncio.run(produce(config, events))
        counts = asyncio.run(until_taken(config, 6_000))
        assert (counts["effects"], counts["dead"]) == (5_880, 120)
        records = asyncio.run(dead_letters(config, 120))
        assert asyncio.run(verify_stores(config, 6_000, within_s=20.0)).faults == ()

    seen: set[int] = set()
    for record in records:
        event = np.frombuffer(record.value, events.dtype)[0]  # as the log has it: with its frame's number
        headers = {name: value.decode() for name, value in record.headers}
        assert record.key == event["key"].tobytes()
        assert int(headers["partition"]) == record.partition
        assert headers["id"] == f"{headers['partition']}:{headers['offset']}"
        assert ("limit_price" if event["limit_price"] == -1.0 else "in order of their numbers") in headers["reason"]
        seen.add(int(event["sequence"]))
    assert seen == {*range(1, 6_001, 100), *range(51, 6_001, 100)}
    assert len({dict(record.headers)["id"] for record in records}) == 120
    assert json.loads((config.scratch / "worker.counters.json").read_text())["dead_published"] == 120


def test_letters_that_were_not_published_yet_are_published_by_the_next_worker(config: RunConfig) -> None:
    poison = blank_events(12, 64)
    poison["sequence"] = range(1, 13)
    poison["session"], poison["limit_price"] = 9, -1.0
    poison["key"] = range(12)
    with back_half(config, ("pricing", "fanout")) as processes:
        asyncio.run(produce(config, poison))
        processes.start("worker")
        asyncio.run(until_taken(config, 12))
        processes.kill("worker")  # whether it had published or not
        processes.start("worker")
        records = asyncio.run(dead_letters(config, 12))
    sequences = [int(np.frombuffer(record.value, poison.dtype)[0]["sequence"]) for record in records]
    assert set(sequences) == set(range(1, 13))
    by_id = {dict(record.headers)["id"]: record.value for record in records}  # what came twice came under the same id
    assert len(by_id) == 12
