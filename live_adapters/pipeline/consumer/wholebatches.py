"""Record batches read whole: aiokafka's consumer hands out `poll.Batch` instead of one object per record.

The gateway writes batches whose records are equal but for key, value and offset delta (`recordbatch.py`), so the values
lie at known places and are cut out as one array. Any other batch (another client's, compressed, compacted) goes through
aiokafka's own decoder. A record costs some 15 ns this way, against 1.5 µs for a `ConsumerRecord`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from typing import Any

import aiokafka.consumer.fetcher
import numpy as np
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c
from numpy.typing import NDArray

from live_adapters.pipeline.consumer.poll import Batch, Originals
from live_adapters.pipeline.ingress.recordbatch import CRC_FROM, HEADER, RUNS, record_template

_LENGTH = struct.Struct(">i")
_LENGTH_AT, _OVERHEAD = 8, 12
_COMPRESSED, _CONTROL = 0x07, 0x20  # bits of a batch's attributes
_VALUE_LENGTH_AT = 10  # in a record of the gateway's first run: after length, attributes, two deltas and the key


def install() -> None:
    """Makes the consumers of this process hand out whole batches: `getmany` returns lists of `poll.Batch`.

    `max_records` then counts batches.
    """
    module: Any = aiokafka.consumer.fetcher
    module.MemoryRecords = RawRecords
    module.PartitionRecords = WholeBatches


class RawRecords:
    """The bytes of a partition in a fetch response, in the place of aiokafka's MemoryRecords."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def size_in_bytes(self) -> int:
        """Returns the bytes there are, a batch that was cut off at the end included."""
        return len(self.data)

    def has_next(self) -> bool:
        """Tells whether there is a whole batch."""
        return next(self.batches(), None) is not None

    def batches(self) -> Iterator[memoryview]:
        """Yields whole batches; one that was cut off at the end is fetched again."""
        view, at = memoryview(self.data), 0
        while at + _OVERHEAD <= len(view):
            end = at + _OVERHEAD + _LENGTH.unpack_from(view, at + _LENGTH_AT)[0]
            if end > len(view):
                return
            yield view[at:end]
            at = end


class WholeBatches:
    """The batches of a partition from an offset on, in the place of aiokafka's PartitionRecords."""

    def __init__(self, tp: Any, records: RawRecords, aborted: Any, fetch_offset: int, *settings: Any) -> None:
        self.next_fetch_offset = fetch_offset
        self._partition = tp.partition
        self._batches = records.batches()

    def __iter__(self) -> WholeBatches:
        return self

    def __next__(self) -> Batch:
        for data in self._batches:
            batch = read_batch(data, self._partition, self.next_fetch_offset)
            self.next_fetch_offset = max(self.next_fetch_offset, _next_offset(data))
            if batch is not None:
                return batch
        raise StopIteration


def read_batch(data: memoryview, partition: int, from_offset: int) -> Batch | None:
    """Reads the records of one batch from an offset on; None when it has none: a control batch, or all before the offset.

    Raises:
        CorruptRecordException: the checksum does not fit the bytes.
    """
    header = HEADER.unpack_from(data)
    base, crc, attributes, last, count = header[0], header[4], header[5], header[6], header[12]
    if calc_crc32c(data[CRC_FROM:]) != crc:
        raise CorruptRecordException(f"partition {partition}: a batch's checksum must fit its bytes, got {crc}")
    if attributes & _CONTROL:
        return None
    values = None if attributes & _COMPRESSED or last + 1 != count else _cut_values(data, count)
    if values is None:
        return _read_each(data, partition, from_offset)
    skip = max(0, from_offset - base)
    if skip >= count:
        return None
    block = values[skip:].tobytes()
    return Batch(partition, base + skip, base + count, count - skip, block, originals=partial(_originals, data))


def _cut_values(data: memoryview, count: int) -> NDArray[np.void] | None:
    """Returns the values of a batch as the gateway writes it, shape (count,); None for any other."""
    event_bytes = _event_bytes(data)
    if event_bytes is None:
        return None
    values = []
    at = HEADER.size
    for first, end, width in RUNS:
        if first >= count:
            break
        length = min(count, end) - first
        rounded = min(end - first, 1 << max(6, (length - 1).bit_length()))  # so that few templates serve all sizes
        template = record_template(event_bytes, first, first + rounded, width)[:length]
        if at + template.nbytes > len(data):
            return None
        records = np.frombuffer(data, template.dtype, length, at)
        if not _same_but_for_key_and_value(records, template):
            return None
        values.append(records["value"])
        at += template.nbytes
    return np.concatenate(values) if at == len(data) else None


def _same_but_for_key_and_value(records: NDArray[np.void], template: NDArray[np.void]) -> bool:
    blank = records.copy()
    blank["key"], blank["value"] = 0, template["value"][0]  # all zero
    return blank.tobytes() == template.tobytes()


def _event_bytes(data: memoryview) -> int | None:
    """Returns the length of the first record's value, which lies where the gateway puts it or the batch is no such."""
    at = HEADER.size + _VALUE_LENGTH_AT
    if len(data) < at + 2:
        return None
    low, high = data[at], data[at + 1]
    length = (low & 0x7F | high << 7) >> 1  # a zigzag varint of two bytes
    return length if low & 0x80 and not high & 0x80 and 64 <= length <= 127 else None


def _read_each(data: memoryview, partition: int, from_offset: int) -> Batch | None:
    records = [record for record in DefaultRecordBatch(bytes(data)) if record.offset >= from_offset]
    if not records:
        return None
    values = [record.value or b"" for record in records]
    lengths = tuple(map(len, values))
    return Batch(
        partition=partition,
        first_offset=records[0].offset,
        next_offset=_next_offset(data),
        count=len(records),
        block=b"".join(values),
        lengths=None if min(lengths) == max(lengths) else lengths,
        originals=partial(_originals, data),
    )


def _originals(data: memoryview) -> Originals:
    return {record.offset: (record.key, record.value or b"") for record in DefaultRecordBatch(bytes(data))}


def _next_offset(data: memoryview) -> int:
    header = HEADER.unpack_from(data)
    return int(header[0] + header[6] + 1)
