"""The fanout edge: takes frames from the worker, sends each tenant's share to the tenant's subscribers.

`ws://HOST:PORT/ws` subscribes over WebSocket, `http://HOST:PORT/events` to server-sent events; docs/edge.md has the protocol.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from functools import partial
from http import HTTPStatus

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline import planted
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.edge import websocket
from live_adapters.pipeline.edge.broadcast import encode_tenants
from live_adapters.pipeline.edge.door import Door
from live_adapters.pipeline.edge.ingest import IngestProtocol, Offsets
from live_adapters.pipeline.edge.memory import Memory
from live_adapters.pipeline.edge.position import offsets_text
from live_adapters.pipeline.edge.readers import MAX_UNSENT_BYTES, Bulletin, Reader
from live_adapters.pipeline.edge.refusal import RefusedError
from live_adapters.pipeline.edge.replay import Replay
from live_adapters.pipeline.hoplog import FANOUT_SENT, JOBS, VISIBLE, HopLog
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.telemetry.families import fanout_metrics
from sentra_sim.errors import PlantError

TICK_S = 1.0
SETTLE_S = 5.0  # that the outbox keeps a frame after it was sent, for subscribers of an edge that was killed
CATCH_UP_S = 5.0  # that a subscriber waits for an edge that was killed to be where it was
MAX_CONNECTIONS = 256

log = logging.getLogger("fanout")


class Edge:
    """The audience, what was sent to it, and what it may ask for again."""

    def __init__(self, config: RunConfig, offsets: Offsets, replay: Replay | None = None) -> None:
        self.secret = config.edge_secret
        self.events = 0
        self.counts: Counter[str] = Counter()  # refusals and ends by reason, connections, resumptions
        self._offsets = offsets
        self._text = offsets_text(offsets.last)
        self.replay = replay or Replay(self._text)
        self._readers: dict[Door, Reader] = {}
        self._doors: set[Door] = set()
        self._waiting: dict[Door, tuple[float, Reader]] = {}  # until when, s, for the edge to be where they were
        self._sent = HopLog(config.scratch, *FANOUT_SENT)
        self._jobs = HopLog(config.scratch, "fanout", "jobs", JOBS)

    @property
    def subscribers(self) -> int:
        """How many are subscribed now."""
        return len(self._readers)

    @property
    def repeated_frames(self) -> int:
        """Frames that came again, and were dropped."""
        return self._offsets.repeated

    def send(self, pieces: NDArray[np.void], rows: NDArray[np.void]) -> None:
        """Sends what arrived together to every subscriber, and tells the hop log."""
        start, cpu = time.monotonic_ns(), time.thread_time_ns()
        before, self._text = self._text, offsets_text(self._offsets.last)
        bulletin = Bulletin(encode_tenants(pieces, rows), before, self._text)
        slow = [door for door, reader in self._readers.items() if not reader.send(bulletin)]
        sent_ns = time.monotonic_ns()
        for door in slow:
            self._end(door, "closed_slow", websocket.TOO_SLOW, f"too slow: over {MAX_UNSENT_BYTES} bytes behind")
        self.replay.add(bulletin.frames, self._text, sent_ns)
        if self._waiting:
            self._admit_waiting()
        sent = np.empty(len(pieces), dtype=VISIBLE)
        sent["frame"], sent["events"], sent["at"] = pieces["frame"], pieces["rows"], sent_ns
        self._sent.append(sent)
        self.events += len(rows)
        job = (start, time.monotonic_ns(), time.thread_time_ns() - cpu, len(pieces), len(rows))
        self._jobs.append(np.array([job], dtype=JOBS))

    def knock(self, door: Door) -> bool:
        """Counts a connection; False when there are too many."""
        self.counts["connections"] += 1
        if len(self._doors) >= MAX_CONNECTIONS:
            return False
        self._doors.add(door)
        return True

    def admit(self, door: Door, reader: Reader) -> None:
        """Lets a reader in: from now on, or with what it missed; one that was further than the edge is now has to wait.

        Raises:
            RefusedError: 410, the edge no longer holds what it missed.
        """
        since = reader.wanted.since
        if since is not None and since.ahead_of(self._offsets.last):
            self._waiting[door] = (time.monotonic() + CATCH_UP_S, reader)
            return
        gaps = self.replay.gaps(reader.wanted.tenants, since) if since else []
        if gaps:
            self.counts["gaps"] += 1
        if gaps and not reader.wanted.skip_gap:
            gap = gaps[0]
            raise RefusedError(
                HTTPStatus.GONE,
                "gap",
                f"from: must be held still, got tenant {gap.tenant}, partition {gap.partition}, offset {gap.above}, "
                f"gone up to {gap.up_to}; add gap=skip for what is left, or leave from out",
            )
        again = self.replay.since(reader.wanted.tenants, since, self._text) if since else []
        self.counts["resumed"] += since is not None
        self.counts["replayed_messages"] += len(again)
        reader.begin(self._text, gaps, again)
        door.reader = reader
        self._readers[door] = reader

    def leave(self, door: Door) -> None:
        """Forgets a connection that is gone."""
        self._doors.discard(door)
        self._readers.pop(door, None)
        self._waiting.pop(door, None)

    def count(self, reason: str) -> None:
        """Counts a refusal or an end."""
        self.counts[reason] += 1

    def tick(self) -> None:
        """Once a second: heartbeats, tokens that expire, what is kept for too long, who waited for too long."""
        now_s = time.time()
        for door, reader in tuple(self._readers.items()):
            if now_s >= reader.wanted.expires_at:
                self._end(
                    door, "closed_token_expired", websocket.TOKEN_EXPIRED, "the token has expired; bring a new one"
                )
            else:
                reader.beat(self._text)
        self.replay.trim(time.monotonic_ns())
        for door, (until_s, _) in tuple(self._waiting.items()):
            if time.monotonic() > until_s:
                door.refuse(
                    RefusedError(
                        HTTPStatus.SERVICE_UNAVAILABLE,
                        "ahead",
                        f"from: must not be ahead of the edge, got an offset above {self._text or 'none'}; come again later",
                    )
                )

    def close(self) -> None:
        """Says goodbye to everyone."""
        for door in tuple(self._readers):
            self._end(door, "closed_going_away", websocket.GOING_AWAY, "the edge ends; connect again")

    def _end(self, door: Door, reason: str, code: int, why: str) -> None:
        self.count(reason)
        reader = self._readers[door]
        self.leave(door)
        reader.end(code, why)
        if reason == "closed_slow":
            log.warning("a subscriber was over %d bytes behind and was disconnected", MAX_UNSENT_BYTES)

    def _admit_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for door, (until_s, reader) in waiting.items():
            try:
                self.admit(door, reader)
            except RefusedError as refusal:
                door.refuse(refusal)
            if door in self._waiting:
                self._waiting[door] = (until_s, reader)


async def serve(config: RunConfig, life: Lifecycle) -> None:
    """Serves the worker and the subscribers until asked to stop.

    Raises:
        PlantError: a port is taken.
    """
    planted.plant_edge(config)
    loop = asyncio.get_running_loop()
    memory = Memory(config.scratch, config.topic)
    offsets = Offsets(memory.read(), settle_s=SETTLE_S, remember=memory.write)
    edge = Edge(config, offsets)
    workers: set[IngestProtocol] = set()

    def connected() -> IngestProtocol:
        protocol = IngestProtocol(offsets, edge.send)
        workers.add(protocol)
        return protocol

    try:
        doors = await loop.create_server(lambda: Door(edge), config.host, config.fanout_port)
        ingest = await loop.create_server(connected, config.host, config.fanout_ingest_port)
    except OSError as error:
        raise PlantError(f"fanout: ports must be free, got {error}; choose others") from None
    ticking = asyncio.create_task(_tick(edge, workers))
    life.expose(partial(fanout_metrics, edge))
    life.ready()
    await life.stopped()
    ticking.cancel()
    ingest.close()
    doors.close()
    edge.close()
    slow = edge.counts.pop("closed_slow", 0)
    log.info("sent %d events; dropped %d repeated frames, %d slow subscribers", edge.events, offsets.repeated, slow)
    life.report(
        {"events": edge.events, "repeated_frames": offsets.repeated, "slow_subscribers": slow, **dict(edge.counts)}
    )


async def _tick(edge: Edge, workers: set[IngestProtocol]) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        edge.tick()
        for worker in tuple(workers):
            if not worker.confirm():
                workers.discard(worker)


if __name__ == "__main__":
    run_process("fanout", serve)
