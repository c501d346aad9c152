"""A canary at a fifth of the keys: each planted defect shows in the counters as what it is, and no event is lost or done twice."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from live_adapters import stack as local_stack
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import WORKER_RELEASES, read_log
from live_adapters.pipeline.pricing import PricingClient
from live_adapters.pipeline.releases import list_releases
from live_adapters.pipeline.storage import reset_stores
from live_adapters.verify import verify_stores
from tests.live.back_half import back_half, make_config, make_events, produce, until_taken

pytestmark = pytest.mark.live

WAIT_S = 30.0
EVENTS, COLD_EVENTS = 8_000, 4_000
RATE_EPS = 15_000.0
CANARIES = ("good", "slower", "tail", "errors", "leak", "cold-cache", "lag", "wrong-price")


@dataclass(frozen=True)
class Seen:
    """What the service counted for a canary: at first, after that, in all; and by how much its memory grew."""

    first: dict[str, int]
    later: dict[str, int]
    total: dict[str, int]
    stable: dict[str, int]  # in the same requests
    grown_bytes: int

    def relative_cpu(self) -> float:
        """CPU of a job against that of stable's share of the same requests: does not depend on how the polls fell."""
        return self.total["cpu_us"] / self.total["jobs"] / (self.stable["cpu_us"] / self.stable["jobs"])

    def cpu_tail(self) -> float:
        return self.total["job_cpu_p99_us"] / self.total["job_cpu_p50_us"]


@pytest.fixture
def config(stack: local_stack.Endpoints, tmp_path: Path) -> RunConfig:
    config = make_config(stack, tmp_path, "releases")
    asyncio.run(reset_stores(config))
    return config


def difference(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {counter: value - before.get(counter, 0) for counter, value in after.items()}


async def try_canaries(config: RunConfig) -> dict[str, Seen]:
    control = await PricingClient.open(config.host, config.pricing_port)
    seen, taken = {}, 0
    for session, name in enumerate(CANARIES, 1):
        await control.set_weights({"stable": 0.8, name: 0.2})
        before = await control.status()
        events = make_events(EVENTS, session=session)
        sending = asyncio.create_task(produce(config, events, frame_events=50, rate_eps=RATE_EPS))
        told = []
        for part in (COLD_EVENTS, EVENTS - COLD_EVENTS):
            taken += part
            await until_taken(config, taken)
            after = await control.status()
            told.append(after["releases"][name])
        await sending
        later, stable = (
            difference(told[1], told[0]),
            difference(after["releases"]["stable"], before["releases"]["stable"]),
        )
        seen[name] = Seen(told[0], later, told[1], stable, after["memory_bytes"] - before["memory_bytes"])
    await control.set_weights({"stable": 1.0})
    control.close()
    return seen


def test_each_planted_defect_shows_its_fingerprint_and_effects_stay_exactly_once(config: RunConfig) -> None:
    assert set(CANARIES) == set(list_releases(config.releases)) - {"stable"}
    sent = EVENTS * len(CANARIES)
    with back_half(config, ("pricing", "fanout", "worker")):
        seen = asyncio.run(try_canaries(config))
        verdict = asyncio.run(verify_stores(config, sent, within_s=WAIT_S))
        assert verdict.faults == ()
        assert (verdict.lost, verdict.doubled) == (0, 0)

    good = seen["good"]
    assert all(one.total["shadow_checked"] > 0 for one in seen.values())
    assert [name for name, one in seen.items() if one.total["shadow_wrong"]] == ["wrong-price"]
    assert [name for name, one in seen.items() if one.total["errors"]] == ["errors"]
    assert seen["slower"].relative_cpu() > 1.8 * good.relative_cpu()
    assert seen["tail"].cpu_tail() > 2 * good.cpu_tail()
    leaked = seen["leak"].total["jobs"] * 2**20
    assert 0.8 * leaked < seen["leak"].grown_bytes
    assert good.grown_bytes < 0.2 * leaked
    cold, warm = seen["cold-cache"].first, seen["cold-cache"].later
    assert cold["cpu_us"] / cold["events"] > 2 * warm["cpu_us"] / warm["events"]
    lag = seen["lag"].total
    assert lag["job_p50_us"] > 40_000 > 5 * lag["cpu_us"] / lag["jobs"]

    report: dict[str, Any] = json.loads((config.scratch / "pricing.counters.json").read_text())
    assert report["events"] == sent
    assert report["wrong-price_shadow_wrong"] == seen["wrong-price"].total["shadow_wrong"]
    # What a canary failed, stable priced: the worker tells of those it did not fail.
    by_canaries = sum(one.total["events"] for one in seen.values())
    assert read_log(config.scratch, *WORKER_RELEASES)["canary"].sum() == by_canaries == sent - report["stable_events"]
    assert report["errors_failed_events"] > 0
