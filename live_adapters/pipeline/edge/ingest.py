"""The server's side of the stream of frames that `outbox.py` describes."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.consumer.poll import PIECE, ROW
from live_adapters.pipeline.stores.outbox import HEADER, LINE_BYTES

MAX_FRAME_BYTES = 64 << 20

# Takes what arrived together: pieces, shape (n,) of PIECE, and their rows one after another, of ROW.
Take = Callable[[NDArray[np.void], NDArray[np.void]], None]


class Offsets:
    """By partition, up to where frames were taken: what is not above it is a repetition.

    What was confirmed never comes again, so frames are confirmed `settle_s` late, in case the server dies and those it served
    come back for them. `remember` is told of offsets before they are confirmed.
    """

    def __init__(
        self,
        last: Mapping[int, int] | None = None,
        *,
        settle_s: float = 0.0,
        remember: Callable[[Mapping[int, int]], None] = lambda offsets: None,
    ) -> None:
        self.last = dict(last or {})
        self.repeated = 0
        self._settle_s, self._remember = settle_s, remember
        self._settled = dict(self.last)
        self._settling: deque[tuple[float, dict[int, int]]] = deque()

    def take(self, partition: int, next_offset: int) -> bool:
        """Tells whether a frame is new, and remembers it."""
        if next_offset <= self.last.get(partition, -1):
            self.repeated += 1
            return False
        self.last[partition] = next_offset
        return True

    def line(self) -> bytes:
        """Returns the `last` line that answers a request: all that was taken, or the worker would send it again."""
        self._settled = dict(self.last)
        self._settling.clear()
        return self._confirmation()

    def settled_line(self, now_s: float) -> bytes:
        """Returns the `last` line of what was taken `settle_s` before `now_s`."""
        self._settling.append((now_s, dict(self.last)))
        while self._settling and self._settling[0][0] <= now_s - self._settle_s:
            self._settled = self._settling.popleft()[1]
        return self._confirmation()

    def _confirmation(self) -> bytes:
        self._remember(self._settled)
        last = {str(partition): offset for partition, offset in self._settled.items()}
        return json.dumps({"last": last}).encode() + b"\n"


class FrameParser:
    """Cuts the stream into whole frames, however it arrives."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> tuple[NDArray[np.void], list[bytes]]:
        """Returns the headers of the frames that are complete now, shape (n,) of HEADER, and each one's payload.

        Raises:
            ValueError: a header whose sizes contradict each other.
        """
        buffer = self._rest + data if self._rest else data
        heads: list[bytes] = []
        payloads: list[bytes] = []
        at = 0
        while at + HEADER.itemsize <= len(buffer):
            start = at + HEADER.itemsize
            size = int.from_bytes(buffer[start - 4 : start], "little")
            rows = int.from_bytes(buffer[start - 8 : start - 4], "little", signed=True)
            if size != rows * ROW.itemsize or size > MAX_FRAME_BYTES:
                raise ValueError(f"frame: payload must be rows * {ROW.itemsize} bytes, got {rows} rows, {size} bytes")
            if start + size > len(buffer):
                break
            heads.append(buffer[at:start])
            payloads.append(buffer[start : start + size])
            at = start + size
        self._rest = buffer[at:]
        return np.frombuffer(b"".join(heads), dtype=HEADER), payloads


class IngestProtocol(asyncio.Protocol):
    """One connection of the worker: answers its request, then hands on whatever new frames arrived together."""

    def __init__(self, offsets: Offsets, take: Take) -> None:
        self._offsets, self._take = offsets, take
        self._line: bytes | None = b""  # the request so far; None once it was answered
        self._parser = FrameParser()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport for the answers."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it

    def data_received(self, data: bytes) -> None:
        """Takes bytes of the request or of the stream; a client that breaks the protocol is told so and left."""
        try:
            self._receive(data)
        except ValueError as error:
            self._answer(json.dumps({"error": str(error)}).encode() + b"\n")
            if self._transport is not None:
                self._transport.close()

    def confirm(self) -> bool:
        """Tells the worker what it need not keep any more; False when it has left."""
        if self._line is None:
            self._answer(self._offsets.settled_line(time.monotonic()))
        return self._transport is None or not self._transport.is_closing()

    def _receive(self, data: bytes) -> None:
        if self._line is not None:
            line, newline, data = (self._line + data).partition(b"\n")
            if not newline:
                if len(line) > LINE_BYTES:
                    raise ValueError(f"request: must be one line of JSON, got {len(line)} bytes without its end")
                self._line = line
                return
            request = json.loads(line)
            if not isinstance(request, dict) or set(request) != {"ingest"}:
                raise ValueError(f"request: must be {{'ingest': {{...}}}}, got {line[:80]!r}")
            self._line = None
            self._answer(self._offsets.line())
        if data:
            self._frames(data)

    def _frames(self, data: bytes) -> None:
        headers, payloads = self._parser.feed(data)
        marks = zip(headers["partition"].tolist(), headers["next_offset"].tolist(), strict=True)
        new = [self._offsets.take(partition, next_offset) for partition, next_offset in marks]
        if not all(new):
            payloads = [payload for payload, kept in zip(payloads, new, strict=True) if kept]
            headers = headers[np.array(new, dtype=bool)]
        if len(headers):
            self._take(_as_pieces(headers), np.frombuffer(b"".join(payloads), dtype=ROW))

    def _answer(self, line: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(line)


def _as_pieces(headers: NDArray[np.void]) -> NDArray[np.void]:
    pieces = np.zeros(len(headers), dtype=PIECE)
    for name in ("frame", "partition", "next_offset", "rows"):
        pieces[name] = headers[name]
    pieces["events"] = headers["rows"]
    return pieces
