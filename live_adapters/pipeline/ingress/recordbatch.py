"""One frame as one Kafka record batch (magic 2), a record per event, written as arrays.

Kafka protocol, "Record Batch" and "Record". All events of a frame have one length, so records differ in length only by the
varint of their offset delta: three runs of equal records (deltas below 64, below 8192, below 2**20), each a structured array
whose constant bytes are copied from a template. A record costs some 30 ns this way, against 1.5 µs through `append()`.
"""

from __future__ import annotations

import struct
import time
from functools import lru_cache

import numpy as np
from aiokafka.record.util import calc_crc32c
from numpy.typing import NDArray

from live_adapters.pipeline.codec import EventArray

HEADER = struct.Struct(">qiibIhiqqqhii")
_LENGTH_FROM = 12  # the batch length counts what follows it
_CRC_AT, CRC_FROM = 17, 21
_MAGIC = 2
RUNS = ((0, 64, 1), (64, 8192, 2), (8192, 1 << 20, 3))  # first offset delta, last + 1, bytes of its varint
MAX_RECORDS = RUNS[-1][1]


def varint(value: int) -> bytes:
    """Encodes a non-negative integer as a zigzag varint, as the fields of a record are.

    >>> varint(4).hex(), varint(64).hex()
    ('08', '8001')
    """
    rest = value << 1
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


class FrameBatch:
    """A finished record batch, in the shape of aiokafka's `BatchBuilder`, for `AIOKafkaProducer.send_batch`.

    The producer sets its id, epoch and sequence when it sends the batch for the first time; a retry sends the same bytes.
    """

    def __init__(self, events: EventArray, timestamp_ms: int | None = None) -> None:
        self._count = len(events)
        self._timestamp_ms = int(time.time() * 1e3) if timestamp_ms is None else timestamp_ms
        self._producer = (-1, -1, -1)
        self._buffer = bytearray(HEADER.size).join((b"", _records(events)))
        self._built = False
        self.sent_ns = 0  # monotonic; when the producer last put it into a request

    def record_count(self) -> int:
        """Returns the number of records."""
        return self._count

    def size(self) -> int:
        """Returns the bytes of the whole batch."""
        return len(self._buffer)

    def close(self) -> None:
        """Does nothing: the batch is complete from its making."""

    def closed(self) -> bool:
        """Returns True: no record may be added."""
        return True

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)
        self._built = False

    def _build(self) -> bytearray:
        self.sent_ns = time.monotonic_ns()
        if not self._built:
            self._write_header()
            self._built = True
        return self._buffer

    def _write_header(self) -> None:
        length = len(self._buffer) - _LENGTH_FROM
        last, stamp = self._count - 1, self._timestamp_ms
        fields = (0, length, -1, _MAGIC, 0, 0, last, stamp, stamp, *self._producer, self._count)
        HEADER.pack_into(self._buffer, 0, *fields)
        crc = calc_crc32c(memoryview(self._buffer)[CRC_FROM:])
        struct.pack_into(">I", self._buffer, _CRC_AT, crc)


def _records(events: EventArray) -> bytes:
    if not 0 < len(events) <= MAX_RECORDS:
        raise ValueError(f"a frame must hold 1 to {MAX_RECORDS} events, got {len(events)}")
    return b"".join(_run(events[first:end], first, end, width) for first, end, width in RUNS if first < len(events))


def _run(events: EventArray, first: int, end: int, width: int) -> bytes:
    size = min(end - first, 1 << int(np.ceil(np.log2(max(len(events), 64)))))
    records = record_template(events.dtype.itemsize, first, first + size, width)[: len(events)].copy()
    records["key"] = events["key"]
    records["value"] = events.view(records.dtype["value"])
    return records.tobytes()


@lru_cache(maxsize=16)
def record_template(event_bytes: int, first: int, end: int, width: int) -> NDArray[np.void]:
    """Returns the records of offset deltas `first` to `end` with all constant bytes set, keys and values zero."""
    fields = [
        ("length", "V2"),
        ("attributes", "u1"),
        ("timestamp_delta", "u1"),
        ("offset_delta", f"V{width}"),
        ("key_length", "u1"),
        ("key", "<u4"),
        ("value_length", "V2"),
        ("value", f"V{event_bytes}"),
        ("headers", "u1"),
    ]
    records = np.zeros(end - first, dtype=np.dtype(fields))
    records["length"] = np.void(varint(records.dtype.itemsize - 2))
    records["offset_delta"] = [np.void(varint(delta)) for delta in range(first, end)]
    records["key_length"] = varint(4)[0]
    records["value_length"] = np.void(varint(event_bytes))
    return records
