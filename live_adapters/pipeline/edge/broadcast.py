"""What subscribers get: per poll and tenant one binary WebSocket message, and its bytes on the wire.

A message is `<II` (tenant, pieces), then that many SHARE, then the rows of `poll.ROW`, a piece's rows after those of the one
before. (tenant, partition, next_offset) names a piece for good: a subscriber that has seen it drops the repetition.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.consumer.poll import ROW
from live_adapters.pipeline.edge.websocket import binary_frame

HEAD = struct.Struct("<II")
SHARE = np.dtype([("frame", "<i8"), ("next_offset", "<i8"), ("partition", "<i4"), ("rows", "<i4")])  # of one tenant


def encode_tenants(pieces: NDArray[np.void], rows: NDArray[np.void]) -> dict[int, bytes]:
    """Returns by tenant its message, as a WebSocket frame from a server, of pieces (PIECE) with their rows (ROW)."""
    tenant = rows["tenant"]
    # Radix sort for 16 bits; tenants beyond that are rare enough for a slower one.
    order = np.argsort(tenant.astype(np.uint16) if int(tenant.max(initial=0)) < 1 << 16 else tenant, kind="stable")
    tenants, piece = tenant[order], np.repeat(np.arange(len(pieces)), pieces["rows"])[order]
    starts = np.concatenate([[0], np.flatnonzero((np.diff(tenants) != 0) | (np.diff(piece) != 0)) + 1])
    shares = np.empty(len(starts), dtype=SHARE)
    for name in ("frame", "next_offset", "partition"):
        shares[name] = pieces[name][piece[starts]]
    shares["rows"] = np.diff(np.append(starts, len(rows)))
    # Rows as opaque bytes: NumPy copies structured elements field by field, far slower.
    body = rows.view(f"V{ROW.itemsize}")[order].tobytes()
    heads = shares.tobytes()
    owner = tenants[starts]
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(owner)) + 1])
    lasts = np.append(firsts[1:], len(starts))
    row_bounds = (np.append(starts, len(rows)) * ROW.itemsize).tolist()
    messages: dict[int, bytes] = {}
    for number, first, last in zip(owner[firsts].tolist(), firsts.tolist(), lasts.tolist(), strict=True):
        share = heads[first * SHARE.itemsize : last * SHARE.itemsize]
        message = (HEAD.pack(number, last - first), share, body[row_bounds[first] : row_bounds[last]])
        messages[number] = binary_frame(b"".join(message))
    return messages


def decode_message(message: bytes) -> tuple[int, NDArray[np.void], NDArray[np.void]]:
    """Reads a message back: tenant, its shares (SHARE), their rows (ROW).

    Raises:
        ValueError: sizes that contradict each other.
    """
    if len(message) < HEAD.size:
        raise ValueError(f"message: must have at least {HEAD.size} bytes, got {len(message)}")
    tenant, count = HEAD.unpack_from(message)
    end = HEAD.size + count * SHARE.itemsize
    if end > len(message):
        raise ValueError(f"message: must hold {count} pieces, got {len(message)} bytes")
    shares = np.frombuffer(message, dtype=SHARE, count=count, offset=HEAD.size)
    total = int(shares["rows"].sum())
    if len(message) - end != total * ROW.itemsize:
        raise ValueError(f"message: must hold {total} rows, got {len(message) - end} bytes of them")
    return tenant, shares, np.frombuffer(message, dtype=ROW, count=total, offset=end)


def only_after(message: bytes, offsets: Mapping[int, int]) -> bytes:
    """Returns a message without the pieces up to these offsets by partition; nothing when none is left."""
    tenant, shares, rows = decode_message(message)
    floor = np.array([offsets.get(partition, -1) for partition in shares["partition"].tolist()], dtype=np.int64)
    kept = shares["next_offset"] > floor
    if kept.all():
        return message
    if not kept.any():
        return b""
    left = shares[kept]
    body = rows.view(f"V{ROW.itemsize}")[np.repeat(kept, shares["rows"])]
    return HEAD.pack(tenant, len(left)) + left.tobytes() + body.tobytes()
