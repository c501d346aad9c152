"""From the worker's stream to a subscriber's message: cut, dropped and put together at any byte, nothing changes."""

import asyncio
import contextlib
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from live_adapters.pipeline.consumer.poll import PIECE, ROW, Effects, Part, Poll
from live_adapters.pipeline.edge.broadcast import decode_message, encode_tenants
from live_adapters.pipeline.edge.ingest import FrameParser, IngestProtocol, Offsets
from live_adapters.pipeline.edge.websocket import binary_frame
from live_adapters.pipeline.stores.outbox import HEADER, Downstream, encode_frames


def some_pieces(*shares: tuple[int, int, int, int]) -> np.ndarray:
    pieces = np.zeros(len(shares), dtype=PIECE)
    for number, name in enumerate(("frame", "partition", "next_offset", "rows")):
        pieces[name] = [share[number] for share in shares]
    pieces["events"] = pieces["rows"]
    return pieces


def some_rows(count: int, tenants: int = 3) -> np.ndarray:
    rows = np.zeros(count, dtype=ROW)
    rows["key"], rows["tenant"] = np.arange(count), np.random.default_rng(1).integers(0, tenants, count)
    rows["price"] = np.arange(count) / 7
    return rows


PIECES = some_pieces((11, 0, 104, 4), (12, 0, 109, 5), (13, 1, 55, 0), (14, 2, 66, 90))
ROWS = some_rows(99)
STREAM = encode_frames(PIECES, ROWS.tobytes())


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Taken:
    def __init__(self) -> None:
        self.frames: list[tuple[int, int]] = []
        self.rows = b""

    def __call__(self, pieces: np.ndarray, rows: np.ndarray) -> None:
        assert pieces["rows"].sum() == len(rows)
        self.frames += pieces[["frame", "next_offset"]].tolist()
        self.rows += rows.tobytes()


@pytest.mark.parametrize("step", [1, 27, 28, 29, 1000, len(STREAM)])
def test_frames_come_out_whole_however_the_stream_is_cut(step: int) -> None:
    parser = FrameParser()
    headers, payloads = [], []
    for start in range(0, len(STREAM), step):
        found, parts = parser.feed(STREAM[start : start + step])
        headers += found.tolist()
        payloads += parts
    assert headers == [(11, 0, 104, 4, 96), (12, 0, 109, 5, 120), (14, 2, 66, 90, 2160)]
    assert b"".join(payloads) == ROWS.tobytes()


def test_fanout_answers_with_its_offsets_and_takes_every_frame_once() -> None:
    offsets, taken, wire = Offsets(), Taken(), Wire()
    worker = IngestProtocol(offsets, taken)
    worker.connection_made(wire)
    worker.data_received(b'{"ingest"')
    worker.data_received(b": {}}\n" + STREAM[:100])
    worker.data_received(STREAM[100:])
    assert taken.frames == [(11, 104), (12, 109), (14, 66)]

    again, second = IngestProtocol(offsets, taken), Wire()
    again.connection_made(second)
    late = encode_frames(some_pieces((12, 0, 109, 5), (15, 0, 112, 3)), ROWS[:8].tobytes())
    again.data_received(b'{"ingest": {}}\n' + late)
    assert [json.loads(line) for line in (wire.written, second.written)] == [
        {"last": {}},
        {"last": {"0": 109, "2": 66}},
    ]
    assert taken.frames[3:] == [(15, 112)]
    assert taken.rows == ROWS.tobytes() + ROWS[5:8].tobytes()
    assert offsets.repeated == 1


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b'{"query": 1}\n', "request: must be {'ingest': {...}}"),
        (b"nonsense\n", "Expecting value"),
        (b'{"ingest": {}}\n' + struct.pack("<qiqiI", 1, 0, 5, 3, 71), "got 3 rows, 71 bytes"),
        (b'{"ingest": {}}\n' + struct.pack("<qiqiI", 1, 0, 5, -1, 2**32 - 24), "got -1 rows"),
    ],
)
def test_a_worker_that_breaks_the_protocol_is_told_so_and_left(sent: bytes, reason: str) -> None:
    wire = Wire()
    protocol = IngestProtocol(Offsets(), Taken())
    protocol.connection_made(wire)
    protocol.data_received(sent)
    assert wire.closed
    assert reason in json.loads(wire.written.splitlines()[-1])["error"]


def payload_of(frame: bytes) -> bytes:
    """Reads an unmasked binary WebSocket frame (RFC 6455, section 5.2)."""
    assert frame[0] == 0x82
    length, start = frame[1], 2
    if length == 126:
        length, start = int.from_bytes(frame[2:4], "big"), 4
    elif length == 127:
        length, start = int.from_bytes(frame[2:10], "big"), 10
    assert len(frame) == start + length
    return frame[start:]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536])
