"""The pricing service: a CPU-bound pool behind a binary protocol."""

from __future__ import annotations

import asyncio
import json
import logging
from functools import partial
from typing import Any, cast

import psutil

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import JOBS, PRICING_RELEASES, HopLog
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.releases.pricingpool import PricingPool
from live_adapters.pipeline.releases.pricingwire import (
    CONTROL,
    EVENT_BYTES,
    MAX_EVENTS,
    REQUEST,
    RETRY,
    pack_answer,
    pack_rest,
)
from live_adapters.pipeline.telemetry.families import pricing_metrics
from sentra_sim.errors import InputError, PlantError
from sentra_sim.scenario import Pool

MAX_CONTROL_BYTES = 65_536

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
    life.expose(partial(pricing_metrics, pool))
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
