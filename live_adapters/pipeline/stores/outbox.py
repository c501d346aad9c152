"""From the outbox to those downstream: the stream of frames, and a client that never loses one.

The protocol (fanout and the ClickHouse engine speak it): the client sends one line of JSON, `{"ingest": {...}}`, the server
answers `{"last": {"<partition>": <next_offset>}}`, what it has already; then frames stream, each a HEADER and its rows of
`poll.ROW`. A server drops frames up to its last offset, and may send further `last` lines as it makes frames safe.

A frame reaches the stream either right after its commit or, when the connection was away, from the outbox. What a server
has confirmed may leave the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.consumer.poll import PIECE, ROW, Effects, Poll
from live_adapters.pipeline.stores.breaker import Breaker
from live_adapters.pipeline.stores.retry import Backoff, StoreAwayError

HEADER = np.dtype([("frame", "<i8"), ("partition", "<i4"), ("next_offset", "<i8"), ("rows", "<i4"), ("size", "<u4")])
MAX_UNSENT_BYTES = 32 << 20  # beyond it the connection is given up, and the rest comes from the outbox
REPLAY_ROWS = 64  # outbox rows per read
BACKOFF = Backoff(base_s=0.05, cap_s=2.0, total_s=float("inf"))  # what is missed waits in the outbox
CLOSE_S = 1.0
LINE_BYTES = 1 << 20

# Reads the outbox of a partition above an offset: at most so many rows of (next_offset, pieces, rows as bytes).
ReadOutbox = Callable[[int, int, int], Coroutine[Any, Any, list[tuple[int, bytes, bytes]]]]

log = logging.getLogger(__name__)


def encode_frames(pieces: NDArray[np.void], rows: bytes) -> bytes:
    """Encodes pieces, shape (n,) of PIECE, with their rows one after another, as frames of the stream; empty ones are left out."""
    kept = pieces[pieces["rows"] > 0]
    headers = np.empty(len(kept), dtype=HEADER)
    for name in ("frame", "partition", "next_offset", "rows"):
        headers[name] = kept[name]
    headers["size"] = kept["rows"] * ROW.itemsize
    heads, size = headers.tobytes(), HEADER.itemsize
    parts: list[bytes] = []
    start = 0
    for number, length in enumerate(headers["size"].tolist()):
        parts += [heads[number * size : (number + 1) * size], rows[start : start + length]]
        start += length
    return b"".join(parts)


class Downstream:
    """Keeps one server supplied with the frames of the partitions owned, through lost connections and restarts."""

    def __init__(self, name: str, host: str, port: int, request: dict[str, Any], read_outbox: ReadOutbox) -> None:
        self.name = name
        self.breaker = Breaker(name)
        self._address = (host, port)
        self._request = json.dumps({"ingest": request}).encode() + b"\n"
        self._read_outbox = read_outbox
        self._rng = random.Random()
        self._committed: dict[int, int] = {}  # by partition owned, the offset of its last commit
        self._sent: dict[int, int] = {}
        self._writer: asyncio.StreamWriter | None = None  # set while frames go out right after their commit
        self._again = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.confirmed: dict[int, int] = {}
        self.connections = 0

    def own(self, offsets: dict[int, int]) -> None:
        """Says which partitions are owned, with the offsets of their last commits; connects, and asks where the server is."""
        self._committed = {}
        self.gain(offsets)

    def gain(self, offsets: dict[int, int]) -> None:
        """Adds partitions with the offsets of their last commits; asks the server anew where it is before anything is sent."""
        self._committed.update(offsets)
        self._writer = None  # else a frame could overtake those that only the outbox has
        self._again.set()
        if self._task is None:
            self._task = asyncio.create_task(self._keep_connected(), name=self.name)

    def lose(self, partitions: Iterable[int]) -> None:
        """Forgets partitions that go to another worker, which sends on from the outbox; the others' frames flow on."""
        for partition in partitions:
            self._committed.pop(partition, None)

    def publish(self, poll: Poll, effects: Effects, frames: bytes) -> None:
        """Sends a committed poll's frames (`encode_frames`); without a connection they wait in the outbox."""
        for part in poll.parts:
            self._committed[part.partition] = part.next_offset
        if self._writer is None or not len(effects.rows):
            return
        if self._writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            log.warning("%s: does not keep up; connects again and sends from the outbox", self.name)
            self._again.set()
            return
        self._writer.write(frames)
        self._sent.update({part.partition: part.next_offset for part in poll.parts})

    @property
    def unconfirmed_records(self) -> int:
        """Records committed that the server has not made safe yet: at most so many wait for it in the outbox."""
        return sum(max(0, offset - self.confirmed.get(p, offset)) for p, offset in self._committed.items())

    async def close(self, drain_s: float) -> None:
        """Waits up to `drain_s` for what is unsent, then closes."""
        if self._writer is not None:
            with contextlib.suppress(OSError, TimeoutError):
                self._writer.transport.set_write_buffer_limits(high=0)
                await asyncio.wait_for(self._writer.drain(), drain_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_connected(self) -> None:
        delays_s = BACKOFF.delays_s(self._rng)
        while True:
            self._again.clear()
            self.breaker.permits()  # it has waited for the cool-down: this connection is the probe
            before = self.connections
            try:
                await self._connected()
                continue
            except StoreAwayError as error:  # PostgreSQL's outbox, not the server
                log.warning("%s: its outbox must be readable, got %s; connects again", self.name, error)
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                self.breaker.failed()
                log.warning("%s: must take frames, got %r; connects again", self.name, error)
            if self.connections > before:  # it had been there
                delays_s = BACKOFF.delays_s(self._rng)
            await asyncio.sleep(max(next(delays_s), self.breaker.wait_s()))

    async def _connected(self) -> None:
        """Serves one connection until it is lost (OSError) or to be opened anew (returns)."""
        reader, writer = await asyncio.open_connection(*self._address, limit=LINE_BYTES)
        self.connections += 1
        try:
            writer.write(self._request)
            self._sent = self._confirm(await reader.readline())
            self.breaker.succeeded()
            watching = asyncio.create_task(self._watch(reader))
            again = asyncio.create_task(self._again.wait())
            replaying = asyncio.create_task(self._replay(writer))
            try:
                await asyncio.wait({watching, again, replaying}, return_when=asyncio.FIRST_COMPLETED)
                if replaying.done() and not watching.done() and not again.done():
                    replaying.result()
                    await asyncio.wait({watching, again}, return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    watching.result()
            finally:
                self._writer = None
                await cancel(watching, again, replaying)
        finally:
            self._writer = None
            await _close(writer)

    async def _replay(self, writer: asyncio.StreamWriter) -> None:
        """Sends what was committed above the server's offsets, then, in the same breath, lets `publish` take over."""
        while behind := [p for p, offset in self._committed.items() if self._sent.get(p, -1) < offset]:
            for partition in behind:
                await self._replay_some(partition, writer)
        if not self._again.is_set():
            self._writer = writer

    async def _replay_some(self, partition: int, writer: asyncio.StreamWriter) -> None:
        sent, committed = self._sent.get(partition, -1), self._committed.get(partition, -1)
        rows = await self._read_outbox(partition, sent, REPLAY_ROWS)
        for next_offset, pieces, payload in rows:
            writer.write(encode_frames(np.frombuffer(pieces, dtype=PIECE), payload))
            sent = next_offset
        # A read that ends short has seen all that was committed before it; what is missing was confirmed and trimmed.
        self._sent[partition] = max(sent, committed) if len(rows) < REPLAY_ROWS else sent
        await writer.drain()

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        while True:
            self._confirm(await reader.readline())

    def _confirm(self, line: bytes) -> dict[int, int]:
        if not line:
            raise ConnectionResetError(f"{self.name} closed the connection")
        answer = json.loads(line)
        if not isinstance(answer, dict) or "last" not in answer:
            raise ValueError(f"{self.name} answered {line[:200]!r}")
        last = {int(partition): int(offset) for partition, offset in answer["last"].items()}
        self.confirmed.update(last)
        return last


async def _close(writer: asyncio.StreamWriter) -> None:
    """Closes a connection after what is in its buffer, or without it when the other side does not read."""
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), CLOSE_S)
    except OSError:  # of which TimeoutError is one
        writer.transport.abort()


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks and waits for their ends, however they end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
