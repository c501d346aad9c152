"""Fetching ahead: what comes while a poll is at work is in the next one, whatever broker it comes from; and it is bounded."""

import asyncio
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from aiokafka import TopicPartition

from live_adapters.measurable import PORTS
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.consumer import source as sources
from live_adapters.pipeline.consumer.poll import PIECE, Batch
from live_adapters.pipeline.consumer.source import Source
from live_adapters.pipeline.consumer.waiting import Waiting
from live_adapters.pipeline.hoplog import WORKER_FETCHED, read_log
from sentra_sim.errors import PlantError
from sentra_sim.scenario import load_scenario

SCENARIO = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
TOPIC = "events"


def batch(partition: int, first: int, count: int = 100) -> Batch:
    return Batch(partition, first, first + count, count, b"")


class Broker:
    """One broker and aiokafka's way with it: it is asked for more only when all that it sent has been taken."""

    def __init__(self) -> None:
        self.log: deque[Batch] = deque()
        self.seeks: list[tuple[int, int]] = []
        self.asked: list[int] = []

    async def getmany(self, timeout_ms: float, max_records: int) -> dict[TopicPartition, list[Batch]]:
        self.asked.append(max_records)
        until = asyncio.get_running_loop().time() + timeout_ms / 1e3
        while not self.log and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.001)
        if not self.log:
            return {}
        found = self.log.popleft()
        return {TopicPartition(TOPIC, found.partition): [found]}

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)}

    def highwater(self, tp: TopicPartition) -> int:
        return 1_000

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.seeks.append((tp.partition, offset))


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    one = Broker()
    monkeypatch.setattr(sources, "AIOKafkaConsumer", lambda **settings: one)
    return one


def make_source(scratch: Path) -> Source:
    """A source that owns partitions 0 and 1, both at offset 0, and fetches."""
    numbers: Any = dict.fromkeys([*(f"{name}_port" for name in PORTS), "redis_port", "clickhouse_port"], 1)
    addresses: Any = dict.fromkeys(["kafka", "postgres_dsn", "redis_host", "clickhouse_host"], "x") | {"topic": TOPIC}
    scenario = load_scenario(SCENARIO)
    config = RunConfig(scenario=scenario, seed=1, warmup_s=0.0, load_s=1.0, scratch=scratch, **numbers, **addresses)

    async def revoked(partitions: list[int]) -> None:
        pass

    source = Source(config, "worker-1", lambda firsts: asyncio.sleep(0, firsts), revoked)
    source._member = SimpleNamespace(check=lambda: None)  # type: ignore[assignment]
    source._reading = SimpleNamespace(remove=lambda partitions: None)  # type: ignore[assignment]
    source._expected = {0: 0, 1: 0}
    source._fetching = asyncio.create_task(source._keep_fetching())
    return source


def test_what_comes_while_a_poll_is_at_work_is_in_the_next_poll(tmp_path: Path, broker: Broker) -> None:
    async def story() -> tuple[list[Batch], list[Batch]]:
        source = make_source(tmp_path)
        broker.log.append(batch(0, 0))
        first = await source.poll()
        for more in (batch(1, 0), batch(0, 100), batch(1, 100)):  # three answers of the same broker, one after another
            broker.log.append(more)
            await asyncio.sleep(0.01)
        assert source.lag_by_partition() == {0: 900, 1: 1_000}  # fetched or not, they wait
        second = await source.poll()
        source._fetching.cancel()  # type: ignore[union-attr]
        return first, second

    first, second = asyncio.run(story())
    assert first == [batch(0, 0)]
    assert second == [batch(1, 0), batch(0, 100), batch(1, 100)]


def test_a_source_that_nobody_polls_stops_fetching_at_a_full_poll(tmp_path: Path, broker: Broker) -> None:
    async def story() -> tuple[int, int]:
        source = make_source(tmp_path)
        broker.log.extend(batch(0, first, 5_000) for first in range(0, 50_000, 5_000))
        await asyncio.sleep(0.05)
        left = len(broker.log)
        polled = await source.poll()
        source._fetching.cancel()  # type: ignore[union-attr]
        return left, sum(one.count for one in polled)

    assert asyncio.run(story()) == (6, 20_000)


def test_what_was_fetched_of_partitions_given_up_or_read_again_is_in_no_poll(tmp_path: Path, broker: Broker) -> None:
    async def story() -> tuple[list[Batch], list[tuple[int, int]], list[Batch]]:
        source = make_source(tmp_path)
        broker.log.extend([batch(0, 0), batch(1, 0), batch(0, 100)])
        await asyncio.sleep(0.05)
        await source._lose({1})
        kept = await source.poll()
        broker.log.extend([batch(0, 200), batch(0, 300)])
        await asyncio.sleep(0.05)
        source.go_to({0: 100})
        broker.log.append(batch(0, 100))
        again = await source.poll()
        source._fetching.cancel()  # type: ignore[union-attr]
        return kept, broker.seeks, again

    kept, seeks, again = asyncio.run(story())
    assert kept == [batch(0, 0), batch(0, 100)]
    assert (0, 100) in seeks
    assert again == [batch(0, 100)]


def test_fetches_that_ended_end_the_polls(tmp_path: Path, broker: Broker) -> None:
    async def fail(timeout_ms: float, max_records: int) -> Any:
        raise PlantError("kafka: must answer")

    async def story() -> None:
        broker.getmany = fail  # type: ignore[method-assign]
        source = make_source(tmp_path)
        await asyncio.sleep(0)
        await source.poll()

    with pytest.raises(PlantError, match="must answer"):
        asyncio.run(story())


def test_a_poll_tells_when_its_frames_came_and_keeps_the_times_of_those_that_wait(
    tmp_path: Path, broker: Broker
) -> None:
    def pieces(*places: tuple[int, int, int]) -> Any:
        rows = np.zeros(len(places), dtype=PIECE)
        for name, column in zip(("frame", "partition", "next_offset"), zip(*places, strict=True), strict=True):
            rows[name] = column
        return rows

    async def story() -> None:
        source = make_source(tmp_path)
        source.arrivals.note([batch(0, 0), batch(1, 0), batch(0, 100)], lambda partition: 500)
        source.arrivals.tell(pieces((7, 0, 100)))
        source.arrivals.tell(pieces((8, 0, 200), (9, 1, 100)))
        assert not source.arrivals._came
        source._fetching.cancel()  # type: ignore[union-attr]

    asyncio.run(story())
    assert read_log(tmp_path, *WORKER_FETCHED)["frame"].tolist() == [7, 8, 9]


def test_a_first_batch_is_taken_whatever_its_size_and_others_only_if_they_fit() -> None:
    waiting = Waiting(100)
    waiting.put([batch(0, 0, 300), batch(1, 0, 60), batch(0, 300, 60)])
    assert [[one.count for one in waiting.take(100)] for _ in range(4)] == [[300], [60], [60], []]
