"""Workers as several processes: they come and go under load, and no event is lost, doubled or held up by it."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from live_adapters import stack as local_stack
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import SUBSCRIBER_DELIVERED, WORKER, WORKER_FRAMES, read_log
from live_adapters.pipeline.scaling import set_workers, worker_modules
from live_adapters.pipeline.stores.ledger import connect
from live_adapters.pipeline.stores.storage import reset_stores
from live_adapters.pipeline.supervisor import Supervisor
from live_adapters.verify import verify_stores
from sentra_sim.errors import PlantError
from tests.live.back_half import make_config, make_events, produce, until_taken

pytestmark = pytest.mark.live

RATE_EPS = 4_000
TAKEOVER_S = 5.0
LONGEST_S = 90.0  # of load; it ends soon after what is done under it


@pytest.fixture
def config(stack: local_stack.Endpoints, tmp_path: Path) -> RunConfig:
    config = make_config(stack, tmp_path, f"replicas-{tmp_path.name.replace('_', '-')}")
    asyncio.run(reset_stores(config))
    return config


def play(
    config: RunConfig, workers: int, deed: Callable[[Supervisor], Awaitable[None]], untold: int = 0
) -> dict[str, np.ndarray]:
    """Does something under a load that outlasts it, checks every store after it, and returns each worker's rows.

    A worker that is killed between a commit and its hop log leaves up to `untold` events out of that log.
    """

    async def load(supervisor: Supervisor) -> int:
        over = asyncio.Event()
        offered = make_events(int(RATE_EPS * LONGEST_S))
        sending = asyncio.create_task(produce(config, offered, frame_events=20, rate_eps=RATE_EPS, over=over))
        await until_taken(config, RATE_EPS)
        await deed(supervisor)
        assert not sending.done()
        await asyncio.sleep(1.0)  # who came last gets something to do
        over.set()
        sent = await sending
        await until_taken(config, sent)
        return sent

    modules = {name: f"live_adapters.pipeline.{name}" for name in ("pricing", "fanout", "subscriber")}
    with Supervisor(config.scratch, config.file) as supervisor:
        supervisor.start(modules)
        supervisor.start(worker_modules(workers))
        events = asyncio.run(load(supervisor))
        verdict = asyncio.run(verify_stores(config, events, within_s=20.0))
        assert (verdict.faults, verdict.lost, verdict.doubled) == ((), 0, 0)
        for name in reversed(tuple(supervisor.pids())):
            supervisor.stop(name)
    delivered = read_log(config.scratch, *SUBSCRIBER_DELIVERED)
    assert delivered["events"].sum() == events  # repetitions of a handover were dropped, nothing else was
    told = read_log(config.scratch, *WORKER_FRAMES)["events"].sum()
    assert events - untold <= told <= events
    rows = {
        f.name.split(".")[0]: read_log(config.scratch, f.name.split(".")[0], "frames", WORKER) for f in logs(config)
    }
    polls = [np.unique(own["poll"]) for own in rows.values()]
    assert len(np.unique(np.concatenate(polls))) == sum(map(len, polls))  # no poll's id is another worker's
    return rows


def logs(config: RunConfig) -> list[Path]:
    return sorted(config.scratch.glob("worker-*.frames.bin"))


async def owners(config: RunConfig) -> dict[int, int]:
    """Returns the epoch of each partition: it rises when another worker takes the partition over."""
    connection = await connect(config.postgres_dsn)
    try:
        return {row["part"]: row["owner_epoch"] for row in await connection.fetch("SELECT * FROM progress")}
    finally:
        await connection.close()


async def until_taken_over(config: RunConfig, before: dict[int, int], at_least: int) -> float:
    """Waits until so many partitions have new owners; returns how long that took, s."""
    begun = time.monotonic()
    while sum(epoch > before[part] for part, epoch in (await owners(config)).items()) < at_least:
        assert time.monotonic() - begun < 20.0
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


def test_workers_come_and_go_under_load_and_who_keeps_partitions_polls_on(config: RunConfig) -> None:
    took_over: list[int] = []

    async def scale(supervisor: Supervisor) -> None:
        for count in (3, 2):
            before = await owners(config)
            await asyncio.to_thread(set_workers, supervisor, count, most=config.partitions)
            await until_taken_over(config, before, 2)
            await asyncio.sleep(1.0)
            after = await owners(config)
            took_over.append(sum(after[part] - before[part] for part in after))

    rows = play(config, 1, scale)
    assert set(rows) == {"worker-1", "worker-2", "worker-3"}
    assert all(len(own) for own in rows.values())
    assert took_over[1] == 2  # of the six partitions only those of the worker that left
    times = np.unique(rows["worker-1"]["started"])  # it always kept some partitions
    assert np.diff(times).max() / 1e9 < 1.0


def test_a_killed_worker_s_partitions_go_to_the_others_within_seconds(config: RunConfig) -> None:
    async def kill(supervisor: Supervisor) -> None:
        before = await owners(config)
        os.kill(supervisor.pids()["worker-3"], signal.SIGKILL)
        assert await until_taken_over(config, before, 2) < TAKEOVER_S
        with pytest.raises(PlantError, match="worker-3: must end in order, got signal SIGKILL"):
            await asyncio.to_thread(supervisor.stop, "worker-3")

    rows = play(config, 3, kill, untold=1_000)
    assert all(len(own) for own in rows.values())


def test_a_worker_that_was_frozen_while_others_took_over_writes_nothing_and_joins_anew(config: RunConfig) -> None:
    epochs: list[dict[int, int]] = []

    async def freeze(supervisor: Supervisor) -> None:
        frozen = supervisor.pids()["worker-2"]
        before = await owners(config)
        os.kill(frozen, signal.SIGSTOP)
        await until_taken_over(config, before, 2)
        epochs.append(await owners(config))
        os.kill(frozen, signal.SIGCONT)
        await until_taken_over(config, epochs[0], 2)  # it is given partitions again

    rows = play(config, 3, freeze)
    assert all(len(own) for own in rows.values())
