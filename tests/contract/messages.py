"""One message of each kind as the pipeline's own writers make it, of fixed values; `golden.json` holds their bytes.

`python -m tests.contract.messages` writes `golden.json` anew, for a contract that was changed on purpose.
"""

import json
from pathlib import Path

import numpy as np

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import EventArray, blank_events, encode_ingest
from live_adapters.pipeline.consumer.poll import PIECE, ROW, pack_sessions
from live_adapters.pipeline.edge.broadcast import encode_tenants
from live_adapters.pipeline.edge.ingest import Offsets
from live_adapters.pipeline.edge.websocket import payload_of
from live_adapters.pipeline.ingress.batcher import frame_id
from live_adapters.pipeline.ingress.recordbatch import FrameBatch
from live_adapters.pipeline.releases.candidate import Order
from live_adapters.pipeline.releases.pricingwire import REQUEST, Priced, pack_answer, pack_order
from live_adapters.pipeline.stores.hotstate import STATE
from live_adapters.pipeline.stores.outbox import encode_frames

GOLDEN = Path(__file__).with_name("golden.json")
STAMP_MS = 1_700_000_000_123
REQUEST_ID = 77
SESSIONS = {3: 9, 4: 2**40}
OFFSETS = {0: 104, 2: 66}


def events() -> EventArray:
    made = blank_events(3, 64)
    made["sequence"], made["intended_ns"] = [7, 8, 9], 10**18 + np.arange(3)
    made["tenant"], made["key"] = [0, 1, 2], [5, 2**32 - 1, 17]
    made["quantity"], made["limit_price"] = [1.5, 2.5, 3.5], [100.25, 99.5, 1e-3]
    made["frame"], made["session"] = frame_id(2, 1), 3
    return made


def answers() -> events_pb2.IngestAck:
    """Two answers as one, the second of a request that was refused in part."""
    acks = events_pb2.IngestAck(request_id=REQUEST_ID, message=1, acked_events=3)
    acks.more.add(message=2, acked_events=1, refused_events=2, refused_positions=[0, 2], code=8, retry_after_ms=100)
    acks.more[0].refused_by_reason["quota"] = 2
    return acks


def pieces() -> np.ndarray:
    made = np.zeros(2, dtype=PIECE)
    made["frame"], made["partition"], made["next_offset"] = [frame_id(0, 4), frame_id(2, 1)], [0, 2], [104, 66]
    made["events"], made["duplicates"], made["rows"] = [2, 3], [1, 0], [1, 3]
    return made


def rows() -> np.ndarray:
    made = np.zeros(4, dtype=ROW)
    made["key"], made["tenant"] = [40, 5, 2**32 - 1, 17], [0, 0, 1, 0]
    made["quantity"], made["price"] = [1.0, 1.5, 2.5, 3.5], [10.0, 100.5, 99.75, 0.5]
    return made


def written() -> dict[str, bytes]:
    batch = FrameBatch(events(), STAMP_MS)
    batch._set_producer_state(4711, 2, 99)
    order = Order(events()["key"], events()["quantity"], events()["limit_price"])
    tenants = encode_tenants(pieces(), rows())
    return {
        "ingest-request": encode_ingest(events(), REQUEST_ID),
        "ingest-acks": answers().SerializeToString(deterministic=True),
        "record-batch": bytes(batch._build()),
        "outbox-frames": pieces().tobytes(),
        "outbox-payload": rows().tobytes(),
        "sessions": pack_sessions(SESSIONS),
        "frames": encode_frames(pieces(), rows().tobytes()),
        "last": Offsets(OFFSETS).line(),
        "edge-tenant-0": payload_of(tenants[0]),
        "edge-tenant-1": payload_of(tenants[1]),
        "redis-state": np.array([(7, 1.5, 100.5)], dtype=STATE).tobytes(),
        "pricing-request": REQUEST.pack(1, 1, 3) + pack_order(order),
        "pricing-answer": pack_answer(1, Priced(np.array([100.5, 99.75, 0.5]))),
    }


def golden() -> dict[str, bytes]:
    return {name: bytes.fromhex(text) for name, text in json.loads(GOLDEN.read_text(encoding="utf-8")).items()}


if __name__ == "__main__":
    data = {name: message.hex() for name, message in written().items()}
    GOLDEN.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
