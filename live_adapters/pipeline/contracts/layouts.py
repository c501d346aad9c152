"""The binary layouts that cross a process boundary, described for machines and compared with the accepted description.

Every byte of such a layout has a fixed place, so there is no compatible change of one: what differs breaks its readers.
What is written only for the run's own recorder (the hop logs) is not among them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from live_adapters.pipeline.codec import event_dtype
from live_adapters.pipeline.consumer.poll import PIECE, ROW, SESSION
from live_adapters.pipeline.edge import broadcast
from live_adapters.pipeline.ingress import recordbatch
from live_adapters.pipeline.releases import pricingwire
from live_adapters.pipeline.stores.hotstate import STATE
from live_adapters.pipeline.stores.outbox import HEADER

LEAST_EVENT_BYTES = 64

Layout = dict[str, Any]  # as JSON has it: `says`, `bytes`, `fields` of `name`, `type` (NumPy's), `offset`


def described() -> dict[str, Layout]:
    """Returns the layouts as the code has them now, by name."""
    return {
        "event": _layout("a canonical Event with two bytes of attributes", event_dtype(LEAST_EVENT_BYTES)),
        "record-batch": _packed(
            "head of a record batch of the topic (Kafka's magic 2), before its records",
            recordbatch.HEADER,
            "base_offset batch_length leader_epoch magic crc attributes last_offset_delta base_timestamp max_timestamp "
            "producer_id producer_epoch base_sequence records",
        ),
        "outbox-piece": _layout("outbox.frames: one a frame and poll", PIECE),
        "row": _layout("outbox.payload, the stream of frames and the edge: one a priced event", ROW),
        "stream-header": _layout("before the rows of each frame in the stream to fanout and ClickHouse", HEADER),
        "session": _layout("progress.sessions: the last sequence taken of a producer session", SESSION),
        "edge-head": _packed("first bytes of an edge message", broadcast.HEAD, "tenant pieces"),
        "edge-share": _layout("one a piece in an edge message, before its rows", broadcast.SHARE),
        "redis-state": _layout("position:<key> in Redis", STATE),
        "pricing-request": _packed(
            "head of a request to the pricing service", pricingwire.REQUEST, "number frames events"
        ),
        "pricing-answer": _packed("head of its answer", pricingwire.ANSWER, "number events"),
    }


def breaks(accepted: Mapping[str, Layout], current: Mapping[str, Layout]) -> list[str]:
    """Returns one line for each difference that a reader or writer of the accepted layouts would stumble over."""
    found: list[str] = []
    for name, layout in accepted.items():
        if (now := current.get(name)) is None:
            found.append(f"{name}: a layout must stay, got none")
        elif lines := _changed(layout["fields"], now["fields"]):
            found += [f"{name}.{line}" for line in lines]
        elif layout["bytes"] != now["bytes"]:
            found.append(f"{name}: must stay of {layout['bytes']} bytes, got {now['bytes']}")
    return found


def _changed(accepted: list[Layout], current: list[Layout]) -> list[str]:
    now = {field["name"]: field for field in current}
    lines = []
    for field in accepted:
        got = now.pop(field["name"], None)
        if got != field:
            lines.append(f"{field['name']}: must stay {_place(field)}, got {_place(got) if got else 'no such field'}")
    return lines + [f"{name}: must not be added to a layout in use, got {_place(got)}" for name, got in now.items()]


def _place(field: Layout) -> str:
    return f"{field['type']} at byte {field['offset']}"


def _layout(says: str, dtype: np.dtype[Any]) -> Layout:
    fields = [
        {"name": name, "type": inner.str, "offset": offset}
        for name, (inner, offset, *_) in (dtype.fields or {}).items()
    ]
    return {"says": says, "bytes": dtype.itemsize, "fields": fields}


def _packed(says: str, packing: struct.Struct, names: str) -> Layout:
    """Describes a `struct` without padding as the NumPy layout that it equals."""
    order, codes = packing.format[0], packing.format[1:]
    types = {"b": "i1", "h": "i2", "i": "i4", "I": "u4", "q": "i8"}
    return _layout(says, np.dtype([(n, order + types[c]) for n, c in zip(names.split(), codes, strict=True)]))
