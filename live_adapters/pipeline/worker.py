"""The worker: fetches polls, prices them, commits each in one transaction, makes it visible, tells those downstream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline import planted
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.consumer.poll import Batch, Poll, assemble, released, sum_effects
from live_adapters.pipeline.consumer.source import Source
from live_adapters.pipeline.hoplog import JOBS, RELEASED, WORKER, HopLog, replica_number
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.stores.ledger import (
    OutboxTable,
    OutOfStepError,
    ZombieError,
)
from live_adapters.pipeline.stores.outbox import cancel, encode_frames
from live_adapters.pipeline.stores.retry import StoreAwayError
from live_adapters.pipeline.telemetry.families import worker_metrics
from live_adapters.pipeline.workerstores import Stores, open_stores

TRIM_S, TRIM_ROWS = 2.0, 500
MAX_REPLICAS = 1000

log = logging.getLogger("worker")


@dataclass(frozen=True)
class _Priced:
    """A poll that may take effect any moment; times in monotonic ns, `cpu_ns` the thread's clock at its start."""

    poll: Poll
    canary: NDArray[np.bool_] | None
    started: int
    priced: int
    cpu_ns: int

    def done_by(self, offsets: dict[int, int]) -> bool:
        """Tells whether progress that stands at these offsets has it."""
        return all(offsets.get(part.partition, -1) >= part.next_offset for part in self.poll.parts)


