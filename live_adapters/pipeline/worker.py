"""The worker: fetches polls, prices them, commits each in one transaction, makes it visible, tells those downstream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from functools import partial

import numpy as np

from live_adapters.pipeline import planted
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.consumer.poll import released
from live_adapters.pipeline.consumer.source import Source
from live_adapters.pipeline.hoplog import JOBS, RELEASED, WORKER, HopLog, replica_number
from live_adapters.pipeline.preparing import Preparation, Ready
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.stores.ledger import OutboxTable, OutOfStepError, ZombieError
from live_adapters.pipeline.stores.outbox import cancel, encode_frames
from live_adapters.pipeline.stores.retry import StoreAwayError
from live_adapters.pipeline.telemetry.families import worker_metrics
from live_adapters.pipeline.workerstores import Stores, open_stores
from sentra_sim.scenario import ConsumerGroup, only

TRIM_S, TRIM_ROWS = 2.0, 500
MAX_REPLICAS = 1000

log = logging.getLogger("worker")


class Worker:
    """The poll loop: one poll at a time, each step after the one before, as in the simulation.

    With the scenario's `polls_ahead` the next poll is fetched, decoded and priced while one takes effect; effects stay in sequence.
    `name` tells it from the other workers of its group, in which partitions change hands while the polls of all others go on.
    """

    def __init__(self, config: RunConfig, stores: Stores, name: str) -> None:
        self._ledger, self._calls = stores.ledger, stores.postgres
        self._hot, self._downstream, self._relay = stores.hot, stores.downstream, stores.relay
        self._number = replica_number(name) % MAX_REPLICAS
        self.source = Source(config, name, self._assigned, self._revoked)
        self.joined = asyncio.Event()
        self._ahead = only(config.scenario, ConsumerGroup)[1].polls_ahead > 0
        self._prepared = Preparation(stores.ledger, stores.quotes)
        self._turning: asyncio.Task[None] | None = None  # the poll at work, and what follows from it
        # Who gives partitions up waits for the poll at work; who takes some over does not.
        self._working = asyncio.Lock()
        self._doubtful: Ready | None = None  # the poll at work, once its commit is under way
        self._cpu_told_ns = 0  # the thread's clock when the last poll was over
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
        try:
            while not life.stopping:
                await self._next()
            await self._over()
        finally:
            if self._turning is not None:
                await asyncio.gather(self._turning, return_exceptions=True)

    async def _next(self) -> None:
        """Makes a poll ready and puts it to work when the one before is over."""
        if self._ahead or await self._over():
            ready = await self._prepared.ready(await self.source.poll())
            if await self._over():
                self._turning = asyncio.create_task(self._turn(await self._due(ready)))

    async def _due(self, ready: Ready | None) -> Ready | None:
        """Returns a poll as it may take effect; its partitions are not given up before its turn is over."""
        await self._working.acquire()
        try:
            return await self._prepared.due(ready)
        except BaseException:
            self._working.release()
            raise

    async def _over(self) -> bool:
        """Waits until the poll at work is over; False when others own its partitions by now and this worker joins anew."""
        turning, self._turning = self._turning, None
        try:
            if turning is not None:
                await turning
        except ZombieError:
            if not await self._outlived():
                raise
            return False
        return True

    async def _turn(self, due: Ready | None) -> None:
        try:
            if due is not None:
                await self._work(due)
            await self._hot.heal(self._ledger.offsets(), idle=due is None)
        except StoreAwayError as error:
            await self._resume(error)
        finally:
            self._working.release()

    async def _outlived(self) -> bool:
        """After a commit was refused because others own the partitions: tells whether the group had taken this worker for dead.

        Then it has given everything up and joins anew. If the group knows nothing of that, the worker must end.
        """
        before = dict(self._ledger.owned)
        await self.source.confirm()
        kept = any(self._ledger.owned.get(partition) is own for partition, own in before.items())
        self.counters["outlived"] += not kept
        return not kept

    def report(self) -> dict[str, int]:
        """Returns the counters of the process' report."""
        return self.counters | {"gather_shrunk": self.source.gather.shrunk, "prepared_in_vain": self._prepared.in_vain}

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

    async def _work(self, ready: Ready) -> None:
        poll, effects = ready.poll, ready.effects
        self._doubtful = ready
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
        self._tell(ready, committed, time.monotonic_ns() if visible else 0)
        self._tell_job(ready)

    def _tell_job(self, ready: Ready) -> None:
        cpu = time.thread_time_ns()
        spent = cpu - max(
            ready.cpu_ns, self._cpu_told_ns
        )  # what was spent before the poll before was over is that one's
        self._cpu_told_ns = cpu
        job = (ready.started, time.monotonic_ns(), spent, len(ready.poll.pieces), ready.poll.received)
        self._jobs.append(np.array([job], dtype=JOBS))

    def _tell(self, done: Ready, committed: int, redis: int) -> None:
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
        self._prepared.forget()  # in the same breath as the seek: what is polled from now on follows progress
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
        report = worker.report() | stores.report()
        life.report(report)
    log.info("drained: %s", report)


async def _announce(worker: Worker, life: Lifecycle) -> None:
    await worker.joined.wait()
    life.ready()


if __name__ == "__main__":
    run_process("worker", serve)
