"""A poll whose commit was cut off: it counts as committed when the worker knows that it was, and not otherwise."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from live_adapters.measurable import PORTS
from live_adapters.pipeline.codec import blank_events
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.consumer.poll import Batch
from live_adapters.pipeline.hoplog import WORKER_FRAMES, read_log
from live_adapters.pipeline.stores.ledger import OutOfStepError, Ownership
from live_adapters.pipeline.stores.retry import StoreAwayError
from live_adapters.pipeline.worker import Worker
from sentra_sim.scenario import load_scenario

SCENARIO = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"


class Ledger:
    """PostgreSQL's answers: the commit is cut off, and afterwards progress stands at an offset."""

    def __init__(self, error: StoreAwayError, stands_at: int) -> None:
        self.owned = {0: Ownership(100, 1, {})}
        self._error, self._stands_at = error, stands_at

    def offsets(self) -> dict[int, int]:
        return {partition: own.next_offset for partition, own in self.owned.items()}

    async def commit(self, poll: Any, effects: Any) -> None:
        raise self._error

    async def resume(self) -> None:
        self.owned[0].next_offset = self._stands_at


def make_worker(config: RunConfig, ledger: Ledger, *, redis: bool) -> Worker:
    async def price(poll: Any) -> Any:
        return SimpleNamespace(prices=np.full(len(poll.events), 2.0), canary=None)

    async def take_over(offsets: Any) -> bool:
        return redis

    async def until_done(attempt: Any) -> Any:
        return await attempt()

    stores: Any = SimpleNamespace(
        ledger=ledger,
        postgres=SimpleNamespace(until_done=until_done, breaker=SimpleNamespace(failed=lambda: None)),
        quotes=SimpleNamespace(price=price),
        hot=SimpleNamespace(take_over=take_over),
        downstream=(),
        relay=SimpleNamespace(look=lambda owned: None),
    )
    return Worker(config, stores, "worker-3")


def make_config(scratch: Path) -> RunConfig:
    numbers: Any = dict.fromkeys([*(f"{name}_port" for name in PORTS), "redis_port", "clickhouse_port"], 1)
    addresses: Any = dict.fromkeys(["kafka", "postgres_dsn", "redis_host", "clickhouse_host", "topic"], "x")
    scenario = load_scenario(SCENARIO)
    return RunConfig(scenario=scenario, seed=1, warmup_s=0.0, load_s=1.0, scratch=scratch, **numbers, **addresses)


AWAY, REFUSED = StoreAwayError("cut off"), OutOfStepError("another offset")


@pytest.mark.parametrize(
    ("error", "stands_at", "redis", "told"),
    [(AWAY, 108, True, 8), (AWAY, 108, False, 8), (AWAY, 100, True, 0), (REFUSED, 100, True, 0)],
    ids=["took effect", "took effect but Redis is away", "did not", "refused"],
)
def test_a_poll_that_was_cut_off_is_told_once_it_is_known(
    tmp_path: Path, error: StoreAwayError, stands_at: int, redis: bool, told: int
) -> None:
    events = blank_events(8, 64)
    events["sequence"], events["frame"], events["session"] = range(1, 9), 7, 1
    events["quantity"], events["limit_price"] = 2.0, 100.0

    async def story() -> int:
        worker = make_worker(make_config(tmp_path), Ledger(error, stands_at), redis=redis)
        before = time.monotonic_ns()
        await worker._turn([Batch(0, 100, 108, 8, events.tobytes())])
        assert worker.counters["resumed"] == 1
        return before

    before = asyncio.run(story())
    rows = read_log(tmp_path, *WORKER_FRAMES)
    assert rows["events"].sum() == told
    if told:
        assert rows["frame"].tolist() == [7]
        assert before < rows["started"][0] <= rows["priced"][0] < rows["committed"][0] < time.monotonic_ns()
        assert (rows["redis"][0] > rows["committed"][0]) == redis
        assert rows["poll"][0] % 1000 == 3
