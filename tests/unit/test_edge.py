"""What the edge promises a subscriber: its own tenants only, everything once, and a reason when it says no."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_adapters.pipeline.config import RunConfig, read_config, write_config
from live_adapters.pipeline.consumer.poll import PIECE, ROW
from live_adapters.pipeline.edge.broadcast import decode_message, encode_tenants
from live_adapters.pipeline.edge.door import Door
from live_adapters.pipeline.edge.httphead import parse_head
from live_adapters.pipeline.edge.ingest import Offsets
from live_adapters.pipeline.edge.memory import Memory
from live_adapters.pipeline.edge.position import (
    Position,
    everyone,
    furthest,
    offsets_text,
    parse_offsets,
    parse_position,
    within_poll,
)
from live_adapters.pipeline.edge.readers import MAX_UNSENT_BYTES
from live_adapters.pipeline.edge.refusal import RefusedError
from live_adapters.pipeline.edge.replay import Again, Replay
from live_adapters.pipeline.edge.subscription import Subscription, subscription
from live_adapters.pipeline.edge.websocket import (
    CLOSE,
    PING,
    PROTOCOL_ERROR,
    UNSUPPORTED_DATA,
    ClientError,
    ControlFrames,
    accept,
)
from live_adapters.pipeline.fanout import MAX_CONNECTIONS, Edge
from live_adapters.pipeline.tokens import TokenError, mint_token, read_token
from sentra_sim.scenario import load_scenario
from sentra_sim.units import NS_PER_S

SECRET, NOW_S = "the run's", 1000.0
SCENARIO = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
TENANTS = 4

Piece = tuple[int, int, int]  # tenant, partition, next offset


def ask(target: str, *headers: str, token: str | None = None) -> Subscription:
    bearer = mint_token(SECRET, [1, 2], NOW_S + 1.0) if token is None else token
    lines = [f"GET {target} HTTP/1.1", "Host: edge", f"Authorization: Bearer {bearer}", *headers]
    return subscription(parse_head("\r\n".join(lines).encode()), SECRET, NOW_S)


def test_a_subscriber_gets_the_tenants_of_its_token_or_some_of_them() -> None:
    assert ask("/ws").tenants == {1, 2}
    assert ask("/events?tenants=2").tenants == {2}
    assert ask("/ws?tenants=7", token=mint_token(SECRET, None, NOW_S + 1.0)).tenants == {7}
    in_query = parse_head(f"GET /ws?token={mint_token(SECRET, None, NOW_S + 1.0)} HTTP/1.1".encode())
    assert subscription(in_query, SECRET, NOW_S).tenants is None


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "token_missing"),
        ("nonsense", "token_malformed"),
        (mint_token("another run's", [1], NOW_S + 1.0), "token_wrong"),
        (mint_token(SECRET, [1], NOW_S), "token_expired"),
        (mint_token(SECRET, [1], NOW_S + 1.0)[:-1], "token_wrong"),
        ("e30." + mint_token(SECRET, [1], NOW_S + 1.0).split(".")[1], "token_wrong"),
    ],
)
def test_a_token_that_is_not_good_is_refused_with_its_reason(token: str, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        ask("/ws", token=token)
    assert (caught.value.status, caught.value.reason) == (401, reason)
    head, body = caught.value.response().split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert json.loads(body)["reason"] == reason


def test_a_token_changed_in_any_character_is_worth_nothing() -> None:
    token = mint_token(SECRET, [1, 2], NOW_S + 1.0)
    for at, character in enumerate(token):
        with pytest.raises(TokenError):
            read_token(SECRET, token[:at] + ("A" if character != "A" else "B") + token[at + 1 :], NOW_S)


@pytest.mark.parametrize(
    ("target", "headers", "status", "reason"),
    [
        ("/ws?tenants=3", (), 403, "tenant_foreign"),
        ("/ws?tenants=1,3", (), 403, "tenant_foreign"),
        ("/elsewhere", (), 404, "path"),
        ("/ws?tenants=", (), 400, "tenants"),
        ("/ws?tenants=1,x", (), 400, "tenants"),
        ("/ws?tenants=9999999999", (), 400, "tenants"),
        ("/ws?tenants=1&tenants=2", (), 400, "query"),
        ("/ws?tenant=1", (), 400, "query"),
        ("/ws?gap=maybe", (), 400, "query"),
        ("/ws?from=yesterday", (), 400, "position"),
        ("/events", ("Last-Event-ID: 17",), 400, "position"),
        ("/ws?from=0-@" + "9" * 30_000, (), 400, "position"),
        ("/ws", ("Content-Length: 5",), 400, "body"),
        ("/ws", ("no header",), 400, "header"),
        ("/ws?a=%ff", (), 400, "query"),
    ],
)
def test_a_request_that_is_not_in_form_is_refused_with_its_reason(
    target: str, headers: tuple[str, ...], status: int, reason: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        ask(target, *headers)
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert "; " in str(caught.value)


def test_the_last_event_id_goes_before_the_from_of_the_first_url() -> None:
    wanted = ask("/events?from=0-@0:5", "Last-Event-ID: 0-@0:9")
    assert wanted.since is not None
    assert wanted.since.of(1) == {0: 9}


def test_the_secret_of_a_run_is_its_own_and_for_its_owner_to_read(tmp_path: Path) -> None:
    configs = [make_config(tmp_path), make_config(tmp_path)]
    assert configs[0].edge_secret != configs[1].edge_secret
    assert configs[0].edge_secret not in repr(configs[0])
    (tmp_path / "config.json").touch(mode=0o644)
    file = write_config(configs[0])
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_config(file).edge_secret == configs[0].edge_secret


def make_config(scratch: Path) -> RunConfig:
    numbers = ("redis_port", "clickhouse_port", "gateway_port", "pricing_port", "fanout_port", "fanout_ingest_port")
    words = ("kafka", "postgres_dsn", "redis_host", "clickhouse_host", "topic")
    settings: dict[str, Any] = {**dict.fromkeys(numbers, 1), **dict.fromkeys(words, "")}
    return RunConfig(scenario=load_scenario(SCENARIO), seed=1, warmup_s=0.0, load_s=1.0, scratch=scratch, **settings)


def test_ids_say_what_each_tenant_has() -> None:
    halfway = parse_position(within_poll(7, "0:104.1:55", "0:99"))
    assert (halfway.of(7), halfway.of(8)) == ({0: 104, 1: 55}, {0: 99})
    assert parse_position(everyone("")).of(3) == {}
    assert halfway.ahead_of({0: 103, 1: 55})
    assert not halfway.ahead_of({0: 104, 1: 60})


class Sender:
    """Polls of random pieces over partitions and tenants, sent to a replay buffer as the edge does."""

    def __init__(self, replay: Replay, seed: int) -> None:
        self.replay, self.rng = replay, np.random.default_rng(seed)
        self.offsets: dict[int, int] = {}
        self.sent: list[tuple[int, list[Piece]]] = []  # per poll and tenant, in order

    def poll(self, now_ns: int = 0) -> None:
        count = int(self.rng.integers(1, 4))
        pieces = np.zeros(count, dtype=PIECE)
        pieces["partition"], pieces["rows"] = self.rng.integers(0, 3, count), self.rng.integers(1, 5, count)
        for piece in pieces:
            partition = int(piece["partition"])
            self.offsets[partition] = self.offsets.get(partition, 0) + int(piece["rows"])
            piece["next_offset"] = self.offsets[partition]
        rows = np.zeros(int(pieces["rows"].sum()), dtype=ROW)
        rows["tenant"] = self.rng.integers(0, TENANTS, len(rows))
        frames = encode_tenants(pieces, rows)
        self.replay.add(frames, offsets_text(self.offsets), now_ns)
        self.replay.trim(now_ns)
        owner = np.repeat(np.arange(count), pieces["rows"])
        for tenant in sorted(frames):
            mine = sorted(set(owner[rows["tenant"] == tenant].tolist()))
            self.sent.append((tenant, [(tenant, *pieces[["partition", "next_offset"]][n].tolist()) for n in mine]))


def pieces_of(again: Iterable[Again]) -> list[Piece]:
    found: list[Piece] = []
    for item in again:
        tenant, shares, rows = decode_message(item.message)
        assert (rows["tenant"] == tenant).all()
        found += [(tenant, *pair) for pair in shares[["partition", "next_offset"]].tolist()]
    return found


@pytest.mark.parametrize("seed", range(20))
def test_whoever_stops_after_any_message_and_comes_back_gets_the_rest_once(seed: int) -> None:
    """Twice over: the replay itself breaks off too, and is taken up with the id it had reached."""
    replay = Replay()
    sender = Sender(replay, seed)
    before, ids = "", []
    for _ in range(12):
        sent = len(sender.sent)
        sender.poll()
        after = offsets_text(sender.offsets)
        ids += [within_poll(tenant, after, before) for tenant, _ in sender.sent[sent:]]
        before = after
    everything = {piece for _, pieces in sender.sent for piece in pieces}
    for at, identity in enumerate(ids):
        got = [piece for _, pieces in sender.sent[: at + 1] for piece in pieces]
        since = parse_position(identity)
        assert replay.gaps(None, since) == []
        first = replay.since(None, since, before)
        half = len(first) // 2
        got += pieces_of(first[:half])
        since = parse_position(first[half - 1].identity) if half else since
        got += pieces_of(replay.since(None, since, before))
        assert len(got) == len(set(got))
        assert set(got) == everything


def test_an_id_that_another_edge_gave_leaves_out_what_was_had_within_a_message() -> None:
    replay = Replay()
    sender = Sender(replay, 3)
    sender.poll()
    sender.poll()
    _, pieces = max(sender.sent, key=lambda item: len(item[1]))
    tenant, partition, offset = pieces[0]
    since = Position(((0, None, {partition: offset}),))
    left = pieces_of(replay.since([tenant], since, ""))
    mine = [piece for owner, sent in sender.sent if owner == tenant for piece in sent]
    assert len(pieces) > 1
    assert left == [piece for piece in mine if piece[1] != partition or piece[2] > offset]


@pytest.mark.parametrize("bound", ["seconds", "bytes"])
def test_what_is_beyond_the_bounds_is_a_gap_that_is_named(bound: str) -> None:
    size = 400 if bound == "bytes" else 1 << 20
    replay = Replay(keep_s=10.0, tenant_bytes=size)
    sender = Sender(replay, 5)
    positions = []
    for second in range(40):
        sender.poll(second * NS_PER_S if bound == "seconds" else 0)
        positions.append(parse_position(everyone(offsets_text(sender.offsets))))
    assert replay.size_bytes <= TENANTS * (400 if bound == "bytes" else 10 * 400)
    assert replay.gaps(None, positions[-1]) == []
    gaps = replay.gaps([1], positions[0])
    assert gaps
    for gap in gaps:
        assert gap.tenant == 1
        assert gap.above == positions[0].of(1).get(gap.partition, 0) < gap.up_to
        assert gap.up_to <= sender.offsets[gap.partition]
    # Whoever has what is gone gets the rest, though it was away for as long.
    has: Mapping[int, int] = furthest(positions[0].of(1), {gap.partition: gap.up_to for gap in gaps})
    assert replay.gaps([1], Position(((1, 1, has),))) == []


def test_time_alone_empties_the_buffer() -> None:
    replay = Replay(keep_s=10.0)
    Sender(replay, 1).poll(0)
    replay.trim(10 * NS_PER_S)
    assert replay.size_bytes > 0
    replay.trim(10 * NS_PER_S + 1)
    assert replay.size_bytes == 0
    assert replay.gaps([0, 1, 2, 3], parse_position(everyone("")))


def test_an_edge_started_anew_knows_what_it_cannot_get_again(tmp_path: Path) -> None:
    offsets = Offsets(settle_s=5.0, remember=Memory(tmp_path, "t").write)
    offsets.take(0, 100)
    assert json.loads(offsets.settled_line(1.0)) == {"last": {}}
    offsets.take(0, 200)
    assert json.loads(offsets.settled_line(6.0)) == {"last": {"0": 100}}
    assert Memory(tmp_path, "another topic").read() == {}
    anew = Memory(tmp_path, "t").read()
    assert anew == {0: 100}
    replay = Replay(offsets_text(anew))
    assert replay.gaps([4], parse_position("0-@0:100")) == []
    assert [gap.up_to for gap in replay.gaps([4], parse_position("0-@0:99"))] == [100]

    json.loads(
        offsets.line()
    )  # tells a worker that connects all that it has: from now on no more than that comes again
    assert Memory(tmp_path, "t").read() == parse_offsets("0:200")


def masked(first: int, payload: bytes) -> bytes:
    mask = b"\x01\x02\x03\x04"
    return bytes((first, 0x80 | len(payload))) + mask + bytes(b ^ mask[at % 4] for at, b in enumerate(payload))


@pytest.mark.parametrize("step", [1, 5, 100])
def test_control_frames_come_out_whole_however_they_arrive(step: int) -> None:
    stream = masked(0x80 | PING, b"hello") + masked(0x80 | CLOSE, b"\x03\xe8")
    control = ControlFrames()
    found = [frame for at in range(0, len(stream), step) for frame in control.feed(stream[at : at + step])]
    assert found == [(PING, b"hello"), (CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (masked(0x81, b"hi"), UNSUPPORTED_DATA),
        (masked(0x82, b"hi"), UNSUPPORTED_DATA),
        (b"\x89\x00", PROTOCOL_ERROR),
        (masked(0x09, b""), PROTOCOL_ERROR),
        (masked(0x8B, b""), PROTOCOL_ERROR),
        (b"\x89\xfe\x00\x00", PROTOCOL_ERROR),
    ],
)
def test_a_client_that_sends_what_it_may_not_is_told_by_code(sent: bytes, code: int) -> None:
    with pytest.raises(ClientError) as caught:
        list(ControlFrames().feed(sent))
    assert caught.value.code == code


def test_the_handshake_is_that_of_the_standard() -> None:
    lines = ["GET /ws HTTP/1.1", "Upgrade: websocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Version: 13"]
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
    answer = accept(parse_head("\r\n".join([*lines, key]).encode()))
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    for broken in (lines, [*lines, "Sec-WebSocket-Key: short"], [lines[0], key]):
        with pytest.raises(RefusedError) as caught:
            accept(parse_head("\r\n".join(broken).encode()))
        assert caught.value.reason == "upgrade"


def test_expiry_is_in_seconds_since_1970() -> None:
    assert read_token(SECRET, mint_token(SECRET, [1], time.time() + 60.0), time.time()).tenants == {1}


class Client(asyncio.Transport):
    """The other end of a connection; it takes nothing from its buffer while it is stuck."""

    def __init__(self) -> None:
        super().__init__()
        self.got = b""
        self.stuck = self.closed = False

    def write(self, data: Any) -> None:
        self.got += data

    def get_write_buffer_size(self) -> int:
        return MAX_UNSENT_BYTES + 1 if self.stuck else 0

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def subscribe(edge: Edge, path: str, *headers: str) -> Client:
    client, door = Client(), Door(edge)
    door.connection_made(client)
    token = mint_token(edge.secret, [0], time.time() + 60.0)
    upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    lines = [f"GET {path} HTTP/1.1", f"Authorization: Bearer {token}", *upgrade, key, *headers]
    for byte in "\r\n".join([*lines, "", ""]).encode():
        door.data_received(bytes([byte]))
    return client


def send_poll(edge: Edge, offsets: Offsets) -> None:
    pieces, rows = np.zeros(1, dtype=PIECE), np.zeros(1, dtype=ROW)
    pieces["rows"], pieces["next_offset"] = 1, offsets.last.get(0, 0) + 1
    offsets.take(0, int(pieces["next_offset"][0]))
    edge.send(pieces, rows)


def test_a_slow_client_is_told_why_it_is_left_and_no_other_notices(tmp_path: Path) -> None:
    async def story() -> None:
        offsets = Offsets()
        edge = Edge(make_config(tmp_path), offsets)
        slow, slow_events, quick = (subscribe(edge, path) for path in ("/ws", "/events", "/ws"))
        send_poll(edge, offsets)
        slow.stuck = slow_events.stuck = True
        before = len(quick.got)
        send_poll(edge, offsets)
        assert slow.closed
        assert slow.got.endswith(b"\x11\x38too slow: over 8388608 bytes behind")  # close code 4408
        assert slow_events.got.endswith(b"event: end\ndata: 4408 too slow: over 8388608 bytes behind\n\n")
        assert len(quick.got) > before
        assert not quick.closed
        assert edge.counts["closed_slow"] == 2
        send_poll(edge, offsets)
        assert slow.got.endswith(b"behind")

    asyncio.run(story())


def test_who_is_ahead_of_a_new_edge_waits_until_it_is_there_or_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        offsets = Offsets()
        edge = Edge(make_config(tmp_path), offsets)
        patient, lost = subscribe(edge, "/events?from=0-@0:1"), subscribe(edge, "/events?from=0-@7:1")
        assert (patient.got, lost.got) == (b"", b"")
        send_poll(edge, offsets)  # the one that it has
        assert patient.got.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"data:" not in patient.got
        send_poll(edge, offsets)
        assert patient.got.count(b"data:") == 1
        now_s = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now_s + 60.0)
        edge.tick()
        monkeypatch.undo()
        assert lost.got.startswith(b"HTTP/1.1 503 ")
        assert edge.counts["refused_ahead"] == 1

    asyncio.run(story())


def test_a_gap_is_refused_or_named_before_what_is_left(tmp_path: Path) -> None:
    async def story() -> None:
        offsets = Offsets()
        edge = Edge(make_config(tmp_path), offsets, Replay(tenant_bytes=100))
        for _ in range(5):
            send_poll(edge, offsets)
        refused = subscribe(edge, "/events", "Last-Event-ID: 0-@0:1")
        assert refused.got.startswith(b"HTTP/1.1 410 Gone\r\n")
        assert b"got tenant 0, partition 0, offset 1, gone up to 4; add gap=skip" in refused.got
        left = subscribe(edge, "/events?gap=skip", "Last-Event-ID: 0-@0:1")
        head, gap, price, rest = left.got.split(b"\n\n")[0], *left.got.split(b"\n\n")[-3:]
        assert b'event: gap\ndata: [{"tenant": 0, "partition": 0, "above": 1, "up_to": 4}]' in head + gap
        assert price.startswith(b"id: ")
        assert rest == b""
        assert b'{"gap": ' in subscribe(edge, "/ws?gap=skip&from=0-@0:1").got

    asyncio.run(story())


def test_there_is_room_for_so_many_and_a_place_that_is_left_is_free(tmp_path: Path) -> None:
    async def story() -> None:
        edge = Edge(make_config(tmp_path), Offsets())
        doors = [Door(edge) for _ in range(MAX_CONNECTIONS)]
        for door in doors:
            door.connection_made(Client())
        assert subscribe(edge, "/events").got.startswith(b"HTTP/1.1 503 ")
        doors[0].connection_lost(None)
        assert subscribe(edge, "/events").got.startswith(b"HTTP/1.1 200 ")
        assert edge.counts["refused_full"] == 1

    asyncio.run(story())
