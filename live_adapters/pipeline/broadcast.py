"""What subscribers get: per poll and tenant one binary WebSocket message, and its bytes on the wire.

A message is `<II` (tenant, pieces), then that many SHARE, then the rows of `poll.ROW`, a piece's rows after those of the one
before. (tenant, partition, next_offset) names a piece for good: a subscriber that has seen it drops the repetition.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.poll import ROW

HEAD = struct.Struct("<II")
SHARE = np.dtype([("frame", "<i8"), ("next_offset", "<i8"), ("partition", "<i4"), ("rows", "<i4")])  # of one tenant
_BINARY_FINAL = 0x82  # RFC 6455, section 5.2


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
        messages[number] = websocket_frame(b"".join(message))
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


def websocket_frame(message: bytes) -> bytes:
    """Returns a binary message as one unmasked frame (RFC 6455, section 5.2), as servers send it."""
    length = len(message)
    if length < 126:
        return bytes((_BINARY_FINAL, length)) + message
    if length < 1 << 16:
        return struct.pack(">BBH", _BINARY_FINAL, 126, length) + message
    return struct.pack(">BBQ", _BINARY_FINAL, 127, length) + message
