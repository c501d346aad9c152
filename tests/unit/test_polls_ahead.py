"""A worker that prices its next poll while one takes effect: everything once and in order, whatever happens in between."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from live_adapters.measurable import PORTS
from live_adapters.pipeline import worker as workers
from live_adapters.pipeline.codec import blank_events
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.consumer.poll import Batch, Effects, Poll, Sessions
from live_adapters.pipeline.hoplog import JOBS, WORKER_FRAMES, read_log
from live_adapters.pipeline.stores.ledger import OutOfStepError, Ownership, ZombieError
from live_adapters.pipeline.stores.retry import StoreAwayError
from live_adapters.pipeline.worker import Worker
from live_adapters.recording.jobs import jobs_table
from sentra_sim.engine.plan import prepare
from sentra_sim.errors import InputError
from sentra_sim.scenario import Scenario, load_scenario, scenario_hash

SCENARIO = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
PARTITIONS, BATCHES, EVENTS = 3, 40, 4


def scenario_with(polls_ahead: int) -> Scenario:
    data = load_scenario(SCENARIO).model_dump()
    data["stations"]["worker"]["polls_ahead"] = polls_ahead
    return Scenario.model_validate(data)


def make_batch(partition: int, number: int) -> Batch:
    """The batch at a place of a partition's log: its last event comes again as the first of the next batch."""
    first = number * EVENTS
    events = blank_events(EVENTS, 64)
    events["sequence"] = [max(1, first - number), *range(first - number + 1, first - number + EVENTS)]
    events["frame"], events["session"], events["key"] = partition * 1000 + number, partition + 1, partition
    events["quantity"], events["limit_price"] = 1.0, 100.0
    return Batch(partition, first, first + EVENTS, EVENTS, events.tobytes())


DISTINCT = BATCHES * (EVENTS - 1)  # events of a partition that are no repetitions


@dataclass
class Postgres:
    """Progress and effects, changed only as the commit's guard lets them; a history, for a server that forgets its end."""

    progress: dict[int, Ownership] = field(default_factory=lambda: {p: Ownership(0, 0, {}) for p in range(PARTITIONS)})
    effects: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    history: list[tuple[dict[int, tuple[int, Sessions]], dict[int, int]]] = field(default_factory=list)

    def write(self, poll: Poll, effects: Effects, epochs: dict[int, int]) -> None:
        for part in poll.parts:
            stands = self.progress[part.partition]
            if (stands.next_offset, stands.epoch) != (part.old_offset, epochs[part.partition]):
                raise OutOfStepError("another offset or owner")
        self.history.append(({p: (o.next_offset, o.sessions) for p, o in self.progress.items()}, dict(self.effects)))
        for part in poll.parts:
            self.progress[part.partition].next_offset = part.next_offset
            self.progress[part.partition].sessions = part.sessions
        for partition, events in zip(effects.partition.tolist(), effects.events.tolist(), strict=True):
            self.effects[partition] += events

    def forget_the_last(self) -> None:
        if self.history:
            places, self.effects = self.history.pop()
            for partition, (offset, sessions) in places.items():
                self.progress[partition].next_offset, self.progress[partition].sessions = offset, sessions


class Ledger:
    """A worker's side of it; `fate` says of each commit what becomes of it."""

    def __init__(self, postgres: Postgres, fate: Callable[[], str], pause: Callable[[], Any]) -> None:
        self.postgres, self._fate, self._pause = postgres, fate, pause
        self.owned: dict[int, Ownership] = {}
        self.committing = 0

    async def claim(self, firsts: Any) -> None:
        for partition in firsts:
            stands = self.postgres.progress[partition]
            stands.epoch += 1
            self.owned[partition] = Ownership(stands.next_offset, stands.epoch, dict(stands.sessions))

    def release(self, partitions: Any) -> None:
        assert not self.committing, "a partition must not be given up in the middle of a commit"
        for partition in partitions:
            self.owned.pop(partition, None)

    def offsets(self) -> dict[int, int]:
        return {partition: own.next_offset for partition, own in self.owned.items()}

    async def commit(self, poll: Poll, effects: Effects) -> Any:
        assert not self.committing, "commits must come one after another"
        self.committing += 1
        try:
            fate = self._fate()
            await self._pause()
            if fate == "cut before":
                raise StoreAwayError("cut off")
            if fate == "fenced":
                for part in poll.parts:
                    self.postgres.progress[part.partition].epoch += 1
            self.postgres.write(poll, effects, {p: own.epoch for p, own in self.owned.items()})
            await self._pause()
            if fate == "forgotten":
                self.postgres.forget_the_last()
            if fate in ("cut after", "forgotten"):
                raise StoreAwayError("cut off")
        finally:
            self.committing -= 1
        for part in poll.parts:
            own = self.owned[part.partition]
            own.next_offset, own.sessions = part.next_offset, part.sessions

    async def resume(self) -> None:
        await self._pause()
        for partition, own in self.owned.items():
            stands = self.postgres.progress[partition]
            if stands.epoch != own.epoch:
                raise ZombieError("another owns it")
        for partition, own in self.owned.items():
            stands = self.postgres.progress[partition]
            own.next_offset, own.sessions = stands.next_offset, dict(stands.sessions)


