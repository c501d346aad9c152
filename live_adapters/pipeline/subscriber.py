"""The subscribers: one process with a few WebSocket connections that share the tenants, and a note of every delivery.

A connection that is lost is made again from the last position known, so that nothing is missed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from live_adapters.pipeline import planted
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.edge.broadcast import decode_message
from live_adapters.pipeline.edge.position import by_tenant, furthest, parse_position
from live_adapters.pipeline.edge.subscription import WEBSOCKET_PATH
from live_adapters.pipeline.hoplog import JOBS, SUBSCRIBER_DELIVERED, VISIBLE, HopLog
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.telemetry.families import subscriber_metrics
from live_adapters.pipeline.tokens import mint_token
from sentra_sim.errors import PlantError

CONNECT_S = 10.0
PAUSE_S = 0.1
TOKEN_S = 3600.0  # each connection brings a new one

log = logging.getLogger("subscriber")


class Deliveries:
    """Counts what is delivered, drops what came before, and tells the hop log once for all that came together."""

    def __init__(self, config: RunConfig) -> None:
        self.events = 0
        self.duplicates = 0
        self.gaps = 0
        self.reconnections = 0
        self._last: dict[tuple[int, int], int] = {}  # by tenant and partition, the offset of the last piece
        self._delivered = HopLog(config.scratch, *SUBSCRIBER_DELIVERED)
        self._jobs = HopLog(config.scratch, "subscriber", "jobs", JOBS)
        self._came: list[NDArray[np.void]] = []
        self._at: list[int] = []
        self._cpu = 0

    def take(self, message: bytes) -> None:
        """Takes one message of a tenant; the hop log is told when all sockets that are ready have been read."""
        now = time.monotonic_ns()
        if not self._came:
            self._cpu = time.thread_time_ns()
            asyncio.get_running_loop().call_soon(self.flush)
        tenant, shares, _ = decode_message(message)
        self._came.append(self._new(tenant, shares))
        self._at.append(now)

    def last_of(self, tenant: int) -> dict[int, int]:
        """Returns a tenant's last offset by partition."""
        return {partition: last for (owner, partition), last in self._last.items() if owner == tenant}

    def flush(self) -> None:
        """Tells the hop log what came since the last flush."""
        if not self._came:
            return
        came, at = self._came, self._at
        self._came, self._at = [], []
        shares = np.concatenate(came)
        rows = np.empty(len(shares), dtype=VISIBLE)
        rows["frame"], rows["events"], rows["at"] = shares["frame"], shares["rows"], np.repeat(at, [*map(len, came)])
        self._delivered.append(rows)
        events = int(rows["events"].sum())
        self.events += events
        job = (at[0], time.monotonic_ns(), time.thread_time_ns() - self._cpu, len(rows), events)
        self._jobs.append(np.array([job], dtype=JOBS))

    def _new(self, tenant: int, shares: NDArray[np.void]) -> NDArray[np.void]:
        kept = []
        for partition, next_offset in zip(shares["partition"].tolist(), shares["next_offset"].tolist(), strict=True):
            new = next_offset > self._last.get((tenant, partition), -1)
            kept.append(new)
            if new:
                self._last[tenant, partition] = next_offset
        if all(kept):
            return shares
        fresh = np.array(kept, dtype=bool)
        self.duplicates += int(shares["rows"][~fresh].sum())
        return np.asarray(shares[fresh])


class Connection(WSListener):
    """The WebSocket connections that follow one another for the same tenants, and what they have got."""

    def __init__(self, config: RunConfig, tenants: Sequence[int], deliveries: Deliveries) -> None:
        self._config, self._tenants, self._deliveries = config, tenants, deliveries
        self._complete: dict[int, int] | None = None  # by partition, up to where the edge says that everything was sent

    @property
    def address(self) -> str:
        """Where the edge is, without the token."""
        tenants = ",".join(map(str, self._tenants))
        return f"ws://{self._config.host}:{self._config.fanout_port}{WEBSOCKET_PATH}?tenants={tenants}"

    def url(self) -> str:
        """Returns what to connect to now: from where it was, with what is left where the edge no longer holds all."""
        token = mint_token(self._config.edge_secret, self._tenants, time.time() + TOKEN_S)
        resume = "" if self._complete is None else f"&gap=skip&from={self.position()}"
        return f"{self.address}&token={token}{resume}"

    def position(self) -> str:
        """Returns the resumable id of what was delivered."""
        complete = self._complete or {}
        return by_tenant((tenant, furthest(complete, self._deliveries.last_of(tenant))) for tenant in self._tenants)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Takes a message."""
        if frame.msg_type == WSMsgType.BINARY:
            self._deliveries.take(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT:
            self._note(json.loads(frame.get_payload_as_utf8_text()))

    def _note(self, said: dict[str, object]) -> None:
        if "position" in said:
            self._complete = dict(parse_position(str(said["position"])).of(self._tenants[0]))
        if "gap" in said:
            self._deliveries.gaps += 1
            log.error("the edge no longer holds %s", said["gap"])


async def serve(config: RunConfig, life: Lifecycle) -> None:
    """Stays connected until asked to stop.

    Raises:
        PlantError: fanout cannot be reached in time.
    """
    planted.plant_subscriber(config, Deliveries)
    deliveries = Deliveries(config)
    connections = min(config.subscribers, config.scenario.load.tenants)
    shares = [range(number, config.scenario.load.tenants, connections) for number in range(connections)]
    streams = [Connection(config, share, deliveries) for share in shares]
    transports = [await _connect(stream) for stream in streams]
    listening = [
        asyncio.create_task(_listen(stream, transport, deliveries))
        for stream, transport in zip(streams, transports, strict=True)
    ]
    life.expose(partial(subscriber_metrics, deliveries))
    life.ready()
    stopped = asyncio.create_task(life.stopped())
    done, _ = await asyncio.wait([stopped, *listening], return_when=asyncio.FIRST_COMPLETED)
    for task in [stopped, *listening]:
        task.cancel()
    deliveries.flush()
    log.info("got %d events, dropped %d delivered before", deliveries.events, deliveries.duplicates)
    life.report(
        {
            "events": deliveries.events,
            "duplicates": deliveries.duplicates,
            "gaps": deliveries.gaps,
            "reconnections": deliveries.reconnections,
        }
    )
    for task in done - {stopped}:
        task.result()


async def _connect(stream: Connection) -> WSTransport:
    deadline = time.monotonic() + CONNECT_S
    while True:
        try:
            transport, _ = await ws_connect(lambda: stream, stream.url())
        except (OSError, WSError) as error:
            if time.monotonic() > deadline:
                raise PlantError(
                    f"subscriber: fanout must answer at {stream.address}, got {error!r}; see its log"
                ) from None
            await asyncio.sleep(PAUSE_S)
        else:
            return transport


async def _listen(stream: Connection, transport: WSTransport, deliveries: Deliveries) -> None:
    while True:
        await transport.wait_disconnected()
        log.warning("disconnected; connects again")
        transport = await _connect(stream)
        deliveries.reconnections += 1


if __name__ == "__main__":
    run_process("subscriber", serve)
