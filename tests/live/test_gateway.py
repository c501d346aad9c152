"""The gateway as a producer written by someone else sees it: plain generated protobuf over gRPC, records in Kafka behind it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from live_adapters import stack as local_stack
from live_adapters.measurable import choose_ports
from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.config import RunConfig, configure
from live_adapters.pipeline.hoplog import GATEWAY_FRAMES, GATEWAY_INTENDED, read_log
from live_adapters.pipeline.supervisor import Supervisor
from sentra_sim.scenario import load_scenario
from sentra_sim.scenario.keys import partition_of

pytestmark = pytest.mark.live

SCENARIO = load_scenario(Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml")
TOPIC = "gateway-contract"
ANSWER_S = 20.0


@pytest.fixture
def gateway(stack: local_stack.Endpoints, tmp_path: Path) -> Iterator[RunConfig]:
    config = configure(SCENARIO, stack, choose_ports(), tmp_path, topic=TOPIC)
    local_stack.recreate_topic(stack.kafka, TOPIC, config.partitions)
    try:
        with Supervisor(tmp_path, config.file) as supervisor:
            supervisor.start({"gateway": "live_adapters.pipeline.gateway"})
            yield config
            supervisor.stop("gateway")
    finally:
        local_stack.delete_topic(stack.kafka, TOPIC)


def event(sequence: int, **changes: Any) -> events_pb2.Event:
    values: dict[str, Any] = {
        "sequence": sequence,
        "intended_ns": 1_000 + sequence,
        "tenant": sequence % 3,
        "key": 77 * sequence,
        "quantity": 1.5,
        "limit_price": 101.25,
        "session": 9,
        "attributes": b"ab",
    }
    return events_pb2.Event(**values | changes)


def send(config: RunConfig, requests: list[Any]) -> events_pb2.IngestSummary:
    """Streams requests; bytes go as they are."""
    with grpc.insecure_channel(f"{config.host}:{config.gateway_port}") as channel:
        call = channel.stream_unary(
            "/sentra.v1.Ingest/Stream",
            request_serializer=lambda request: request if isinstance(request, bytes) else request.SerializeToString(),
            response_deserializer=events_pb2.IngestSummary.FromString,
        )
        return call(iter(requests), timeout=ANSWER_S)


def read_topic(config: RunConfig, count: int) -> list[Any]:
    async def read() -> list[Any]:
        consumer = AIOKafkaConsumer(bootstrap_servers=config.kafka, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([TopicPartition(TOPIC, number) for number in range(config.partitions)])
            return [await asyncio.wait_for(consumer.getone(), ANSWER_S) for _ in range(count)]
        finally:
            await consumer.stop()

    return asyncio.run(read())


def test_events_of_a_plain_client_become_one_keyed_record_each_in_order(gateway: RunConfig) -> None:
    sent = [event(sequence) for sequence in range(1, 401)]
    requests = [events_pb2.IngestRequest(events=sent[first : first + 50]) for first in range(0, 400, 50)]
    summary = send(gateway, requests)
    assert (summary.received_events, summary.acked_events, summary.refused_events) == (400, 400, 0)

    records = read_topic(gateway, 400)
    read = [events_pb2.Event.FromString(record.value) for record in records]
    for record, got in zip(records, read, strict=True):
        assert record.key == got.key.to_bytes(4, "little")
        assert record.partition == partition_of(np.array([got.key], np.uint32), gateway.partitions)[0]
    for partition in range(gateway.partitions):
        mine = [got.sequence for record, got in zip(records, read, strict=True) if record.partition == partition]
        assert mine == sorted(mine)
    frames = read_log(gateway.scratch, *GATEWAY_FRAMES)
    assert {got.frame for got in read} == set(frames["frame"].tolist())
    for got in read:
        got.ClearField("frame")
    assert sorted(read, key=lambda got: got.sequence) == sent

    assert frames["events"].sum() == len(read_log(gateway.scratch, *GATEWAY_INTENDED)) == 400
    assert (frames["received"] <= frames["closed"]).all()
    assert (frames["closed"] <= frames["acked"]).all()


def test_what_is_no_request_is_refused_with_the_reason_and_the_gateway_goes_on(gateway: RunConfig) -> None:
    lacking = event(1)
    lacking.ClearField("key")
    for bad, reason in (
        (b"\xff\xff\xff", "must be a serialised sentra.v1.IngestRequest"),
        (events_pb2.IngestRequest(events=[lacking]), "every event must carry key"),
    ):
        with pytest.raises(grpc.RpcError) as error:
            send(gateway, [bad])
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason in error.value.details()
    assert send(gateway, [events_pb2.IngestRequest(events=[event(1)])]).acked_events == 1


def test_single_events_that_cannot_be_priced_or_ordered_are_refused_and_counted(gateway: RunConfig) -> None:
    bad = [event(0), event(2, quantity=float("nan")), event(3, limit_price=float("inf"))]
    summary = send(gateway, [events_pb2.IngestRequest(events=[event(1), *bad, event(4)])])
    assert (summary.received_events, summary.acked_events, summary.refused_events) == (5, 2, 3)
    assert {events_pb2.Event.FromString(record.value).sequence for record in read_topic(gateway, 2)} == {1, 4}


def test_a_stream_without_events_is_answered(gateway: RunConfig) -> None:
    assert send(gateway, []).received_events == 0
