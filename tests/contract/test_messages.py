"""The bytes that were promised: the pipeline's writers make them, its readers understand them, the descriptions fit them."""

import asyncio
import json
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from aiokafka.record.default_records import DefaultRecordBatch
from jsonschema import Draft7Validator

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import decode_events, decode_request
from live_adapters.pipeline.consumer.poll import ROW, unpack_sessions
from live_adapters.pipeline.consumer.wholebatches import RawRecords, WholeBatches
from live_adapters.pipeline.contracts.check import CONTRACTS, ROOT
from live_adapters.pipeline.edge.broadcast import decode_message
from live_adapters.pipeline.edge.ingest import FrameParser, IngestProtocol, Offsets
from live_adapters.pipeline.edge.position import everyone, parse_position
from live_adapters.pipeline.edge.replay import Gap
from live_adapters.pipeline.releases.pricingwire import REQUEST, unpack_order
from live_adapters.pipeline.stores.deadletters import DeadLetterRelay
from live_adapters.stack import _engine, clickhouse
from sentra_sim.scenario.keys import partition_of
from tests.contract import messages

ASYNCAPI = yaml.safe_load((ROOT / CONTRACTS / "asyncapi.yaml").read_text(encoding="utf-8"))
LAYOUTS = json.loads((ROOT / CONTRACTS / "layouts.json").read_text(encoding="utf-8"))["layouts"]
GOLDEN = messages.golden()


def accepted(name: str) -> np.dtype:
    """The layout as it was described, not as the code has it."""
    fields = LAYOUTS[name]["fields"]
    columns = {key: [field[key.removesuffix("s")] for field in fields] for key in ("names", "offsets")}
    formats = [field["type"] for field in fields]
    return np.dtype({**columns, "formats": formats, "itemsize": LAYOUTS[name]["bytes"]})


def valid(schema: str, value: object) -> bool:
    return Draft7Validator(ASYNCAPI["components"]["schemas"][schema]).is_valid(value)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_pipeline_writes_the_bytes_that_were_promised(name: str) -> None:
    assert messages.written()[name].hex() == GOLDEN[name].hex()


def test_every_kind_of_message_has_its_promise() -> None:
    assert messages.written().keys() == GOLDEN.keys()


def test_the_gateway_reads_a_promised_request() -> None:
    events, request_id = decode_request(GOLDEN["ingest-request"])
    assert request_id == messages.REQUEST_ID
    assert events.tobytes() == messages.events().tobytes()
    assert events_pb2.IngestRequest.FromString(GOLDEN["ingest-request"]).events[1].key == 2**32 - 1


def test_a_client_reads_the_promised_answers_and_one_that_knows_no_more_reads_the_first() -> None:
    told = events_pb2.IngestAck.FromString(GOLDEN["ingest-acks"])
    assert [(ack.message, ack.acked_events, ack.code) for ack in (told, *told.more)] == [(1, 3, 0), (2, 1, 8)]
    assert (told.request_id, dict(told.more[0].refused_by_reason)) == (messages.REQUEST_ID, {"quota": 2})
    told.ClearField("more")
    unknown = GOLDEN["ingest-acks"].removeprefix(told.SerializeToString())
    assert unknown[0] == events_pb2.IngestAck.MORE_FIELD_NUMBER << 3 | 2  # last, so an older reader skips it


def test_a_record_of_the_topic_is_what_its_schema_says() -> None:
    batch = DefaultRecordBatch(GOLDEN["record-batch"])
    assert batch.validate_crc()
    schema = ASYNCAPI["components"]["messages"]["event"]
    for record, wanted in zip(batch, messages.events(), strict=True):
        event = events_pb2.Event.FromString(record.value)
        assert record.key == event.key.to_bytes(schema["bindings"]["kafka"]["key"]["maxLength"], "little")
        assert len(record.headers) == schema["headers"]["maxProperties"]
        (read,) = np.frombuffer(record.value, dtype=accepted("event"))
        for name in ("sequence", "tenant", "key", "quantity", "limit_price", "frame", "session"):
            assert read[name] == getattr(event, name) == wanted[name]


