"""Batches read whole hold what an ordinary Kafka client reads record by record, whoever wrote them."""

from collections.abc import Callable

import numpy as np
import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from live_adapters.pipeline.codec import EventArray, blank_events
from live_adapters.pipeline.consumer.poll import Batch
from live_adapters.pipeline.consumer.wholebatches import RawRecords, WholeBatches
from live_adapters.pipeline.ingress.recordbatch import FrameBatch


class Partition:
    partition = 3


def some_events(count: int, event_bytes: int = 64) -> EventArray:
    events = blank_events(count, event_bytes)
    events["sequence"] = np.arange(1, count + 1)
    events["key"] = np.random.default_rng(3).integers(0, 2**32, count)
    return events


def from_gateway(events: EventArray, base: int) -> bytes:
    batch = FrameBatch(events)
    batch._set_producer_state(4711, 2, 99)
    return base.to_bytes(8, "big") + bytes(batch._build())[8:]


def from_other_client(values: list[bytes], base: int, compression: int = 0, key: bytes | None = b"k") -> bytes:
    builder = BatchBuilder(1 << 30, compression)
    for number, value in enumerate(values):
        builder.append(timestamp=1_700_000_000_000 + number, key=key, value=value)
    return base.to_bytes(8, "big") + bytes(builder._build())[8:]


def read(data: bytes, from_offset: int) -> list[Batch]:
    return list(WholeBatches(Partition(), RawRecords(data), None, from_offset))


def record_by_record(data: bytes, from_offset: int) -> list[tuple[int, bytes]]:
    records, found = MemoryRecords(data), []
    while records.has_next():
        found += [(record.offset, record.value) for record in records.next_batch() if record.offset >= from_offset]
    return found


def as_records(batches: list[Batch]) -> list[tuple[int, bytes]]:
    found = []
    for batch in batches:
        lengths = batch.lengths or (len(batch.block) // batch.count,) * batch.count
        ends = np.cumsum(lengths).tolist()
        values = [batch.block[end - length : end] for end, length in zip(ends, lengths, strict=True)]
        found += list(zip(range(batch.first_offset, batch.first_offset + batch.count), values, strict=True))
    return found


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200, 8192, 8193])
@pytest.mark.parametrize("event_bytes", [64, 100, 127])
def test_a_gateways_batches_read_whole_are_its_records(count: int, event_bytes: int) -> None:
    data = from_gateway(some_events(count, event_bytes), 1000) + from_gateway(some_events(5, event_bytes), 1000 + count)
    batches = read(data, 1000)
    assert [(b.partition, b.first_offset, b.next_offset, b.count, b.lengths) for b in batches] == [
        (3, 1000, 1000 + count, count, None),
        (3, 1000 + count, 1005 + count, 5, None),
    ]
    assert as_records(batches) == record_by_record(data, 1000)


@pytest.mark.parametrize("from_offset", [1000, 1001, 1070, 1099, 1100, 1104])
def test_reading_starts_in_the_middle_of_a_batch(from_offset: int) -> None:
    data = from_gateway(some_events(100), 1000) + from_gateway(some_events(5), 1100)
    reading = WholeBatches(Partition(), RawRecords(data), None, from_offset)
    assert as_records(list(reading)) == record_by_record(data, from_offset)
    assert reading.next_fetch_offset == 1105


@pytest.mark.parametrize(
    "write",
    [
        from_other_client,
        lambda values, base: from_other_client(values, base, compression=1),
        lambda values, base: from_other_client(values, base, key=None),
        lambda values, base: from_other_client([*values, b"", b"short", values[0] * 3], base),
    ],
    ids=["timestamps", "gzip", "no key", "lengths"],
)
def test_what_other_clients_write_is_read_too(write: Callable[[list[bytes], int], bytes]) -> None:
    data = write([row.tobytes() for row in some_events(90)], 7)
    assert as_records(read(data, 7)) == record_by_record(data, 7)


@pytest.mark.parametrize("compression", [None, 0, 1])
def test_a_record_that_is_put_aside_can_be_read_again_with_its_key(compression: int | None) -> None:
    events = some_events(70)
    values = [row.tobytes() for row in events]
    data = from_gateway(events, 7) if compression is None else from_other_client(values, 7, compression)
    (batch,) = read(data, 10)
    assert batch.originals is not None
    originals = batch.originals()
    keys = [events["key"][place : place + 1].tobytes() if compression is None else b"k" for place in range(70)]
    assert originals == {7 + place: (keys[place], values[place]) for place in range(70)}


def test_a_batch_cut_off_at_the_end_of_an_answer_waits_for_the_next_fetch() -> None:
    first, second = from_gateway(some_events(100), 0), from_gateway(some_events(100), 100)
    for cut in (1, 8, 12, 61, len(second) - 1):
        reading = WholeBatches(Partition(), RawRecords(first + second[:cut]), None, 0)
        assert [batch.next_offset for batch in reading] == [100]
        assert reading.next_fetch_offset == 100
    assert not RawRecords(second[:-1]).has_next()
    assert RawRecords(second).has_next()


def test_a_flipped_bit_is_noticed() -> None:
    data = bytearray(from_gateway(some_events(100), 0))
    data[500] ^= 1
    with pytest.raises(CorruptRecordException, match="partition 3: a batch's checksum must fit its bytes"):
        read(bytes(data), 0)
