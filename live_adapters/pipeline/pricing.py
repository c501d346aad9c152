"""The pricing service: a CPU-bound pool behind a binary protocol, and the worker's client of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import psutil
from numpy.typing import NDArray

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import JOBS, PRICING_RELEASES, HopLog
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.releases.candidate import Order
from live_adapters.pipeline.releases.pricingpool import PricingPool
from live_adapters.pipeline.releases.pricingwire import (
    ANSWER,
    BY_STABLE,
    CONTROL,
    EVENT_BYTES,
    FAILED,
    MAX_EVENTS,
    REQUEST,
    RETRY,
    Priced,
    pack_answer,
    pack_order,
    pack_rest,
    unpack_split,
)
from sentra_sim.errors import InputError, PlantError
from sentra_sim.scenario import Pool

MAX_CONTROL_BYTES = 65_536
ANSWER_S = 30.0

log = logging.getLogger("pricing")


class PricingProtocol(asyncio.Protocol):
    """One connection of a worker, or of whoever sets the weights."""

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
            number, frames, size = REQUEST.unpack_from(self._buffer)
            most = MAX_CONTROL_BYTES if frames == CONTROL else MAX_EVENTS
            if not 0 <= size <= most:
                log.warning("events: must be from 0 to %d, got %d; closes the connection", most, size)
                self._transport.close()
                return
            end = REQUEST.size + (size if frames == CONTROL else size * EVENT_BYTES)
            if len(self._buffer) < end:
                return
            body = bytes(memoryview(self._buffer)[REQUEST.size : end])
            del self._buffer[:end]
            self._take(number, frames, body)

    def _take(self, number: int, frames: int, body: bytes) -> None:
        if frames == CONTROL:
            self._transport.write(pack_rest(number, json.dumps(control(self._pool, body)).encode()))
            return
        # A retry belongs to frames that were counted with the first attempt.
        self._pool.submit(
            max(0, frames),
            body,
            lambda priced: self._transport.write(pack_answer(number, priced)),
            stable_only=frames == RETRY,
        )


def control(pool: PricingPool, body: bytes) -> dict[str, Any]:
    """Does what a control request asks for, and returns the answer."""
    try:
        asked = json.loads(body)
        if not isinstance(asked, dict) or asked.keys() - {"weights"}:
            raise InputError('control: must be {} or {"weights": {...}}, got another request; mend it')
        if "weights" in asked:
            if not isinstance(asked["weights"], dict):
                raise InputError(f"weights: must map releases to shares, got {asked['weights']!r}; mend it")
            pool.set_weights(asked["weights"])
            log.info("weights: %s", pool.weights)
    except (InputError, ValueError, RecursionError) as error:
        return {"error": str(error)}
    releases = {name: tally.counters() for name, tally in pool.tallies.items()}
    return {"weights": pool.weights, "releases": releases, "memory_bytes": memory_bytes()}


def memory_bytes() -> int:
    """Returns the process' resident memory: the releases share it, but only a leak makes it grow with the requests."""
    return int(psutil.Process().memory_info().rss)


class PricingClient(asyncio.Protocol):
    """The worker's connection: one message per poll, answers in any order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._waiting: dict[int, asyncio.Future[tuple[bool, bytes]]] = {}
        self._numbers = 0
        self.failures: Counter[str] = Counter()  # requests that a canary failed, by reason
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
    ) -> Priced:
        """Returns the price per event, shape (events,), and who priced it. What a canary failed, stable prices.

        Raises:
            PlantError: the service went away or does not answer.
        """
        order = Order(keys, quantities, limit_prices)
        priced = await self._price(frames, order)
        if priced.origin is None or not priced.reason:
            return priced
        if priced.reason not in self.failures:
            log.warning("a canary failed, stable prices its events: %s", priced.reason)
        self.failures[priced.reason] += 1
        failed = np.flatnonzero(priced.origin == FAILED)
        again = await self._price(RETRY, order.take(failed))
        prices, origin = priced.prices.copy(), priced.origin.copy()
        prices[failed], origin[failed] = again.prices, BY_STABLE
        return Priced(prices, origin)

    async def set_weights(self, weights: Mapping[str, float]) -> None:
        """Sets the releases' shares of the keys, all at once, for the requests that come after.

        Raises:
            InputError: the service refuses them; those before stay in force.
            PlantError: the service went away or does not answer.
        """
        await self._control({"weights": dict(weights)})

    async def status(self) -> dict[str, Any]:
        """Returns `weights` by release, in `releases` the counters of each (see `Tally.counters`), and `memory_bytes`.

        Raises:
            PlantError: the service went away or does not answer.
        """
        return await self._control({})

    async def _price(self, frames: int, order: Order) -> Priced:
        split, body = await self._ask(frames, len(order), pack_order(order))
        return unpack_split(body) if split else Priced(np.frombuffer(body, "<f8"))

    async def _control(self, asked: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(asked).encode()
        answer: dict[str, Any] = json.loads((await self._ask(CONTROL, len(body), body))[1])
        if "error" in answer:
            raise InputError(answer["error"])
        return answer

    async def _ask(self, frames: int, size: int, body: bytes) -> tuple[bool, bytes]:
        """Returns whether the answer is of the kind with a negative number, and what follows its head."""
        if self._lost is not None:
            raise PlantError(f"pricing: must answer, got {self._lost!r}; see its log")
        self._numbers += 1
        answer = asyncio.get_running_loop().create_future()
        self._waiting[self._numbers] = answer
        self._transport.write(REQUEST.pack(self._numbers, frames, size) + body)
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
            number, size = ANSWER.unpack_from(self._buffer)
            split = number < 0
            end = ANSWER.size + (size if split else 8 * size)
            if len(self._buffer) < end:
                return
            body = bytes(memoryview(self._buffer)[ANSWER.size : end])
            del self._buffer[:end]
            waiting = self._waiting.pop(abs(number), None)
            if waiting is not None and not waiting.done():
                waiting.set_result((split, body))

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
        InputError: the configured weights name no release, or break a rule.
    """
    pools = [station for station in config.scenario.stations.values() if isinstance(station, Pool)]
    pool = PricingPool(
        pools[0].threads if pools else 1,
        HopLog(config.scratch, "pricing", "jobs", JOBS),
        HopLog(config.scratch, *PRICING_RELEASES),
        config.releases,
    )
    pool.set_weights(config.release_weights)
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
    life.report({"events": pool.events, "memory_bytes": memory_bytes()} | _by_release(pool))


def _by_release(pool: PricingPool) -> dict[str, int]:
    return {
        f"{release}_{name}": value
        for release, tally in pool.tallies.items()
        for name, value in tally.counters().items()
    }


if __name__ == "__main__":
    run_process("pricing", serve)
