"""What a client is told while Kafka has not answered yet: a gateway with real gRPC clients, and a Kafka that is held still."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from live_adapters.measurable import choose_ports
from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import blank_events, encode_ingest
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.gateway import Gateway, drain, start_server
from live_adapters.pipeline.ingress.exchange import MAX_UNANSWERED
from live_adapters.pipeline.ingress.intake import Intake
from live_adapters.pipeline.ingress.rules import GatewayRules
from sentra_sim.scenario import load_scenario

SCENARIO = load_scenario(Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml")
ANSWER_S = 20.0


class HeldKafka:
    """Takes batches and acknowledges them when it is told to."""

    def __init__(self) -> None:
        self.held: list[tuple[int, asyncio.Future[None]]] = []  # events and delivery of a frame, in order

    @property
    def events(self) -> int:
        """Events in frames that wait."""
        return sum(events for events, _ in self.held)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[None]:
        delivery: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.held.append((batch.record_count(), delivery))
        return delivery

    def release(self, count: int | None = None) -> None:
        now, self.held = self.held[:count], self.held[count:] if count is not None else []
        for _, delivery in now:
            delivery.set_result(None)


class Client:
    """Streams of `Exchange` and `Stream` to one gateway."""

    def __init__(self, gateway: Gateway, kafka: HeldKafka, server: Any, channel: Any) -> None:
        self.gateway, self.kafka, self.server = gateway, kafka, server
        self.exchange = channel.stream_stream(
            "/sentra.v1.Ingest/Exchange", response_deserializer=events_pb2.IngestAck.FromString
        )
        self.stream = channel.stream_unary(
            "/sentra.v1.Ingest/Stream", response_deserializer=events_pb2.IngestSummary.FromString
        )

    async def ping(self) -> None:
        """Goes through the gateway and back, so that all it was about to say has been said."""
        call = self.exchange()
        await call.write(encode_ingest(blank_events(0, 64), request_id=1))
        assert (await call.read()).request_id == 1
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


def play(tmp_path: Path, rules: GatewayRules, story: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(ANSWER_S), client_of(tmp_path, rules) as client:
            await story(client)

    asyncio.run(main())


@asynccontextmanager
async def client_of(scratch: Path, rules: GatewayRules) -> AsyncIterator[Client]:
    ports = choose_ports()
    addresses = {"kafka": "", "postgres_dsn": "", "redis_host": "", "clickhouse_host": "", "topic": "t"}
    config = RunConfig(
        scenario=SCENARIO,
        seed=1,
        warmup_s=0.0,
        load_s=1.0,
        scratch=scratch,
        redis_port=1,
        clickhouse_port=1,
        gateway_rules=rules,
        **{f"{name}_port": port for name, port in ports.items()},  # type: ignore[arg-type]
        **addresses,  # type: ignore[arg-type]
    )
    kafka = HeldKafka()
    gateway = Gateway(Intake(config, kafka))
    server = await start_server(gateway, config.host, config.gateway_port)
    try:
        async with grpc.aio.insecure_channel(f"{config.host}:{config.gateway_port}") as channel:
            yield Client(gateway, kafka, server, channel)
    finally:
        await server.stop(grace=0)
        await gateway.intake.sender.close()
        gateway.intake.close()


def orders(count: int, first: int = 1, tenant: int = 0) -> bytes:
    events = blank_events(count, 64)
    events["sequence"] = np.arange(first, first + count)
    events["key"] = np.arange(first, first + count)
    events["tenant"], events["session"] = tenant, 1
    return encode_ingest(events, request_id=first)


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)


def test_a_message_is_not_acknowledged_before_every_frame_of_it_is(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange()
        await call.write(orders(60))
        await until(lambda: client.kafka.events == 60)
        answer = asyncio.create_task(call.read())
        frames = len(client.kafka.held)
        assert frames > 1
        client.kafka.release(frames - 1)
        await client.ping()
        assert not answer.done()
        client.kafka.release()
        assert (await answer).acked_events == 60

    play(tmp_path, GatewayRules(), story)


def test_beyond_the_bound_messages_and_new_streams_are_refused_until_kafka_has_caught_up(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange()
        await call.write(orders(70))
        await until(lambda: client.gateway.intake.in_flight_events == 70)
        await call.write(orders(30, 71, tenant=1))  # bronze: shed from 50 on
        await call.write(orders(30, 101))
        await until(lambda: client.gateway.intake.in_flight_events == 100)
        await call.write(orders(5, 131))
        await until(lambda: client.gateway.state.received_events == 135)

        late = client.exchange()
        await late.done_writing()
        assert await late.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(await late.trailing_metadata())["retry-after-ms"] == "250"

        await until(lambda: client.kafka.events == 100)
        client.kafka.release()
        acks = [await call.read() for _ in range(4)]
        assert [(ack.request_id, ack.acked_events, ack.code, ack.retry_after_ms) for ack in acks] == [
            (1, 70, 0, 0),
            (71, 0, 8, 250),
            (101, 30, 0, 0),
            (131, 0, 8, 250),
        ]
        await call.write(orders(5, 136))
        await until(lambda: client.kafka.events == 5)
        client.kafka.release()
        assert (await call.read()).acked_events == 5

    play(tmp_path, GatewayRules(max_in_flight_events=100, bronze=(1,), retry_after_s=0.25), story)


def test_a_stream_is_answered_while_another_goes_on_sending(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        async def messages() -> AsyncIterator[bytes]:
            yield orders(10)

        answer = asyncio.create_task(summary(client, messages()))
        await until(lambda: client.kafka.events == 10)
        mine = len(client.kafka.held)
        other = client.exchange()
        await other.write(orders(10, 11))
        await until(lambda: client.kafka.events == 20)
        client.kafka.release(mine)
        assert (await answer).acked_events == 10
        assert client.gateway.intake.in_flight_events == 10

    play(tmp_path, GatewayRules(), story)


def test_a_drain_at_its_deadline_still_answers_what_was_taken(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange()
        await call.write(orders(10))
        await until(lambda: client.kafka.events == 10)
        draining = asyncio.create_task(drain(client.gateway, client.server))
        await until(lambda: client.gateway.state.draining)
        answer = asyncio.create_task(call.read())
        await asyncio.sleep(0)
        assert not draining.done()
        client.kafka.release()
        assert (await answer).acked_events == 10
        last = await call.read()
        assert (last.message, last.code, last.retry_after_ms) == (0, 14, 100)
        assert (
            await call.code() is grpc.StatusCode.OK
        )  # an error would make the client's gRPC drop answers not yet read
        await draining
        assert client.gateway.state.open_streams == client.gateway.intake.in_flight_events == 0

    play(tmp_path, GatewayRules(drain_s=0.0), story)


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange()
        await call.write(orders(10))
        await until(lambda: client.kafka.events == 10)
        call.cancel()
        await until(lambda: client.gateway.state.open_streams == 0)
        client.kafka.release()
        await until(lambda: client.gateway.intake.in_flight_events == 0)
        assert json.loads(json.dumps(client.gateway.state.counters()))["acked_events"] == 10

    play(tmp_path, GatewayRules(), story)


def test_a_client_that_does_not_wait_for_its_answers_is_not_read_and_can_leave(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange()
        await call.write(orders(1))
        foreign = orders(1, 2, tenant=10**6)
        for _ in range(MAX_UNANSWERED + 50):
            await call.write(foreign)
        await until(lambda: client.gateway.state.received_events == MAX_UNANSWERED)
        await client.ping()
        assert client.gateway.state.received_events == MAX_UNANSWERED
        call.cancel()
        await until(lambda: client.gateway.state.open_streams == 0)

    play(tmp_path, GatewayRules(), story)


async def summary(client: Client, messages: AsyncIterator[bytes]) -> events_pb2.IngestSummary:
    return await client.stream(messages)
