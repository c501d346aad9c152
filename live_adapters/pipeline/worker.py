"""The worker: fetches polls, prices them, commits each in one transaction, makes it visible, tells those downstream."""

from __future__ import annotations

import asyncio
import logging
import time

import numpy as np

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import JOBS, WORKER, WORKER_FRAMES, WORKER_RELEASES, HopLog
from live_adapters.pipeline.hotstate import HotState
from live_adapters.pipeline.ledger import Ledger, OutboxTable, connect, open_ledger
from live_adapters.pipeline.outbox import Downstream, cancel, encode_frames
from live_adapters.pipeline.poll import Batch, Poll, assemble, released, sum_effects
from live_adapters.pipeline.pricing import PricingClient
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.source import Source
from sentra_sim.scenario import Store

TRIM_S, TRIM_ROWS = 2.0, 500
DRAIN_S = 10.0
DEFAULT_FLUSH_S = 0.4

log = logging.getLogger("worker")


class Worker:
    """The poll loop: one poll at a time, each step after the one before, as in the simulation."""

    def __init__(
        self, config: RunConfig, ledger: Ledger, pricing: PricingClient, hot: HotState, downstream: list[Downstream]
    ) -> None:
        self._ledger, self._pricing, self._hot, self._downstream = ledger, pricing, hot, downstream
        self.source = Source(config, f"{config.group}-1", self._assigned, self._revoked)
        self.joined = asyncio.Event()
        self._working = asyncio.Lock()  # a rebalance waits for the poll at work
        self._frames = HopLog(config.scratch, *WORKER_FRAMES)
        self._jobs = HopLog(config.scratch, "worker", "jobs", JOBS)
        self._releases = HopLog(config.scratch, *WORKER_RELEASES)
        self.counters = {"polls": 0, "events": 0, "duplicates": 0, "dead": 0, "trimmed": 0}

    async def run(self, life: Lifecycle) -> None:
        """Polls until asked to stop; a poll that has begun is finished."""
        while not life.stopping:
            batches = await self.source.poll()
            async with self._working:
                batches = [batch for batch in batches if self._ledger.takes(batch)]
                if batches:
                    await self._work(batches)

    async def trim_outbox(self, table: OutboxTable) -> None:
        """Deletes, for ever and a little at a time, what every downstream has confirmed."""
        while True:
            await asyncio.sleep(TRIM_S)
            confirmed = {
                partition: min(server.confirmed.get(partition, -1) for server in self._downstream)
                for partition in self._ledger.owned
            }
            trimmed = TRIM_ROWS
            while trimmed == TRIM_ROWS:
                trimmed = await table.trim(confirmed, TRIM_ROWS)
                self.counters["trimmed"] += trimmed

    async def _work(self, batches: list[Batch]) -> None:
        started, cpu = time.monotonic_ns(), time.thread_time_ns()
        poll = assemble(batches, self._ledger.owned)
        events = poll.events
        by = await self._pricing.price(len(poll.pieces), events["key"], events["quantity"], events["limit_price"])
        priced = time.monotonic_ns()
        effects = sum_effects(poll, by.prices)
        written = await self._ledger.commit(poll, effects)
        committed = time.monotonic_ns()
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
        job = (times[0], time.monotonic_ns(), time.thread_time_ns() - cpu, len(pieces), poll.received)
        self._jobs.append(np.array([job], dtype=JOBS))

    async def _assigned(self, firsts: dict[int, int]) -> dict[int, int]:
        async with self._working:
            await self._ledger.claim(firsts)
            offsets = self._ledger.offsets()
            for partition, first in firsts.items():
                if first > offsets[partition]:
                    log.warning(
                        "partition %d: retention removed offsets %d to %d", partition, offsets[partition], first - 1
                    )
            await self._hot.take_over(offsets)
            for server in self._downstream:
                server.own(offsets)
            log.info("owns partitions %s from offsets %s", *zip(*sorted(offsets.items()), strict=True))
            self.joined.set()
            return offsets

    async def _revoked(self, partitions: list[int]) -> None:
        async with self._working:
            self._ledger.release(partitions)
            for server in self._downstream:
                server.own(self._ledger.offsets())


async def serve(config: RunConfig, life: Lifecycle) -> None:
    """Works until asked to stop.

    Raises:
        ZombieError: another worker owns a partition of this one.
        PlantError: Kafka, PostgreSQL or pricing cannot be reached or went away.
    """
    ledger = await open_ledger(config.postgres_dsn)
    table = OutboxTable(await connect(config.postgres_dsn))
    pricing = await PricingClient.open(config.host, config.pricing_port)
    hot = HotState(config.redis_host, config.redis_port, ledger.state_of)
    ingest = {"hop_log": str(config.scratch), "flush_s": _flush_s(config)}
    downstream = [
        Downstream("fanout", config.host, config.fanout_ingest_port, {}, table.after),
        Downstream("clickhouse", config.clickhouse_host, config.clickhouse_port, ingest, table.after),
    ]
    worker = Worker(config, ledger, pricing, hot, downstream)
    await worker.source.start()
    trimming = asyncio.create_task(worker.trim_outbox(table))
    announcing = asyncio.create_task(_announce(worker, life))
    try:
        await worker.run(life)
    finally:
        await cancel(trimming, announcing)
        await worker.source.stop()
        await asyncio.gather(*(server.close(DRAIN_S) for server in downstream))
        await hot.close()
        pricing.close()
        await table.close()
        await ledger.close()
        report = worker.counters | {"redis_rebuilt": hot.rebuilt, "redis_failures": hot.failures}
        life.report(report)
    log.info("drained: %s", report)


async def _announce(worker: Worker, life: Lifecycle) -> None:
    await worker.joined.wait()
    life.ready()


def _flush_s(config: RunConfig) -> float:
    flushes = [s.flush_s for s in config.scenario.stations.values() if isinstance(s, Store) and s.flush_s > 0.0]
    return flushes[0] if flushes else DEFAULT_FLUSH_S


if __name__ == "__main__":
    run_process("worker", serve)