class Worker:
    """The poll loop: one poll at a time, each step after the one before, as in the simulation.

    `name` tells it from the other workers of its group, in which partitions change hands while the polls of all others go on.
    """

    def __init__(self, config: RunConfig, stores: Stores, name: str) -> None:
        self._ledger, self._calls, self._quotes = stores.ledger, stores.postgres, stores.quotes
        self._hot, self._downstream, self._relay = stores.hot, stores.downstream, stores.relay
        self._number = replica_number(name) % MAX_REPLICAS
        self.source = Source(config, name, self._assigned, self._revoked)
        self.joined = asyncio.Event()
        self._working = (
            asyncio.Lock()
        )  # who gives partitions up waits for the poll at work; who takes some over does not
        self._doubtful: _Priced | None = None  # the poll at work, once its commit is under way
        self._known_ns, self._in_redis = 0, False  # when the last resumption knew the progress, and Redis had it too
        self._frames = HopLog(config.scratch, name, "frames", WORKER)
        self._jobs = HopLog(config.scratch, name, "jobs", JOBS)
        self._trims = HopLog(config.scratch, name, "trims", JOBS)
        self._releases = HopLog(config.scratch, name, "releases", RELEASED)
        self.counters = {"polls": 0, "events": 0, "duplicates": 0, "dead": 0, "trimmed": 0, "resumed": 0, "outlived": 0}

    async def run(self, life: Lifecycle) -> None:
        """Polls until asked to stop; a poll that has begun is finished.

        While PostgreSQL is away nothing is polled: what comes waits in the log.
        """
        while not life.stopping:
            batches = await self.source.poll()
            try:
                async with self._working:
                    await self._turn([batch for batch in batches if self._ledger.takes(batch)])
            except ZombieError:
                if not await self._outlived():
                    raise

    async def _turn(self, batches: list[Batch]) -> None:
        try:
            if batches:
                await self._work(batches)
            await self._hot.heal(self._ledger.offsets(), idle=not batches)
        except StoreAwayError as error:
            await self._resume(error)

    async def _outlived(self) -> bool:
        """After a commit was refused because others own the partitions: tells whether the group had taken this worker for dead.

        Then it has given everything up and joins anew. If the group knows nothing of that, the worker must end.
        """
        before = dict(self._ledger.owned)
        await self.source.confirm()
        kept = any(self._ledger.owned.get(partition) is own for partition, own in before.items())
        self.counters["outlived"] += not kept
        return not kept

    async def trim_outbox(self, table: OutboxTable) -> None:
        """Deletes, for ever and a little at a time, what every downstream has confirmed."""
        while True:
            await asyncio.sleep(TRIM_S)
            confirmed = {
                partition: min(server.confirmed.get(partition, -1) for server in self._downstream)
                for partition in self._ledger.owned
            }
            with contextlib.suppress(StoreAwayError):  # there will be a next time
                await self._trim(table, confirmed)

    async def _trim(self, table: OutboxTable, confirmed: dict[int, int]) -> None:
        trimmed = TRIM_ROWS
        while trimmed == TRIM_ROWS:
            start = time.monotonic_ns()
            trimmed = await table.trim(confirmed, TRIM_ROWS)
            self.counters["trimmed"] += trimmed
            self._trims.append(np.array([(start, time.monotonic_ns(), 0, 0, 0)], dtype=JOBS))

    async def _work(self, batches: list[Batch]) -> None:
        started, cpu = time.monotonic_ns(), time.thread_time_ns()
        poll = assemble(batches, self._ledger.owned)
        by = await self._quotes.price(poll)
        priced = time.monotonic_ns()
        effects = sum_effects(poll, by.prices)
        self._doubtful = done = _Priced(poll, by.canary, started, priced, cpu)
        written = await self._ledger.commit(poll, effects)
        self._calls.breaker.succeeded()
        committed = time.monotonic_ns()
        if poll.dead:
            self._relay.look(list(self._ledger.owned))
        frames = encode_frames(poll.pieces, effects.rows.tobytes())
        for server in self._downstream:
            server.publish(poll, effects, frames)
        visible = await self._hot.write(poll, effects, written)
        self._doubtful = None
        self._tell(done, committed, time.monotonic_ns() if visible else 0)
        job = (started, time.monotonic_ns(), time.thread_time_ns() - cpu, len(poll.pieces), poll.received)
        self._jobs.append(np.array([job], dtype=JOBS))

    def _tell(self, done: _Priced, committed: int, redis: int) -> None:
        poll, pieces = done.poll, done.poll.pieces
        rows = np.empty(len(pieces), dtype=WORKER)
        for name in ("frame", "events", "duplicates"):
            rows[name] = pieces[name]
        # No other poll of this worker, or of one before it, started within the same µs; replicas differ in their numbers.
        rows["poll"] = done.started // MAX_REPLICAS * MAX_REPLICAS + self._number
        times = (done.started, done.priced, committed, redis)
        for name, at in zip(("started", "priced", "committed", "redis"), times, strict=True):
            rows[name] = at
        self._frames.append(rows)
        if done.canary is not None:
            self._releases.append(released(poll, done.canary))
        self.source.reached({part.partition: part.next_offset for part in poll.parts})
        self.counters["polls"] += 1
        self.counters["events"] += len(poll.events)
        self.counters["duplicates"] += sum(part.duplicates for part in poll.parts)
        self.counters["dead"] += len(poll.dead)
        self.source.arrivals.tell(pieces)

    async def _resume(self, error: StoreAwayError) -> None:
        """Goes on from where PostgreSQL's progress stands, once it answers again.

        A poll whose commit was interrupted is dropped: either its effects are in PostgreSQL, then those downstream get it
        from the outbox, Redis is rebuilt, and it counts as committed now that this is known; or they are not, then it is
        read once more.
        """
        log.warning("%s; resumes from its progress", error)
        doubtful, self._doubtful = self._doubtful, None
        if not isinstance(error, OutOfStepError):
            self._calls.breaker.failed()
        await self._calls.until_done(self._take_up)
        if doubtful is not None and doubtful.done_by(self._ledger.offsets()):
            self._tell(doubtful, self._known_ns, time.monotonic_ns() if self._in_redis else 0)
        self.counters["resumed"] += 1
        log.info("resumed at offsets %s", self._ledger.offsets())

    async def _take_up(self) -> None:
        await self._ledger.resume()
        self._known_ns = time.monotonic_ns()
        offsets = self._ledger.offsets()
        self.source.go_to(offsets)
        self._in_redis = await self._hot.take_over(offsets)
        for server in self._downstream:
            server.own(offsets)
        self._relay.look(list(offsets))

    async def _claim(self, firsts: dict[int, int]) -> None:
        await self._ledger.claim(firsts)
        offsets = {partition: self._ledger.owned[partition].next_offset for partition in firsts}
        await self._hot.take_over(offsets)
        for server in self._downstream:
            server.gain(offsets)
        self._relay.look(list(self._ledger.owned))

    async def _assigned(self, firsts: dict[int, int]) -> dict[int, int]:
        await self._calls.until_done(lambda: self._claim(firsts))
        offsets = {partition: self._ledger.owned[partition].next_offset for partition in firsts}
        for partition, first in firsts.items():
            if first > offsets[partition]:
                log.warning(
                    "partition %d: retention removed offsets %d to %d", partition, offsets[partition], first - 1
                )
        log.info("takes partitions %s over from offsets %s", *zip(*sorted(offsets.items()), strict=True))
        self.joined.set()
        return offsets

    async def _revoked(self, partitions: list[int]) -> None:
        async with self._working:
            self._ledger.release(partitions)
        for server in self._downstream:
            server.lose(partitions)
        self._relay.look(list(self._ledger.owned))
        log.info("gives partitions %s up", partitions)


async def serve(config: RunConfig, life: Lifecycle) -> None:
    """Works until asked to stop.

    Raises:
        ZombieError: another worker owns a partition of this one.
        PlantError: Kafka cannot be reached or went away, or PostgreSQL or pricing stays away (`storecalls.BACKOFF`).
    """
    planted.plant_worker(config)
    stores = await open_stores(config, life)
    worker = Worker(config, stores, life.name)
    life.expose(partial(worker_metrics, worker.counters, worker.source, stores))
    await worker.source.start()
    beside = [
        asyncio.create_task(work)
        for work in (worker.trim_outbox(OutboxTable(stores.side)), stores.relay.run(), _announce(worker, life))
    ]
    try:
        await worker.run(life)
    finally:
        await cancel(*beside)
        await worker.source.stop()
        await stores.close()
        report = worker.counters | stores.report() | {"gather_shrunk": worker.source.gather.shrunk}
        life.report(report)
    log.info("drained: %s", report)


async def _announce(worker: Worker, life: Lifecycle) -> None:
    await worker.joined.wait()
    life.ready()


if __name__ == "__main__":
    run_process("worker", serve)