class Source:
    """The log as this worker reads it: polls of one to three batches of each partition that it reads."""

    def __init__(self, worker: Worker, rng: random.Random, pause: Callable[[], Any]) -> None:
        self._worker, self._rng, self._pause = worker, rng, pause
        self.positions: dict[int, int] = {}
        self._changing = asyncio.Lock()
        self.gather: Any = SimpleNamespace(shrunk=0)
        self.arrivals: Any = SimpleNamespace(tell=lambda pieces: None)

    async def poll(self) -> list[Batch]:
        if self._rng.random() < 0.7:
            await self._pause()
        found = []
        for partition, offset in self.positions.items():
            last = min(BATCHES, offset // EVENTS + self._rng.randint(0, 3))
            found += [make_batch(partition, number) for number in range(offset // EVENTS, last)]
            self.positions[partition] = last * EVENTS
        if not found:
            await asyncio.sleep(0)
        return found

    def go_to(self, offsets: dict[int, int]) -> None:
        self.positions.update({p: offset for p, offset in offsets.items() if p in self.positions})

    def reached(self, offsets: dict[int, int]) -> None:
        pass

    async def gain(self, partitions: list[int]) -> None:
        self.positions.update(await self._worker._assigned(dict.fromkeys(partitions, 0)))

    async def move(self, partitions: list[int]) -> None:
        """Gives partitions up and takes them over again; one such change at a time, as the group's member makes them."""
        async with self._changing:
            for partition in partitions:
                del self.positions[partition]
            await self._worker._revoked(partitions)
            await self._pause()
            await self.gain(partitions)

    async def confirm(self) -> None:
        await self.move(list(range(PARTITIONS)))


def make_worker(scratch: Path, ledger: Any, polls_ahead: int, pause: Callable[[], Any]) -> Worker:
    numbers: Any = dict.fromkeys([*(f"{name}_port" for name in PORTS), "redis_port", "clickhouse_port"], 1)
    addresses: Any = dict.fromkeys(["kafka", "postgres_dsn", "redis_host", "clickhouse_host", "topic"], "x")
    config = RunConfig(
        scenario=scenario_with(polls_ahead), seed=1, warmup_s=0.0, load_s=1.0, scratch=scratch, **numbers, **addresses
    )

    async def price(poll: Any) -> Any:
        await pause()
        return SimpleNamespace(prices=np.full(len(poll.events), 2.0), canary=None)

    async def shown(*poll: Any, idle: bool = False) -> bool:
        await pause()
        return True

    async def until_done(attempt: Any) -> Any:
        return await attempt()

    breaker = SimpleNamespace(failed=lambda: None, succeeded=lambda: None)
    stores: Any = SimpleNamespace(
        ledger=ledger,
        postgres=SimpleNamespace(until_done=until_done, breaker=breaker),
        quotes=SimpleNamespace(price=price),
        hot=SimpleNamespace(take_over=shown, write=shown, heal=shown),
        downstream=(),
        relay=SimpleNamespace(look=lambda owned: None),
    )
    return Worker(config, stores, "worker-3")


@pytest.fixture(autouse=True)
def no_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "Source", lambda *settings: None)


FATES = ("cut before", "cut after", "forgotten", "fenced")


@pytest.mark.parametrize("polls_ahead", [0, 1])
@pytest.mark.parametrize("seed", range(30))
def test_everything_takes_effect_once_through_cuts_losses_fences_and_rebalances(
    tmp_path: Path, seed: int, polls_ahead: int
) -> None:
    rng = random.Random(seed)

    async def pause() -> None:
        for _ in range(rng.randint(0, 6)):
            await asyncio.sleep(0)

    def fate() -> str:
        return rng.choice(FATES) if rng.random() < 0.2 else "done"

    async def story() -> tuple[Postgres, Worker]:
        postgres = Postgres()
        ledger = Ledger(postgres, fate, pause)
        worker = make_worker(tmp_path, ledger, polls_ahead, pause)
        worker.source = source = Source(worker, rng, pause)  # type: ignore[assignment]
        await source.gain(list(range(PARTITIONS)))
        ends = dict.fromkeys(range(PARTITIONS), BATCHES * EVENTS)

        async def move_partitions() -> None:
            while True:
                for _ in range(rng.randint(5, 60)):
                    await asyncio.sleep(0)
                await source.move(rng.sample(range(PARTITIONS), rng.randint(1, 2)))

        async def stop_at_the_end() -> None:
            while ledger.committing or {p: own.next_offset for p, own in postgres.progress.items()} != ends:
                await asyncio.sleep(0)
            life.stopping = True

        life: Any = SimpleNamespace(stopping=False)
        moving, stopping = asyncio.create_task(move_partitions()), asyncio.create_task(stop_at_the_end())
        await asyncio.wait_for(worker.run(life), 20.0)
        moving.cancel()
        await stopping
        return postgres, worker

    postgres, worker = asyncio.run(story())
    assert postgres.effects == dict.fromkeys(range(PARTITIONS), DISTINCT)
    assert worker.counters["resumed"] > 0
    rows = read_log(tmp_path, *WORKER_FRAMES)
    assert (rows["started"] <= rows["priced"]).all()
    assert (rows["priced"] <= rows["committed"]).all()


def test_the_next_poll_is_priced_while_one_is_committed_and_committed_after_it(tmp_path: Path) -> None:
    async def slow() -> None:
        await asyncio.sleep(0.05)

    async def fast() -> None:
        await asyncio.sleep(0)

    async def story() -> None:
        worker = make_worker(tmp_path, Ledger(Postgres(), lambda: "done", slow), 1, fast)
        steady: Any = SimpleNamespace(random=lambda: 1.0, randint=lambda least, most: 1)
        worker.source = source = Source(worker, steady, fast)  # type: ignore[assignment]
        await source.gain([0, 1, 2])
        asyncio.get_running_loop().call_later(0.7, lambda: setattr(life, "stopping", True))
        life: Any = SimpleNamespace(stopping=False)
        await worker.run(life)
        assert worker.report()["prepared_in_vain"] == 0

    asyncio.run(story())
    rows = read_log(tmp_path, *WORKER_FRAMES)
    _, first = np.unique(rows["poll"], return_index=True)
    polls = rows[first]
    assert len(polls) > 3
    assert (polls["priced"][1:] < polls["committed"][:-1]).all()
    assert (polls["committed"][1:] > polls["redis"][:-1]).all()
    # In the recording a commit begins when the poll before is over; a poll's CPU is not that of the one before once more.
    jobs = jobs_table(tmp_path, 0)
    commits = jobs.filter(jobs["kind"] == "commit")
    assert (commits["start_ns"].to_numpy()[1:] >= polls["redis"][:-1]).all()
    logged = read_log(tmp_path, "worker", "jobs", JOBS)
    assert 0 < logged["cpu_ns"].sum() < logged["end"].max() - logged["start"].min()


def test_the_key_leaves_old_scenarios_alone_and_no_engine_plays_it() -> None:
    assert scenario_hash(scenario_with(0)) == scenario_hash(load_scenario(SCENARIO)) != scenario_hash(scenario_with(1))
    with pytest.raises(InputError, match=r"worker\.polls_ahead: must be 0 in a simulation, got 1"):
        prepare(scenario_with(1), seconds=1.0, seed=1)
    with pytest.raises(ValidationError):
        scenario_with(2)
