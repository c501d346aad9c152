"""What stands around a real edge in its tests: the worker's side of its ingest port, and clients that keep what they get."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from typing import Any

import numpy as np
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.consumer.poll import PIECE, ROW, Effects, Part, Poll
from live_adapters.pipeline.edge.broadcast import decode_message
from live_adapters.pipeline.edge.position import by_tenant, furthest, parse_position
from live_adapters.pipeline.stores.outbox import Downstream, encode_frames
from live_adapters.pipeline.tokens import mint_token

PARTITIONS = 3
WAIT_S = 30.0

Piece = tuple[int, int, int]  # tenant, partition, next offset


async def until(check: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not check():
            await asyncio.sleep(0.01)


class Feeder:
    """The worker's client of the edge, on an outbox in memory that is trimmed as the real one is."""

    def __init__(self, config: RunConfig, tenants: int, seed: int) -> None:
        self.tenants, self.rng = tenants, np.random.default_rng(seed)
        self.pieces: set[Piece] = set()
        self.events = 0
        self._rows: dict[int, dict[int, tuple[bytes, bytes]]] = {p: {} for p in range(PARTITIONS)}
        self.offsets = dict.fromkeys(range(PARTITIONS), 0)
        self.downstream = Downstream("fanout", config.host, config.fanout_ingest_port, {}, self._after)
        self.downstream.own(self.offsets)

    def poll(self, rows: int = 40) -> None:
        partition = int(self.rng.integers(PARTITIONS))
        first, last = self.offsets[partition], self.offsets[partition] + rows
        self.offsets[partition] = last
        piece = np.zeros(1, dtype=PIECE)
        piece["frame"], piece["partition"], piece["next_offset"] = self.events + 1, partition, last
        piece["rows"] = piece["events"] = rows
        effects = np.zeros(rows, dtype=ROW)
        effects["tenant"] = self.rng.integers(0, self.tenants, rows)
        self.pieces |= {(tenant, partition, last) for tenant in set(effects["tenant"].tolist())}
        self.events += rows
        self._rows[partition][last] = (piece.tobytes(), effects.tobytes())
        part = Part(partition, first, last, 0, 0, {}, slice(0, 1), slice(0, rows))
        none = np.empty(0)
        frames = encode_frames(piece, effects.tobytes())
        self.downstream.publish(Poll((part,), piece, effects, ()), Effects(*[none] * 7, effects), frames)
        self._trim()

    def _trim(self) -> None:
        for partition, confirmed in self.downstream.confirmed.items():
            for offset in [offset for offset in self._rows[partition] if offset <= confirmed]:
                del self._rows[partition][offset]

    async def _after(self, partition: int, offset: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        await asyncio.sleep(0)
        above = sorted(last for last in self._rows[partition] if last > offset)
        return [(last, *self._rows[partition][last]) for last in above[:limit]]


class Client:
    """Keeps every piece that it got, as often as it came."""

    def __init__(self, config: RunConfig, tenants: list[int], *, token_s: float = 600.0) -> None:
        self.config, self.tenants = config, tenants
        self.token = mint_token(config.edge_secret, tenants, time.time() + token_s)
        self.got: Counter[Piece] = Counter()
        self.gaps = 0
        self.connections = 0
        self.transport: Any = None

    def take(self, message: bytes) -> None:
        tenant, shares, rows = decode_message(message)
        assert tenant in self.tenants
        assert (rows["tenant"] == tenant).all()
        self.got.update((tenant, *pair) for pair in shares[["partition", "next_offset"]].tolist())

    def has_all(self, feeder: Feeder) -> bool:
        return set(self.got) == {piece for piece in feeder.pieces if piece[0] in self.tenants}

    def break_off(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class WebSocketClient(Client, WSListener):  # type: ignore[misc]
    """A WebSocket subscriber that comes back with what it knows."""

    complete: dict[int, int] | None = None
    closed: tuple[int, str] | None = None

    def position(self) -> str:
        mine = {tenant: dict(self.complete or {}) for tenant in self.tenants}
        for tenant, partition, offset in self.got:
            mine[tenant] = furthest(mine[tenant], {partition: offset})
        return by_tenant(mine.items())

    async def connect(self, query: str = "") -> WSTransport:
        url = f"ws://{self.config.host}:{self.config.fanout_port}/ws?token={self.token}{query}"
        transport, _ = await ws_connect(lambda: self, url)
        self.connections += 1
        self.transport = transport.underlying_transport
        return transport

    async def stay(self) -> None:
        while True:
            try:
                transport = await self.connect("" if self.complete is None else f"&from={self.position()}")
                await transport.wait_disconnected()
            except (OSError, WSError):
                await asyncio.sleep(0.02)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.BINARY:
            self.take(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT:
            said = json.loads(frame.get_payload_as_utf8_text())
            if "position" in said:
                self.complete = dict(parse_position(said["position"]).of(self.tenants[0]))
            self.gaps += "gap" in said
        elif frame.msg_type == WSMsgType.CLOSE:
            self.closed = (int(frame.get_close_code()), str(frame.get_close_message()))


class EventClient(Client):
    """A reader of server-sent events that knows of ids what every browser knows: the last one."""

    last_id = ""

    async def stay(self) -> None:
        while True:
            try:
                await self._read()
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.02)

    async def _read(self) -> None:
        reader, writer = await asyncio.open_connection(self.config.host, self.config.fanout_port, limit=1 << 24)
        self.transport = writer.transport
        try:
            resume = f"Last-Event-ID: {self.last_id}\r\n" if self.last_id else ""
            bearer = f"Authorization: Bearer {self.token}\r\n"
            writer.write(f"GET /events HTTP/1.1\r\nHost: edge\r\n{bearer}{resume}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise ConnectionRefusedError(head)
            assert b"Content-Type: text/event-stream\r\n" in head
            self.connections += 1
            while True:
                self._block((await reader.readuntil(b"\n\n")).decode())
        finally:
            writer.transport.abort()

    def _block(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "data" in fields and "event" not in fields:
            self.take(base64.b64decode(fields["data"]))
        self.gaps += fields.get("event") == "gap"
        self.last_id = fields.get("id", self.last_id)
