"""The client of the pricing service: the worker's, and whoever sets the releases' weights."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.releases.candidate import Order
from live_adapters.pipeline.releases.pricingwire import (
    ANSWER,
    BY_STABLE,
    CONTROL,
    FAILED,
    REQUEST,
    RETRY,
    Priced,
    pack_order,
    unpack_split,
)
from sentra_sim.errors import InputError, PlantError

ANSWER_S = 30.0

log = logging.getLogger(__name__)


class PricingClient(asyncio.Protocol):
    """One connection: a message per poll, answers in any order."""

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
