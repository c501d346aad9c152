"""The fanout edge: takes frames from the worker, sends each tenant's share to the tenant's WebSocket subscribers.

`ws://HOST:PORT/ws?tenants=0,1,2` subscribes to these tenants, `/ws` to all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray
from picows import WSListener, WSTransport, WSUpgradeRequest, ws_create_server

from live_adapters.pipeline.broadcast import encode_tenants
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import FANOUT_SENT, JOBS, VISIBLE, HopLog
from live_adapters.pipeline.ingest import IngestProtocol, Offsets
from live_adapters.pipeline.process import Lifecycle, run_process
from sentra_sim.errors import PlantError

MAX_UNSENT_BYTES = 8 << 20  # a subscriber this far behind is disconnected
CONFIRM_S = 1.0
PATH = "/ws"

log = logging.getLogger("fanout")


class Subscriber(WSListener):
    """One WebSocket connection and the tenants it listens to; None for all."""

    def __init__(self, edge: Edge, tenants: frozenset[int] | None) -> None:
        self._edge = edge
        self.tenants = tenants
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Joins the audience."""
        self.transport = transport
        self._edge.subscribers.add(self)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Leaves it."""
        self._edge.subscribers.discard(self)

    def send(self, messages: dict[int, bytes]) -> bool:
        """Sends its tenants' messages in one write; False when it is too far behind and was disconnected."""
        assert self.transport is not None
        wanted = messages.values() if self.tenants is None else [m for t, m in messages.items() if t in self.tenants]
        stream: Any = self.transport.underlying_transport
        if stream.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.disconnect(False)
            return False
        if wanted:
            stream.write(b"".join(wanted))
        return True


class Edge:
    """The audience, and what was sent to it."""

    def __init__(self, config: RunConfig) -> None:
        self.subscribers: set[Subscriber] = set()
        self.slow = 0
        self.events = 0
        self._sent = HopLog(config.scratch, *FANOUT_SENT)
        self._jobs = HopLog(config.scratch, "fanout", "jobs", JOBS)

    def send(self, pieces: NDArray[np.void], rows: NDArray[np.void]) -> None:
        """Sends what arrived together to every subscriber, and tells the hop log."""
        start, cpu = time.monotonic_ns(), time.thread_time_ns()
        messages = encode_tenants(pieces, rows)
        for subscriber in tuple(self.subscribers):
            if not subscriber.send(messages):
                self.slow += 1
                log.warning("a subscriber was over %d bytes behind and was disconnected", MAX_UNSENT_BYTES)
        end = time.monotonic_ns()
        sent = np.empty(len(pieces), dtype=VISIBLE)
        sent["frame"], sent["events"], sent["at"] = pieces["frame"], pieces["rows"], end
        self._sent.append(sent)
        self.events += len(rows)
        job = (start, end, time.thread_time_ns() - cpu, len(pieces), len(rows))
        self._jobs.append(np.array([job], dtype=JOBS))

    def listener(self, request: WSUpgradeRequest) -> Subscriber | None:
        """Returns the listener of a new connection; None, which answers 404, for another path or tenants that are no numbers."""
        url = urlsplit(request.path.decode("ascii", "replace"))
        if url.path != PATH:
            return None
        given = parse_qs(url.query).get("tenants")
        if not given:
            return Subscriber(self, None)
        try:
            return Subscriber(self, frozenset(int(number) for number in given[0].split(",")))
        except ValueError:
            return None


async def serve(config: RunConfig, life: Lifecycle) -> None:
    """Serves the worker and the subscribers until asked to stop.

    Raises:
        PlantError: a port is taken.
    """
    loop = asyncio.get_running_loop()
    edge, offsets = Edge(config), Offsets()
    workers: set[IngestProtocol] = set()

    def connected() -> IngestProtocol:
        protocol = IngestProtocol(offsets, edge.send)
        workers.add(protocol)
        return protocol

    try:
        sockets = await ws_create_server(edge.listener, config.host, config.fanout_port)
        ingest = await loop.create_server(connected, config.host, config.fanout_ingest_port)
    except OSError as error:
        raise PlantError(f"fanout: ports must be free, got {error}; choose others") from None
    confirming = asyncio.create_task(_confirm(workers))
    life.ready()
    await life.stopped()
    confirming.cancel()
    ingest.close()
    sockets.close()
    log.info(
        "sent %d events; dropped %d repeated frames, %d slow subscribers", edge.events, offsets.repeated, edge.slow
    )
    life.report({"events": edge.events, "repeated_frames": offsets.repeated, "slow_subscribers": edge.slow})


async def _confirm(workers: set[IngestProtocol]) -> None:
    while True:
        await asyncio.sleep(CONFIRM_S)
        for worker in tuple(workers):
            if not worker.confirm():
                workers.discard(worker)


if __name__ == "__main__":
    run_process("fanout", serve)
