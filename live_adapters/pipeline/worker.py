"""The worker: fetches polls, prices them, commits each in one transaction, makes it visible, tells those downstream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
from aiokafka.errors import KafkaError

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.consumer.poll import Batch, Poll, assemble, released, sum_effects
from live_adapters.pipeline.consumer.source import Source
from live_adapters.pipeline.hoplog import JOBS, WORKER, WORKER_FRAMES, WORKER_RELEASES, HopLog
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.stores.breaker import Breaker
from live_adapters.pipeline.stores.deadletters import DeadLetterRelay
from live_adapters.pipeline.stores.hotstate import HotState
from live_adapters.pipeline.stores.ledger import Ledger, OutboxTable, OutOfStepError, SideConnection, open_ledger
from live_adapters.pipeline.stores.outbox import Downstream, cancel, encode_frames
from live_adapters.pipeline.stores.quotes import Quotes
from live_adapters.pipeline.stores.retry import StoreAwayError
from live_adapters.pipeline.stores.storecalls import StoreCalls
from live_adapters.pipeline.telemetry.families import worker_metrics
from sentra_sim.scenario import Store

TRIM_S, TRIM_ROWS = 2.0, 500
DRAIN_S = 10.0
DEFAULT_FLUSH_S = 0.4

log = logging.getLogger("worker")


@dataclass(frozen=True)
class Stores:
    """What a worker calls. Each has a circuit breaker; `postgres` is that of the ledger, with its retries."""

    ledger: Ledger
    postgres: StoreCalls
    side: SideConnection
    quotes: Quotes
    pricing: StoreCalls
    hot: HotState
    downstream: tuple[Downstream, ...]
    relay: DeadLetterRelay

    def breakers(self) -> list[Breaker]:
        """Returns the breaker of every store."""
        others = [server.breaker for server in self.downstream]
        return [self.postgres.breaker, self.pricing.breaker, self.hot.breaker, *others]

    def report(self) -> dict[str, int]:
        """Returns the counters of the process' report: failures, retries and each breaker's changes, by store."""
        counters = {name: value for breaker in self.breakers() for name, value in breaker.report().items()}
        counters |= {"postgres_retries": self.postgres.retries, "pricing_retries": self.pricing.retries}
        return counters | {"redis_rebuilt": self.hot.rebuilt, "dead_published": self.relay.published}

    async def close(self) -> None:
        """Lets what is downstream drain, then closes every connection."""
        await asyncio.gather(*(server.close(DRAIN_S) for server in self.downstream))
        with contextlib.suppress(StoreAwayError, KafkaError, TimeoutError):  # what is left stays in the table
            await asyncio.wait_for(self.relay.publish_all(), DRAIN_S)
        await self.relay.close()
        await self.hot.close()
        self.quotes.close()
        await self.side.close()
        await self.ledger.close()


class Worker:
    """The poll loop: one poll at a time, each step after the one before, as in the simulation."""

    def __init__(self, config: RunConfig, stores: Stores) -> None:
        self._ledger, self._calls, self._quotes = stores.ledger, stores.postgres, stores.quotes
        self._hot, self._downstream, self._relay = stores.hot, stores.downstream, stores.relay
        self.source = Source(config, f"{config.group}-1", self._assigned, self._revoked)
        self.joined = asyncio.Event()
        self._working = asyncio.Lock()  # a rebalance waits for the poll at work
        self._frames = HopLog(config.scratch, *WORKER_FRAMES)
        self._jobs = HopLog(config.scratch, "worker", "jobs", JOBS)
        self._trims = HopLog(config.scratch, "worker", "trims", JOBS)
        self._releases = HopLog(config.scratch, *WORKER_RELEASES)
        self.counters = {"polls": 0, "events": 0, "duplicates": 0, "dead": 0, "trimmed": 0, "resumed": 0}

    async def run(self, life: Lifecycle) -> None:
        """Polls until asked to stop; a poll that has begun is finished.

        While PostgreSQL is away nothing is polled: what comes waits in the log.
        """
        while not life.stopping:
            batches = await self.source.poll()
            async with self._working:
                batches = [batch for batch in batches if self._ledger.takes(batch)]
                try:
                    if batches:
                        await self._work(batches)
                    await self._hot.heal(self._ledger.offsets(), idle=not batches)
                except StoreAwayError as error:
                    await self._resume(error)

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
        written = await self._ledger.commit(poll, effects)
        self._calls.breaker.succeeded()
        committed = time.monotonic_ns()
        if poll.dead:
            self._relay.look(list(self._ledger.owned))
        frames = encode_frames(poll.pieces, effects.rows.tobytes())
        for server in self._downstream:
            server.publish(poll, effects, frames)
        visible = await self._hot.write(poll, effects, written)
        redis = time.monotonic_ns() if visible else 0
        if by.canary is not None:
            self._releases.append(released(poll, by.canary))
        self._tell(poll, (started, priced, committed, redis), cpu)

    def _tell(self, poll: Poll, times: tuple[int, int, int, int], cpu: int) -> None:
        pieces = poll.pieces
        rows = np.empty(len(pieces), dtype=WORKER)
        for name in ("frame", "events", "duplicates"):
            rows[name] = pieces[name]
        rows["poll"] = times[0]  # no other poll of this worker, or of one before it, started then
        for name, at in zip(("started", "priced", "committed", "redis"), times, strict=True):
            rows[name] = at
        self._frames.append(rows)
        self.source.reached({part.partition: part.next_offset for part in poll.parts})
        self.counters["polls"] += 1
        self.counters["events"] += len(poll.events)
        self.counters["duplicates"] += sum(part.duplicates for part in poll.parts)
        self.counters["dead"] += len(poll.dead)
        self.source.arrivals.tell(pieces)
        job = (times[0], time.monotonic_ns(), time.thread_time_ns() - cpu, len(pieces), poll.received)
        self._jobs.append(np.array([job], dtype=JOBS))

    async def _resume(self, error: StoreAwayError) -> None:
        """Goes on from where PostgreSQL's progress stands, once it answers again.

        A poll whose commit was interrupted is dropped: either its effects are in PostgreSQL, then those downstream get it
        from the outbox and Redis is rebuilt; or they are not, then it is read once more.
        """
        log.warning("%s; resumes from its progress", error)
        if not isinstance(error, OutOfStepError):
            self._calls.breaker.failed()
        await self._calls.until_done(self._take_up)
        self.counters["resumed"] += 1
        log.info("resumed at offsets %s", self._ledger.offsets())

    async def _take_up(self) -> None:
        await self._ledger.resume()
        offsets = self._ledger.offsets()
        self.source.go_to(offsets)
        await self._show(offsets)

    async def _show(self, offsets: dict[int, int]) -> None:
        """Brings all that is downstream to where PostgreSQL stands."""
        await self._hot.take_over(offsets)
        for server in self._downstream:
            server.own(offsets)
        self._relay.look(list(offsets))

    async def _claim(self, firsts: dict[int, int]) -> None:
        await self._ledger.claim(firsts)
        await self._show(self._ledger.offsets())

    async def _assigned(self, firsts: dict[int, int]) -> dict[int, int]:
        async with self._working:
            await self._calls.until_done(lambda: self._claim(firsts))
            offsets = self._ledger.offsets()
            for partition, first in firsts.items():
                if first > offsets[partition]:
                    log.warning(
                        "partition %d: retention removed offsets %d to %d", partition, offsets[partition], first - 1
                    )
            log.info("owns partitions %s from offsets %s", *zip(*sorted(offsets.items()), strict=True))
            self.joined.set()
            return offsets

    async def _revoked(self, partitions: list[int]) -> None:
        async with self._working:
            self._ledger.release(partitions)
            for server in self._downstream:
                server.own(self._ledger.offsets())
            self._relay.look(list(self._ledger.owned))


async def serve(config: RunConfig, life: Lifecycle) -> None:
    """Works until asked to stop.

    Raises:
        ZombieError: another worker owns a partition of this one.
        PlantError: Kafka cannot be reached or went away, or PostgreSQL or pricing stays away (`storecalls.BACKOFF`).
    """
    stores = await _open_stores(config, life)
    worker = Worker(config, stores)
    life.expose(partial(worker_metrics, worker, stores))
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


async def _open_stores(config: RunConfig, life: Lifecycle) -> Stores:
    rng = random.Random()
    postgres, pricing = (StoreCalls(Breaker(name), rng, lambda: life.stopping) for name in ("postgres", "pricing"))
    ledger = await postgres.until_done(lambda: open_ledger(config.postgres_dsn))
    side = SideConnection(config.postgres_dsn)
    table = OutboxTable(side)
    ingest = {"hop_log": str(config.scratch), "flush_s": _flush_s(config)}
    return Stores(
        ledger=ledger,
        postgres=postgres,
        side=side,
        quotes=Quotes(config.host, config.pricing_port, pricing),
        pricing=pricing,
        hot=HotState(config.redis_host, config.redis_port, ledger.state_of, Breaker("redis")),
        downstream=(
            Downstream("fanout", config.host, config.fanout_ingest_port, {}, table.after),
            Downstream("clickhouse", config.clickhouse_host, config.clickhouse_port, ingest, table.after),
        ),
        relay=DeadLetterRelay(config, side),
    )


async def _announce(worker: Worker, life: Lifecycle) -> None:
    await worker.joined.wait()
    life.ready()


def _flush_s(config: RunConfig) -> float:
    flushes = [s.flush_s for s in config.scenario.stations.values() if isinstance(s, Store) and s.flush_s > 0.0]
    return flushes[0] if flushes else DEFAULT_FLUSH_S


if __name__ == "__main__":
    run_process("worker", serve)
