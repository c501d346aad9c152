"""A real edge process, fed through its ingest port: connections break and the edge is killed, and nobody misses or sees twice."""

import asyncio
import contextlib
import json
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from picows import WSInvalidStatusError

from live_adapters.measurable import choose_ports
from live_adapters.pipeline.config import RunConfig, write_config
from live_adapters.pipeline.edge.httphead import parse_head
from live_adapters.pipeline.edge.refusal import RefusedError
from live_adapters.pipeline.edge.subscription import subscription
from live_adapters.pipeline.hoplog import SUBSCRIBER_DELIVERED, read_log
from live_adapters.pipeline.stores.outbox import cancel
from live_adapters.pipeline.tokens import mint_token
from sentra_sim.scenario import load_scenario
from tests.live.back_half import SCENARIO, Processes, back_half
from tests.live.edge_clients import Client, EventClient, Feeder, WebSocketClient, until

pytestmark = pytest.mark.live

MALFORMED = 1_000


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    ports = choose_ports()
    nowhere: dict[str, Any] = dict.fromkeys(("kafka", "postgres_dsn", "redis_host", "clickhouse_host"), "")
    config = RunConfig(
        scenario=load_scenario(SCENARIO),
        seed=1,
        warmup_s=0.0,
        load_s=1.0,
        topic="edge",
        redis_port=1,
        clickhouse_port=1,
        gateway_port=ports["gateway"],
        pricing_port=ports["pricing"],
        fanout_port=ports["fanout"],
        fanout_ingest_port=ports["fanout_ingest"],
        scratch=tmp_path,
        **nowhere,
    )
    write_config(config)
    return config


def counters(config: RunConfig, name: str = "fanout") -> dict[str, int]:
    found: dict[str, int] = json.loads((config.scratch / f"{name}.counters.json").read_text())
    return found


@contextlib.asynccontextmanager
async def staying(*clients: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(client.stay()) for client in clients]
    try:
        await until(lambda: all(client.connections for client in clients))
        yield
    finally:
        await cancel(*tasks)
        for client in clients:
            client.break_off()
        await asyncio.sleep(0)  # a transport lets go of its socket in the loop's next turn


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("CRITICAL"):
        yield


