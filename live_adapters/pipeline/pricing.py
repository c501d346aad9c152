"""The pricing service: a CPU-bound pool behind a binary protocol, and the worker's client of it.

A request is REQUEST (its number, frames, events), then the keys (u4), quantities (f8) and limit prices (f8) of its events;
the answer is ANSWER (the same number, events) and their prices (f8). All little-endian.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import JOBS, HopLog
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.valuation import price_events
from sentra_sim.errors import PlantError
from sentra_sim.scenario import Pool

REQUEST = struct.Struct("<qii")
ANSWER = struct.Struct("<qi")
EVENT_BYTES = 4 + 8 + 8
MAX_EVENTS = 10_000_000
ANSWER_S = 30.0

log = logging.getLogger("pricing")


class PricingPool:
    """Prices requests on `threads` threads; with one, on the event loop itself."""

    def __init__(self, threads: int, jobs: HopLog) -> None:
        self._jobs = jobs
        self._threads = ThreadPoolExecutor(threads) if threads > 1 else None
        self.events = 0

    def submit(self, number: int, frames: int, body: bytes, transport: asyncio.Transport) -> None:
        """Prices a request and writes the answer to its connection."""
        if self._threads is None:
            self._answer(number, frames, transport, self._work(body))
            return
        loop = asyncio.get_running_loop()
        working = loop.run_in_executor(self._threads, self._work, body)
        working.add_done_callback(lambda done: self._answer(number, frames, transport, done.result()))

    def _work(self, body: bytes) -> tuple[NDArray[np.float64], int, int, int]:
        start, cpu = time.monotonic_ns(), time.thread_time_ns()
        count = len(body) // EVENT_BYTES
        keys = np.frombuffer(body, "<u4", count)
        values = np.frombuffer(body, "<f8", 2 * count, offset=4 * count)
        prices = price_events(keys, values[:count], values[count:])
        return prices, start, time.monotonic_ns(), time.thread_time_ns() - cpu

    def _answer(
        self, number: int, frames: int, transport: asyncio.Transport, work: tuple[NDArray[np.float64], int, int, int]
    ) -> None:
        prices, start, end, cpu_ns = work
        transport.write(ANSWER.pack(number, len(prices)) + prices.tobytes())
        self.events += len(prices)
        self._jobs.append(np.array([(start, end, cpu_ns, frames, len(prices))], dtype=JOBS))


class PricingProtocol(asyncio.Protocol):
    """One connection of a worker."""

    def __init__(self, pool: PricingPool) -> None:
        self._pool = pool
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport for the answers."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it

    def data_received(self, data: bytes) -> None:
        """Hands on the requests that are complete; closes on one that cannot be."""
        self._buffer += data
        while len(self._buffer) >= REQUEST.size:
            number, frames, events = REQUEST.unpack_from(self._buffer)
            if not 0 <= events <= MAX_EVENTS:
                log.warning("events: must be from 0 to %d, got %d; closes the connection", MAX_EVENTS, events)
                self._transport.close()
                return
            end = REQUEST.size + events * EVENT_BYTES
            if len(self._buffer) < end:
                return
            body = bytes(memoryview(self._buffer)[REQUEST.size : end])
            del self._buffer[:end]
            self._pool.submit(number, frames, body, self._transport)


class PricingClient(asyncio.Protocol):
    """The worker's connection: one message per poll, answers in any order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._waiting: dict[int, asyncio.Future[NDArray[np.float64]]] = {}
        self._numbers = 0
        self._lost: Exception | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> PricingClient:
        """Connects.

        Raises:
            PlantError: nobody listens.
        """
        try:
            _, client = await asyncio.get_running_loop().create_connection(cls, host, port)
        except OSError as error:
            raise PlantError(f"pricing: must listen on {host}:{port}, got {error}; see its log") from None
        return client

    async def price(
        self, frames: int, keys: NDArray[np.uint32], quantities: NDArray[np.float64], limit_prices: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Returns the price per event, shape (events,).

        Raises:
            PlantError: the service went away or does not answer.
        """
        if self._lost is not None:
            raise PlantError(f"pricing: must answer, got {self._lost!r}; see its log")
        self._numbers += 1
        answer = asyncio.get_running_loop().create_future()
        self._waiting[self._numbers] = answer
        head = REQUEST.pack(self._numbers, frames, len(keys))
        self._transport.write(b"".join((head, keys.tobytes(), quantities.tobytes(), limit_prices.tobytes())))
        try:
            return await asyncio.wait_for(answer, ANSWER_S)
        except OSError as error:
            raise PlantError(f"pricing: must answer within {ANSWER_S:g} s, got {error!r}; see its log") from None

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport for the requests."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it

    def data_received(self, data: bytes) -> None:
        """Hands the answers that are complete to who waits for them."""
        self._buffer += data
        while len(self._buffer) >= ANSWER.size:
            number, events = ANSWER.unpack_from(self._buffer)
            end = ANSWER.size + 8 * events
            if len(self._buffer) < end:
                return
            prices = np.frombuffer(bytes(memoryview(self._buffer)[ANSWER.size : end]), "<f8")
            del self._buffer[:end]
            waiting = self._waiting.pop(number, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(prices)

    def connection_lost(self, error: Exception | None) -> None:
        """Fails what waits."""
        self._lost = error or ConnectionResetError("pricing closed the connection")
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self._lost)


async def serve(config: RunConfig, life: Lifecycle) -> None:
    """Serves until asked to stop.

    Raises:
        PlantError: the port is taken.
    """
    pools = [station for station in config.scenario.stations.values() if isinstance(station, Pool)]
    pool = PricingPool(pools[0].threads if pools else 1, HopLog(config.scratch, "pricing", "jobs", JOBS))
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: PricingProtocol(pool), config.host, config.pricing_port)
    except OSError as error:
        raise PlantError(
            f"pricing: {config.host}:{config.pricing_port} must be a free port, got {error}; choose another"
        ) from None
    life.ready()
    await life.stopped()
    server.close()
    log.info("priced %d events", pool.events)
    life.report({"events": pool.events})


if __name__ == "__main__":
    run_process("pricing", serve)