def test_the_head_of_a_record_batch_is_where_its_layout_says() -> None:
    layout = accepted("record-batch")
    (head,) = np.frombuffer(GOLDEN["record-batch"][: layout.itemsize], dtype=layout)
    assert head["magic"] == 2
    assert head["records"] == head["last_offset_delta"] + 1 == 3
    assert head["batch_length"] == len(GOLDEN["record-batch"]) - 12
    assert (head["producer_id"], head["producer_epoch"], head["base_sequence"]) == (4711, 2, 99)


def test_the_worker_reads_a_promised_batch() -> None:
    (batch,) = WholeBatches(SimpleNamespace(partition=2), RawRecords(GOLDEN["record-batch"]), None, 0)
    assert decode_events(bytes(batch.block), batch.count).tobytes() == messages.events().tobytes()


def test_keys_go_to_the_partition_that_the_rule_says() -> None:
    channel = ASYNCAPI["channels"]["events"]
    example = channel["x-partitioning-examples"]
    keys, partitions = np.array(example["keys"], dtype=np.uint32), example["partitions"]
    assert partition_of(keys, partitions).tolist() == example["partition"]
    (factor,) = re.findall(r"0x[0-9A-F]+", channel["x-partitioning"])
    rule = [(key * int(factor, 16) % 2**64 >> 40) % partitions for key in example["keys"]]
    assert rule == example["partition"]


def test_a_dead_letter_has_the_headers_and_bytes_that_its_schema_says() -> None:
    sent: list[dict[str, Any]] = []

    class Producer:
        async def send(self, topic: str, value: bytes, **rest: Any) -> asyncio.Future[None]:
            sent.append({"topic": topic, "value": value} | rest)
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done

    async def publish() -> None:
        relay = DeadLetterRelay(SimpleNamespace(kafka="", dead_letter_topic="orders-dlq"), None)
        relay._producer = Producer()
        await relay._publish([{"part": 4, "record_offset": 17, "reason": "malformed", "key": None, "value": b"\x07"}])

    asyncio.run(publish())
    (letter,) = sent
    headers = {name: value.decode() for name, value in letter["headers"]}
    assert valid("deadLetterHeaders", headers)
    assert not valid("deadLetterHeaders", headers | {"id": "17"})
    assert headers["id"] == "4:17"
    assert (letter["partition"], letter["key"], letter["value"]) == (4, None, b"\x07")
    assert letter["topic"] == ASYNCAPI["channels"]["dead-letters"]["address"].replace("{topic}", "orders")


def test_an_outbox_row_and_its_sessions_are_what_their_layouts_say() -> None:
    pieces = np.frombuffer(GOLDEN["outbox-frames"], dtype=accepted("outbox-piece"))
    assert pieces.tolist() == messages.pieces().tolist()
    assert np.frombuffer(GOLDEN["outbox-payload"], dtype=accepted("row")).tolist() == messages.rows().tolist()
    assert unpack_sessions(GOLDEN["sessions"]) == messages.SESSIONS
    assert dict(np.frombuffer(GOLDEN["sessions"], dtype=accepted("session")).tolist()) == messages.SESSIONS


@pytest.mark.parametrize("step", [1, 7, 10**6])
def test_fanout_reads_the_promised_stream_however_it_arrives(step: int) -> None:
    parser, heads, payload = FrameParser(), [], b""
    for start in range(0, len(GOLDEN["frames"]), step):
        headers, payloads = parser.feed(GOLDEN["frames"][start : start + step])
        heads += headers.tolist()
        payload += b"".join(payloads)
    wanted = messages.pieces()
    assert [head[:4] for head in heads] == wanted[["frame", "partition", "next_offset", "rows"]].tolist()
    assert np.frombuffer(payload, dtype=ROW).tolist() == messages.rows().tolist()


