"""A frame as a Kafka record batch: what the gateway writes with arrays is what an ordinary Kafka client writes and reads."""

import numpy as np
import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch

from live_adapters.pipeline.codec import EventArray, blank_events, decode_events
from live_adapters.pipeline.ingress.recordbatch import MAX_RECORDS, FrameBatch

STAMP_MS = 1_700_000_000_123


def some_events(count: int, event_bytes: int) -> EventArray:
    rng = np.random.default_rng(3)
    events = blank_events(count, event_bytes)
    events["sequence"] = np.arange(1, count + 1)
    events["key"] = rng.integers(0, 2**32, count)
    events["quantity"] = rng.normal(size=count)
    return events


def written(events: EventArray) -> bytes:
    batch = FrameBatch(events, STAMP_MS)
    batch._set_producer_state(4711, 2, 99)
    return bytes(batch._build())


# 64 and 8192 are where the varint of the offset delta grows.
@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000, 8191, 8192, 8193])
@pytest.mark.parametrize("event_bytes", [64, 127])
def test_bytes_equal_those_of_the_client_librarys_own_builder(count: int, event_bytes: int) -> None:
    events = some_events(count, event_bytes)
    builder = BatchBuilder(1 << 30, 0)
    for row in events:
        builder.append(timestamp=STAMP_MS, key=row["key"].tobytes(), value=row.tobytes())
    builder._set_producer_state(4711, 2, 99)
    assert written(events) == bytes(builder._build())


def test_a_consumer_reads_one_record_an_event_with_its_key() -> None:
    events = some_events(100, 64)
    batch = DefaultRecordBatch(written(events))
    assert batch.validate_crc()
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (4711, 2, 99)
    records = list(batch)
    assert [record.offset for record in records] == list(range(100))
    assert {record.timestamp for record in records} == {STAMP_MS}
    assert [int.from_bytes(record.key, "little") for record in records] == events["key"].tolist()
    assert decode_events(b"".join(record.value for record in records), 100).tobytes() == events.tobytes()


def test_a_retry_sends_the_same_bytes() -> None:
    batch = FrameBatch(some_events(10, 64), STAMP_MS)
    batch._set_producer_state(1, 0, 0)
    assert bytes(batch._build()) == bytes(batch._build())
    assert batch.size() == len(batch._build())
    assert batch.record_count() == 10
    assert batch.closed()


@pytest.mark.parametrize("count", [0, MAX_RECORDS + 1])
def test_a_frame_of_an_impossible_size_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"a frame must hold 1 to {MAX_RECORDS} events, got {count}"):
        FrameBatch(np.broadcast_to(blank_events(1, 64), (count,)))
