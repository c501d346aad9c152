"""A gateway with a real gRPC server and real clients, and a Kafka that is held still."""

from __future__ import annotations

import asyncio
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
from live_adapters.pipeline.gateway import Gateway, start_server
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

    def __init__(self, config: RunConfig, gateway: Gateway, kafka: HeldKafka, server: Any, channel: Any) -> None:
        self.config = config
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


def config_of(scratch: Path, rules: GatewayRules) -> RunConfig:
    addresses = {"kafka": "", "postgres_dsn": "", "redis_host": "", "clickhouse_host": "", "topic": "t"}
    return RunConfig(
        scenario=SCENARIO,
        seed=1,
        warmup_s=0.0,
        load_s=1.0,
        scratch=scratch,
        redis_port=1,
        clickhouse_port=1,
        gateway_rules=rules,
        **{f"{name}_port": port for name, port in choose_ports().items()},  # type: ignore[arg-type]
        **addresses,  # type: ignore[arg-type]
    )


def play(tmp_path: Path, rules: GatewayRules, story: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(ANSWER_S), client_of(tmp_path, rules) as client:
            await story(client)

    asyncio.run(main())


@asynccontextmanager
async def client_of(scratch: Path, rules: GatewayRules) -> AsyncIterator[Client]:
    config = config_of(scratch, rules)
    kafka = HeldKafka()
    gateway = Gateway(Intake(config, kafka))
    server = await start_server(gateway, config.host, config.gateway_port)
    try:
        async with grpc.aio.insecure_channel(f"{config.host}:{config.gateway_port}") as channel:
            yield Client(config, gateway, kafka, server, channel)
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
