"""A poisoned proxy between a client and an echo server, over real sockets."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from live_adapters.chaos.proxy import HOST, Proxy, control
from live_adapters.chaos.toxics import ATTRIBUTES, Poisoned, Toxic, parse_toxic
from sentra_sim.errors import InputError

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def proxied(*toxics: Toxic) -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(echo, HOST, 0)
    proxy = Proxy("broker", 0, server.sockets[0].getsockname()[1])
    await proxy.start()
    for toxic in toxics:
        proxy.add(toxic)
    try:
        yield proxy
    finally:
        await proxy.stop()
        server.close()


@contextlib.asynccontextmanager
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(HOST, proxy.listen_port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(connection: Client, data: bytes = b"hello") -> float:
    """Sends bytes, reads them back, and returns how long that took."""
    reader, writer = connection
    started = time.monotonic()
    writer.write(data)
    assert await asyncio.wait_for(reader.readexactly(len(data)), 10.0) == data
    return time.monotonic() - started


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_without_toxics_bytes_pass_whole_and_in_order() -> None:
    async def story() -> None:
        async with proxied() as proxy, client(proxy) as connection:
            await ask(connection, random.Random(1).randbytes(1 << 20))

    play(story)


def test_latency_delays_what_comes_back_and_ends_with_the_toxic() -> None:
    async def story() -> None:
        slow = Toxic("slow", "latency", attributes={"latency": 200, "jitter": 20})
        async with proxied(slow) as proxy, client(proxy) as connection:
            assert await ask(connection) >= 0.18
            asyncio.get_running_loop().call_later(0.1, proxy.remove, "slow")
            proxy.add(Toxic("slow", "latency", attributes={"latency": 60_000}))
            assert await ask(connection) < 9.0

    play(story)


def test_bandwidth_takes_its_time_for_every_byte() -> None:
    async def story() -> None:
        async with (
            proxied(Toxic("thin", "bandwidth", "upstream", attributes={"rate": 100})) as proxy,
            client(proxy) as connection,
        ):
            assert await ask(connection, bytes(30_000)) >= 0.29

    play(story)


def test_a_timeout_of_zero_holds_everything_and_lets_it_go_when_it_is_taken_away() -> None:
    async def story() -> None:
        async with proxied(Toxic("hole", "timeout", "upstream")) as proxy, client(proxy) as (reader, writer):
            writer.write(b"hello")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(5), 0.2)
            proxy.remove("hole")
            assert await asyncio.wait_for(reader.readexactly(5), 5.0) == b"hello"

    play(story)


def test_a_timeout_ends_the_connection_and_a_reset_resets_it() -> None:
    async def story() -> None:
        ending = Toxic("t", "timeout", "upstream", attributes={"timeout": 50})
        async with proxied(ending) as proxy, client(proxy) as (reader, writer):
            writer.write(b"hello")
            assert await asyncio.wait_for(reader.read(5), 5.0) == b""
        async with proxied(Toxic("r", "reset_peer", "upstream")) as proxy, client(proxy) as (reader, writer):
            writer.write(b"hello")
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(5), 5.0)

    play(story)


def test_a_limit_of_bytes_passes_exactly_so_many() -> None:
    async def story() -> None:
        async with (
            proxied(Toxic("limit", "limit_data", attributes={"bytes": 10})) as proxy,
            client(proxy) as (reader, writer),
        ):
            writer.write(b"0123456789abcdef")
            assert await asyncio.wait_for(reader.read(), 5.0) == b"0123456789"

    play(story)


def test_a_slicer_cuts_in_pieces_of_about_the_size_and_loses_nothing() -> None:
    async def story() -> None:
        slicer = Toxic("knife", "slicer", attributes={"average_size": 100, "size_variation": 20, "delay": 10})
        poisoned = Poisoned(random.Random(1))
        data = bytes(range(256)) * 8
        pieces = [piece async for piece in poisoned.let_through(data, [slicer])]
        assert b"".join(pieces) == data
        assert {*map(len, pieces[:-1])} <= {*range(80, 121)}
        async with proxied(slicer) as proxy, client(proxy) as connection:
            await ask(connection, data)

    play(story)


def test_a_slow_close_holds_the_end_back() -> None:
    async def story() -> None:
        async with (
            proxied(Toxic("linger", "slow_close", attributes={"delay": 200})) as proxy,
            client(proxy) as (reader, writer),
        ):
            started = time.monotonic()
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 5.0) == b""
            assert time.monotonic() - started >= 0.19

    play(story)


def test_down_resets_open_connections_and_refuses_new_ones_until_it_is_up_again() -> None:
    async def story() -> None:
        async with proxied() as proxy:
            async with client(proxy) as connection:
                await ask(connection)
                await proxy.stop()
                with pytest.raises(ConnectionResetError):
                    await asyncio.wait_for(connection[0].read(5), 5.0)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(HOST, proxy.listen_port)
            await proxy.start()
            async with client(proxy) as connection:
                await ask(connection)

    play(story)


def test_a_toxic_of_toxicity_nought_takes_hold_of_nobody() -> None:
    async def story() -> None:
        async with proxied(Toxic("hole", "timeout", "upstream", toxicity=0.0)) as proxy, client(proxy) as connection:
            await ask(connection)

    play(story)


def test_toxics_come_and_go_by_rest_and_a_wrong_one_is_told_the_rule() -> None:
    async def story() -> None:
        async with proxied() as proxy:
            server = control({"broker": proxy}).listen(0, HOST)
            port = next(iter(server._sockets.values())).getsockname()[1]

            async def call(method: str, path: str, body: object = None) -> tuple[int, Any]:
                answer = await AsyncHTTPClient().fetch(
                    f"http://{HOST}:{port}/proxies{path}",
                    method=method,
                    body=None if body is None else json.dumps(body),
                    raise_error=False,
                )
                return answer.code, json.loads(answer.body) if answer.body else None

            slow = {"type": "latency", "attributes": {"latency": 150}, "stream": "upstream"}
            assert (await call("POST", "/broker/toxics", slow))[0] == 200
            async with client(proxy) as connection:
                assert await ask(connection) >= 0.14
            code, toxics = await call("GET", "/broker/toxics")
            assert (code, [toxic["name"] for toxic in toxics]) == (200, ["latency_upstream"])
            assert (await call("DELETE", "/broker/toxics/latency_upstream"))[0] == 204
            assert (await call("DELETE", "/broker/toxics/latency_upstream"))[0] == 404
            code, said = await call("POST", "/broker/toxics", {"type": "loss"})
            assert code == 400
            assert "type must be one of latency" in said["error"]
            assert (await call("GET", "/moon"))[0] == 404
            assert (await call("POST", "/broker", {"enabled": False}))[1]["enabled"] is False
            assert (await call("GET", ""))[1]["broker"]["enabled"] is False
            server.stop()

    play(story)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ({"type": "loss"}, "type must be one of"),
        ({"type": "latency", "stream": "sideways"}, "stream must be upstream or downstream"),
        ({"type": "latency", "toxicity": 2}, "toxicity must be from 0 to 1"),
        ({"type": "latency", "attributes": {"lateness": 3}}, "attributes must be of latency, jitter, got 'lateness'"),
        ({"type": "latency", "attributes": {"latency": -3}}, "latency must be a whole number of at least 0, got -3"),
    ],
)
def test_a_toxic_that_cannot_be_is_refused(data: dict[str, Any], rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        parse_toxic(data)


def test_every_type_has_defaults_for_its_attributes() -> None:
    for kind, attributes in ATTRIBUTES.items():
        toxic = parse_toxic({"type": kind})
        assert {name: toxic[name] for name in attributes} == attributes
