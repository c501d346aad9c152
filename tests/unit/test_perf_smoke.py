"""What the performance smoke test calls a breach."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from rich.console import Console

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.config import RunConfig
from sentra_sim.errors import InputError
from sentra_sim.scenario import load_scenario
from tests.perf import smoke
from tests.perf.smoke import Producer, Smoke, encoded, judge, parse

BOUND = Smoke(rate_mps=1_000.0, seconds=1.0, warmup_s=1.0, connections=2, p95_ms=150.0)
OUT = Console(quiet=True)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    places = {
        "topic": "t",
        "kafka": "",
        "postgres_dsn": "",
        "redis_host": "",
        "clickhouse_host": "",
        "scratch": tmp_path,
    }
    ports = dict.fromkeys(
        ("redis_port", "clickhouse_port", "gateway_port", "pricing_port", "fanout_port", "fanout_ingest_port"), 1
    )
    return RunConfig(load_scenario(smoke.SCENARIO), 1, 0.0, 1.0, **places, **ports)  # type: ignore[arg-type]


def answered_after(config: RunConfig, latency_ms: float) -> list[Producer]:
    producers = [Producer(config, BOUND, number, 10**12) for number in range(2)]
    for producer in producers:
        producer.sent_ns = producer.due_ns + 1_000
        producer.answered_ns = producer.due_ns + int(latency_ms * 1e6)
    return producers


def test_connections_share_an_even_rate(config: RunConfig) -> None:
    due = np.sort(np.concatenate([producer.due_ns for producer in answered_after(config, 1.0)]))
    assert len(due) == 2_000
    assert set(np.diff(due).tolist()) == {1_000_000}


def test_a_message_is_one_event_of_the_contract(config: RunConfig) -> None:
    messages = encoded(config, np.arange(3) + 7, session=4)
    read = [events_pb2.IngestRequest.FromString(message) for message in messages]
    assert [[(e.session, e.sequence, e.intended_ns) for e in request.events] for request in read] == [
        [(4, 1, 7)],
        [(4, 2, 8)],
        [(4, 3, 9)],
    ]


def test_a_p95_below_the_bound_passes_and_at_the_bound_does_not(config: RunConfig) -> None:
    assert judge(answered_after(config, 149.0), BOUND, OUT) == []
    assert judge(answered_after(config, 150.0), BOUND, OUT) == ["P95: must be below 150 ms, got 150.0 ms"]


def test_the_warm_up_does_not_count(config: RunConfig) -> None:
    producers = answered_after(config, 1.0)
    for producer in producers:
        producer.answered_ns[:500] += 10**9
    assert judge(producers, BOUND, OUT) == []


def test_what_is_never_acknowledged_counts_as_slower_than_anything(config: RunConfig) -> None:
    producers = answered_after(config, 1.0)
    producers[0].answered_ns[900:] = 0
    producers[0].refused["overload"] = 100
    producers[0].failure = "UNAVAILABLE: gone"
    assert judge(producers, BOUND, OUT) == [
        "producer-0: must be answered to the end, got UNAVAILABLE: gone",
        "messages: all must be acknowledged, got 100 that were not, refused {'overload': 100}",
        "P95: must be below 150 ms, got inf ms",
    ]


def test_a_gateway_that_is_not_there_is_told(config: RunConfig) -> None:
    producer = Producer(config, BOUND, 0, time.monotonic_ns())
    producer.run()
    assert producer.failure.startswith(grpc.StatusCode.UNAVAILABLE.name)


def test_a_bound_that_is_none_is_refused() -> None:
    assert parse([]) == Smoke(5_000.0, 20.0, 10.0, 4, 150.0)
    with pytest.raises(InputError, match="perf-smoke: p95_ms must be above 0, got 0; mend the value"):
        parse(["--p95-ms", "0"])
