"""A canary at a fifth of the keys: each planted defect shows in the counters as what it is, and no event is lost or done twice."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_adapters import stack as local_stack
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import PRICING_RELEASES, WORKER_RELEASES, read_log
from live_adapters.pipeline.releases.pricingclient import PricingClient
from live_adapters.pipeline.releases.releases import list_releases
from live_adapters.pipeline.stores.storage import reset_stores
from live_adapters.verify import verify_stores
from tests.live.back_half import back_half, make_config, make_events, produce, until_taken

pytestmark = pytest.mark.live

WAIT_S = 30.0
EVENTS, COLD_EVENTS = 8_000, 1_000
RATE_EPS = 15_000.0
CANARIES = ("good", "slower", "tail", "errors", "leak", "cold-cache", "lag", "wrong-price")


@dataclass(frozen=True)
class Seen:
    """What the service counted for a canary, and by how much its memory grew meanwhile."""

    total: dict[str, int]
    grown_bytes: int


@pytest.fixture
def config(stack: local_stack.Endpoints, tmp_path: Path) -> RunConfig:
    config = make_config(stack, tmp_path, "releases")
    asyncio.run(reset_stores(config))
    return config


async def try_canaries(config: RunConfig) -> dict[str, Seen]:
    control = await PricingClient.open(config.host, config.pricing_port)
    seen = {}
    for session, name in enumerate(CANARIES, 1):
        await control.set_weights({"stable": 0.8, name: 0.2})
        before = await control.status()
        events = make_events(EVENTS, session=session)
        sending = asyncio.create_task(produce(config, events, frame_events=50, rate_eps=RATE_EPS))
        await until_taken(config, session * EVENTS)
        await sending
        after = await control.status()
        seen[name] = Seen(after["releases"][name], after["memory_bytes"] - before["memory_bytes"])
    await control.set_weights({"stable": 1.0})
    control.close()
    return seen


def relative_cpu(config: RunConfig, seen: dict[str, Seen]) -> dict[str, np.ndarray]:
    """CPU of each job of a canary against stable's share of the same request: a busy machine slows both."""
    rows = read_log(config.scratch, *PRICING_RELEASES)
    canary = np.flatnonzero(rows["canary"])  # stable's row of the same request comes right before
    ratio = rows["cpu_ns"][canary] / rows["cpu_ns"][canary - 1]
    ratio[rows["canary"][canary - 1]] = np.nan  # a request without events of stable
    ends = np.cumsum([one.total["jobs"] for one in seen.values()])
    assert ends[-1] == len(ratio)
    return dict(zip(seen, np.split(ratio, ends[:-1]), strict=True))


def jobs_until(config: RunConfig, seen: dict[str, Seen], name: str, events: int) -> int:
    """How many jobs of a canary its first `events` events were in."""
    rows = read_log(config.scratch, *PRICING_RELEASES)
    first = sum(seen[before].total["jobs"] for before in CANARIES[: CANARIES.index(name)])
    return int((np.cumsum(rows["events"][rows["canary"]][first:]) <= events).sum())


def outliers(ratios: np.ndarray) -> int:
    return int((ratios > 6 * np.nanmedian(ratios)).sum())


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
    cpu = relative_cpu(config, seen)
    assert np.nanmedian(cpu["slower"]) > 1.5 * np.nanmedian(cpu["good"])
    assert outliers(cpu["tail"]) >= 2
    assert outliers(cpu["tail"]) > outliers(cpu["good"])
    cold, warm = np.split(cpu["cold-cache"], [jobs_until(config, seen, "cold-cache", COLD_EVENTS)])
    assert np.nanmedian(cold) > 2 * np.nanmedian(warm)
    leaked = seen["leak"].total["jobs"] * 2**20
    assert 0.8 * leaked < seen["leak"].grown_bytes
    assert good.grown_bytes < 0.2 * leaked
    lag = seen["lag"].total
    assert lag["job_p50_us"] > 40_000 > 5 * lag["cpu_us"] / lag["jobs"]

    report: dict[str, Any] = json.loads((config.scratch / "pricing.counters.json").read_text())
    assert report["events"] == sent
    assert report["wrong-price_shadow_wrong"] == seen["wrong-price"].total["shadow_wrong"]
    # What a canary failed, stable priced: the worker tells of those it did not fail.
    by_canaries = sum(one.total["events"] for one in seen.values())
    assert read_log(config.scratch, *WORKER_RELEASES)["canary"].sum() == by_canaries == sent - report["stable_events"]
    assert report["errors_failed_events"] > 0
