"""A gateway under rules, and the clients that tests have of it: gRPC streams, REST, what is in Kafka."""

import asyncio
import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

from live_adapters import stack as local_stack
from live_adapters.measurable import choose_ports
from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import EventArray, blank_events
from live_adapters.pipeline.config import RunConfig, configure
from live_adapters.pipeline.ingress.rules import GatewayRules
from live_adapters.pipeline.supervisor import Supervisor
from sentra_sim.scenario import load_scenario, with_load

SCENARIO = with_load(load_scenario(Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"), rate_eps=2_000.0)
TENANTS = SCENARIO.load.tenants
TOPIC = "gateway-rules"
ANSWER_S = 30.0
LIMIT_BYTES = 8_192


@dataclass
class Running:
    config: RunConfig
    supervisor: Supervisor

    def until_ended(self) -> None:
        """Waits for an end with exit code 0 that the gateway was asked for by REST."""
        until(lambda: self.supervisor.ended("gateway"))
        self.supervisor.stop("gateway")


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ANSWER_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def gateway(
    stack: local_stack.Endpoints, scratch: Path, rules: GatewayRules, *, pricing: bool = False
) -> Iterator[Running]:
    """Runs a gateway, and the pricing service where its control is to reach it."""
    config = configure(SCENARIO, stack, choose_ports(), scratch, topic=TOPIC, gateway_rules=rules)
    local_stack.recreate_topic(stack.kafka, TOPIC, config.partitions)
    try:
        with Supervisor(scratch, config.file) as supervisor:
            names = ("gateway", "pricing") if pricing else ("gateway",)
            supervisor.start({name: f"live_adapters.pipeline.{name}" for name in names})
            supervisor.expect_end("gateway")
            yield Running(config, supervisor)
    finally:
        local_stack.delete_topic(stack.kafka, TOPIC)


def orders(count: int, first: int = 1, *, session: int = 1, tenant: int | None = None) -> EventArray:
    events = blank_events(count, 64)
    events["sequence"] = np.arange(first, first + count)
    events["tenant"] = np.arange(count) % TENANTS if tenant is None else tenant
    events["key"] = np.arange(first, first + count) * 7
    events["quantity"], events["limit_price"], events["session"] = 1.0, 100.0, session
    return events


def exchange(config: RunConfig, messages: Any, metadata: Any = ()) -> Any:
    """Opens a stream; returns the call, which yields the acknowledgements, and the channel to close."""
    channel = grpc.insecure_channel(
        f"{config.host}:{config.gateway_port}", options=[("grpc.max_send_message_length", -1)]
    )
    method = channel.stream_stream("/sentra.v1.Ingest/Exchange", response_deserializer=events_pb2.IngestAck.FromString)
    return method(iter(messages), metadata=metadata, timeout=ANSWER_S), channel


def answers(config: RunConfig, messages: Any, metadata: Any = ()) -> list[events_pb2.IngestAck]:
    call, channel = exchange(config, messages, metadata)
    with channel:
        return list(call)


def summary(config: RunConfig, messages: Any, metadata: Any = ()) -> events_pb2.IngestSummary:
    with grpc.insecure_channel(f"{config.host}:{config.gateway_port}") as channel:
        method = channel.stream_unary(
            "/sentra.v1.Ingest/Stream", response_deserializer=events_pb2.IngestSummary.FromString
        )
        return method(iter(messages), metadata=metadata, timeout=ANSWER_S)


def rest(config: RunConfig, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(config.host, config.gateway_control_port, timeout=ANSWER_S)
    try:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.status, json.loads(content) if is_json and content else content.decode()
    finally:
        connection.close()


def metric(config: RunConfig, name: str, **labels: str) -> int:
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    wanted = f"sentra_gateway_{name}{{{inside}}} " if inside else f"sentra_gateway_{name} "
    text = rest(config, "GET", "/metrics")[1]
    return sum(int(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))


def in_kafka(config: RunConfig) -> list[tuple[int, int]]:
    """Session and sequence of every record of the topic, sorted."""

    async def read() -> list[tuple[int, int]]:
        consumer = AIOKafkaConsumer(bootstrap_servers=config.kafka, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partitions = [TopicPartition(TOPIC, number) for number in range(config.partitions)]
            consumer.assign(partitions)
            left = sum((await consumer.end_offsets(partitions)).values())
            found: list[tuple[int, int]] = []
            while len(found) < left:
                polled = await asyncio.wait_for(consumer.getmany(timeout_ms=1_000), ANSWER_S)
                values = [events_pb2.Event.FromString(r.value) for records in polled.values() for r in records]
                found += [(event.session, event.sequence) for event in values]
            return sorted(found)
        finally:
            await consumer.stop()

    return asyncio.run(read())
