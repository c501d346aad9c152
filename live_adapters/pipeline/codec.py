"""Events as arrays: the canonical layout of `events.proto` read and written without a loop.

Fields of fixed width, all present, in order of their numbers: so every serialised event of a stream has the same bytes at the
same places, and a block of them is a structured array. What does not have that layout is parsed by protobuf.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.ingress.reasons import MessageRefused, Reason

_FIELDS = (
    ("sequence", 1, "<u8"),
    ("intended_ns", 2, "<i8"),
    ("tenant", 3, "<u4"),
    ("key", 4, "<u4"),
    ("quantity", 5, "<f8"),
    ("limit_price", 6, "<f8"),
    ("frame", 7, "<i8"),
    ("session", 8, "<u4"),
)
_SIGNED = {name for name, _, code in _FIELDS if code == "<i8"}
_WIRE_TYPE = {8: 1, 4: 5}
_ATTRIBUTES_TAG = 9 << 3 | 2
_ENTRY_TAG = 1 << 3 | 2
_REQUEST_ID_TAG = 2 << 3 | 1
_REQUEST_ID_BYTES = 9  # with its tag
_MOST_FOREIGN_EVENTS = 65_536  # of a message that is read event by event
_FIXED_BYTES = 60  # the eight fields above with their tags
_LEAST_ATTRIBUTES, _MOST_ATTRIBUTES = 2, 65  # bytes, so that an event has 64 to 127

EventArray = NDArray[np.void]


@lru_cache(maxsize=64)
def event_dtype(event_bytes: int) -> np.dtype[np.void]:
    """Returns the structured type of one serialised event of `event_bytes` bytes (64 to 127)."""
    fields: list[tuple[str, str]] = []
    for name, number, code in _FIELDS:
        fields += [(f"tag{number}", "u1"), (name, code)]
    return np.dtype([*fields, ("tag9", "u1"), ("length", "u1"), ("attributes", f"V{event_bytes - _FIXED_BYTES - 2}")])


def blank_events(count: int, event_bytes: int) -> EventArray:
    """Returns `count` events with their tags set and every value zero."""
    events = np.zeros(count, dtype=event_dtype(event_bytes))
    for _, number, code in _FIELDS:
        events[f"tag{number}"] = number << 3 | _WIRE_TYPE[np.dtype(code).itemsize]
    events["tag9"] = _ATTRIBUTES_TAG
    events["length"] = event_bytes - _FIXED_BYTES - 2
    return events


def decode_events(block: bytes, count: int) -> EventArray:
    """Decodes `count` serialised events that stand one after another; a read-only view where the layout is canonical.

    Raises:
        ValueError: the block does not have that layout.
    """
    event_bytes = len(block) // count if count else 64
    if count * event_bytes != len(block) or not 64 <= event_bytes <= 127:
        raise ValueError(
            f"events must be of one length from 64 to 127 bytes, got {len(block)} bytes for {count} events"
        )
    events = np.frombuffer(block, dtype=event_dtype(event_bytes))
    if not _canonical(events):
        raise ValueError("events must carry all fields in order of their numbers")
    return events


def encode_ingest(events: EventArray, request_id: int | None = None) -> bytes:
    """Serialises events as one `IngestRequest`."""
    event_bytes = events.dtype.itemsize
    entries = np.empty((len(events), event_bytes + 2), dtype=np.uint8)
    entries[:, 0], entries[:, 1] = _ENTRY_TAG, event_bytes
    entries[:, 2:] = events.view(np.uint8).reshape(-1, event_bytes)
    if request_id is None:
        return entries.tobytes()
    return entries.tobytes() + bytes([_REQUEST_ID_TAG]) + request_id.to_bytes(8, "little")


def decode_request(message: bytes) -> tuple[EventArray, int | None]:
    """Decodes one `IngestRequest` into its events and its request id; foreign but valid encodings go through protobuf.

    Raises:
        MessageRefused: the message is not an IngestRequest with all fields of every event present.
    """
    if not message:
        return blank_events(0, 64), None
    if (canonical := decode_together([message])) is None:
        return _decode_foreign(message)
    events, ids = canonical
    return events[0], ids[0] if ids else None


def decode_together(messages: Sequence[bytes]) -> tuple[EventArray, list[int]] | None:
    """Decodes requests of one length in one go, at the cost of one: nothing is looked at message by message.

    Returns:
        Their events, shape (messages, events of each), and their request ids, none when they have none; None when any
        of them has not the canonical layout, or has another than the first.
    """
    event_bytes = messages[0][1] if len(messages[0]) > 1 else 0
    if not 64 <= event_bytes <= 127:
        return None
    stride = event_bytes + 2
    count, tail = divmod(len(messages[0]), stride)
    if tail not in (0, _REQUEST_ID_BYTES):
        return None
    rows = np.frombuffer(b"".join(messages), dtype=np.uint8).reshape(len(messages), -1)
    if tail and not bool((rows[:, -tail] == _REQUEST_ID_TAG).all()):
        return None
    entries = rows[:, : count * stride].reshape(-1, stride)
    mask, constant = _constant_bytes(event_bytes)
    if not bool(((entries & mask) == constant).all()):
        return None
    # Copied as plain bytes: NumPy copies structured elements field by field, some ten times slower.
    events = np.ascontiguousarray(entries[:, 2:]).view(event_dtype(event_bytes)).reshape(len(messages), count)
    return events, np.ascontiguousarray(rows[:, -8:]).view("<u8")[:, 0].tolist() if tail else []


@lru_cache(maxsize=64)
def _constant_bytes(event_bytes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns the mask of an entry's bytes that are the same in every canonical entry, and these bytes, shape (stride,)."""
    constant = np.frombuffer(encode_ingest(blank_events(1, event_bytes)), dtype=np.uint8)
    filled = np.zeros(1, dtype=event_dtype(event_bytes))
    for name in (*(name for name, _, _ in _FIELDS), "attributes"):
        filled[name] = np.frombuffer(b"\xff" * filled.dtype[name].itemsize, dtype=filled.dtype[name])
    mask = ~np.concatenate([np.zeros(2, np.uint8), filled.view(np.uint8)])
    return mask, constant & mask


