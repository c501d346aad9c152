"""A TCP proxy that can be poisoned: one process, many listeners, toxiproxy's toxics and the core of its REST interface.

`python -m live_adapters.chaos.proxy --control PORT NAME=[HOST:]LISTEN:UPSTREAM...`, everything on the loopback
interface, 127.0.0.1 unless a host of 127.0.0.0/8 is named. `GET /proxies`,
`POST /proxies/{name}` with `{"enabled": false}` (down: new connections are refused, open ones reset), `POST` and `GET`
`/proxies/{name}/toxics`, `DELETE /proxies/{name}/toxics/{toxic}`. A toxic acts on open connections too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import tornado.web

from live_adapters.chaos.toxics import CHUNK_BYTES, CutError, Poisoned, Toxic, parse_toxic
from sentra_sim.errors import InputError

HOST = "127.0.0.1"


class Proxy:
    """One listener in front of one server."""

    def __init__(self, name: str, listen_port: int, upstream_port: int, *, host: str = HOST, seed: int = 1) -> None:
        self.name = name
        self.host = host
        self.listen_port = listen_port
        self.upstream_port = upstream_port
        self.toxics: dict[str, Toxic] = {}
        self._rng = random.Random(f"{name}:{seed}")
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._changed = asyncio.Event()

    @property
    def enabled(self) -> bool:
        """Tells whether it takes connections."""
        return self._server is not None

    async def start(self) -> None:
        """Listens; a listener of port 0 gets a free one."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, self.host, self.listen_port)
            self.listen_port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Goes down: refuses new connections and resets open ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task, writers in list(self._connections.items()):
            for writer in writers:
                reset(writer)
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def add(self, toxic: Toxic) -> None:
        """Adds a toxic, in the place of one of the same name."""
        self.toxics[toxic.name] = toxic
        self._wake()

    def remove(self, name: str) -> None:
        """Takes a toxic away; bytes that it holds back go on."""
        del self.toxics[name]
        self._wake()

    def data(self) -> dict[str, Any]:
        """Returns what the REST interface tells of it."""
        return {
            "name": self.name,
            "listen": f"{self.host}:{self.listen_port}",
            "upstream": f"{HOST}:{self.upstream_port}",
            "enabled": self.enabled,
            "toxics": [asdict(toxic) for toxic in self.toxics.values()],
        }

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # by `stop`; asyncio would print it as an error
            await self._connect(reader, writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            up_reader, up_writer = await asyncio.open_connection(HOST, self.upstream_port)
        except OSError:
            reset(writer)
            return
        if not self.enabled:  # went down while this one was on its way
            for each in (writer, up_writer):
                reset(each)
            return
        self._connections[task] = (writer, up_writer)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump("upstream", reader, up_writer))
                both.create_task(self._pump("downstream", up_reader, writer))
        except* (CutError, OSError) as errors:
            cut, _ = errors.split(lambda error: isinstance(error, CutError) and not error.reset)
            for each in (writer, up_writer):
                (each.close if cut else lambda each=each: reset(each))()  # type: ignore[misc]
        finally:
            del self._connections[task]
            for each in (writer, up_writer):
                each.close()

    async def _pump(self, stream: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        poisoned = Poisoned(random.Random(self._rng.random()))
        while data := await reader.read(CHUNK_BYTES):
            await self._pass_on(stream, poisoned, data, writer)
        await poisoned.at_end(self._of(stream))
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _pass_on(self, stream: str, poisoned: Poisoned, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Passes a chunk on; when the toxics change while it is held back, the new ones have their way with it."""
        if not self._of(stream) and not writer.is_closing() and not writer.transport.get_write_buffer_size():
            poisoned.count(
                data
            )  # the usual case, without the cost of two tasks; nothing waits, so there is nothing to drain
            writer.write(data)
            return None
        while True:
            changed = asyncio.ensure_future(self._changed.wait())
            passing = asyncio.ensure_future(self._pass(stream, poisoned, data, writer))
            try:
                await asyncio.wait([changed, passing], return_when=asyncio.FIRST_COMPLETED)
                if passing.done():
                    return passing.result()
            finally:
                for each in (changed, passing):
                    each.cancel()
                await asyncio.gather(changed, passing, return_exceptions=True)
            data = data[poisoned.passed_of_chunk :]

    async def _pass(self, stream: str, poisoned: Poisoned, data: bytes, writer: asyncio.StreamWriter) -> None:
        poisoned.passed_of_chunk = 0
        async for piece in poisoned.let_through(data, self._of(stream)):
            writer.write(piece)
            poisoned.passed_of_chunk += len(piece)
            await writer.drain()

    def _of(self, stream: str) -> list[Toxic]:
        return [toxic for toxic in self.toxics.values() if toxic.stream == stream]


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with a RST."""
    with contextlib.suppress(OSError):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


class _Handler(tornado.web.RequestHandler):
    """Requests below /proxies."""

    def initialize(self, proxies: dict[str, Proxy]) -> None:
        """Gets the proxies."""
        self.proxies = proxies

    def get(self, name: str = "", toxics: str = "", toxic: str = "") -> None:
        """Tells of all proxies, of one, or of its toxics."""
        if not name:
            self._say({key: proxy.data() for key, proxy in self.proxies.items()})
        elif proxy := self._proxy(name):
            self._say(proxy.data()["toxics"] if toxics else proxy.data())

    async def post(self, name: str = "", toxics: str = "", toxic: str = "") -> None:
        """Turns a proxy on or off, or adds a toxic."""
        if (proxy := self._proxy(name)) is None:
            return
        try:
            data = json.loads(self.request.body)
            if toxics:
                proxy.add(parse_toxic(data))
            else:
                await (proxy.start() if data["enabled"] else proxy.stop())
        except (InputError, ValueError, KeyError, TypeError) as error:
            self.set_status(400)
            self._say({"error": str(error)})
            return
        self._say(proxy.data())

    def delete(self, name: str = "", toxics: str = "", toxic: str = "") -> None:
        """Takes a toxic away."""
        proxy = self._proxy(name)
        if proxy is None:
            return
        if toxic not in proxy.toxics:
            self.set_status(404)
            self._say({"error": f"toxic: must be one of {', '.join(proxy.toxics) or 'none'}, got {toxic!r}"})
            return
        proxy.remove(toxic)
        self.set_status(204)

    def _proxy(self, name: str) -> Proxy | None:
        if name not in self.proxies:
            self.set_status(404)
            self._say({"error": f"proxy: must be one of {', '.join(self.proxies)}, got {name!r}"})
        return self.proxies.get(name)

    def _say(self, data: Any) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(data))


def control(proxies: dict[str, Proxy]) -> tornado.web.Application:
    """Returns the REST interface."""
    route = r"/proxies(?:/([^/]+)(?:/(toxics)(?:/([^/]+))?)?)?"
    return tornado.web.Application([(route, _Handler, {"proxies": proxies})])


async def serve(proxies: dict[str, Proxy], control_port: int, until: Callable[[], Awaitable[object]]) -> None:
    """Runs proxies and their REST interface."""
    for proxy in proxies.values():
        await proxy.start()
    server = control(proxies).listen(control_port, HOST)
    try:
        await until()
    finally:
        server.stop()
        for proxy in proxies.values():
            await proxy.stop()


def parse_proxy(text: str) -> Proxy:
    """Reads `NAME=[HOST:]LISTEN:UPSTREAM`."""
    name, _, ports = text.partition("=")
    *host, listen, upstream = ports.split(":")
    return Proxy(name, int(listen), int(upstream), host=host[0] if host else HOST)


def main() -> None:
    """Runs until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", type=int, required=True, metavar="PORT")
    parser.add_argument("proxies", nargs="+", metavar="NAME=[HOST:]LISTEN:UPSTREAM")
    options = parser.parse_args()

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        proxies = [parse_proxy(text) for text in options.proxies]
        await serve({proxy.name: proxy for proxy in proxies}, options.control, stop.wait)

    asyncio.run(run())


if __name__ == "__main__":
    main()