def test_clickhouse_reads_the_same_stream_by_the_same_layouts() -> None:
    layout, at = accepted("stream-header"), 0
    for piece in messages.pieces():
        end = at + layout.itemsize
        (head,) = np.frombuffer(GOLDEN["frames"][at:end], dtype=layout)
        assert clickhouse.HEADER.unpack(GOLDEN["frames"][at:end]) == head.item()
        assert head["rows"] == piece["rows"]
        at = end + int(head["size"])
    assert at == len(GOLDEN["frames"])
    assert accepted("row") == _engine.FILL


def test_lines_of_the_stream_are_what_their_schemas_say() -> None:
    written: list[bytes] = []
    wire = SimpleNamespace(write=written.append, is_closing=lambda: False, close=lambda: None)
    protocol = IngestProtocol(Offsets(messages.OFFSETS), lambda pieces, rows: None)
    protocol.connection_made(wire)
    assert valid("request", {"ingest": {}})
    protocol.data_received(b'{"ingest": {}}\n')
    protocol.data_received(bytes(24) + b"\x01\x00\x00\x00")  # no rows, of one byte
    last, error = map(json.loads, written)
    assert valid("last", last)
    assert last == {"last": {"0": 104, "2": 66}}
    assert valid("error", error)
    assert json.loads(GOLDEN["last"]) == last


def test_a_subscriber_reads_the_promised_messages() -> None:
    tenant, shares, rows = decode_message(GOLDEN["edge-tenant-0"])
    assert tenant == 0
    assert shares["rows"].tolist() == [1, 2]
    assert rows["price"].tolist() == [10.0, 100.5, 0.5]
    # And one that has nothing but the descriptions.
    message = GOLDEN["edge-tenant-1"]
    head, share, row = (accepted(name) for name in ("edge-head", "edge-share", "row"))
    (top,) = np.frombuffer(message[: head.itemsize], dtype=head)
    found = np.frombuffer(message, dtype=share, count=top["pieces"], offset=head.itemsize)
    read = np.frombuffer(message, dtype=row, offset=head.itemsize + found.nbytes)
    assert (top["tenant"], found["next_offset"].tolist(), read["key"].tolist()) == (1, [66], [2**32 - 1])


def test_what_the_edge_says_about_the_stream_is_what_its_schemas_say() -> None:
    position = {"position": everyone("0:104.2:66")}
    assert valid("position", position)
    assert parse_position(position["position"]).of(5) == {0: 104, 2: 66}
    assert valid("gap", {"gap": [Gap(1, 2, -1, 66)._asdict()]})
    assert not valid("gap", {"gap": [{"tenant": 1}]})


def test_pricing_reads_a_promised_request() -> None:
    assert REQUEST.unpack_from(GOLDEN["pricing-request"]) == (1, 1, 3)
    order = unpack_order(GOLDEN["pricing-request"][REQUEST.size :])
    assert order.limit_prices.tolist() == [100.25, 99.5, 1e-3]


def test_every_layout_and_schema_that_the_topics_name_is_there() -> None:
    for message in ASYNCAPI["components"]["messages"].values():
        named = message.get("x-layout", [])
        assert ({named} if isinstance(named, str) else {*named}) <= LAYOUTS.keys()
    for place in re.findall(r"#/([\w/-]+)", (ROOT / CONTRACTS / "asyncapi.yaml").read_text(encoding="utf-8")):
        found: Any = ASYNCAPI
        for part in place.split("/"):
            found = found[part]
    schema = ASYNCAPI["components"]["messages"]["event"]["payload"]["schema"]
    name, file = schema.split(" in ")
    assert f"message {name.split('.')[-1]} {{" in (ROOT / CONTRACTS / file).read_text(encoding="utf-8")
