"""Exactly-once effects: whatever dies or comes twice, every acknowledged event takes effect once, in every store."""

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_adapters import stack as local_stack
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import CLICKHOUSE_VISIBLE, FANOUT_SENT, SUBSCRIBER_DELIVERED, WORKER_FRAMES, read_log
from live_adapters.pipeline.stores.hotstate import SCRIPT
from live_adapters.pipeline.stores.ledger import ZombieError, connect
from live_adapters.pipeline.stores.storage import count_effects, open_redis, reset_stores
from live_adapters.verify import Verdict, verify_stores
from tests.live.back_half import Processes, back_half, make_config, make_events, produce, until_taken

pytestmark = pytest.mark.live

WAIT_S = 30.0


@pytest.fixture
def config(stack: local_stack.Endpoints, tmp_path: Path) -> RunConfig:
    config = make_config(stack, tmp_path)
    asyncio.run(reset_stores(config))
    return config


def send(config: RunConfig, events: Any, **how: Any) -> None:
    asyncio.run(produce(config, events, **how))


def verify(config: RunConfig, acked: int) -> Verdict:
    return asyncio.run(verify_stores(config, acked, within_s=WAIT_S))


def until_delivered(config: RunConfig, events: int) -> np.ndarray:
    deadline = time.monotonic() + WAIT_S
    while (rows := read_log(config.scratch, *SUBSCRIBER_DELIVERED))["events"].sum() < events:
        assert time.monotonic() < deadline, f"only {rows['events'].sum()} of {events} delivered"
        time.sleep(0.05)
    return rows