def test_a_binary_frame_carries_messages_of_any_length(length: int) -> None:
    assert payload_of(binary_frame(bytes(length))) == bytes(length)


@pytest.mark.parametrize("offset", [0, 70_000])
def test_each_tenant_gets_its_own_rows_in_order_with_their_frames(offset: int) -> None:
    rows = ROWS.copy()
    rows["tenant"] += offset
    messages = encode_tenants(PIECES, rows)
    assert set(messages) == set(rows["tenant"].tolist())
    frame_of = np.repeat(PIECES["frame"], PIECES["rows"])
    for number, message in messages.items():
        tenant, shares, found = decode_message(payload_of(message))
        mine = rows["tenant"] == number
        assert (tenant, found.tolist()) == (number, rows[mine].tolist())
        assert np.repeat(shares["frame"], shares["rows"]).tolist() == frame_of[mine].tolist()
        offsets = {p["frame"]: (p["partition"], p["next_offset"]) for p in PIECES}
        assert all((s["partition"], s["next_offset"]) == offsets[s["frame"]] for s in shares)


@pytest.mark.parametrize("cut", [0, 7, 31, -1])
def test_a_message_cut_off_is_refused(cut: int) -> None:
    message = payload_of(next(iter(encode_tenants(PIECES, ROWS).values())))
    with pytest.raises(ValueError, match="message: must"):
        decode_message(message[:cut])


class Server:
    """A downstream server in this process that may forget everything, and refuse."""

    def __init__(self) -> None:
        self.offsets, self.taken = Offsets(), Taken()
        self.server: Any = None
        self.connections: list[IngestProtocol] = []

    async def start(self, port: int = 0) -> int:
        def connected() -> IngestProtocol:
            self.connections.append(IngestProtocol(self.offsets, self.taken))
            return self.connections[-1]

        self.server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", port)
        return int(self.server.sockets[0].getsockname()[1])

    def drop(self) -> None:
        self.server.close()
        for connection in self.connections:
            connection._transport.abort()


class Table:
    """An outbox in memory, and the commits that fill it."""

    def __init__(self) -> None:
        self.rows: dict[int, list[tuple[int, bytes, bytes]]] = {0: [], 1: []}
        self.frames = 0

    def commit(self, partition: int, count: int) -> tuple[Poll, Effects, bytes]:
        old = self.rows[partition][-1][0] if self.rows[partition] else 0
        self.frames += 1
        pieces, rows = some_pieces((self.frames, partition, old + count, count)), some_rows(count)
        self.rows[partition].append((old + count, pieces.tobytes(), rows.tobytes()))
        part = Part(partition, old, old + count, 0, 0, {}, slice(0, 1), slice(0, count))
        empty = np.empty(0)
        effects = Effects(empty, empty, empty, empty, empty, empty, empty, rows)
        return Poll((part,), pieces, rows, ()), effects, encode_frames(pieces, rows.tobytes())

    async def after(self, partition: int, offset: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        await asyncio.sleep(0)
        return [row for row in self.rows[partition] if row[0] > offset][:limit]


@contextlib.contextmanager
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("CRITICAL"):
        yield


async def until(check: Any) -> None:
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.005)


def test_a_server_that_comes_goes_and_forgets_gets_every_frame(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        table, first = Table(), Server()
        table.commit(0, 3)  # committed by a worker that died before it could send
        port = await first.start()
        downstream = Downstream("server", "127.0.0.1", port, {}, table.after)
        downstream.own({0: 3, 1: 0})
        await until(lambda: first.offsets.last == {0: 3})
        for _ in range(200):  # far more rows than one read of the outbox
            downstream.publish(*table.commit(0, 2))
        await until(lambda: first.offsets.last == {0: 403})

        first.drop()
        for _ in range(150):
            downstream.publish(*table.commit(1, 1))
            await asyncio.sleep(0)
        second = Server()
        second.offsets.last = dict(first.offsets.last)
        await second.start(port)
        downstream.publish(*table.commit(0, 5))
        await until(lambda: second.offsets.last == {0: 408, 1: 150})
        downstream.publish(*table.commit(1, 4))
        await until(lambda: second.offsets.last == {0: 408, 1: 154})
        second.connections[-1].confirm()
        await until(lambda: downstream.confirmed == {0: 408, 1: 154})
        await downstream.close(5.0)
        second.drop()
        frames = [frame for frame, _ in first.taken.frames + second.taken.frames]
        assert sorted(frames) == list(range(1, table.frames + 1))
        assert first.offsets.repeated + second.offsets.repeated == 0

    with quiet(caplog):
        asyncio.run(story())


def test_header_is_what_the_clickhouse_engine_reads() -> None:
    assert HEADER.itemsize == struct.calcsize("<qiqiI")
    assert struct.unpack("<qiqiI", STREAM[:28]) == (11, 0, 104, 4, 96)
