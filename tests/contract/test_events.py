"""The array codec and protobuf speak one language: what either writes, the other reads."""

import numpy as np
import pytest

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import (
    EventArray,
    blank_events,
    decode_events,
    decode_request,
    encode_ingest,
    event_dtype,
)

FIELDS = ("sequence", "intended_ns", "tenant", "key", "quantity", "limit_price", "frame", "session")


def some_events(count: int, event_bytes: int = 64) -> EventArray:
    rng = np.random.default_rng(7)
    events = blank_events(count, event_bytes)
    events["sequence"] = np.arange(1, count + 1)
    events["intended_ns"] = rng.integers(0, 2**62, count)
    events["tenant"] = rng.integers(0, 2**32, count)
    events["key"] = rng.integers(0, 2**32, count)
    events["quantity"] = rng.normal(size=count)
    events["limit_price"] = rng.normal(size=count)
    events["frame"] = rng.integers(1, 2**62, count)
    events["session"] = 3
    return events


def as_message(row: np.void) -> events_pb2.Event:
    values = {name: row[name].item() for name in FIELDS}
    return events_pb2.Event(**values, attributes=row["attributes"].tobytes())


@pytest.mark.parametrize("event_bytes", [64, 65, 127])
def test_protobuf_reads_what_the_codec_writes(event_bytes: int) -> None:
    events = some_events(20, event_bytes)
    request = events_pb2.IngestRequest.FromString(encode_ingest(events))
    assert list(request.events) == [as_message(row) for row in events]
    one = events_pb2.Event.FromString(events[3].tobytes())
    assert one == as_message(events[3])


@pytest.mark.parametrize("event_bytes", [64, 65, 127])
def test_the_codec_reads_what_protobuf_writes(event_bytes: int) -> None:
    events = some_events(20, event_bytes)
    request = events_pb2.IngestRequest(events=[as_message(row) for row in events])
    assert request.SerializeToString() == encode_ingest(events)
    assert decode_request(request.SerializeToString())[0].tobytes() == events.tobytes()
    block = b"".join(event.SerializeToString() for event in request.events)
    assert decode_events(block, 20).tobytes() == events.tobytes()


def test_fields_in_another_order_and_unknown_fields_are_read() -> None:
    events = some_events(3)
    shuffled = b""
    for row in events:
        whole = as_message(row)
        halves = [events_pb2.Event(), events_pb2.Event()]
        for number, name in enumerate(FIELDS):
            setattr(halves[number % 2], name, getattr(whole, name))
        halves[0].attributes = whole.attributes
        unknown = bytes([15 << 3 | 0, 42])  # field 15, a varint that this version of the contract does not know
        entry = halves[1].SerializeToString() + unknown + halves[0].SerializeToString()
        shuffled += bytes([1 << 3 | 2, len(entry)]) + entry
    read = decode_request(shuffled)[0]
    for name in FIELDS:
        np.testing.assert_array_equal(read[name], events[name])


def test_events_without_a_frame_are_read_because_the_gateway_sets_it() -> None:
    message = as_message(some_events(1)[0])
    message.ClearField("frame")
    read = decode_request(events_pb2.IngestRequest(events=[message]).SerializeToString())[0]
    assert read["frame"].tolist() == [0]
    assert read["sequence"].tolist() == [1]


@pytest.mark.parametrize("length", [2, 10, 65])
def test_attributes_survive_an_encoding_that_is_not_canonical(length: int) -> None:
    messages = [as_message(row) for row in some_events(3, 62 + length)]
    for number, message in enumerate(messages):
        message.ClearField("frame")
        message.attributes = bytes([number + 1]) * length
    read = decode_request(events_pb2.IngestRequest(events=messages).SerializeToString())[0]
    assert [row["attributes"].tobytes() for row in read] == [message.attributes for message in messages]
    assert decode_events(read.tobytes(), 3).tobytes() == read.tobytes()


@pytest.mark.parametrize("attributes", [[b"ab", b"abc"], [b"a"], [bytes(66)]])
def test_attributes_of_several_or_impossible_lengths_are_refused(attributes: list[bytes]) -> None:
    message = as_message(some_events(1)[0])
    request = events_pb2.IngestRequest()
    for value in attributes:
        message.attributes = value
        request.events.append(message)
    with pytest.raises(ValueError, match="attributes of all events must be of one length from 2 to 65 bytes, got"):
        decode_request(request.SerializeToString())


@pytest.mark.parametrize("missing", [name for name in FIELDS if name != "frame"])
def test_an_event_that_lacks_a_field_is_refused_by_name(missing: str) -> None:
    message = as_message(some_events(1)[0])
    message.ClearField(missing)
    with pytest.raises(ValueError, match=f"every event must carry {missing}"):
        decode_request(events_pb2.IngestRequest(events=[message]).SerializeToString())


@pytest.mark.parametrize("garbage", [b"\x00", b"not protobuf at all", encode_ingest(some_events(2))[:-5]])
def test_bytes_that_are_no_request_are_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r"must be a serialised sentra\.v1\.IngestRequest"):
        decode_request(garbage)


def test_an_empty_request_holds_no_events() -> None:
    assert len(decode_request(events_pb2.IngestRequest().SerializeToString())[0]) == 0


def test_decoded_events_can_be_stamped() -> None:
    read = decode_request(encode_ingest(some_events(2)))[0]
    read["frame"] = 9
    assert read.dtype == event_dtype(64)
    assert read["frame"].tolist() == [9, 9]
