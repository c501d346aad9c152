"""What the performance smoke test calls a breach."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from rich.console import Console

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.ingress.exchange import MAX_UNANSWERED
from live_adapters.pipeline.ingress.rules import GatewayRules
from sentra_sim.errors import InputError
from sentra_sim.scenario import load_scenario
from tests.perf import smoke
from tests.perf.smoke import EXCHANGE, Producer, Smoke, encoded, judge, parse
from tests.perf.wire import Call, CallFailed
from tests.unit.held_gateway import ANSWER_S, Client, orders, play

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
    assert parse([]) == Smoke(5_000.0, 20.0, 75.0, 4, 150.0)
    with pytest.raises(InputError, match="perf-smoke: p95_ms must be above 0, got 0; mend the value"):
        parse(["--p95-ms", "0"])


def test_each_message_of_a_connection_is_answered_and_the_time_noted(tmp_path: Path) -> None:
    smoke = Smoke(rate_mps=5_000.0, seconds=0.3, warmup_s=0.1, connections=1, p95_ms=ANSWER_S * 1e3)

    async def story(client: Client) -> None:
        producer = Producer(client.config, smoke, 0, time.monotonic_ns())
        offering = asyncio.create_task(asyncio.to_thread(producer.run))
        while not offering.done():
            client.kafka.release()
            await asyncio.sleep(0.002)
        assert judge([producer], smoke, OUT) == []
        assert client.gateway.state.counters() == {"received_events": 2_000, "acked_events": 2_000}
        assert (producer.due_ns < producer.sent_ns).all()
        assert (producer.sent_ns < producer.answered_ns).all()

    play(tmp_path, GatewayRules(), story)


def test_a_client_that_is_not_read_waits_with_what_it_has_not_sent(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        config = client.config
        call = await asyncio.to_thread(Call, config.host, config.gateway_port, EXCHANGE)
        burst = [orders(40, 1 + 40 * number) for number in range(2 * MAX_UNANSWERED)]
        sending = asyncio.create_task(asyncio.to_thread(call.send, burst))
        answers = 0
        while answers < len(burst):  # Kafka has to go on for the gateway to read on
            client.kafka.release()
            answers += (
                len(await asyncio.to_thread(call.receive, time.monotonic_ns() + 1_000_000)) if sending.done() else 0
            )
            await asyncio.sleep(0.001)
        call.done()
        while not call.ended:
            await asyncio.to_thread(call.receive, time.monotonic_ns() + 1_000_000)
        call.close()
        assert client.gateway.state.acked_events == 40 * len(burst)

    play(tmp_path, GatewayRules(), story)


@pytest.mark.parametrize("wrong", ["UNAUTHENTICATED", "UNAVAILABLE"])
def test_a_refused_call_says_why(tmp_path: Path, wrong: str) -> None:
    rules = GatewayRules(token_secret="salt") if wrong == "UNAUTHENTICATED" else GatewayRules()

    async def story(client: Client) -> None:
        client.gateway.state.draining = wrong == "UNAVAILABLE"
        call = await asyncio.to_thread(Call, client.config.host, client.config.gateway_port, EXCHANGE)
        with pytest.raises(CallFailed, match=f"^{wrong}: .+"):
            await asyncio.to_thread(call.receive, time.monotonic_ns() + int(ANSWER_S * 1e9))
        call.close()

    play(tmp_path, rules, story)