def query(config: RunConfig, sql: str) -> Any:
    async def ask() -> Any:
        connection = await connect(config.postgres_dsn)
        try:
            return await connection.fetch(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_every_event_takes_effect_once_in_every_store_and_reaches_its_subscriber(config: RunConfig) -> None:
    with back_half(config):
        send(config, make_events(20_000))
        counts = asyncio.run(until_taken(config, 20_000))
        assert counts | {"outbox_rows": 0} == {
            "effects": 20_000,
            "keys": 500,
            "progress": 20_000,
            "duplicates": 0,
            "dead": 0,
            "outbox_rows": 0,
        }
        verdict = verify(config, 20_000)
        assert verdict.faults == ()
        assert (verdict.lost, verdict.doubled, verdict.counts["clickhouse_rows"]) == (0, 0, 20_000)
        delivered = until_delivered(config, 20_000)

    worked = read_log(config.scratch, *WORKER_FRAMES)
    sent, stored = read_log(config.scratch, *FANOUT_SENT), read_log(config.scratch, *CLICKHOUSE_VISIBLE)
    for told in (worked, sent, stored, delivered):
        assert told["events"].sum() == 20_000
    assert set(worked["frame"]) == set(sent["frame"]) == set(delivered["frame"]) == set(stored["frame"])
    for before, after in (("started", "priced"), ("priced", "committed"), ("committed", "redis")):
        assert (worked[before] < worked[after]).all()


def test_events_sent_again_are_refused_by_their_sequence_and_bad_ones_are_put_aside(config: RunConfig) -> None:
    events = make_events(6_000)
    spoilt = make_events(600, 6_001)
    spoilt["limit_price"][::3] = -1.0
    spoilt["tag3"][1::3] = 0  # not the layout of an event any more
    with back_half(config):
        send(config, events)
        send(config, events[2_000:])
        send(config, make_events(1_000, session=2))  # another session's sequences are its own
        send(config, spoilt)
        counts = asyncio.run(until_taken(config, 11_600))
        assert (counts["effects"], counts["duplicates"], counts["dead"]) == (7_200, 4_000, 400)
        assert verify(config, 7_600).faults == ()
        until_delivered(config, 7_200)
    reasons = [row["reason"] for row in query(config, "SELECT reason FROM dead_letters")]
    assert sum("limit_price" in reason for reason in reasons) == 200
    assert sum("in order of their numbers" in reason for reason in reasons) == 200


def test_a_worker_killed_again_and_again_loses_nothing_and_does_nothing_twice(config: RunConfig) -> None:
    async def play(processes: Processes) -> None:
        sending = asyncio.create_task(produce(config, make_events(60_000), frame_events=100, rate_eps=15_000))
        for taken in (5_000, 20_000, 35_000):
            await until_taken(config, taken)
            await asyncio.to_thread(processes.kill, "worker")
            await asyncio.to_thread(processes.start, "worker")
        await sending
        await until_taken(config, 60_000)

    with back_half(config) as processes:
        asyncio.run(play(processes))
        verdict = verify(config, 60_000)
        assert verdict.faults == ()
        assert (verdict.lost, verdict.doubled, verdict.counts["duplicates"]) == (0, 0, 0)
        until_delivered(config, 60_000)
    delivered = read_log(config.scratch, *SUBSCRIBER_DELIVERED)
    stored = read_log(config.scratch, *CLICKHOUSE_VISIBLE)
    assert (delivered["events"].sum(), stored["events"].sum()) == (60_000, 60_000)


def test_frames_that_fanout_missed_come_from_the_outbox_which_then_empties(config: RunConfig) -> None:
    with back_half(config) as processes:
        send(config, make_events(3_000))
        asyncio.run(until_taken(config, 3_000))
        until_delivered(config, 3_000)
        processes.end("subscriber")
        processes.kill("fanout")
        send(config, make_events(3_000, 3_001))
        asyncio.run(until_taken(config, 6_000))
        processes.start("fanout")
        deadline = time.monotonic() + WAIT_S
        while query(config, "SELECT 1 FROM outbox LIMIT 1"):
            assert time.monotonic() < deadline, "the outbox keeps rows that everyone has"
            time.sleep(0.1)
    frames = read_log(config.scratch, *WORKER_FRAMES)
    sent = read_log(config.scratch, *FANOUT_SENT)
    assert set(sent["frame"]) == set(frames["frame"])
    assert sent["events"].sum() >= 6_000


def test_a_worker_whose_partitions_went_to_another_stops_without_writing(config: RunConfig) -> None:
    with back_half(config) as processes:
        send(config, make_events(3_000))
        before = asyncio.run(until_taken(config, 3_000))
        query(config, "UPDATE progress SET owner_epoch = owner_epoch + 1 WHERE part = 2 RETURNING 1")
        send(config, make_events(3_000, 3_001, keys=400))
        assert processes.wait("worker") == ZombieError.exit_code
        assert "this worker must own its partitions" in processes.log("worker")
        stopped = asyncio.run(count_effects(config))
        lagging = query(config, "SELECT next_offset - first_offset AS taken FROM progress WHERE part = 2")[0]["taken"]
        epochs = query(config, "SELECT owner_epoch FROM progress WHERE part = 2")[0]["owner_epoch"]
        assert before["effects"] <= stopped["effects"] < 6_000
        assert (stopped["effects"], epochs) == (stopped["progress"], 2)
        assert lagging < 1_500

        processes.start("worker")  # the rightful owner goes on from there
        asyncio.run(until_taken(config, 6_000))
        assert verify(config, 6_000).faults == ()


def test_redis_refuses_a_write_older_than_what_it_holds_and_is_rebuilt_after_a_loss(config: RunConfig) -> None:
    async def old_write() -> tuple[bytes, bytes, bytes]:
        redis = await open_redis(config)
        key, offset = b"position:7", await redis.call("GET", "offset:0")
        before = await redis.call("GET", key)
        script = await redis.call("SCRIPT", "LOAD", SCRIPT.read_bytes())
        answer = await redis.call("EVALSHA", script, 0, 0, int(offset) - 5, int(offset) - 1, key, bytes(24))
        after = await redis.call("GET", key)
        assert answer == [offset]
        await redis.call("FLUSHDB")
        await redis.close()
        return before, after, offset

    with back_half(config):
        send(config, make_events(3_000))
        asyncio.run(until_taken(config, 3_000))
        assert verify(config, 3_000).faults == ()
        before, after, _ = asyncio.run(old_write())
        assert before == after != bytes(24)
        assert verify_at_once(config, 3_000) == ("redis: must equal PostgreSQL, got 500 of 500 keys that differ",)
        send(config, make_events(3_000, 3_001))
        asyncio.run(until_taken(config, 6_000))
        assert verify(config, 6_000).faults == ()


def test_the_checker_finds_what_was_planted(config: RunConfig) -> None:
    with back_half(config):
        send(config, make_events(1_000))
        asyncio.run(until_taken(config, 1_000))
        assert verify(config, 1_000).faults == ()
    keys = asyncio.run(count_effects(config))["keys"]
    assert verify_at_once(config, 999) == ("effects: must hold no event twice, got 1000 of 999 sent",)
    assert verify_at_once(config, 1_001) == ("effects: must hold every acknowledged event, got 1000 of 1001",)
    query(config, "UPDATE positions SET version = version + 1 WHERE key = 7 RETURNING 1")
    assert verify_at_once(config, 1_000) == (
        "effects: must hold no event twice, got 1001 of 1000 sent",
        "progress: must account for every record taken, got 1000 taken, 1001 in effect, 0 duplicates, 0 dead",
        f"redis: must equal PostgreSQL, got 1 of {keys} keys that differ",
        f"clickhouse: must equal PostgreSQL, got 1 of {keys} keys that differ",
    )


def verify_at_once(config: RunConfig, acked: int) -> tuple[str, ...]:
    return asyncio.run(verify_stores(config, acked, within_s=0.0)).faults