def _canonical(events: EventArray) -> bool:
    event_bytes = events.dtype.itemsize
    mask, constant = _constant_bytes(event_bytes)
    return bool(((events.view(np.uint8).reshape(-1, event_bytes) & mask[2:]) == constant[2:]).all())


def _decode_foreign(message: bytes) -> tuple[EventArray, int | None]:
    request = events_pb2.IngestRequest()
    try:
        request.ParseFromString(message)
    except Exception as error:  # protobuf's DecodeError class differs between its back ends
        raise MessageRefused(Reason.MALFORMED, "must be a serialised sentra.v1.IngestRequest") from error
    request_id = request.request_id if request.HasField("request_id") else None
    try:
        return _foreign_events(request), request_id
    except MessageRefused as refused:
        refused.events, refused.request_id = len(request.events), request_id
        raise


def _foreign_events(request: events_pb2.IngestRequest) -> EventArray:
    if not request.events and not request.HasField("request_id"):
        raise MessageRefused(Reason.MALFORMED, "must hold events or a request_id, got only fields that are unknown")
    if len(request.events) > _MOST_FOREIGN_EVENTS:
        raise MessageRefused(Reason.SIZE, f"must hold at most {_MOST_FOREIGN_EVENTS} events, got {len(request.events)}")
    events = blank_events(len(request.events), _FIXED_BYTES + 2 + _attribute_bytes(request))
    for row, event in zip(events, request.events, strict=True):
        for name, _, _ in _FIELDS:
            if name != "frame" and not event.HasField(name):
                raise MessageRefused(Reason.MISSING_FIELD, f"every event must carry {name}")
            value = getattr(event, name)
            # As the canonical layout has it: what needs the 64th bit reads as a negative number.
            row[name] = value - (1 << 64) if name in _SIGNED and value >> 63 else value
        row["attributes"] = np.void(event.attributes or bytes(_LEAST_ATTRIBUTES))
    return events


def _attribute_bytes(request: events_pb2.IngestRequest) -> int:
    """Returns the length of the attributes, which all events of a request share: they become one array."""
    lengths = {len(event.attributes) or _LEAST_ATTRIBUTES for event in request.events} or {_LEAST_ATTRIBUTES}
    if len(lengths) > 1 or not _LEAST_ATTRIBUTES <= min(lengths) <= _MOST_ATTRIBUTES:
        got = ", ".join(map(str, sorted(lengths)[:10]))
        raise MessageRefused(
            Reason.SIZE,
            f"attributes of all events must be of one length from {_LEAST_ATTRIBUTES} to {_MOST_ATTRIBUTES} bytes, got {got}",
        )
    return lengths.pop()