def test_every_subscriber_sees_each_outbox_id_once_whatever_breaks(config: RunConfig) -> None:
    async def story(processes: Processes) -> Feeder:
        feeder = Feeder(config, config.scenario.load.tenants, seed=7)
        clients: list[Client] = [WebSocketClient(config, [0, 3, 5]), EventClient(config, [1, 3, 8])]
        async with staying(*clients):
            for number in range(300):
                feeder.poll()
                if number % 40 == 20:
                    clients[number // 40 % 2].break_off()
                await asyncio.sleep(0.001)
            # What is confirmed has left the outbox: it never comes again, and nobody needs it to.
            confirmed = dict(feeder.offsets)
            await until(lambda: feeder.downstream.confirmed == confirmed)
            for number in range(200):
                feeder.poll()
                if number == 100:
                    processes.kill("fanout")
                    restarted = asyncio.create_task(asyncio.to_thread(processes.start, "fanout"))
                await asyncio.sleep(0.001)
            await restarted
            for number in range(100):
                feeder.poll()
                if number % 40 == 20:
                    clients[number // 40 % 2].break_off()
                await asyncio.sleep(0.001)
            for client in clients:
                await until(lambda: client.has_all(feeder))  # noqa: B023
                assert set(client.got.values()) == {1}
                assert client.gaps == 0
                assert client.connections > 3
            delivered = SUBSCRIBER_DELIVERED
            await until(lambda: read_log(config.scratch, *delivered)["events"].sum() == feeder.events)
        await feeder.downstream.close(1.0)
        return feeder

    with back_half(config, ("fanout", "subscriber")) as processes:
        feeder = asyncio.run(story(processes))
    counted = counters(config, "subscriber")
    assert counted == {"events": feeder.events, "duplicates": 0, "gaps": 0, "reconnections": config.subscribers}
    assert counters(config)["resumed"] >= config.subscribers
    assert counters(config).get("gaps", 0) == 0


def test_tokens_open_their_tenants_until_they_expire(config: RunConfig) -> None:
    async def story() -> None:
        stranger = WebSocketClient(config, [1])
        with pytest.raises(WSInvalidStatusError) as caught:
            await stranger.connect("&tenants=2")
        assert caught.value.response.status == 403
        stranger.token = mint_token("another run's", [1], 2e10)
        with pytest.raises(WSInvalidStatusError) as caught:
            await stranger.connect()
        assert caught.value.response.status == 401
        short = WebSocketClient(config, [1], token_s=1.5)
        await (await short.connect()).wait_disconnected()
        assert short.closed is not None
        assert short.closed[0] == 4401

    with back_half(config, ("fanout",)):
        asyncio.run(story())
    counted = counters(config)
    assert {
        name: counted.get(name) for name in ("refused_tenant_foreign", "refused_token_wrong", "closed_token_expired")
    } == {
        "refused_tenant_foreign": 1,
        "refused_token_wrong": 1,
        "closed_token_expired": 1,
    }


def test_who_does_not_read_is_left_and_nobody_else_waits(config: RunConfig) -> None:
    async def story() -> None:
        feeder = Feeder(config, 2, seed=3)
        quick, stuck = WebSocketClient(config, [0, 1]), socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect((config.host, config.fanout_port))
        token = mint_token(config.edge_secret, None, 2e10)
        stuck.sendall(f"GET /events?token={token} HTTP/1.1\r\n\r\n".encode())
        assert stuck.recv(15) == b"HTTP/1.1 200 OK"
        async with staying(quick):
            for _ in range(30):
                feeder.poll(40_000)
                await until(lambda: quick.has_all(feeder))
        assert set(quick.got.values()) == {1}
        assert quick.connections == 1
        await feeder.downstream.close(1.0)
        stuck.close()

    with back_half(config, ("fanout",)):
        asyncio.run(story())
    assert counters(config)["slow_subscribers"] == 1


def malformed(rng: random.Random, secret: str) -> bytes:
    """Returns a request that is refused: a good one, broken somewhere at random."""
    while True:
        token = mint_token(secret, rng.sample(range(20), 3), rng.choice((2e10, 2e10, 1.0)))
        path = rng.choice(("/ws", "/events", "/", "//", "/ws/../events"))
        query = rng.sample(
            [
                f"token={token}",
                f"tenants={rng.randrange(25)}",
                f"from=0-@0:{rng.randrange(99)}",
                "gap=skip",
                "x=%zz",
                "from=0-",
            ],
            rng.randrange(1, 5),
        )
        request = bytearray(
            f"GET {path}?{'&'.join(query)} HTTP/1.1\r\nHost: edge\r\nLast-Event-ID: {rng.random()}".encode()
        )
        for _ in range(rng.randrange(6)):
            at = rng.randrange(len(request))
            kind = rng.randrange(3)
            if kind == 0:
                request[at] = rng.randrange(256)
            elif kind == 1:
                del request[at : at + rng.randrange(1, 30)]
            else:
                request[at:at] = rng.randbytes(rng.choice((1, 8, 100)))
        if rng.randrange(100) == 0:
            request += b"\r\nX: " + b"x" * 40_000
        try:
            subscription(parse_head(bytes(request).partition(b"\r\n\r\n")[0]), secret, 1e9)
        except RefusedError:
            return bytes(request) + b"\r\n\r\n"


def answer(config: RunConfig, request: bytes) -> bytes:
    with socket.create_connection((config.host, config.fanout_port), timeout=10.0) as connection:
        received = b""
        # What the edge has not read when it closes makes the kernel reset the connection, before or after its answer.
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
            while data := connection.recv(65536):
                received += data
    return received


def test_a_thousand_malformed_requests_crash_nothing_and_are_counted_by_reason(config: RunConfig) -> None:
    rng = random.Random(2026)
    told: Counter[str] = Counter()
    cut_off = 100
    with back_half(config, ("fanout",)) as processes:
        for number in range(MALFORMED):
            request = malformed(rng, config.edge_secret)
            if number < cut_off:
                with socket.create_connection((config.host, config.fanout_port)) as connection:
                    connection.sendall(request[: rng.randrange(1, 20)])
                continue
            received = answer(config, request)
            if received:
                head, body = received.split(b"\r\n\r\n", 1)
                said = json.loads(body)
                assert head.split(b" ")[1][:1] in (b"4", b"5")
                assert "; " in said["error"]
                assert "\n" not in said["error"]
                told[f"refused_{said['reason']}"] += 1

        async def still_serves() -> None:
            feeder, client = Feeder(config, 2, seed=1), EventClient(config, [0, 1])
            async with staying(client):
                feeder.poll()
                await until(lambda: client.has_all(feeder))
            await feeder.downstream.close(1.0)

        asyncio.run(still_serves())
        assert "Traceback" not in processes.log("fanout")
    counted = {name: count for name, count in counters(config).items() if name.startswith("refused_")}
    assert sum(counted.values()) == MALFORMED
    assert counted["refused_cut_off"] == cut_off
    assert len(told) >= 8
    assert all(count <= counted[name] for name, count in told.items())
    assert told.total() > 0.9 * (MALFORMED - cut_off)
